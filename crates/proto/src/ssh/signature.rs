//! The step from a verified signature to the proof. The algorithms are those of `nightlatch-ssh`.

use nightlatch_core::ssh::HostKey;
use nightlatch_ssh::SignatureError;

use super::{ProofError, Verified};

/// Checks that `signature` is one over `hash` by `key` and by `algorithm`, which was agreed on.
pub(super) fn verify(
    key: &HostKey,
    algorithm: &str,
    hash: &[u8],
    signature: &[u8],
) -> Result<Verified, ProofError> {
    nightlatch_ssh::verify(key, algorithm, hash, signature)?;
    Ok(Verified(()))
}

impl From<SignatureError> for ProofError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Malformed => Self::Malformed,
            SignatureError::OtherAlgorithm => Self::OtherAlgorithm,
            SignatureError::Bad => Self::BadSignature,
        }
    }
}
