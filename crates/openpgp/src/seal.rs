//! Encrypts a secret to the client's own key and signs it with the same.
//!
//! Written as GnuPG 2.2 reads it: SEIPD version 1 with AES-256, one binary signature, a binary
//! literal without a name, no compression.

use nightlatch_core::secret::Secret;
use nightlatch_core::time::Wall;
use pgp::composed::{MessageBuilder, SubpacketConfig};
use pgp::crypto::{hash::HashAlgorithm, sym::SymmetricKeyAlgorithm};
use pgp::packet::{Subpacket, SubpacketData};
use pgp::types::{Password, SigningKey, Timestamp};
use rand::rngs::OsRng;

use crate::key::KeyPart;
use crate::{Error, PublicKey, SecretKey};

/// Encrypts `plaintext` to `recipient` and signs it by `signer`: the binary message, without armour.
///
/// `now` is the time the signature claims to be made at. The library below keeps the plaintext in
/// buffers that it does not wipe: for the administrator's programs only.
pub fn encrypt_and_sign(
    recipient: &PublicKey,
    signer: &SecretKey,
    plaintext: &Secret,
    now: Wall,
) -> Result<Vec<u8>, Error> {
    let signing: &dyn SigningKey = match signer.signers().next() {
        Some(KeyPart::Primary(key)) => key,
        Some(KeyPart::Sub(key)) => key,
        None => return Err(Error::Incapable { what: "sign" }),
    };
    let mut builder = MessageBuilder::from_reader("", plaintext.expose())
        .seipd_v1(OsRng, SymmetricKeyAlgorithm::AES256);
    match recipient.encryptor() {
        Some(KeyPart::Primary(key)) => builder.encrypt_to_key(OsRng, key),
        Some(KeyPart::Sub(key)) => builder.encrypt_to_key(OsRng, key),
        None => return Err(Error::Incapable { what: "encrypt" }),
    }
    .map_err(|_| Error::Library("encrypt the session key"))?;
    let subpackets = subpackets(signing, timestamp(now))
        .map_err(|_| Error::Library("describe the signature"))?;
    builder.sign_with_subpackets(
        signing,
        Password::empty(),
        HashAlgorithm::Sha512,
        subpackets,
    );
    builder
        .to_vec(OsRng)
        .map_err(|_| Error::Library("write the message"))
}

fn subpackets(
    signing: &dyn SigningKey,
    created: Timestamp,
) -> Result<SubpacketConfig, pgp::errors::Error> {
    Ok(SubpacketConfig::UserDefined {
        hashed: vec![
            Subpacket::regular(SubpacketData::IssuerFingerprint(signing.fingerprint()))?,
            Subpacket::regular(SubpacketData::SignatureCreationTime(created))?,
        ],
        unhashed: vec![Subpacket::regular(SubpacketData::IssuerKeyId(
            signing.legacy_key_id(),
        ))?],
    })
}

/// OpenPGP's time: seconds since 1970 in 32 bits (RFC 9580, 3.5); the nearest that fits.
pub(crate) fn timestamp(wall: Wall) -> Timestamp {
    let seconds = wall.unix_micros().div_euclid(1_000_000);
    let seconds = seconds.clamp(0, i64::from(u32::MAX));
    // Clamped to the range of u32 in the line above.
    Timestamp::from_secs(seconds as u32)
}
