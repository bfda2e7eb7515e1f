//! Opens a message: decrypt, inflate, verify; every layer into memory of bounded size.
//!
//! A message has this shape (RFC 9580, 10.3): session keys, then one encrypted packet; in it
//! perhaps one compressed packet; in that one-pass signatures, a literal, signatures.
//! No text of the library below leaves this module.

use std::io::{self, BufRead, Read};

use nightlatch_core::key_id::Fingerprint;
use nightlatch_core::secret::{Secret, SecretBuffer, SecretDigest};
use nightlatch_core::time::Wall;
use pgp::composed::{DecryptionOptions, Edata, Esk, Message, PlainSessionKey, SignatureManyReader};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PacketParser, PublicKeyEncryptedSessionKey, Signature, SignatureType};
use pgp::types::{
    CompressionAlgorithm, DecryptionKey, EskType, Password, PkeskVersion, Seipdv1ReadMode,
};
use zeroize::Zeroizing;

use crate::armor::{dearmor, packet_reader};
use crate::key::KeyPart;
use crate::validity::{check, names, verify_admin};
use crate::{AdminKeys, Error, PublicKey, SecretKey, derive};

/// The most bytes a message may have: what cryptsetup(8) reads of a key file at most (8 MiB), and
/// as much again for the wrapping.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// The most packets side by side in one layer. A message of GnuPG has three; each one-pass
/// signature more costs another pass over the content, each session key another RSA operation.
const MAX_PACKETS: usize = 16;

/// Bytes for the packets around the plaintext: the literal's header and the signatures.
const WRAPPING: usize = 64 * 1024;

const BAD_COMPRESSION: &str = "expected compressed data";

/// The signatures that are accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignaturePolicy {
    /// The client's own key must have signed the content.
    Required,
    /// Any signature or none will do.
    Optional,
}

/// Opens `message` with `key`: the plaintext byte for byte.
///
/// The signature must be made by `verifier`, or by the public half of `key` without one; a
/// `verifier` of another pair is refused. At most `max` bytes of plaintext are returned. Neither
/// expiry nor creation times are looked at: the clock of a machine that boots may be wrong.
///
/// Plaintext is wiped from the buffers made here; the library below has buffers of a few kB that
/// it does not wipe while it inflates and verifies.
pub fn decrypt(
    key: &SecretKey,
    verifier: Option<&PublicKey>,
    message: &[u8],
    policy: SignaturePolicy,
    max: usize,
) -> Result<Secret, Error> {
    if message.len() > MAX_MESSAGE {
        return Err(Error::MessageTooLarge { limit: MAX_MESSAGE });
    }
    let own;
    let verifier = match verifier {
        Some(given) if given.fingerprint() != key.fingerprint() => return Err(Error::KeysDiffer),
        Some(given) => given,
        None => {
            own = key.public_key();
            &own
        }
    };
    if message.is_empty() {
        return Err(Error::Malformed("expected a message, found nothing"));
    }
    let dearmored = dearmor(message)
        .map_err(|_| Error::Malformed("expected OpenPGP packets or ASCII armour"))?;
    let message = dearmored.as_deref().map_or(message, Vec::as_slice);
    let layer = unseal(message, |esks| session_key(key, esks))?;
    let (plaintext, ()) = read_layer(&layer, max, |message| match policy {
        SignaturePolicy::Required => verify(message, verifier),
        SignaturePolicy::Optional => Ok(()),
    })?;
    Ok(plaintext)
}

/// What a trusted admin key has signed.
pub(crate) struct Trusted {
    pub(crate) plaintext: Secret,
    /// The fingerprint of the signer.
    pub(crate) signer: Fingerprint,
    /// Of all that was encrypted, the signature with it.
    pub(crate) digest: SecretDigest,
}

/// Opens `message`, which must be without armour and have one signature, by a trusted admin key. Its plaintext has at most
/// `max` bytes.
pub(crate) fn decrypt_trusted(
    key: &SecretKey,
    message: &[u8],
    trusted: &AdminKeys,
    now: Wall,
    max: usize,
) -> Result<Trusted, Error> {
    if message.len() > MAX_MESSAGE {
        return Err(Error::MessageTooLarge { limit: MAX_MESSAGE });
    }
    let layer = unseal(message, |esks| session_key(key, esks))?;
    let (plaintext, signer) =
        read_layer(&layer, max, |message| verify_admin(message, trusted, now))?;
    Ok(Trusted {
        plaintext,
        signer,
        digest: layer.digest(),
    })
}

