//! The server's file is read or refused; what is read can be applied.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::settings::server::{ServerSettings, parse};

fuzz_target!(|text: &str| {
    match parse("f", text) {
        Ok(parsed) => {
            let mut settings = ServerSettings::default();
            settings.apply(parsed.value);
            assert!(settings.concurrent_checks > 0 && settings.max_connections > 0);
            settings.contradictions();
        }
        Err(errors) => assert!(!errors.is_empty()),
    }
});
