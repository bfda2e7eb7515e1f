//! A public host key: `TYPE BASE64`, as in `/etc/ssh/ssh_host_*_key.pub` and in `known_hosts`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::wire::{Malformed, WireReader};
use crate::ini::is_space;

/// Accepted lengths of RSA moduli in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Characters of a faulty value that an error quotes.
const MAX_QUOTED: usize = 40;

/// Supported kinds of host keys. DSA is obsolete and not supported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HostKeyKind {
    /// `ssh-ed25519` (RFC 8709).
    Ed25519,
    /// `ecdsa-sha2-nistp256` (RFC 5656).
    EcdsaP256,
    /// `ecdsa-sha2-nistp384` (RFC 5656).
    EcdsaP384,
    /// `ecdsa-sha2-nistp521` (RFC 5656).
    EcdsaP521,
    /// `ssh-rsa` (RFC 4253), which signs with SHA-2 only (RFC 8332).
    Rsa,
}

impl HostKeyKind {
    /// All supported kinds.
    pub const ALL: [Self; 5] = [
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Rsa,
    ];

    /// Name of the key's format on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::Rsa => "ssh-rsa",
        }
    }

    /// Signature algorithms to request from such a key, the preferred one first.
    pub fn algorithms(self) -> &'static [&'static str] {
        match self {
            Self::Ed25519 => &["ssh-ed25519"],
            Self::EcdsaP256 => &["ecdsa-sha2-nistp256"],
            Self::EcdsaP384 => &["ecdsa-sha2-nistp384"],
            Self::EcdsaP521 => &["ecdsa-sha2-nistp521"],
            Self::Rsa => &["rsa-sha2-512", "rsa-sha2-256"],
        }
    }

    /// For ECDSA: name of the curve and length of an uncompressed point in bytes.
    fn curve(self) -> Option<(&'static [u8], usize)> {
        match self {
            Self::EcdsaP256 => Some((b"nistp256", 65)),
            Self::EcdsaP384 => Some((b"nistp384", 97)),
            Self::EcdsaP521 => Some((b"nistp521", 133)),
            Self::Ed25519 | Self::Rsa => None,
        }
    }
}

/// A well-formed public host key of a supported kind. Its numbers are validated when a signature is verified.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostKey {
    kind: HostKeyKind,
    blob: Vec<u8>,
}

/// The numbers of a public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostPublicKey<'k> {
    /// The 32 bytes of RFC 8032.
    Ed25519(&'k [u8]),
    /// An uncompressed point.
    Ecdsa(&'k [u8]),
    /// Big-endian, without leading zeros.
    Rsa {
        /// The public exponent.
        exponent: &'k [u8],
        /// The modulus, big-endian.
        modulus: &'k [u8],
    },
}

impl HostKey {
    /// Kind of the key.
    pub fn kind(&self) -> HostKeyKind {
        self.kind
    }

    /// The encoding on the wire (`K_S` of RFC 4253, 8).
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Reads a key as it is written on the wire, with the same limits as one in a file.
    ///
    /// # Errors
    /// When it is of no supported kind, malformed, or an RSA key of an unsafe length.
    pub fn from_blob(blob: &[u8]) -> Result<Self, HostKeyError> {
        let name = WireReader::new(blob).string().unwrap_or_default();
        let known = HostKeyKind::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name);
        let kind =
            known.ok_or_else(|| HostKeyError::Kind(quoted(&String::from_utf8_lossy(name))))?;
        Self::checked(kind, blob.to_vec())
    }

    /// The SHA-256 fingerprint, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }

    fn checked(kind: HostKeyKind, blob: Vec<u8>) -> Result<Self, HostKeyError> {
        let key = read(kind, &blob).map_err(|Malformed| HostKeyError::Body(kind.name()))?;
        if let HostPublicKey::Rsa { modulus, .. } = key {
            let leading = modulus.first().map_or(0, |first| first.leading_zeros());
            let bits = modulus.len() * 8 - leading as usize;
            if !RSA_BITS.contains(&bits) {
                return Err(HostKeyError::RsaBits(bits));
            }
        }
        Ok(Self { kind, blob })
    }

    /// Parses the numbers of the key.
    pub fn public_key(&self) -> Result<HostPublicKey<'_>, Malformed> {
        read(self.kind, &self.blob)
    }
}

fn read(kind: HostKeyKind, blob: &[u8]) -> Result<HostPublicKey<'_>, Malformed> {
    let mut reader = WireReader::new(blob);
    if reader.string()? != kind.name().as_bytes() {
        return Err(Malformed);
    }
    let key = match kind.curve() {
        Some((name, length)) => {
            if reader.string()? != name {
                return Err(Malformed);
            }
            let point = reader.string()?;
            if point.len() != length || point.first() != Some(&4) {
                return Err(Malformed);
            }
            HostPublicKey::Ecdsa(point)
        }
        None if kind == HostKeyKind::Ed25519 => {
            let point = reader.string()?;
            if point.len() != 32 {
                return Err(Malformed);
            }
            HostPublicKey::Ed25519(point)
        }
        None => HostPublicKey::Rsa {
            exponent: reader.magnitude()?,
            modulus: reader.magnitude()?,
        },
    };
    reader.end()?;
    Ok(key)
}

