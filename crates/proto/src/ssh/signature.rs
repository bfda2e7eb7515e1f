//! The signature of a host key (RFC 4253, 6.6; RFC 5656, 3.1.2; RFC 8332; RFC 8709).

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
};
use nightlatch_core::ssh::wire::WireReader;
use nightlatch_core::ssh::{HostKey, HostKeyKind, HostPublicKey};

use super::{ProofError, Verified};

/// Checks that `signature` is one over `hash` by `key` and by `algorithm`, which was agreed on.
pub(super) fn verify(
    key: &HostKey,
    algorithm: &str,
    hash: &[u8],
    signature: &[u8],
) -> Result<Verified, ProofError> {
    let mut reader = WireReader::new(signature);
    if reader.string()? != algorithm.as_bytes() {
        return Err(ProofError::OtherAlgorithm);
    }
    let signature = reader.string()?;
    reader.end()?;
    let good = match key.public_key()? {
        HostPublicKey::Ed25519(point) => {
            UnparsedPublicKey::new(&ED25519, point).verify(hash, signature)
        }
        HostPublicKey::Ecdsa(point) => {
            let (algorithm, length) = match key.kind() {
                HostKeyKind::EcdsaP256 => (&ECDSA_P256_SHA256_FIXED, 32),
                HostKeyKind::EcdsaP384 => (&ECDSA_P384_SHA384_FIXED, 48),
                HostKeyKind::EcdsaP521 => (&ECDSA_P521_SHA512_FIXED, 66),
                HostKeyKind::Ed25519 | HostKeyKind::Rsa => return Err(ProofError::OtherAlgorithm),
            };
            let fixed = fixed(signature, length)?;
            UnparsedPublicKey::new(algorithm, point).verify(hash, &fixed)
        }
        HostPublicKey::Rsa { exponent, modulus } => {
            let algorithm = match algorithm {
                "rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
                "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                _ => return Err(ProofError::OtherAlgorithm),
            };
            // Some servers leave leading zeros out.
            let signature = padded(signature, modulus.len())?;
            let key = PublicKeyComponents {
                n: modulus,
                e: exponent,
            };
            key.verify(algorithm, hash, &signature)
        }
    };
    match good {
        Ok(()) => Ok(Verified(())),
        Err(_) => Err(ProofError::BadSignature),
    }
}

/// The two numbers of an ECDSA signature, one after the other, each of `length` bytes.
fn fixed(signature: &[u8], length: usize) -> Result<Vec<u8>, ProofError> {
    let mut reader = WireReader::new(signature);
    let (r, s) = (reader.magnitude()?, reader.magnitude()?);
    reader.end()?;
    Ok([padded(r, length)?, padded(s, length)?].concat())
}

fn padded(number: &[u8], length: usize) -> Result<Vec<u8>, ProofError> {
    let zeros = length
        .checked_sub(number.len())
        .ok_or(ProofError::Malformed)?;
    Ok([&vec![0; zeros], number].concat())
}
