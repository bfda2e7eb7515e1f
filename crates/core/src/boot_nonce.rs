//! The number by which a machine and a server tell two boots of the machine apart.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::digits::Hex;
use crate::key_id::KeyId;

/// The length of a [`BootSeed`] in bytes.
pub const SEED_LEN: usize = 32;

/// Random bytes of one boot, known to root on the machine only. The initramfs makes them, and the booted system reads
/// them. Wiped on drop, never printed.
#[derive(Clone)]
pub struct BootSeed(Zeroizing<[u8; SEED_LEN]>);

impl BootSeed {
    /// The seed with these bytes.
    pub fn from_bytes(bytes: [u8; SEED_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. They belong into no log, error, argument list or environment.
    pub fn as_bytes(&self) -> &[u8; SEED_LEN] {
        &self.0
    }
}

impl PartialEq for BootSeed {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for BootSeed {}

impl fmt::Debug for BootSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootSeed(..)")
    }
}

/// Identifies one boot of a machine to one server: the same in the initramfs and in the booted system, another one in
/// the next boot, and another one for each server, so that a server cannot use it at another one.
///
/// Displayed as the 32 hexadecimal digits of its [mark](Self::mark).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootNonce([u8; 16]);

impl BootNonce {
    /// The nonce of the boot with this seed for the server with the key `server`: the first 16 bytes of the SHA-256 over
    /// `nightlatch/1 boot`, the seed and the 32 bytes of the key id. All servers without a key have one nonce.
    pub fn new(seed: &BootSeed, server: Option<&KeyId>) -> Self {
        let digest = Sha256::new()
            .chain_update("nightlatch/1 boot")
            .chain_update(seed.as_bytes())
            .chain_update(server.map_or(&[][..], |key| key.as_bytes()))
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }

    /// The nonce with these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its mark: the first 16 bytes of the SHA-256 over `nightlatch/1 boot mark` and its 16 bytes.
    pub fn mark(&self) -> BootMark {
        let digest = Sha256::new()
            .chain_update("nightlatch/1 boot mark")
            .chain_update(self.0)
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        BootMark(bytes)
    }
}

/// Shows its mark. Whoever reads logs must not learn the nonce: with the boot key it is worth as much as the host key.
impl fmt::Display for BootNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.mark().0).fmt(f)
    }
}

/// A digest of a [`BootNonce`], by which it is recognized without being known: in logs, and in what a machine keeps of its
/// boots on the disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BootMark([u8; 16]);

impl BootMark {
    /// The mark with these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for BootNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootNonce({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boot_and_each_server_has_its_own() {
        let seed = BootSeed::from_bytes([1; 32]);
        let server = KeyId::from_bytes([2; 32]).unwrap();
        let nonce = BootNonce::new(&seed, Some(&server));
        // By sha256sum(1) of `nightlatch/1 boot`, 32 bytes of 01 and 32 bytes of 02.
        let hex = |nonce: &BootNonce| Hex(nonce.as_bytes()).to_string();
        assert_eq!(hex(&nonce), "cfe018dd194a005af5f2b709b675a39e");
        // Its mark is by sha256sum(1) of `nightlatch/1 boot mark` and these 16 bytes.
        assert_eq!(nonce.to_string(), "347f5f551fdb9975d93abc3a477d7561");
        assert_ne!(nonce, BootNonce::new(&seed, None));
        let other = BootSeed::from_bytes([3; 32]);
        assert_ne!(nonce, BootNonce::new(&other, Some(&server)));
        let other = KeyId::from_bytes([4; 32]).unwrap();
        assert_ne!(nonce, BootNonce::new(&seed, Some(&other)));
        assert_eq!(format!("{seed:?}"), "BootSeed(..)");
    }
}
