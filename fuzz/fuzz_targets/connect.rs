//! A `--connect` target that is read survives printing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::connect::Target;

fuzz_target!(|text: &str| {
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(target.to_string().parse::<Target>().as_ref(), Ok(&target));
    }
});
