//! What of a network.conf is understood survives printing; every fault has a line that exists.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::network::Definition;

fuzz_target!(|text: &str| {
    let lines = text.matches('\n').count() + 1;
    let (definition, faults) = Definition::recover(text);
    assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line)));
    assert_eq!(Definition::parse(&definition.to_string()), Ok(definition));
});
