//! A state's document that is read, written and read again holds the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_handover::{read, write};

fuzz_target!(|text: &[u8]| {
    if let Ok(saved) = read(text) {
        let mut again = Vec::new();
        write(&saved, &mut again).expect("memory can be written to");
        assert_eq!(read(&again).expect("what was written can be read"), saved);
    }
});
