//! The identity that an SSH server shows as its host key: a plain key, or a certificate for one (OpenSSH's PROTOCOL.certkeys).
//!
//! ```text
//! string type, string nonce, the key's numbers, uint64 serial, uint32 2 (a host), string key id, string principals,
//! uint64 valid after, uint64 valid before, string critical options, string extensions, string reserved,
//! string key of the authority, string signature of the authority over all of the above
//! ```

use nightlatch_core::ssh::wire::{Malformed, WireReader, put_string};
use nightlatch_core::ssh::{HostKey, HostKeyError, HostKeyKind};

use crate::signature::{SignatureError, verify_by_any};

/// The end of the type of each certificate.
const SUFFIX: &str = "-cert-v01@openssh.com";

/// The type of a certificate for a host.
const HOST: u32 = 2;

/// The longest certificate in bytes: one with two RSA keys of 8192 bits and a signature has some 3,500.
pub const MAX_BLOB: usize = 8 * 1024;

/// Characters of an option that an error quotes: nobody has vouched for it.
const MAX_QUOTED: usize = 40;

/// The identity that a server shows as its host key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostIdentity {
    /// A key that a list must name.
    Plain(HostKey),
    /// A key for which an authority vouches.
    Certified(Box<HostCertificate>),
}

/// A certificate for a host, with a good signature of the authority that it names. Whether that one is trusted, and for which
/// hosts, is for a list of known hosts to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostCertificate {
    key: HostKey,
    authority: HostKey,
    principals: Vec<String>,
    /// Seconds since 1970; the second one is no longer within.
    valid_after: u64,
    valid_before: u64,
}

/// Bytes are no host key and no certificate of one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key is malformed, or of no supported kind.
    #[error(transparent)]
    Key(#[from] HostKeyError),
    /// It is no certificate, or is cut off.
    #[error("expected a host certificate of OpenSSH, found a malformed one")]
    Malformed,
    /// More bytes than a host key has.
    #[error("expected a host key or certificate of at most {MAX_BLOB} bytes, found {0}")]
    TooLong(usize),
    /// A certificate for users.
    #[error("expected a certificate for a host (type 2), found one of the type {0}")]
    NotHost(u32),
    /// A critical option, none of which is known for hosts.
    #[error("expected a host certificate without critical options, found {0:?}")]
    CriticalOption(String),
    /// The authority's signature.
    #[error("the signature of the certificate's authority is not accepted: {0}")]
    Signature(SignatureError),
}

impl From<Malformed> for IdentityError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// A certificate that is not for this host now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotCertified {
    /// Too early: the host's clock or the agent's is wrong, perhaps.
    #[error("the host's certificate is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("the host's certificate has expired: sign a new one")]
    Expired,
    /// The name is not among its principals.
    #[error(
        "the host's certificate is for {found:?} and not for {wanted}: its principals must contain the name"
    )]
    OtherHost {
        /// The host as the rule names it.
        wanted: String,
        /// Its principals.
        found: Vec<String>,
    },
}

impl HostIdentity {
    /// Reads a host key as a server sends it.
    ///
    /// # Errors
    /// When it is neither a key nor a certificate for a host of a supported kind, and when the signature of the certificate's
    /// authority is not good.
    pub fn parse(blob: &[u8]) -> Result<Self, IdentityError> {
        if blob.len() > MAX_BLOB {
            return Err(IdentityError::TooLong(blob.len()));
        }
        match certified_kind(blob) {
            Some(kind) => {
                HostCertificate::parse(kind, blob).map(|it| Self::Certified(Box::new(it)))
            }
            None => Ok(Self::Plain(HostKey::from_blob(blob)?)),
        }
    }

    /// The key that the server signs with.
    pub fn key(&self) -> &HostKey {
        match self {
            Self::Plain(key) => key,
            Self::Certified(certificate) => &certificate.key,
        }
    }
}

