//! Named secrets (docs/decisions/0173): sealed by an administrator for one machine, and opened there.

use nightlatch_core::key_id::Fingerprint;
use nightlatch_core::sealed_secret::{
    MAX_SEALED, MAX_VALUE, SealedSecret, SealedSecretError, SecretHeader,
};
use nightlatch_core::secret::{Secret, SecretDigest};
use nightlatch_core::time::Wall;

use crate::open::{Trusted, decrypt_trusted};
use crate::{AdminKeys, Error, PublicKey, SecretKey, encrypt_and_sign};

/// Seals `value`: signed by `admin` together with `header`, encrypted to `host`, the OpenPGP key of the machine whose host
/// key the header names. `now` is the time that the signature claims.
///
/// The library below keeps the value in buffers that it does not wipe: for the administrator's programs only.
pub fn seal(
    value: &Secret,
    header: &SecretHeader,
    host: &PublicKey,
    admin: &SecretKey,
    now: Wall,
) -> Result<SealedSecret, SealFault> {
    let plaintext = header.plaintext(value)?;
    let message = encrypt_and_sign(host, admin, &plaintext, now)?;
    Ok(SealedSecret::new(header, &message)?)
}

/// A secret cannot be sealed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealFault {
    /// Its value or its header cannot be sealed.
    #[error(transparent)]
    Form(#[from] SealedSecretError),
    /// A key cannot do what it is to do.
    #[error(transparent)]
    OpenPgp(#[from] Error),
}

/// A sealed secret that a trusted administrator has made for this machine's OpenPGP key.
#[derive(Debug)]
pub struct OpenedSecret {
    /// The header that was signed, which is the one in clear. The caller checks host, name, serial and expiry.
    pub header: SecretHeader,
    /// The value.
    pub value: Secret,
    /// The fingerprint of the admin key that has signed it.
    pub signer: Fingerprint,
    /// Identifies this sealed secret among all that administrators have made: a digest of what was encrypted. Nobody without
    /// the machine's key can make another one with the same header, though anybody can change the packets around it. It
    /// contains the signature, so that a guess of the value cannot be tried on it.
    pub digest: SecretDigest,
}

/// Opens `sealed` with the machine's OpenPGP key, and believes it if exactly one signature is on it, by one of `trusted`.
///
/// `now` is looked at only where the admin key or its signature expires.
///
/// Everything is wiped from the buffers made here; the library below has buffers of a few kB that it does not wipe.
pub fn open(
    sealed: &SealedSecret,
    host: &SecretKey,
    trusted: &AdminKeys,
    now: Wall,
) -> Result<OpenedSecret, OpenFault> {
    let Trusted {
        plaintext,
        signer,
        digest,
    } = decrypt_trusted(host, sealed.message(), trusted, now, MAX_SEALED).map_err(fault)?;
    let (header, value) = SecretHeader::split(plaintext.expose()).map_err(OpenFault::Plaintext)?;
    if header != *sealed.header() {
        return Err(OpenFault::Swapped);
    }
    if value.is_empty() || value.len() > MAX_VALUE {
        let length = SealedSecretError::ValueLength(value.len());
        return Err(OpenFault::Plaintext(length));
    }
    Ok(OpenedSecret {
        value: Secret::new(value.to_vec()),
        header,
        signer,
        digest,
    })
}

/// The reason why a sealed secret is not believed. The first three words are those that agents tell servers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenFault {
    /// Forged: it cannot be decrypted, or no trusted admin key has signed it.
    #[error("it is forged")]
    Forged(#[source] Error),
    /// Swapped: the signed header differs from the one in clear.
    #[error("it is swapped: its signed header differs from the one in clear")]
    Swapped,
    /// Malformed: what follows the header in clear is no message of the expected form.
    #[error("it is malformed")]
    Message(#[source] Error),
    /// Malformed: what an administrator has signed is no header with a value.
    #[error("it is malformed")]
    Plaintext(#[source] SealedSecretError),
}

fn fault(error: Error) -> OpenFault {
    match error {
        Error::Malformed(_)
        | Error::NotEncrypted
        | Error::Unprotected
        | Error::Compression
        | Error::MessageTooLarge { .. }
        | Error::PlaintextTooLarge { .. } => OpenFault::Message(error),
        _ => OpenFault::Forged(error),
    }
}

#[cfg(test)]
mod tests;
