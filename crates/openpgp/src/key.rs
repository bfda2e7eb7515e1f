//! Keys as read from files: which of their parts may sign, verify, encrypt, decrypt.
//!
//! Validity in time is not looked at: the clock of a machine that boots may be wrong, and the key
//! files lie beside the program that reads them.

use std::fmt;

use nightlatch_core::key_id::Fingerprint;
use pgp::composed::{Deserializable, SignedPublicKey, SignedSecretKey};
use pgp::packet::{self, KeyFlags, Signature, SubpacketData};
use pgp::types::{KeyDetails, SecretParams};

use crate::Error;
use crate::armor::dearmor;

/// The most bytes a key file may have. An armoured RSA-4096 secret key takes 7 kB; the rest is
/// room for signatures of others.
pub const MAX_KEY_FILE: usize = 256 * 1024;

/// A client's secret key without passphrase: `seckey.txt`.
///
/// The library below wipes its secret numbers on drop, except copies that RSA arithmetic makes on
/// its way.
pub struct SecretKey(pub(crate) SignedSecretKey);

/// A client's public key: `pubkey.txt`.
pub struct PublicKey(pub(crate) SignedPublicKey);

impl SecretKey {
    /// Reads an ASCII-armoured (or binary) transferable secret key (RFC 9580, 10.2).
    ///
    /// Only a version 4 key is accepted, one in the file, with intact self-signatures and without
    /// a passphrase.
    pub fn from_armored(file: &[u8]) -> Result<Self, Error> {
        let key: SignedSecretKey = parse("secret key", file)?;
        let parts = std::iter::once(key.primary_key.secret_params())
            .chain(key.secret_subkeys.iter().map(|sub| sub.key.secret_params()));
        for part in parts {
            if matches!(part, SecretParams::Encrypted(_)) {
                return Err(Error::Locked);
            }
        }
        check_version("secret key", &key.primary_key)?;
        key.verify_bindings().map_err(|_| Error::BadKey {
            expected: "secret key",
            problem: "its own signature on it does not fit",
        })?;
        Ok(Self(key))
    }

    /// The version 4 fingerprint of the primary key.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.0.primary_key)
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.to_public_key())
    }
}

impl PublicKey {
    /// Reads an ASCII-armoured (or binary) transferable public key (RFC 9580, 10.1): version 4,
    /// one in the file, with intact self-signatures.
    pub fn from_armored(file: &[u8]) -> Result<Self, Error> {
        let key: SignedPublicKey = parse("public key", file)?;
        check_version("public key", &key.primary_key)?;
        key.verify_bindings().map_err(|_| Error::BadKey {
            expected: "public key",
            problem: "its own signature on it does not fit",
        })?;
        Ok(Self(key))
    }

