//! The KDF object of a card (OpenPGP card 3.4, 4.3.2): what is sent in place of the PIN. Pure.
//!
//! A fault in reading it must never end in the PIN itself being sent: that would cost a try.

use nightlatch_core::secret::Secret;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroize as _;

use crate::apdu::StatusWord;
use crate::tlv;

/// The most bytes that are hashed for one PIN. GnuPG writes 65,011,712 at most; a hostile card could name 4 GiB.
const MAX_COUNT: u32 = 1 << 28;

/// The length of a salt in bytes.
const SALT: usize = 8;

/// The value to send for a PIN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kdf {
    /// The PIN itself.
    Plain,
    /// A hash of salt and PIN, repeated up to `count` bytes (RFC 9580, 3.7.1.3).
    Iterated {
        hash: KdfHash,
        count: u32,
        salt: [u8; SALT],
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KdfHash {
    Sha256,
    Sha512,
}

/// It is not certain what the card expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum KdfDoubt {
    #[error("the card answers {0} when its KDF object is read")]
    Status(StatusWord),
    #[error("the card's KDF object is malformed")]
    Form,
    #[error("the card's KDF object names the algorithm {0:02X}, expected 00 or 03")]
    Algorithm(u8),
    #[error("the card's KDF object names the hash {0:02X}, expected 08 or 0A")]
    Hash(u8),
    #[error("the card's KDF object wants {0} bytes hashed, expected {MAX_COUNT} at most")]
    Count(u32),
}

impl Kdf {
    /// Reads the answer to GET DATA F9. Without the object, or with an empty one, the PIN is sent as it is. A card that says in its
    /// capabilities that it has no such object may refuse to read it in any way: `may_exist` is false then.
    pub(crate) fn from_answer(
        data: &[u8],
        status: StatusWord,
        may_exist: bool,
    ) -> Result<Self, KdfDoubt> {
        match status {
            StatusWord::OK if !data.is_empty() => Self::parse(data),
            StatusWord::OK | StatusWord::NOT_FOUND => Ok(Self::Plain),
            _ if !may_exist => Ok(Self::Plain),
            other => Err(KdfDoubt::Status(other)),
        }
    }

    fn parse(data: &[u8]) -> Result<Self, KdfDoubt> {
        // Some cards send the object with its own tag around it.
        let data = match tlv::find(data, 0xf9) {
            Some(inner) if tlv::is_whole(data) => inner,
            _ => data,
        };
        if !tlv::is_whole(data) {
            return Err(KdfDoubt::Form);
        }
        let byte = |tag| match tlv::find(data, tag) {
            Some(&[byte]) => Ok(byte),
            _ => Err(KdfDoubt::Form),
        };
        match byte(0x81)? {
            0 => return Ok(Self::Plain),
            3 => {}
            other => return Err(KdfDoubt::Algorithm(other)),
        }
        let hash = match byte(0x82)? {
            0x08 => KdfHash::Sha256,
            0x0a => KdfHash::Sha512,
            other => return Err(KdfDoubt::Hash(other)),
        };
        let fixed = |tag| tlv::find(data, tag).ok_or(KdfDoubt::Form);
        let count = fixed(0x83)?.try_into().map_err(|_| KdfDoubt::Form)?;
        let count = u32::from_be_bytes(count);
        if count > MAX_COUNT {
            return Err(KdfDoubt::Count(count));
        }
        let salt = fixed(0x84)?.try_into().map_err(|_| KdfDoubt::Form)?;
        Ok(Self::Iterated { hash, count, salt })
    }

    /// The bytes to send for `pin`; `None` for the PIN itself.
    pub(crate) fn derive(&self, pin: &Secret) -> Option<Secret> {
        match self {
            Self::Plain => None,
            Self::Iterated { hash, count, salt } => Some(match hash {
                KdfHash::Sha256 => iterate::<Sha256>(*count, salt, pin),
                KdfHash::Sha512 => iterate::<Sha512>(*count, salt, pin),
            }),
        }
    }
}

