//! The signature of a host key (RFC 4253, 6.6; RFC 5656, 3.1.2; RFC 8332; RFC 8709).

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
};
use nightlatch_core::ssh::wire::{Malformed, WireReader};
use nightlatch_core::ssh::{HostKey, HostKeyKind, HostPublicKey};

/// A signature proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    /// It has not the form of a signature of this kind of key.
    #[error("expected the signature of an SSH host key, found something else")]
    Malformed,
    /// It is of another algorithm than the expected ones, for example RSA with SHA-1.
    #[error(
        "expected a signature of an algorithm of the host key (RSA with SHA-2 only), found another algorithm"
    )]
    OtherAlgorithm,
    /// Another key has made it, or it is over other bytes.
    #[error("the signature is not one of the host key over these bytes")]
    Bad,
}

impl From<Malformed> for SignatureError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Verifies a signature over `data` by `key`, by whichever algorithm of that kind of key it names.
///
/// # Errors
/// When it is malformed, of another algorithm, or wrong.
pub fn verify_by_any(key: &HostKey, data: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let named = WireReader::new(signature).string()?;
    let algorithms = key.kind().algorithms().iter();
    let algorithm = algorithms
        .copied()
        .find(|algorithm| algorithm.as_bytes() == named);
    verify(
        key,
        algorithm.ok_or(SignatureError::OtherAlgorithm)?,
        data,
        signature,
    )
}

/// Verifies a signature over `data` by `key` and by `algorithm`, which was agreed on.
///
/// # Errors
/// When it is malformed, of another algorithm, or wrong.
pub fn verify(
    key: &HostKey,
    algorithm: &str,
    data: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let mut reader = WireReader::new(signature);
    if reader.string()? != algorithm.as_bytes() {
        return Err(SignatureError::OtherAlgorithm);
    }
    let signature = reader.string()?;
    reader.end()?;
    let good = match key.public_key()? {
        HostPublicKey::Ed25519(point) => {
            UnparsedPublicKey::new(&ED25519, point).verify(data, signature)
        }
        HostPublicKey::Ecdsa(point) => {
            let (algorithm, length) = match key.kind() {
                HostKeyKind::EcdsaP256 => (&ECDSA_P256_SHA256_FIXED, 32),
                HostKeyKind::EcdsaP384 => (&ECDSA_P384_SHA384_FIXED, 48),
                HostKeyKind::EcdsaP521 => (&ECDSA_P521_SHA512_FIXED, 66),
                HostKeyKind::Ed25519 | HostKeyKind::Rsa => {
                    return Err(SignatureError::OtherAlgorithm);
                }
            };
            let fixed = fixed(signature, length)?;
            UnparsedPublicKey::new(algorithm, point).verify(data, &fixed)
        }
        HostPublicKey::Rsa { exponent, modulus } => {
            let algorithm = match algorithm {
                "rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
                "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                _ => return Err(SignatureError::OtherAlgorithm),
            };
            // Some servers leave leading zeros out.
            let signature = padded(signature, modulus.len())?;
            let key = PublicKeyComponents {
                n: modulus,
                e: exponent,
            };
            key.verify(algorithm, data, &signature)
        }
    };
    good.map_err(|_| SignatureError::Bad)
}

/// The two numbers of an ECDSA signature, one after the other, each of `length` bytes.
fn fixed(signature: &[u8], length: usize) -> Result<Vec<u8>, SignatureError> {
    let mut reader = WireReader::new(signature);
    let (r, s) = (reader.magnitude()?, reader.magnitude()?);
    reader.end()?;
    Ok([padded(r, length)?, padded(s, length)?].concat())
}

fn padded(number: &[u8], length: usize) -> Result<Vec<u8>, SignatureError> {
    let zeros = length
        .checked_sub(number.len())
        .ok_or(SignatureError::Malformed)?;
    Ok([&vec![0; zeros], number].concat())
}
