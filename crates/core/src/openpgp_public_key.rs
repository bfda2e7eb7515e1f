//! A machine's OpenPGP public key as a section has it: bytes that only tools read. The server never links OpenPGP.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The greatest length of a public key, in bytes: a key of two small curves has 1 KiB.
pub const MAX_OPENPGP_PUBLIC_KEY: usize = 8 * 1024;

/// A binary OpenPGP public key. Nothing but its length is checked. Displayed in base64; cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenPgpPublicKey(Arc<[u8]>);

impl OpenPgpPublicKey {
    /// The key with these bytes.
    ///
    /// # Errors
    /// No byte, or more than [`MAX_OPENPGP_PUBLIC_KEY`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpenPgpPublicKeyError> {
        match bytes.len() {
            0 => Err(OpenPgpPublicKeyError::Empty),
            1..=MAX_OPENPGP_PUBLIC_KEY => Ok(Self(bytes.into())),
            length => Err(OpenPgpPublicKeyError::TooLong(length)),
        }
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for OpenPgpPublicKey {
    type Err = OpenPgpPublicKeyError;

    /// Reads base64, in which white space does not matter.
    fn from_str(text: &str) -> Result<Self, OpenPgpPublicKeyError> {
        let packed: String = text.split_ascii_whitespace().collect();
        let bytes = BASE64
            .decode(packed)
            .map_err(|_| OpenPgpPublicKeyError::NoBase64)?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for OpenPgpPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for OpenPgpPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenPgpPublicKey({} bytes)", self.0.len())
    }
}

/// A text that cannot be a public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenPgpPublicKeyError {
    /// No base64.
    #[error(
        "expected the base64 of a binary OpenPGP public key (A-Z a-z 0-9 + / and = at the end), as enroll prints it"
    )]
    NoBase64,
    /// No byte.
    #[error("expected the base64 of an OpenPGP public key, found nothing")]
    Empty,
    /// It is too long.
    #[error("an OpenPGP public key has at most {MAX_OPENPGP_PUBLIC_KEY} bytes here, not {0}")]
    TooLong(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_across_lines_and_bounded() {
        let key: OpenPgpPublicKey = "\n YW\n\tJj \n".parse().unwrap();
        assert_eq!(key.as_bytes(), b"abc");
        assert_eq!(key.to_string(), "YWJj");
        assert_eq!(format!("{key:?}"), "OpenPgpPublicKey(3 bytes)");
        let read = |text: &str| text.parse::<OpenPgpPublicKey>();
        assert_eq!(read(""), Err(OpenPgpPublicKeyError::Empty));
        assert_eq!(read("YW-j"), Err(OpenPgpPublicKeyError::NoBase64));
        assert_eq!(read("YWJ"), Err(OpenPgpPublicKeyError::NoBase64));
        assert!(read(&BASE64.encode([1; MAX_OPENPGP_PUBLIC_KEY])).is_ok());
        let length = MAX_OPENPGP_PUBLIC_KEY + 1;
        assert_eq!(
            read(&BASE64.encode(vec![1; length])),
            Err(OpenPgpPublicKeyError::TooLong(length))
        );
    }
}
