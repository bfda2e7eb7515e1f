//! Any bytes in place of a key file, or of a list of admin keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_openpgp::{AdminKeys, PublicKey, SecretKey};

fuzz_target!(|file: &[u8]| {
    if let Ok(secret) = SecretKey::from_armored(file) {
        assert_eq!(secret.public_key().fingerprint(), secret.fingerprint());
    }
    if let Ok(public) = PublicKey::from_armored(file) {
        if let Ok(bytes) = public.to_bytes()
            && let Ok(again) = PublicKey::from_armored(&bytes)
        {
            assert_eq!(again.fingerprint(), public.fingerprint());
        }
    }
    if let Ok(keys) = AdminKeys::from_armored(file) {
        assert!(keys.iter().all(PublicKey::can_sign));
    }
});