/// Opens `message`, which was encrypted with `passphrase`, and could come from anybody who knows it: its plaintext, at
/// most `max` bytes. It must be without armour. A wrong passphrase gives [`Error::WrongPassphrase`].
pub fn decrypt_with_passphrase(
    passphrase: &Secret,
    message: &[u8],
    max: usize,
) -> Result<Secret, Error> {
    if message.len() > MAX_MESSAGE {
        return Err(Error::MessageTooLarge { limit: MAX_MESSAGE });
    }
    let layer = unseal(message, |esks| derived_key(passphrase, esks));
    let layer = layer.map_err(|error| match error {
        // A passphrase that is wrong gives some key, and that a content that makes no sense.
        Error::Corrupted => Error::WrongPassphrase,
        error => error,
    })?;
    read_layer(&layer, max, |_| Ok(())).map(|(plaintext, ())| plaintext)
}

/// The literal data of an opened layer, and what `verify` says of its signatures.
fn read_layer<T>(
    layer: &Secret,
    max: usize,
    verify: impl FnOnce(&Message<'_>) -> Result<T, Error>,
) -> Result<(Secret, T), Error> {
    let inflated = inflate(layer.expose(), max)?;
    let content = inflated.as_ref().unwrap_or(layer);
    read_content(content.expose(), max, verify)
}

/// Takes the encrypted layer off.
fn unseal(
    message: &[u8],
    session_key: impl FnOnce(&[Esk]) -> Result<PlainSessionKey, Error>,
) -> Result<Secret, Error> {
    let Message::Encrypted {
        esk,
        mut edata,
        is_nested,
    } = parse(message)?
    else {
        return Err(Error::NotEncrypted);
    };
    if matches!(edata, Edata::SymEncryptedData { .. }) {
        return Err(Error::Unprotected);
    }
    let session_key = session_key(&esk)?;
    let options = DecryptionOptions::new()
        .enable_gnupg_aead()
        .set_seipdv1_read_mode(Seipdv1ReadMode::CheckFirst {
            max_message_size: MAX_MESSAGE,
        });
    edata
        .decrypt_with_options(&session_key, options)
        .map_err(|_| Error::Corrupted)?;
    let opened = Message::Encrypted {
        esk,
        edata,
        is_nested,
    };
    // Ciphertext never grows by decryption, so the limit of the message holds for its content.
    read_bounded(opened, MAX_MESSAGE).map_err(|_| Error::Corrupted)
}

fn session_key(key: &SecretKey, esks: &[Esk]) -> Result<PlainSessionKey, Error> {
    if key.decryptors().next().is_none() {
        return Err(Error::Incapable { what: "decrypt" });
    }
    esks.iter()
        .filter_map(|esk| match esk {
            Esk::PublicKeyEncryptedSessionKey(esk) => Some(esk),
            Esk::SymKeyEncryptedSessionKey(_) => None,
        })
        .find_map(|esk| {
            key.decryptors().find_map(|part| match part {
                KeyPart::Primary(part) => open_session_key(esk, part),
                KeyPart::Sub(part) => open_session_key(esk, part),
            })
        })
        .ok_or(Error::NotForThisKey)
}

fn open_session_key(
    esk: &PublicKeyEncryptedSessionKey,
    part: &impl DecryptionKey,
) -> Option<PlainSessionKey> {
    let kind = match esk.version() {
        PkeskVersion::V3 => EskType::V3_4,
        PkeskVersion::V6 => EskType::V6,
        PkeskVersion::Other(_) => return None,
    };
    if !esk.match_identity(part) {
        return None;
    }
    part.decrypt(&Password::empty(), esk.values().ok()?, kind)
        .ok()?
        .ok()
}

fn derived_key(passphrase: &Secret, esks: &[Esk]) -> Result<PlainSessionKey, Error> {
    esks.iter()
        .find_map(|esk| match esk {
            Esk::SymKeyEncryptedSessionKey(esk) => derive::session_key(esk, passphrase),
            Esk::PublicKeyEncryptedSessionKey(_) => None,
        })
        .ok_or(Error::WrongPassphrase)
}

/// Decompresses the compressed layer; `None` when there is none.
fn inflate(layer: &[u8], max: usize) -> Result<Option<Secret>, Error> {
    let Message::Compressed {
        mut reader,
        is_nested,
    } = parse(layer)?
    else {
        return Ok(None);
    };
    let damaged = |_| Error::Malformed(BAD_COMPRESSION);
    let algorithm = reader
        .get_mut()
        .fill_buf()
        .map_err(damaged)?
        .first()
        .copied();
    match algorithm.map(CompressionAlgorithm::from) {
        Some(
            CompressionAlgorithm::Uncompressed
            | CompressionAlgorithm::ZIP
            | CompressionAlgorithm::ZLIB,
        ) => {}
        _ => return Err(Error::Compression),
    }
    let reader = reader.decompress().map_err(damaged)?;
    let inflating = Message::Compressed { reader, is_nested };
    match read_bounded(inflating, max.saturating_add(WRAPPING)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::TooMuch) => Err(Error::PlaintextTooLarge { limit: max }),
        Err(ReadError::Io) => Err(Error::Malformed(BAD_COMPRESSION)),
    }
}

