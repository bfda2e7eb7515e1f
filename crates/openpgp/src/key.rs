//! Keys as read from files: which of their parts may sign, verify, encrypt, decrypt.
//!
//! Validity in time is not looked at here: the clock of a machine that boots may be wrong, and the key
//! files lie beside the program that reads them. Admin keys are judged in `validity`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nightlatch_core::key_id::Fingerprint;
use nightlatch_core::secret::Secret;
use pgp::composed::{ArmorOptions, Deserializable, SignedPublicKey, SignedSecretKey};
use pgp::packet::{self, KeyFlags, Signature, SubpacketData};
use pgp::types::{KeyDetails, Password, SecretParams};

use crate::Error;
use crate::armor::{comment_header, dearmor, packet_reader};

/// The most bytes a key file may have. An armoured RSA-4096 secret key takes 7 kB; the rest is
/// room for signatures of others.
pub const MAX_KEY_FILE: usize = 256 * 1024;

const PUBLIC: &str = "public key";
const SECRET: &str = "secret key";
const NONE: &str = "there is none in it";
const SEVERAL: &str = "there is something after it";
const BAD_SELF_SIGNATURE: &str = "its own signature on it does not fit";
const WRITE_PUBLIC: Error = Error::Library("write the public key");

/// The unlocked secret key of a client, as in `seckey.txt`, or of an administrator.
///
/// The library below wipes its secret numbers on drop, except copies that RSA arithmetic makes on
/// its way.
pub struct SecretKey(pub(crate) SignedSecretKey);

/// The public key of a client, as in `pubkey.txt`, or of an administrator.
pub struct PublicKey(pub(crate) SignedPublicKey);

impl SecretKey {
    /// Reads an ASCII-armoured (or binary) transferable secret key (RFC 9580, 10.2).
    ///
    /// Only a version 4 key is accepted, one in the file, with intact self-signatures and without
    /// a passphrase.
    pub fn from_armored(file: &[u8]) -> Result<Self, Error> {
        let key = secret_key(file)?;
        if is_locked(&key) {
            return Err(Error::Locked);
        }
        Ok(Self(key))
    }

    /// Reads a secret key as [`Self::from_armored`], and opens it with `passphrase` if it is locked.
    ///
    /// The library below keeps the passphrase in a buffer that it does not wipe while it derives the key: for the
    /// administrator's programs only.
    pub fn unlock(file: &[u8], passphrase: &Secret) -> Result<Self, Error> {
        let mut key = secret_key(file)?;
        let password = Password::from(passphrase.expose());
        key.primary_key
            .remove_password(&password)
            .map_err(|_| Error::WrongKeyPassphrase)?;
        for sub in &mut key.secret_subkeys {
            sub.key
                .remove_password(&password)
                .map_err(|_| Error::WrongKeyPassphrase)?;
        }
        Ok(Self(key))
    }

    /// The version 4 fingerprint of the primary key.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.0.primary_key)
    }

    /// True if it may sign.
    pub fn can_sign(&self) -> bool {
        self.signers().next().is_some()
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
        let bad = |problem| Error::BadKey {
            expected: PUBLIC,
            problem,
        };
        let mut keys = Self::all(file)?.into_iter();
        let key = keys.next().ok_or(bad(NONE))?;
        match keys.next() {
            None => key,
            Some(_) => Err(bad(SEVERAL)),
        }
    }

    /// Reads the base64 of a binary public key: `host_openpgp` of a section. White space does not matter.
    pub fn from_base64(text: &str) -> Result<Self, Error> {
        let text: String = text.split_ascii_whitespace().collect();
        let bytes = BASE64.decode(text).map_err(|_| Error::BadKey {
            expected: PUBLIC,
            problem: "it is no base64",
        })?;
        Self::from_armored(&bytes)
    }

    /// Reads the public half of a secret key, which may be locked.
    pub fn of_secret_key(file: &[u8]) -> Result<Self, Error> {
        secret_key(file).map(|key| Self(key.to_public_key()))
    }

    /// All public keys in a file, or the reason why one is unusable.
    pub(crate) fn all(file: &[u8]) -> Result<Vec<Result<Self, Error>>, Error> {
        let keys: Vec<Result<SignedPublicKey, Error>> = parse(PUBLIC, file)?;
        Ok(keys.into_iter().map(|key| Self::checked(key?)).collect())
    }

    fn checked(key: SignedPublicKey) -> Result<Self, Error> {
        check_version(PUBLIC, &key.primary_key)?;
        key.verify_bindings().map_err(|_| Error::BadKey {
            expected: PUBLIC,
            problem: BAD_SELF_SIGNATURE,
        })?;
        Ok(Self(key))
    }

    /// The binary form, which [`Self::from_armored`] reads too.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        pgp::ser::Serialize::to_bytes(&self.0).map_err(|_| WRITE_PUBLIC)
    }

    /// The base64 of the binary form: `host_openpgp` of a section.
    pub fn to_base64(&self) -> Result<String, Error> {
        self.to_bytes().map(|bytes| BASE64.encode(bytes))
    }

    /// The ASCII-armoured form, with a comment.
    pub fn to_armored(&self, comment: &str) -> Result<String, Error> {
        let headers = comment_header(comment);
        self.0
            .to_armored_string(ArmorOptions::from(Some(&headers)))
            .map_err(|_| WRITE_PUBLIC)
    }

    /// The first user id, without control characters. Nobody but the key itself vouches for it.
    pub fn user_id(&self) -> Option<String> {
        let user = self.0.details.users.first()?;
        let text = String::from_utf8_lossy(user.id.id());
        Some(text.replace(char::is_control, " "))
    }

    /// True if messages may be encrypted to it.
    pub fn can_encrypt(&self) -> bool {
        self.encryptor().is_some()
    }

    /// True if its signatures count.
    pub fn can_sign(&self) -> bool {
        self.verifiers().next().is_some()
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

/// A secret key with intact self-signatures, perhaps a locked one.
fn secret_key(file: &[u8]) -> Result<SignedSecretKey, Error> {
    let bad = |problem| Error::BadKey {
        expected: SECRET,
        problem,
    };
    let mut keys = parse::<SignedSecretKey>(SECRET, file)?.into_iter();
    let key = keys.next().ok_or(bad(NONE))??;
    if keys.next().is_some() {
        return Err(bad(SEVERAL));
    }
    check_version(SECRET, &key.primary_key)?;
    key.verify_bindings().map_err(|_| bad(BAD_SELF_SIGNATURE))?;
    Ok(key)
}

fn is_locked(key: &SignedSecretKey) -> bool {
    let subkeys = key.secret_subkeys.iter().map(|sub| sub.key.secret_params());
    std::iter::once(key.primary_key.secret_params())
        .chain(subkeys)
        .any(|part| matches!(part, SecretParams::Encrypted(_)))
}

fn parse<K: Deserializable>(
    expected: &'static str,
    file: &[u8],
) -> Result<Vec<Result<K, Error>>, Error> {
    if file.len() > MAX_KEY_FILE {
        return Err(Error::KeyTooLarge {
            limit: MAX_KEY_FILE,
        });
    }
    let unreadable = Error::BadKey {
        expected,
        problem: "it cannot be parsed",
    };
    let dearmored = dearmor(file).map_err(|_| unreadable.clone())?;
    let binary = dearmored.as_deref().map_or(file, Vec::as_slice);
    let keys = K::from_bytes_many(packet_reader(binary)).map_err(|_| unreadable.clone())?;
    Ok(keys
        .map(|key| key.map_err(|_| unreadable.clone()))
        .collect())
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
