//! The key that a passphrase gives (RFC 9580, 3.7.1.3): iterated and salted SHA-1, as GnuPG writes it.
//!
//! The library below derives it too, by a SHA-1 that looks for collisions in each block. A collision gains an attacker
//! nothing here, and that check makes opening thousands of messages four times slower.

use nightlatch_core::secret::Secret;
use pgp::composed::{PlainSessionKey, RawSessionKey, decrypt_session_key_with_password};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::SymKeyEncryptedSessionKey;
use pgp::types::{Password, SkeskVersion, StringToKey};
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

/// Bytes hashed at once.
const CHUNK: usize = 64 * 1024;

/// The least shift of a coded count (RFC 9580, 3.7.1.3).
const EXPONENT_BIAS: u32 = 6;

/// The session key that `passphrase` leads to. Functions that take as much memory as the message asks
/// for (Argon2) are refused.
pub(crate) fn session_key(
    esk: &SymKeyEncryptedSessionKey,
    passphrase: &Secret,
) -> Option<PlainSessionKey> {
    let StringToKey::IteratedAndSalted {
        hash_alg,
        salt,
        count,
    } = esk.s2k()?
    else {
        return None;
    };
    let algorithm = esk.sym_algorithm()?;
    let plain = *hash_alg == HashAlgorithm::Sha1
        && esk.version() == SkeskVersion::V4
        && esk.encrypted_key().is_some_and(|key| key.is_empty())
        && algorithm.key_size() > 0;
    if !plain {
        let password = Password::from(passphrase.expose());
        return decrypt_session_key_with_password(esk, &password).ok();
    }
    let key = derive(salt, passphrase, *count, algorithm.key_size());
    Some(PlainSessionKey::V3_4 {
        key: RawSessionKey::from(key),
        sym_alg: algorithm,
    })
}

/// A key of `size` bytes: as many hashes as it takes, each after one zero byte more.
fn derive(salt: &[u8; 8], passphrase: &Secret, count: u8, size: usize) -> Zeroizing<Vec<u8>> {
    let once = salt.len() + passphrase.len();
    let bytes = (16 + (u64::from(count) & 15)) << ((u32::from(count) >> 4) + EXPONENT_BIAS);
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX).max(once);
    // Whole repetitions, so that each chunk begins as the first.
    let times = CHUNK.div_ceil(once);
    let mut chunk = Zeroizing::new(Vec::with_capacity(times * once));
    for _ in 0..times {
        chunk.extend_from_slice(salt);
        chunk.extend_from_slice(passphrase.expose());
    }
    let rounds = size.div_ceil(Sha1::output_size());
    let mut hashers: Vec<Sha1> = (0..rounds)
        .map(|zeros| Sha1::new_with_prefix(vec![0; zeros]))
        .collect();
    while left > 0 {
        let part = &chunk[..left.min(chunk.len())];
        for hasher in &mut hashers {
            hasher.update(part);
        }
        left -= part.len();
    }
    let mut key = Zeroizing::new(Vec::with_capacity(rounds * Sha1::output_size()));
    for hasher in hashers {
        key.extend_from_slice(&hasher.finalize());
    }
    key.truncate(size);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgp::types::StringToKey;

    #[test]
    fn the_key_is_that_of_the_library() {
        for (passphrase, count) in [(&b""[..], 0), (b"mandos00ff", 96), (&[7; 2000], 0)] {
            let salt = [1, 2, 3, 4, 5, 6, 7, 8];
            let s2k = StringToKey::IteratedAndSalted {
                hash_alg: HashAlgorithm::Sha1,
                salt,
                count,
            };
            for size in [16, 20, 24, 32] {
                let theirs = s2k.derive_key(passphrase, size).unwrap();
                let ours = derive(&salt, &Secret::new(passphrase.to_vec()), count, size);
                assert_eq!(&ours[..], theirs.as_ref(), "{count} {size}");
            }
        }
    }
}
