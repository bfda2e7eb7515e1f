//! Keys and headers for tests.

use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::SecretHeader;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{Algorithm, GenerateOptions, PublicKey, generate};

use crate::known_hosts::{HostKeys, machine_name};

/// A new OpenPGP key of a machine.
pub(crate) fn openpgp() -> PublicKey {
    let pair = generate(&GenerateOptions {
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        name: "host",
        comment: "",
        email: "",
        created: Wall::from_unix_micros(0),
        expires: None,
    });
    PublicKey::from_armored(pair.unwrap().public_armored.as_bytes()).unwrap()
}

/// The id of the host key number `host`, from 1.
pub(crate) fn key_id(host: u8) -> KeyId {
    KeyId::from_bytes([host; 32]).unwrap()
}

/// The machine `name` with the host key number `host` and a new OpenPGP key.
pub(crate) fn host_keys(name: &str, host: u8) -> HostKeys {
    HostKeys {
        name: machine_name(name).unwrap(),
        host: key_id(host),
        openpgp: openpgp(),
    }
}

/// The header of a secret `a` for the host key number `host`.
pub(crate) fn header(host: u8, serial: u64) -> SecretHeader {
    SecretHeader {
        host: key_id(host),
        name: SecretName::new("a").unwrap(),
        serial,
        created: Wall::from_unix_micros(0),
        expires: None,
    }
}
