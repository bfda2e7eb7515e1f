//! A line of the audit log that is read is written as it was, and its chain is followed or broken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::record::{ChainPosition, RecordKind, RecordLine};

fuzz_target!(|text: &str| {
    if let Ok(kind) = text.parse::<RecordKind>() {
        assert_eq!(kind.as_str(), text);
    }
    let lines: Vec<RecordLine> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for line in &lines {
        assert!(text.contains(&line.to_string()));
        assert_eq!(line.to_string().parse(), Ok(line.clone()));
    }
    let _ = lines
        .iter()
        .try_fold(ChainPosition::default(), |at, line| at.check(line));
});
