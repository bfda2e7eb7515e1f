//! Commands for a card and its answers as bytes (ISO 7816-4, 5.1): short and extended lengths, and chains of commands. Pure.

use std::fmt;

use zeroize::Zeroizing;

/// The data of one short command.
const SHORT: usize = 255;

/// What a chain of commands may carry. A card does not say its limit for all parts together, and some have one: Gnuk takes 256
/// bytes, and answers more with a status. This one ends requests that no card computes on.
const MAX_CHAIN: usize = 4096;

/// The bytes of an extended command beside its data: header, length, expected length.
const EXTENDED_FRAME: usize = 9;

/// The longest answer that is asked for in an extended command, if the card does not say what it can send.
const ANSWER: u16 = 2048;

/// Bit of the class byte: another command of the same chain follows.
const CHAINED: u8 = 0x10;

/// The lengths of commands that a card understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct CommandLimits {
    /// The longest extended command in bytes, header and all; `None` without extended lengths.
    pub(crate) extended: Option<u16>,
    /// The longest answer in bytes, if the card names it.
    pub(crate) answer: Option<u16>,
    /// True when a command may be sent in parts.
    pub(crate) chaining: bool,
}

/// The length of the answer that a command has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// A status alone.
    Nothing,
    /// At most 256 bytes.
    Short,
    /// Perhaps more, as the public key and the signatures of RSA.
    Long,
}

/// A command. Its data may be a PIN: there is no `Debug`.
pub(crate) struct Command<'d> {
    pub(crate) instruction: u8,
    pub(crate) parameters: [u8; 2],
    pub(crate) data: &'d [u8],
    pub(crate) expected: Expected,
}

/// The data of a command do not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the request has {length} bytes, and the card takes {most}")]
pub(crate) struct TooLong {
    pub(crate) length: usize,
    pub(crate) most: usize,
}

/// One APDU, wiped on drop: a PIN may be in it.
pub(crate) type Apdu = Zeroizing<Vec<u8>>;

impl CommandLimits {
    /// The longest data of a command.
    pub(crate) fn longest(&self) -> usize {
        let chain = if self.chaining { MAX_CHAIN } else { 0 };
        self.longest_in_one().max(chain)
    }

    /// The longest data of a command that is sent at once.
    pub(crate) fn longest_in_one(&self) -> usize {
        let extended = self.extended.map_or(0, usize::from);
        SHORT.max(extended.saturating_sub(EXTENDED_FRAME))
    }
}

impl Command<'_> {
    /// The APDUs to send one after the other; all but the last are answered by a status alone.
    pub(crate) fn encode(&self, limits: &CommandLimits) -> Result<Vec<Apdu>, TooLong> {
        let length = self.data.len();
        if length > limits.longest() {
            let most = limits.longest();
            return Err(TooLong { length, most });
        }
        let extended = usize::from(limits.extended.unwrap_or(0));
        let fits = length + EXTENDED_FRAME <= extended;
        if fits && (length > SHORT || self.expected == Expected::Long) {
            return Ok(vec![self.extended(limits)]);
        }
        let mut parts = self.data.chunks(SHORT).peekable();
        let mut apdus = Vec::new();
        while let Some(part) = parts.next() {
            apdus.push(self.short(part, parts.peek().is_some()));
        }
        if apdus.is_empty() {
            apdus.push(self.short(&[], false));
        }
        Ok(apdus)
    }

    fn short(&self, part: &[u8], more: bool) -> Apdu {
        // Of its full length at once: growing would leave a copy behind.
        let mut apdu = Zeroizing::new(Vec::with_capacity(part.len() + 6));
        apdu.push(if more { CHAINED } else { 0 });
        apdu.push(self.instruction);
        apdu.extend(self.parameters);
        if let Ok(length @ 1..) = u8::try_from(part.len()) {
            apdu.push(length);
            apdu.extend_from_slice(part);
        }
        if !more && self.expected != Expected::Nothing {
            apdu.push(0);
        }
        apdu
    }

    fn extended(&self, limits: &CommandLimits) -> Apdu {
        let mut apdu = Zeroizing::new(Vec::with_capacity(self.data.len() + EXTENDED_FRAME));
        apdu.extend([0, self.instruction]);
        apdu.extend(self.parameters);
        apdu.push(0);
        if let Ok(length @ 1..) = u16::try_from(self.data.len()) {
            apdu.extend(length.to_be_bytes());
            apdu.extend_from_slice(self.data);
        }
        if self.expected != Expected::Nothing {
            apdu.extend(limits.answer.unwrap_or(ANSWER).min(ANSWER).to_be_bytes());
        }
        apdu
    }
}

/// The two bytes that end each answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StatusWord(pub(crate) u16);

impl StatusWord {
    pub(crate) const OK: Self = Self(0x9000);
    pub(crate) const BLOCKED: Self = Self(0x6983);
    pub(crate) const SECURITY: Self = Self(0x6982);
    pub(crate) const CONDITIONS: Self = Self(0x6985);
    pub(crate) const NOT_FOUND: Self = Self(0x6a88);