    /// The version 4 fingerprint of the primary key.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.0.primary_key)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.fingerprint())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

fn parse<K: Deserializable>(expected: &'static str, file: &[u8]) -> Result<K, Error> {
    if file.len() > MAX_KEY_FILE {
        return Err(Error::KeyTooLarge {
            limit: MAX_KEY_FILE,
        });
    }
    let bad = |problem| Error::BadKey { expected, problem };
    let unreadable = bad("it cannot be parsed");
    let dearmored = dearmor(file).map_err(|_| unreadable.clone())?;
    let binary = dearmored.as_deref().map_or(file, Vec::as_slice);
    let mut keys = K::from_bytes_many(binary).map_err(|_| unreadable.clone())?;
    let key = keys
        .next()
        .ok_or(bad("there is none in it"))?
        .map_err(|_| unreadable)?;
    match keys.next() {
        None => Ok(key),
        Some(_) => Err(bad("there is something after it")),
    }
}

fn check_version(expected: &'static str, key: &impl KeyDetails) -> Result<(), Error> {
    match key.fingerprint() {
        pgp::types::Fingerprint::V4(_) => Ok(()),
        _ => Err(Error::BadKey {
            expected,
            problem: "its version is not 4",
        }),
    }
}

fn fingerprint(key: &impl KeyDetails) -> Fingerprint {
    match key.fingerprint() {
        pgp::types::Fingerprint::V4(bytes) => Fingerprint::from_bytes(bytes),
        // Both constructors and the generator allow version 4 only.
        _ => unreachable!("a key of another version was refused"),
    }
}

/// The permitted uses in the self-signatures of a key; `None` when they have none.
fn usage<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a KeyFlags> {
    signatures
        .filter_map(Signature::config)
        .flat_map(|config| config.hashed_subpackets())
        .filter_map(|subpacket| match &subpacket.data {
            SubpacketData::KeyFlags(flags) => Some(flags),
            _ => None,
        })
        .last()
}

/// The primary key's signatures stand on its user ids or on the key itself.
fn primary_usage(details: &pgp::composed::SignedKeyDetails) -> Option<&KeyFlags> {
    let users = details.users.iter().flat_map(|user| &user.signatures);
    usage(users.chain(&details.direct_signatures))
}

/// A key that says nothing about its use may do what its algorithm can (RFC 4880, 5.2.3.21).
fn may_sign(key: &impl KeyDetails, usage: Option<&KeyFlags>) -> bool {
    key.algorithm().can_sign() && usage.is_none_or(KeyFlags::sign)
}

fn may_encrypt(key: &impl KeyDetails, usage: Option<&KeyFlags>) -> bool {
    key.algorithm().can_encrypt()
        && usage.is_none_or(|flags| flags.encrypt_comms() || flags.encrypt_storage())
}

/// A part of a key: its primary key or one of its subkeys.
pub(crate) enum KeyPart<P, S> {
    Primary(P),
    Sub(S),
}

impl SecretKey {
    /// The parts that may sign, the primary key first.
    pub(crate) fn signers(
        &self,
    ) -> impl Iterator<Item = KeyPart<&packet::SecretKey, &packet::SecretSubkey>> {
        let primary = &self.0.primary_key;
        let primary = may_sign(primary, primary_usage(&self.0.details)).then_some(primary);
        let subkeys =
            self.0.secret_subkeys.iter().filter_map(|sub| {
                may_sign(&sub.key, usage(sub.signatures.iter())).then_some(&sub.key)
            });
        primary
            .map(KeyPart::Primary)
            .into_iter()
            .chain(subkeys.map(KeyPart::Sub))
    }

    /// The parts that messages may be encrypted to, subkeys first: that is the usual case.
    pub(crate) fn decryptors(
        &self,
    ) -> impl Iterator<Item = KeyPart<&packet::SecretKey, &packet::SecretSubkey>> {
        let primary = &self.0.primary_key;
        let primary = may_encrypt(primary, primary_usage(&self.0.details)).then_some(primary);
        let subkeys = self.0.secret_subkeys.iter().filter_map(|sub| {
            may_encrypt(&sub.key, usage(sub.signatures.iter())).then_some(&sub.key)
        });
        subkeys
            .map(KeyPart::Sub)
            .chain(primary.map(KeyPart::Primary))
    }
}

impl PublicKey {
    /// The parts whose signatures count as the client's own.
    pub(crate) fn verifiers(
        &self,
    ) -> impl Iterator<Item = KeyPart<&packet::PublicKey, &packet::PublicSubkey>> {
        let primary = &self.0.primary_key;
        let primary = may_sign(primary, primary_usage(&self.0.details)).then_some(primary);
        let subkeys =
            self.0.public_subkeys.iter().filter_map(|sub| {
                may_sign(&sub.key, usage(sub.signatures.iter())).then_some(&sub.key)
            });
        primary
            .map(KeyPart::Primary)
            .into_iter()
            .chain(subkeys.map(KeyPart::Sub))
    }

    /// The part to encrypt to: the newest subkey that may, else the primary key if it may.
    pub(crate) fn encryptor(&self) -> Option<KeyPart<&packet::PublicKey, &packet::PublicSubkey>> {
        let subkeys = self.0.public_subkeys.iter().filter_map(|sub| {
            may_encrypt(&sub.key, usage(sub.signatures.iter())).then_some(&sub.key)
        });
        let primary = &self.0.primary_key;
        subkeys
            .max_by_key(|key| key.created_at())
            .map(KeyPart::Sub)
            .or_else(|| {
                may_encrypt(primary, primary_usage(&self.0.details))
                    .then_some(KeyPart::Primary(primary))
            })
    }
}

#[cfg(test)]
mod tests;
