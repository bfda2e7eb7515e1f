//! Named secrets for the tests of the store, different for each seed.

use std::sync::Arc;

use nightlatch_core::client::saved::SavedSecret;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::{SealedSecret, SecretHeader};
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;

/// A named secret of the host key `host`; of an odd `seed` one that was removed.
pub(crate) fn secret(host: u8, name: &str, seed: u8) -> SavedSecret {
    let header = SecretHeader {
        host: KeyId::from_bytes([host; 32]).unwrap(),
        name: SecretName::new(name).unwrap(),
        serial: u64::MAX - u64::from(seed),
        created: Wall::from_unix_micros(0),
        expires: None,
    };
    let sealed = SealedSecret::new(&header, &[seed; 300]).unwrap();
    SavedSecret {
        host: header.host,
        name: header.name,
        serial: header.serial,
        sealed: seed.is_multiple_of(2).then(|| Arc::new(sealed)),
        approval: seed.is_multiple_of(3),
        put: Wall::from_unix_micros(seed.into()),
    }
}