fn iterate<H: Digest>(count: u32, salt: &[u8; SALT], pin: &Secret) -> Secret {
    let mut hash = H::new();
    let round = SALT + pin.len();
    // Salt and PIN are hashed once at least.
    let mut left = usize::try_from(count).unwrap_or(usize::MAX).max(round);
    while left >= round {
        hash.update(salt);
        hash.update(pin.expose());
        left -= round;
    }
    hash.update(&salt[..left.min(SALT)]);
    hash.update(&pin.expose()[..left.saturating_sub(SALT)]);
    let mut digest = hash.finalize();
    let secret = Secret::new(digest.to_vec());
    digest.zeroize();
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[u8]) -> Result<Kdf, KdfDoubt> {
        Kdf::from_answer(data, StatusWord::OK, true)
    }

    fn object(count: u32) -> Vec<u8> {
        let mut data = vec![0x81, 1, 3, 0x82, 1, 8, 0x83, 4];
        data.extend(count.to_be_bytes());
        data.extend([0x84, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        data
    }

    #[test]
    fn only_not_found_empty_and_none_mean_that_the_pin_itself_is_sent() {
        assert_eq!(
            Kdf::from_answer(&[], StatusWord::NOT_FOUND, true),
            Ok(Kdf::Plain)
        );
        assert_eq!(read(&[]), Ok(Kdf::Plain));
        assert_eq!(read(&[0x81, 1, 0]), Ok(Kdf::Plain));
        assert_eq!(read(&[0xf9, 3, 0x81, 1, 0]), Ok(Kdf::Plain));
        for status in [
            0x6982, 0x6f00, 0x6b00, 0x6d00, 0x6a82, 0x6281, 0x6700, 0x6985,
        ] {
            let status = StatusWord(status);
            let doubt = Err(KdfDoubt::Status(status));
            assert_eq!(Kdf::from_answer(&[], status, true), doubt);
            assert_eq!(Kdf::from_answer(&[0x81, 1, 0], status, true), doubt);
            // Where the card has said that there is none.
            assert_eq!(Kdf::from_answer(&[], status, false), Ok(Kdf::Plain));
        }
    }

    #[test]
    fn an_object_that_is_there_counts_whatever_the_capabilities_say() {
        let read = |data: &[u8]| Kdf::from_answer(data, StatusWord::OK, false);
        assert!(matches!(read(&object(1000)), Ok(Kdf::Iterated { .. })));
        assert_eq!(read(&[0x81, 1, 1]), Err(KdfDoubt::Algorithm(1)));
    }

    #[test]
    fn a_malformed_object_is_a_doubt() {
        let whole = object(1000);
        for length in 1..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        assert_eq!(read(&[0x81, 1, 1]), Err(KdfDoubt::Algorithm(1)));
        assert_eq!(read(&[0x81, 0]), Err(KdfDoubt::Form));
        assert_eq!(read(&[0, 0, 0]), Err(KdfDoubt::Form));
        let mut hash = object(1000);
        hash[5] = 9;
        assert_eq!(read(&hash), Err(KdfDoubt::Hash(9)));
        assert_eq!(read(&object(u32::MAX)), Err(KdfDoubt::Count(u32::MAX)));
    }

    /// `gpg --card-edit kdf-setup` and RFC 9580: salt and PIN repeated, cut off at the count.
    #[test]
    fn the_hash_is_over_salt_and_pin_repeated_up_to_the_count() {
        let pin = Secret::new(b"123456".to_vec());
        let salted = b"\x01\x02\x03\x04\x05\x06\x07\x08123456";
        for count in [0, 14, 15, 23, 100_000] {
            let Ok(kdf) = read(&object(count)) else {
                panic!("{count}");
            };
            let length = (count as usize).max(salted.len());
            let expected: Vec<u8> = salted.iter().copied().cycle().take(length).collect();
            let sent = kdf.derive(&pin).unwrap();
            assert_eq!(sent.expose(), Sha256::digest(&expected).as_slice());
        }
        assert!(Kdf::Plain.derive(&pin).is_none());
    }
}
