//! What an OpenPGP card says about itself: application related data (6E), without the public key. Pure.

use std::fmt;

use nightlatch_core::digits::Hex;

use crate::apdu::CommandLimits;
use crate::key::KeyAlgorithm;
use crate::tlv;

/// The beginning of each AID of an OpenPGP card (OpenPGP card 3.4, 4.2.1): what SELECT names.
pub(crate) const AID_PREFIX: [u8; 6] = [0xd2, 0x76, 0x00, 0x01, 0x24, 0x01];

/// Command data where the card names no number for extended commands.
const EXTENDED: u16 = 2048;

/// The application identifier: version, manufacturer and serial number of a card.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Aid([u8; 16]);

impl Aid {
    fn parse(bytes: &[u8]) -> Result<Self, CardDataFault> {
        match bytes.try_into() {
            Ok(aid) if bytes.starts_with(&AID_PREFIX) => Ok(Self(aid)),
            _ => Err(CardDataFault("AID")),
        }
    }

    /// All 16 bytes.
    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The major version of the specification that the card implements.
    const fn version(&self) -> u8 {
        self.0[6]
    }

    /// Manufacturer and serial number, as `0006:12345678`.
    pub(crate) fn serial(&self) -> String {
        let hex: String = self.0[8..14].iter().map(|it| format!("{it:02X}")).collect();
        format!("{}:{}", &hex[..4], &hex[4..])
    }
}

impl fmt::Display for Aid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In lower case: so it stands in the name of the secret with its PIN.
        write!(f, "{}", Hex(&self.0))
    }
}

impl fmt::Debug for Aid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aid({self})")
    }
}

/// PW status bytes (C4) about PW1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PinStatus {
    /// The longest PIN in bytes.
    pub(crate) longest: u8,
    /// Tries left.
    pub(crate) tries: u8,
    /// True when the card takes PINs as PIN blocks of format 2 (bit 8 of the length) and not as text: text costs a try.
    pub(crate) is_block: bool,
}

/// The touch policy of the authentication key (D8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Touch {
    /// No touch, or a card without such policies.
    Off,
    /// Each signature needs a touch, or one within some seconds.
    Needed,
}

/// The card as it describes itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CardData {
    pub(crate) aid: Aid,
    pub(crate) limits: CommandLimits,
    pub(crate) pin: PinStatus,
    /// The algorithm of the authentication key. `None`: SSH has no name for it, as for Brainpool curves.
    pub(crate) algorithm: Option<KeyAlgorithm>,
    pub(crate) touch: Touch,
    /// False if the card says that it has no KDF object (C0, first byte, bit 1).
    pub(crate) may_have_kdf: bool,
}

/// A part that is missing or malformed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the card's {0} is missing or malformed")]
pub(crate) struct CardDataFault(pub(crate) &'static str);

impl CardData {
    /// Reads the answer to GET DATA 6E.
    pub(crate) fn parse(answer: &[u8]) -> Result<Self, CardDataFault> {
        let data = tlv::find(answer, 0x6e).unwrap_or(answer);
        let discretionary =
            tlv::find(data, 0x73).ok_or(CardDataFault("discretionary data (73)"))?;
        // Some cards put these beside the discretionary data.
        let object = |tag| tlv::find(discretionary, tag).or_else(|| tlv::find(data, tag));
        let aid = Aid::parse(tlv::find(data, 0x4f).unwrap_or_default())?;
        let attributes = object(0xc3).unwrap_or_default();
        Ok(Self {
            aid,
            limits: limits(
                tlv::find(data, 0x5f52).unwrap_or_default(),
                object(0xc0).unwrap_or_default(),
                object(0x7f66),
                aid.version(),
            ),
            pin: pin_status(object(0xc4).unwrap_or_default())?,
            algorithm: KeyAlgorithm::parse(attributes),
            touch: object(0xd8).map_or(Touch::Off, touch),
            may_have_kdf: object(0xc0)
                .and_then(<[u8]>::first)
                .is_none_or(|it| it & 1 != 0),
        })
    }
}

/// Reads PW status bytes.
pub(crate) fn pin_status(bytes: &[u8]) -> Result<PinStatus, CardDataFault> {
    // The first byte is about mode 81, which is for signatures and is not used here.
    let &[_, longest, _, _, tries, _, _, ..] = bytes else {
        return Err(CardDataFault("PIN status (C4)"));
    };
    Ok(PinStatus {
        longest: longest & 0x7f,
        tries,
        is_block: longest & 0x80 != 0,
    })
}

/// Reads a touch policy: its first byte; 00 is off.
pub(crate) fn touch(bytes: &[u8]) -> Touch {
    match bytes.first() {
        None | Some(0) => Touch::Off,
        Some(_) => Touch::Needed,
    }
}

/// Historical bytes have the card capabilities (ISO 7816-4, 12.1.1.9), of which the third byte is about lengths.
fn limits(
    historical: &[u8],
    extended_capabilities: &[u8],
    lengths: Option<&[u8]>,
    version: u8,
) -> CommandLimits {
    let capabilities = capabilities(historical).unwrap_or(0);
    let number = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes)).filter(|number| *number > 0)
    };
    let (command, answer) = match (version, lengths) {
        // 02 02 xx xx 02 02 xx xx
        (3.., Some(lengths)) => (number(lengths, 2), number(lengths, 6)),
        (3.., None) => (None, None),
        _ => (
            number(extended_capabilities, 6),
            number(extended_capabilities, 8),
        ),
    };
    CommandLimits {
        extended: (capabilities & 0x40 != 0).then_some(command.unwrap_or(EXTENDED)),
        answer,
        chaining: capabilities & 0x80 != 0,
    }
}

