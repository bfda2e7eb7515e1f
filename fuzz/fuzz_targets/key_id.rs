//! A key id or fingerprint that is read survives printing in every form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::key_id::{Fingerprint, KeyId};

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(format!("{id:X}").parse(), Ok(id));
        assert_eq!(format!("{id:x}").parse(), Ok(id));
        assert_eq!(KeyId::from_bytes(*id.as_bytes()), Ok(id));
    }
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
});
