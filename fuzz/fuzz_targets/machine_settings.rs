//! A machine's file is read or refused; what is read is a command line that a file of words can hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::settings::machine::parse;

fuzz_target!(|text: &str| {
    match parse("f", text) {
        Ok(parsed) => {
            for word in parsed.value.arguments() {
                assert!(!word.contains(char::is_whitespace) && !word.contains('#'));
            }
        }
        Err(errors) => assert!(!errors.is_empty()),
    }
});
