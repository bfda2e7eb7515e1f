//! A line of the agent's local socket that is read means the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_proto::local::{LocalAnswer, LocalRequest, MAX_LINE};

fuzz_target!(|line: &str| {
    if let Ok(request) = LocalRequest::parse(line) {
        assert_eq!(request.line(), format!("{line}\n"));
    }
    if let Ok(Some(answer)) = LocalAnswer::parse(line) {
        let again = answer.line();
        assert!(again.len() <= MAX_LINE);
        assert_eq!(
            LocalAnswer::parse(again.trim_end_matches('\n')),
            Ok(Some(answer))
        );
    }
});