fn capabilities(historical: &[u8]) -> Option<u8> {
    // The category byte 00; then compact TLV, and three bytes of status.
    let (0, mut rest) = historical
        .split_first()
        .map(|(first, rest)| (*first, rest))?
    else {
        return None;
    };
    while let Some((head, after)) = rest.split_first() {
        let (value, after) = after.split_at_checked(usize::from(head & 0xf))?;
        if head >> 4 == 7 {
            return value.get(2).copied();
        }
        rest = after;
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Application related data of a card of version 3.4 with an Ed25519 key.
    pub(crate) fn sample(serial: u32, tries: u8, algorithm: &[u8]) -> Vec<u8> {
        let mut aid = vec![0x4f, 16];
        aid.extend(AID_PREFIX);
        aid.extend([3, 4, 0, 6]);
        aid.extend(serial.to_be_bytes());
        aid.extend([0, 0]);
        let mut inner = vec![0xc0, 10, 0x7d, 0, 0, 0, 8, 0, 0, 0xff, 0, 0];
        inner.extend([0xc3, u8::try_from(algorithm.len()).unwrap()]);
        inner.extend(algorithm);
        inner.extend([0xc4, 7, 1, 127, 127, 127, tries, 0, 3]);
        let mut data = aid;
        data.extend([0x5f, 0x52, 10, 0, 0x73, 0, 0, 0xe0, 5, 0x90, 0, 0, 0]);
        data.extend([0x7f, 0x66, 8, 2, 2, 8, 0, 2, 2, 8, 0]);
        data.extend([0x73, u8::try_from(inner.len()).unwrap()]);
        data.extend(inner);
        let mut all = vec![0x6e, 0x81, u8::try_from(data.len()).unwrap()];
        all.extend(data);
        all
    }

    pub(crate) const ED25519: [u8; 10] = [0x16, 0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1];

    #[test]
    fn a_card_describes_itself() {
        let data = CardData::parse(&sample(0x1234_5678, 3, &ED25519)).unwrap();
        assert_eq!(data.aid.to_string(), "d2760001240103040006123456780000");
        assert_eq!(data.aid.serial(), "0006:12345678");
        let limits = CommandLimits {
            extended: Some(2048),
            answer: Some(2048),
            chaining: true,
        };
        assert_eq!(data.limits, limits);
        let pin = PinStatus {
            longest: 127,
            tries: 3,
            is_block: false,
        };
        assert_eq!((data.pin, data.touch), (pin, Touch::Off));
        assert!(data.may_have_kdf);
        let mut none = sample(1, 3, &ED25519);
        let at = none
            .windows(3)
            .position(|it| it == [0xc0, 10, 0x7d])
            .unwrap();
        none[at + 2] = 0x7c;
        assert!(!CardData::parse(&none).unwrap().may_have_kdf);
    }

    #[test]
    fn a_missing_part_is_named() {
        let whole = sample(1, 3, &ED25519);
        let no_pin = CardData::parse(&[&whole[..whole.len() - 9], &[]].concat());
        assert_eq!(
            no_pin.unwrap_err().to_string(),
            "the card's discretionary data (73) is missing or malformed"
        );
        let other = CardData::parse(&sample(1, 3, &[0x12, 1])).unwrap();
        assert_eq!(other.algorithm, None);
        assert!(pin_status(&[1, 127, 127, 127, 3]).is_err());
        assert!(pin_status(&[1, 0x88, 8, 8, 3, 0, 3]).unwrap().is_block);
    }

    #[test]
    fn each_touch_policy_but_off_needs_a_person() {
        assert_eq!(touch(&[0, 0x20]), Touch::Off);
        for policy in [1, 2, 3, 4] {
            assert_eq!(touch(&[policy, 0x20]), Touch::Needed);
        }
    }

    proptest! {
        #[test]
        fn no_answer_of_a_card_is_a_panic(at in 0usize..100, byte in any::<u8>(), length in 0usize..120) {
            let mut data = sample(1, 3, &ED25519);
            if let Some(place) = data.get_mut(at) {
                *place = byte;
            }
            data.truncate(length);
            let _ = CardData::parse(&data);
        }
    }
}
