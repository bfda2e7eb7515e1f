//! Any bytes in place of a payload: opened to something that our key signed, or refused.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nightlatch_openpgp::{PublicKey, SecretKey, SignaturePolicy, decrypt};

/// Made for this target alone; the seeds are encrypted to it.
static KEYS: LazyLock<(SecretKey, PublicKey)> = LazyLock::new(|| {
    let secret =
        SecretKey::from_armored(include_bytes!("../keys/seckey.txt")).expect("the fuzzing key");
    let public = secret.public_key();
    (secret, public)
});

/// The seeds hold this, and nothing else was ever signed by the key.
const SIGNED: &[u8] = b"signed for the fuzzer";

fuzz_target!(|message: &[u8]| {
    let (secret, public) = &*KEYS;
    let limit = 1 << 16;
    if let Ok(password) = decrypt(
        secret,
        Some(public),
        message,
        SignaturePolicy::Required,
        limit,
    ) {
        assert_eq!(password.expose(), SIGNED);
    }
    if let Ok(password) = decrypt(
        secret,
        Some(public),
        message,
        SignaturePolicy::Optional,
        limit,
    ) {
        assert!(password.len() <= limit);
    }
});
