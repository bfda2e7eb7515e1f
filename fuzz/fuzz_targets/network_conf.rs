//! A definition that is read from any text is written so that it reads as the same; each omission is reported with its
//! line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::network::Definition;

fuzz_target!(|text: &str| {
    let (definition, faults) = Definition::recover(text);
    assert_eq!(Definition::parse(&definition.to_string()), Ok(definition));
    let lines = 1..=text.lines().count();
    for fault in faults {
        assert!(lines.contains(&fault.line), "{fault}");
    }
});