    /// `61xx`: more of the answer is there.
    pub(crate) const fn has_more(self) -> bool {
        self.0 >> 8 == 0x61
    }

    /// To SELECT: the card has no such application, or no SELECT by names. Any other status may be of this moment only.
    pub(crate) const fn has_no_application(self) -> bool {
        matches!(self.0, 0x6a81 | 0x6a82 | 0x6d00 | 0x6e00)
    }

    /// To GET DATA: the card has no such object, or does not know its tag.
    pub(crate) const fn has_no_object(self) -> bool {
        matches!(
            self.0,
            0x6a80 | 0x6a81 | 0x6a82 | 0x6a83 | 0x6a86 | 0x6a88 | 0x6b00 | 0x6d00
        )
    }

    /// `63Cx`: the number of tries that are left.
    pub(crate) fn tries(self) -> Option<u8> {
        (self.0 & 0xfff0 == 0x63c0).then_some((self.0 & 0xf) as u8)
    }
}

impl fmt::Display for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

/// Splits an answer into data and status; `None` when it is too short for a status.
pub(crate) fn split_answer(answer: &[u8]) -> Option<(&[u8], StatusWord)> {
    let (data, status) = answer.split_last_chunk()?;
    Some((data, StatusWord(u16::from_be_bytes(*status))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: CommandLimits = CommandLimits {
        extended: None,
        answer: None,
        chaining: false,
    };

    fn sign(data: &[u8], expected: Expected) -> Command<'_> {
        Command {
            instruction: 0x88,
            parameters: [0, 0],
            data,
            expected,
        }
    }

    fn encode(data: &[u8], expected: Expected, limits: &CommandLimits) -> Vec<Vec<u8>> {
        let apdus = sign(data, expected).encode(limits).unwrap();
        apdus.iter().map(|apdu| apdu.to_vec()).collect()
    }

    #[test]
    fn a_command_has_the_form_that_its_data_and_its_answer_need() {
        let verify = Command {
            instruction: 0x20,
            parameters: [0, 0x82],
            data: &[],
            expected: Expected::Nothing,
        };
        assert_eq!(*verify.encode(&PLAIN).unwrap()[0], [0, 0x20, 0, 0x82]);
        assert_eq!(
            encode(&[1, 2], Expected::Short, &PLAIN),
            [[0, 0x88, 0, 0, 2, 1, 2, 0]]
        );
        let long = CommandLimits {
            extended: Some(1000),
            answer: Some(700),
            chaining: false,
        };
        assert_eq!(
            encode(&[1], Expected::Long, &long),
            [[0, 0x88, 0, 0, 0, 0, 1, 1, 2, 188]]
        );
        let data = [5; 256];
        let apdu = &encode(&data, Expected::Short, &long)[0];
        assert_eq!(apdu[..7], [0, 0x88, 0, 0, 0, 1, 0]);
        assert_eq!(apdu.len(), 7 + 256 + 2);
    }

    #[test]
    fn a_card_without_extended_lengths_gets_a_chain() {
        let chaining = CommandLimits {
            chaining: true,
            ..PLAIN
        };
        let apdus = encode(&[5; 600], Expected::Short, &chaining);
        let heads: Vec<(u8, u8, usize)> = apdus.iter().map(|it| (it[0], it[4], it.len())).collect();
        assert_eq!(heads, [(0x10, 255, 260), (0x10, 255, 260), (0, 90, 96)]);
    }

    #[test]
    fn what_does_not_fit_names_both_sizes() {
        let too_long = sign(&[0; 256], Expected::Short).encode(&PLAIN).err();
        let message = "the request has 256 bytes, and the card takes 255";
        assert_eq!(too_long.unwrap().to_string(), message);
        let extended = CommandLimits {
            extended: Some(300),
            ..PLAIN
        };
        assert!(sign(&[0; 291], Expected::Short).encode(&extended).is_ok());
        assert!(sign(&[0; 292], Expected::Short).encode(&extended).is_err());
        let chain = CommandLimits {
            chaining: true,
            ..extended
        };
        assert!(sign(&[0; 292], Expected::Short).encode(&chain).is_ok());
        assert!(sign(&[0; 4097], Expected::Short).encode(&chain).is_err());
    }

    #[test]
    fn a_status_says_how_many_tries_are_left() {
        assert_eq!(StatusWord(0x63c2).tries(), Some(2));
        for other in [0x6300, 0x9000, 0x6983, 0x62c2] {
            assert_eq!(StatusWord(other).tries(), None);
        }
        assert!(StatusWord(0x6100).has_more());
        assert_eq!(
            split_answer(&[1, 0x90, 0]),
            Some((&[1][..], StatusWord::OK))
        );
        assert_eq!(split_answer(&[0x90]), None);
    }
}
