//! Secret bytes in memory: wiped on drop, never printed.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes: an encrypted payload on the server, a password on the client.
///
/// Wiped on drop, never cloned, never printed. Compared in constant time.
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Takes ownership of the bytes. A vector with spare capacity is copied once and its old memory wiped.
    pub fn new(bytes: Vec<u8>) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(Zeroizing::new(bytes.as_slice().into()))
    }

    /// Returns the bytes. Keep the borrow short, and never put them into a log, an error, an argument list or the
    /// environment.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// SHA-256 of the bytes, to detect a changed secret without keeping the old one.
    pub fn digest(&self) -> SecretDigest {
        SecretDigest(Sha256::digest(self.expose()).into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.len())
    }
}

/// A secret that is read in parts. Growing wipes the old memory, which a plain vector does not.
#[derive(Default)]
pub struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    /// Adds the next part.
    pub fn append(&mut self, part: &[u8]) {
        let needed = self.0.len() + part.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(part);
    }

    /// Number of bytes so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes so far; see [`Secret::expose`].
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Converts it into the complete secret.
    pub fn finish(mut self) -> Secret {
        Secret::new(std::mem::take(&mut *self.0))
    }
}

impl fmt::Debug for SecretBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBuffer({} bytes)", self.len())
    }
}

/// SHA-256 of a [`Secret`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest with these 32 bytes, as read back from the store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = Secret::new(b"correct horse".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret(13 bytes)");
        let mut buffer = SecretBuffer::default();
        buffer.append(b"correct horse");
        assert_eq!(format!("{buffer:?}"), "SecretBuffer(13 bytes)");
    }

    #[test]
    fn parts_are_joined_to_one_secret() {
        let mut buffer = SecretBuffer::default();
        for part in [&b"correct"[..], b"", b" horse", &[7; 10_000]] {
            buffer.append(part);
        }
        let whole = [&b"correct horse"[..], &[7; 10_000]].concat();
        assert_eq!(buffer.expose(), whole);
        assert_eq!(buffer.finish(), Secret::new(whole));
    }
}
