//! Any bytes in place of a key file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_openpgp::{PublicKey, SecretKey};

fuzz_target!(|file: &[u8]| {
    if let Ok(secret) = SecretKey::from_armored(file) {
        assert_eq!(secret.public_key().fingerprint(), secret.fingerprint());
    }
    if let Ok(public) = PublicKey::from_armored(file) {
        let _ = public.fingerprint();
    }
});
