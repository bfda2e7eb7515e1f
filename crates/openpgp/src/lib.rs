//! OpenPGP behind our own types: generate, encrypt and sign, decrypt and verify.
//!
//! No type of the library below is public. The server never links this crate: it cannot decrypt
//! what it serves. Programs that link it must not install a logger for the `log` crate, because
//! the library below describes what it parses there.
#![forbid(unsafe_code)]

mod admin_keys;
mod armor;
mod derive;
mod error;
mod generate;
mod key;
mod named;
mod open;
mod seal;
mod validity;

pub use admin_keys::AdminKeys;
pub use error::Error;
pub use generate::{
    AdminKeyOptions, Algorithm, GenerateOptions, KeyPair, generate, generate_admin_key,
};
pub use key::{MAX_KEY_FILE, PublicKey, SecretKey};
pub use named::{OpenFault, OpenedSecret, SealFault, open, seal};
pub use open::{MAX_MESSAGE, SignaturePolicy, decrypt, decrypt_with_passphrase};
pub use seal::encrypt_and_sign;
