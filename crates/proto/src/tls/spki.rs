//! Reads the algorithm of a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), so that an unsupported key is refused by name. It
//! parses untrusted bytes, verifies nothing, and must never be used to.

use std::fmt;

/// The shortest RSA modulus that is accepted, in bits: what the verifier is built for, and what
/// NIST SP 800-131A still allows.
const MIN_RSA_BITS: usize = 2048;
/// The longest one: a verification with a longer key would let a peer burn our time.
const MAX_RSA_BITS: usize = 8192;

/// The kinds of raw key that both roles can use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyAlgorithm {
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// ECDSA on the curve secp256r1 (RFC 5480).
    EcdsaP256,
    /// ECDSA on the curve secp384r1.
    EcdsaP384,
    /// ECDSA on the curve secp521r1.
    EcdsaP521,
    /// RSA, signing with PSS (RFC 8017).
    Rsa {
        /// Length of the modulus.
        bits: usize,
    },
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Rsa { bits } => write!(f, "RSA with {bits} bits"),
        }
    }
}

/// A key that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpkiError {
    /// An X.509 certificate where a raw public key belongs.
    #[error("this is an X.509 certificate, expected a raw public key (SubjectPublicKeyInfo)")]
    Certificate,
    /// Not DER, or not of the right shape.
    #[error("this is not a DER key, expected a raw public key (SubjectPublicKeyInfo)")]
    Malformed,
    /// A kind of key that we cannot use.
    #[error(
        "{0} keys are not supported, expected Ed25519, ECDSA (P-256, P-384, P-521) or RSA with at least {MIN_RSA_BITS} bits"
    )]
    Unsupported(&'static str),
    /// An RSA key that is too short or absurdly long.
    #[error("an RSA key of {bits} bits is not accepted, expected {MIN_RSA_BITS} to {MAX_RSA_BITS}")]
    RsaLength {
        /// Length of the modulus.
        bits: usize,
    },
}

/// The kind of key in this DER SubjectPublicKeyInfo.
pub fn algorithm(spki: &[u8]) -> Result<KeyAlgorithm, SpkiError> {
    let mut outer = Der(spki);
    let mut inner = Der(outer.expect(SEQUENCE)?);
    outer.end()?;
    let identifier = Der(inner.expect(SEQUENCE)?);
    if identifier.next_tag() != Some(OID) {
        // A certificate begins with its version or serial number here.
        return Err(match identifier.next_tag() {
            Some(EXPLICIT_0 | INTEGER) => SpkiError::Certificate,
            _ => SpkiError::Malformed,
        });
    }
    let kind = kind(identifier)?;
    let bits = inner.expect(BIT_STRING)?;
    inner.end()?;
    // The first byte of a bit string is the number of unused bits in its last one.
    let Some((0, key)) = bits.split_first() else {
        return Err(SpkiError::Malformed);
    };
    match kind {
        KeyFamily::Fixed(algorithm) => Ok(algorithm),
        KeyFamily::Rsa => rsa(key),
    }
}

/// Checks that a private key in a DER PKCS#8 document (RFC 5958) is of a supported kind. The library that loads it
/// checks the length of RSA keys.
pub(super) fn check_pkcs8(der: &[u8]) -> Result<(), SpkiError> {
    let mut outer = Der(der);
    let mut inner = Der(outer.expect(SEQUENCE)?);
    inner.expect(INTEGER)?;
    kind(Der(inner.expect(SEQUENCE)?)).map(|_| ())
}

enum KeyFamily {
    Fixed(KeyAlgorithm),
    Rsa,
}

/// Reads the contents of an AlgorithmIdentifier.
fn kind(mut identifier: Der<'_>) -> Result<KeyFamily, SpkiError> {
    let oid = identifier.expect(OID)?;
    if oid == oid::EC {
        return match identifier.expect(OID) {
            Ok(oid::P256) => Ok(KeyFamily::Fixed(KeyAlgorithm::EcdsaP256)),
            Ok(oid::P384) => Ok(KeyFamily::Fixed(KeyAlgorithm::EcdsaP384)),
            Ok(oid::P521) => Ok(KeyFamily::Fixed(KeyAlgorithm::EcdsaP521)),
            _ => Err(SpkiError::Unsupported("elliptic-curve (of another curve)")),
        };
    }
    match oid {
        oid::ED25519 => Ok(KeyFamily::Fixed(KeyAlgorithm::Ed25519)),
        oid::RSA => Ok(KeyFamily::Rsa),
        other => Err(SpkiError::Unsupported(
            oid::UNSUPPORTED
                .iter()
                .find(|(oid, _)| *oid == other)
                .map_or("such", |(_, name)| name),
        )),
    }
}

fn rsa(key: &[u8]) -> Result<KeyAlgorithm, SpkiError> {
    let mut outer = Der(key);
    let modulus = Der(outer.expect(SEQUENCE)?).expect(INTEGER)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros());
    // A u32 of at most 8 always fits.
    let bits = (modulus.len() * 8).saturating_sub(leading as usize);
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(SpkiError::RsaLength { bits });
    }
    Ok(KeyAlgorithm::Rsa { bits })
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;

/// Object identifiers, in DER without tag and length.
mod oid {
    pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    pub(super) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    pub(super) const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    pub(super) const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
    pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

    /// Other kinds of keys that certtool(1) can make.
    pub(super) const UNSUPPORTED: &[(&[u8], &str)] = &[
        (&[0x2b, 0x65, 0x71], "Ed448"),
        (&[0x2b, 0x65, 0x6e], "X25519"),
        (&[0x2b, 0x65, 0x6f], "X448"),
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
            "RSA-PSS-only",
        ),
        (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "DSA"),
    ];
}

/// The unread rest of some DER (X.690, 10).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next_tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The contents of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Result<&'a [u8], SpkiError> {
        self.element(tag).ok_or(SpkiError::Malformed)
    }

    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&first, rest) = self.0.split_first()?;
        if first != tag {
            return None;
        }
        let (&length, rest) = rest.split_first()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            // No key is longer than 64 kB, so more than two bytes of length are nonsense.
            0x81 | 0x82 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                let shortest = if bytes.len() == 1 { 0x80 } else { 0x100 };
                (length >= shortest).then_some((length, rest))?
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(contents)
    }

    fn end(&self) -> Result<(), SpkiError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(SpkiError::Malformed)
        }
    }
}

#[cfg(test)]
mod tests;