impl FromStr for HostKey {
    type Err = HostKeyError;

    /// Ignores text after the base64, such as the comment in a `.pub` file.
    fn from_str(text: &str) -> Result<Self, HostKeyError> {
        let mut words = text.split(is_space).filter(|word| !word.is_empty());
        let (Some(name), Some(base64)) = (words.next(), words.next()) else {
            return Err(HostKeyError::Form(quoted(text)));
        };
        let known = HostKeyKind::ALL
            .into_iter()
            .find(|kind| kind.name() == name);
        let kind = known.ok_or_else(|| HostKeyError::Kind(quoted(name)))?;
        let blob = BASE64
            .decode(base64)
            .map_err(|_| HostKeyError::Base64(quoted(base64)))?;
        Self::checked(kind, blob)
    }
}

/// The SHA-256 fingerprint of a public key as SSH writes it, whatever its kind: `SHA256:` and 43 letters of base64.
pub fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

fn quoted(text: &str) -> String {
    let mut start: String = text
        .trim_matches(is_space)
        .chars()
        .take(MAX_QUOTED)
        .collect();
    if start.len() < text.trim_matches(is_space).len() {
        start.push('…');
    }
    start
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), BASE64.encode(&self.blob))
    }
}

/// A text is not a host key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostKeyError {
    /// Fewer than two words.
    #[error(
        "expected an SSH host key as in /etc/ssh/ssh_host_ed25519_key.pub of the machine (ssh-ed25519 AAAA...), found {0:?}"
    )]
    Form(String),
    /// An unknown or unsafe kind of key.
    #[error("expected a host key of the kind {kinds}, found {0:?}", kinds = kinds())]
    Kind(String),
    /// Invalid base64 after the kind.
    #[error("expected the base64 of a host key, found {0:?}")]
    Base64(String),
    /// Base64 of something other than such a key.
    #[error("expected a whole {0} key after its name; a part is missing or is of another key")]
    Body(&'static str),
    /// An RSA key that is too short to trust, or too long to check.
    #[error("expected an RSA host key of 2048 to 8192 bits, found one of {0} bits")]
    RsaBits(usize),
}

fn kinds() -> String {
    HostKeyKind::ALL.map(HostKeyKind::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::wire::{put_magnitude, put_string};
    use super::*;
    use proptest::prelude::*;

    fn text(kind: HostKeyKind, parts: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        put_string(&mut blob, kind.name().as_bytes());
        parts.iter().for_each(|part| put_string(&mut blob, part));
        format!("{} {}", kind.name(), BASE64.encode(blob))
    }

    fn rsa(bytes: usize) -> String {
        let mut blob = Vec::new();
        put_string(&mut blob, b"ssh-rsa");
        put_magnitude(&mut blob, &[1, 0, 1]);
        put_magnitude(&mut blob, &vec![0xff; bytes]);
        format!("ssh-rsa {}", BASE64.encode(blob))
    }

    #[test]
    fn keys_of_every_kind_come_back_as_they_were() {
        let point = |length: usize| [&[4][..], &vec![7; length - 1]].concat();
        for text in [
            text(HostKeyKind::Ed25519, &[&[1; 32]]),
            text(HostKeyKind::EcdsaP256, &[b"nistp256", &point(65)]),
            text(HostKeyKind::EcdsaP384, &[b"nistp384", &point(97)]),
            text(HostKeyKind::EcdsaP521, &[b"nistp521", &point(133)]),
            rsa(256),
            rsa(1024),
        ] {
            let key: HostKey = format!(" {text} root@tower ").parse().unwrap();
            assert_eq!(key.to_string(), text);
            assert!(key.public_key().is_ok());
            assert_eq!(HostKey::from_blob(key.blob()), Ok(key));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let ed25519 = text(HostKeyKind::Ed25519, &[&[1; 32]]);
        let base64 = ed25519.split(' ').nth(1).unwrap();
        for odd in [
            String::new(),
            "ssh-ed25519".to_owned(),
            base64.to_owned(),
            ed25519.replace("ssh-ed25519", "ssh-dss"),
            ed25519.replace("ssh-ed25519", "ssh-rsa"),
            format!("{}!", ed25519),
            ed25519[..ed25519.len() - 8].to_owned(),
            text(HostKeyKind::Ed25519, &[&[1; 31]]),
            text(HostKeyKind::Ed25519, &[&[1; 32], b"more"]),
            text(HostKeyKind::EcdsaP256, &[b"nistp384", &[4; 65]]),
            text(HostKeyKind::EcdsaP256, &[b"nistp256", &[2; 65]]),
            text(HostKeyKind::EcdsaP256, &[b"nistp256", &[4; 33]]),
            rsa(128),
            rsa(1025),
        ] {
            assert!(odd.parse::<HostKey>().is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read(text: String) {
            let _ = text.parse::<HostKey>();
        }

        #[test]
        fn any_blob_is_refused_or_read(blob: Vec<u8>) {
            for kind in HostKeyKind::ALL {
                let _ = read(kind, &blob);
            }
            let _ = HostKey::from_blob(&blob);
        }
    }
}