/// Reads the literal, and asks `verify` about its signatures.
fn read_content<T>(
    layer: &[u8],
    max: usize,
    verify: impl FnOnce(&Message<'_>) -> Result<T, Error>,
) -> Result<(Secret, T), Error> {
    let mut message = parse(layer)?;
    let literal = match &message {
        Message::Literal { .. } => true,
        Message::Signed { reader, .. } => matches!(reader.get_ref(), Message::Literal { .. }),
        Message::Compressed { .. } | Message::Encrypted { .. } => false,
    };
    if !literal {
        return Err(Error::Malformed("expected literal data in it"));
    }
    let plaintext = match read_bounded(&mut message, max) {
        Ok(plaintext) => plaintext,
        Err(ReadError::TooMuch) => return Err(Error::PlaintextTooLarge { limit: max }),
        Err(ReadError::Io) => return Err(Error::Malformed("its content is cut short")),
    };
    let verdict = verify(&message)?;
    Ok((plaintext, verdict))
}

/// Succeeds when the client's own key has made a valid data signature over the content just read.
///
/// SHA-1 is accepted: a collision does not make the client sign it, and old sections carry such signatures. MD5 is
/// refused.
fn verify(message: &Message<'_>, verifier: &PublicKey) -> Result<(), Error> {
    let Message::Signed { reader, .. } = message else {
        return Err(Error::Unsigned);
    };
    let mut verdict = Error::WrongSigner;
    for index in 0..reader.num_signatures() {
        let Some(signature) = data_signature(reader, index) else {
            continue;
        };
        for part in verifier.verifiers() {
            let (valid, named) = match part {
                KeyPart::Primary(key) => (check(message, index, key), names(signature, key)),
                KeyPart::Sub(key) => (check(message, index, key), names(signature, key)),
            };
            if valid {
                return Ok(());
            }
            if named {
                verdict = Error::BadSignature;
            }
        }
    }
    Err(verdict)
}

fn data_signature<'a>(reader: &'a SignatureManyReader<'_>, index: usize) -> Option<&'a Signature> {
    let signature = reader.signature(index)?;
    let over_data = matches!(
        signature.typ(),
        Some(SignatureType::Binary | SignatureType::Text)
    );
    let broken_hash = matches!(
        signature.hash_alg(),
        None | Some(HashAlgorithm::None | HashAlgorithm::Md5)
    );
    (over_data && !broken_hash).then_some(signature)
}

/// Parses one layer, after its packets were counted.
fn parse(layer: &[u8]) -> Result<Message<'_>, Error> {
    let malformed = Error::Malformed("expected OpenPGP packets");
    let mut packets = PacketParser::new(packet_reader(layer));
    let mut count = 0;
    while let Some(packet) = packets.next_ref() {
        let mut packet = packet.map_err(|_| malformed.clone())?;
        count += 1;
        if count > MAX_PACKETS {
            return Err(Error::Malformed("there are too many packets in it"));
        }
        io::copy(&mut packet, &mut io::sink()).map_err(|_| malformed.clone())?;
    }
    Message::from_bytes(layer).map_err(|_| malformed)
}

enum ReadError {
    TooMuch,
    // Without the library's text, which might quote what was read.
    Io,
}

/// Reads to the end, at most `limit` bytes, and leaves no outgrown copy behind.
fn read_bounded(mut from: impl Read, limit: usize) -> Result<Secret, ReadError> {
    let mut bytes = SecretBuffer::default();
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        match from.read(&mut chunk[..]).map_err(|_| ReadError::Io)? {
            0 => return Ok(bytes.finish()),
            count if bytes.len() + count > limit => return Err(ReadError::TooMuch),
            count => bytes.append(&chunk[..count]),
        }
    }
}

#[cfg(test)]
mod tests;