/// The kind of the key in a certificate; `None` for what is no certificate of a supported kind.
fn certified_kind(blob: &[u8]) -> Option<HostKeyKind> {
    let name = std::str::from_utf8(WireReader::new(blob).string().ok()?).ok()?;
    let plain = name.strip_suffix(SUFFIX)?;
    HostKeyKind::ALL
        .into_iter()
        .find(|kind| kind.name() == plain)
}

impl HostCertificate {
    fn parse(kind: HostKeyKind, blob: &[u8]) -> Result<Self, IdentityError> {
        let mut reader = WireReader::new(blob);
        let (_type, _nonce) = (reader.string()?, reader.string()?);
        let key = certified_key(kind, &mut reader)?;
        let _serial = reader.bytes(8)?;
        let certified = reader.number()?;
        if certified != HOST {
            return Err(IdentityError::NotHost(certified));
        }
        let _key_id = reader.string()?;
        let principals = principals(reader.string()?)?;
        let (valid_after, valid_before) = (seconds(&mut reader)?, seconds(&mut reader)?);
        let critical = reader.string()?;
        if !critical.is_empty() {
            let option = WireReader::new(critical).string()?;
            let option = String::from_utf8_lossy(option);
            let option = option.chars().take(MAX_QUOTED).collect();
            return Err(IdentityError::CriticalOption(option));
        }
        let (_extensions, _reserved) = (reader.string()?, reader.string()?);
        // A certificate as authority, which would make a chain, is no plain key.
        let authority = HostKey::from_blob(reader.string()?)?;
        let rest = reader;
        let signature = reader.string()?;
        reader.end()?;
        let signed = blob
            .len()
            .checked_sub(rest.remaining())
            .and_then(|length| blob.get(..length));
        verify_by_any(&authority, signed.ok_or(Malformed)?, signature)
            .map_err(IdentityError::Signature)?;
        Ok(Self {
            key,
            authority,
            principals,
            valid_after,
            valid_before,
        })
    }

    /// The key of the authority that has signed it.
    pub fn authority(&self) -> &HostKey {
        &self.authority
    }

    /// True when it is for `host`, in lower case and without a port, `now` seconds after 1970. A principal is compared as a
    /// whole name; a certificate without principals is for no host.
    ///
    /// # Errors
    /// When it is of another time, or for other hosts.
    pub fn check(&self, host: &str, now: u64) -> Result<(), NotCertified> {
        if now < self.valid_after {
            return Err(NotCertified::NotYet);
        }
        if now >= self.valid_before {
            return Err(NotCertified::Expired);
        }
        match self.principals.iter().any(|principal| principal == host) {
            true => Ok(()),
            false => Err(NotCertified::OtherHost {
                wanted: host.to_owned(),
                found: self.principals.clone(),
            }),
        }
    }
}

/// The plain key of the numbers in a certificate, which are those of the plain key after its type.
fn certified_key(kind: HostKeyKind, reader: &mut WireReader<'_>) -> Result<HostKey, IdentityError> {
    let parts = match kind {
        HostKeyKind::Ed25519 => 1,
        // The curve and the point, or the exponent and the modulus.
        HostKeyKind::EcdsaP256
        | HostKeyKind::EcdsaP384
        | HostKeyKind::EcdsaP521
        | HostKeyKind::Rsa => 2,
    };
    let mut blob = Vec::new();
    put_string(&mut blob, kind.name().as_bytes());
    for _ in 0..parts {
        put_string(&mut blob, reader.string()?);
    }
    Ok(HostKey::from_blob(&blob)?)
}

fn principals(list: &[u8]) -> Result<Vec<String>, IdentityError> {
    let mut reader = WireReader::new(list);
    let mut principals = Vec::new();
    while reader.remaining() > 0 {
        let name = std::str::from_utf8(reader.string()?).map_err(|_| IdentityError::Malformed)?;
        principals.push(name.to_owned());
    }
    Ok(principals)
}

fn seconds(reader: &mut WireReader<'_>) -> Result<u64, Malformed> {
    let bytes = reader.bytes(8)?.try_into().map_err(|_| Malformed)?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
pub(crate) mod tests;
