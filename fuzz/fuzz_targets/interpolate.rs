//! Any values that refer to each other are resolved or refused within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::interpolate::{interpolate, references};

fuzz_target!(|text: &str| {
    let values: Vec<&str> = text.split('\0').collect();
    // Key "a" is the first value, "b" the second, and so on.
    let lookup = |name: &str| {
        let [letter] = name.as_bytes() else {
            return None;
        };
        values.get(usize::from(letter.checked_sub(b'a')?)).copied()
    };
    if let Ok(text) = interpolate(values[0], &lookup) {
        assert!(text.len() <= values[0].len().max(1 << 20));
        assert!(references(values[0]).all(|name| lookup(&name).is_some()));
    }
    let escaped = text.replace('%', "%%");
    if let Ok(text_again) = interpolate(&escaped, &lookup) {
        assert_eq!(text_again, text);
    }
});
