//! A duration that is read survives printing; one that is printed survives reading.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nightlatch_core::duration::{MAX, parse, print};

fuzz_target!(|input: (u64, u32, &str)| {
    let (seconds, nanos, text) = input;
    let duration = Duration::new(seconds, nanos % 1_000_000_000);
    let printed = parse(&print(duration));
    if seconds <= MAX.as_secs() {
        assert_eq!(printed, Ok(Duration::from_secs(seconds)));
    } else {
        assert!(printed.is_err());
    }
    if let Ok(duration) = parse(text) {
        assert!(duration <= MAX);
        assert_eq!(parse(&print(duration)), Ok(duration));
    }
});
