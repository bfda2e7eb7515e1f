//! Any bytes in place of a payload: opened to something that our key signed, or refused; and in place of the message of
//! a sealed secret: refused, as the key has never signed one.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::{SealedSecret, SecretHeader};
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{AdminKeys, PublicKey, SecretKey, SignaturePolicy, decrypt, open};

/// Made for this target alone; the seeds are encrypted to it.
static KEYS: LazyLock<(SecretKey, PublicKey)> = LazyLock::new(|| {
    let secret =
        SecretKey::from_armored(include_bytes!("../keys/seckey.txt")).expect("the fuzzing key");
    let public = secret.public_key();
    (secret, public)
});

static TRUSTED: LazyLock<AdminKeys> = LazyLock::new(|| KEYS.0.public_key().into());

static HEADER: LazyLock<SecretHeader> = LazyLock::new(|| SecretHeader {
    host: KeyId::from_bytes([7; 32]).expect("the key id of some key"),
    name: SecretName::new("a").expect("the name of a secret"),
    serial: 1,
    created: Wall::from_unix_micros(0),
    expires: None,
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
    if let Ok(sealed) = SealedSecret::new(&HEADER, message) {
        let now = Wall::from_unix_micros(0);
        assert!(open(&sealed, secret, &TRUSTED, now).is_err());
    }
});
