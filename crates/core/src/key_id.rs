//! The identity of a holder: the digest of its TLS raw public key, and the OpenPGP fingerprint that older
//! configuration files have beside it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::digits::{self, Hex};

/// Identity of a client: SHA-256 over a DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7; RFC 7250, 3).
///
/// Compared in constant time. Displayed in lower case as in files; `{:X}` is upper case as on D-Bus.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

/// SHA-256 of the empty string. Clients of Mandos 1.8.0 computed it as the key id of every machine,
/// so it identifies nobody and is never accepted.
const OF_NOTHING: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

impl KeyId {
    /// The key id of the public key whose DER SubjectPublicKeyInfo is `spki`.
    pub fn of_spki(spki: &[u8]) -> Result<Self, KeyIdError> {
        Self::from_bytes(Sha256::digest(spki).into())
    }

    /// The key id with these 32 bytes. Fails for the digest of the empty string.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyIdError> {
        if bytes == OF_NOTHING {
            return Err(KeyIdError::OfNothing);
        }
        Ok(Self(bytes))
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyId {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    /// Parses 64 hexadecimal digits in either case; ignores spaces between them, as Mandos does.
    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        Self::from_bytes(hex(text)?)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(self, f)
    }
}

impl fmt::LowerHex for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&Hex(&self.0), f)
    }
}

impl fmt::UpperHex for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::UpperHex::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// An OpenPGP version 4 fingerprint (RFC 9580, 5.5.4.2): 20 bytes. Kept and shown for compatibility with Mandos; it
/// authenticates nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 20]);

impl Fingerprint {
    /// The fingerprint with these 20 bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 bytes of the fingerprint.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = KeyIdError;

    /// Parses 40 hexadecimal digits in either case; ignores spaces between them.
    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        hex(text).map(Self)
    }
}

impl fmt::Display for Fingerprint {
    /// Upper case without spaces, as GnuPG and Mandos print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::UpperHex::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text or digest is not a key id or fingerprint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyIdError {
    /// The wrong number of digits.
    #[error("expected {expected} hexadecimal digits, found {found}")]
    Length {
        /// Number of digits that it needs.
        expected: usize,
        /// Number of digits found, without spaces.
        found: usize,
    },
    /// A character that is no hexadecimal digit.
    #[error("expected hexadecimal digits only, found {0:?}")]
    Digit(char),
    /// The digest of the empty string, which identifies nobody.
    #[error(
        "this is the key id of no key at all (SHA-256 of nothing), made by a faulty client; make new keys on it"
    )]
    OfNothing,
}

fn hex<const N: usize>(text: &str) -> Result<[u8; N], KeyIdError> {
    let mut digits = Vec::with_capacity(2 * N);
    for character in text.chars().filter(|c| *c != ' ') {
        if !character.is_ascii_hexdigit() {
            return Err(KeyIdError::Digit(character));
        }
        // An ASCII character fits one byte.
        digits.push(character as u8);
    }
    digits::hex(&digits).ok_or(KeyIdError::Length {
        expected: 2 * N,
        found: digits.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_key_id_survives_its_text(bytes: [u8; 32], upper: bool) {
            let id = KeyId::from_bytes(bytes).unwrap();
            let text = if upper { format!("{id:X}") } else { format!("{id}") };
            prop_assert_eq!(text.parse(), Ok(id));
        }

        #[test]
        fn every_fingerprint_survives_its_text(bytes: [u8; 20]) {
            let fingerprint = Fingerprint::from_bytes(bytes);
            prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<KeyId>();
        }
    }

    #[test]
    fn the_key_id_of_nothing_is_refused_in_every_form() {
        assert_eq!(KeyId::of_spki(b""), Err(KeyIdError::OfNothing));
        let text = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        assert_eq!(text.parse::<KeyId>(), Err(KeyIdError::OfNothing));
    }

    #[test]
    fn errors_say_what_was_expected() {
        let error = "12 34".parse::<KeyId>().unwrap_err();
        assert_eq!(error.to_string(), "expected 64 hexadecimal digits, found 4");
        let error = "12:34".parse::<Fingerprint>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected hexadecimal digits only, found ':'"
        );
    }
}
