//! The framing of messages: header, fields, and what can be wrong with them.

use std::fmt;
use std::time::Duration;

use nightlatch_core::event::Refusal;
use nightlatch_core::secret_name::SecretNameError;

use super::{MAX_BODY, MAX_SECRET_BODY};

/// The length of a message's header in bytes.
pub const HEADER_LEN: usize = 4;

/// The length of a field's tag and length in bytes.
const FIELD_HEADER_LEN: usize = 4;

/// The types of messages. A machine's have the highest bit clear, a server's have it set.
pub(super) mod kind {
    pub(crate) const GET: u8 = 0x01;
    pub(crate) const REHEARSE: u8 = 0x02;
    pub(crate) const HEARTBEAT: u8 = 0x03;
    pub(crate) const GOODBYE: u8 = 0x04;
    pub(crate) const ACCEPTED: u8 = 0x81;
    pub(crate) const WAITING: u8 = 0x82;
    pub(crate) const TERMS: u8 = 0x83;
    pub(crate) const SECRET: u8 = 0x84;
    pub(crate) const REFUSED: u8 = 0x85;
}

/// The tags of fields. One tag means the same in every message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Tag {
    /// A secret's name.
    Name = 1,
    /// The [`nightlatch_core::boot_nonce::BootNonce`] of the boot that sends it.
    Boot = 2,
    /// The number of resumes from hibernation.
    Resumes = 3,
    /// A UDP port.
    PokePort = 4,
    /// The [`nightlatch_core::boot_nonce::BootMark`] of an earlier boot. Repeated.
    EarlierBoot = 5,
    /// The version of the program.
    Program = 6,
    /// The kind of a goodbye.
    Kind = 7,
    /// Time to the next heartbeat.
    Next = 8,
    /// A token for pokes.
    Token = 9,
    /// The time for an announced reboot.
    Window = 10,
    /// The reason for which a request waits or is refused.
    Reason = 11,
    /// Time that is left.
    Left = 12,
    /// A request's number at the server.
    Reference = 13,
    /// A secret's serial number.
    Serial = 14,
    /// Time after which another request makes sense.
    Retry = 15,
    /// A client's `timeout`.
    Timeout = 16,
    /// A client's `interval`.
    Interval = 17,
    /// Present when the request raised an alarm.
    Alarm = 18,
    /// A named secret that the machine has refused: a [`nightlatch_core::secret_rejection::Rejection`]. Repeated.
    Rejected = 19,
    /// An encrypted secret. The last of all tags that may be ignored, so that a payload is always at the end.
    Payload = 127,
}

impl Tag {
    const ALL: [Self; 20] = [
        Self::Name,
        Self::Boot,
        Self::Resumes,
        Self::PokePort,
        Self::EarlierBoot,
        Self::Program,
        Self::Kind,
        Self::Next,
        Self::Token,
        Self::Window,
        Self::Reason,
        Self::Left,
        Self::Reference,
        Self::Serial,
        Self::Retry,
        Self::Timeout,
        Self::Interval,
        Self::Alarm,
        Self::Rejected,
        Self::Payload,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tag| *tag as u8 == byte)
    }

    fn repeats(self) -> bool {
        matches!(self, Self::EarlierBoot | Self::Rejected)
    }
}

/// A message that does not keep to the protocol.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A type that has no meaning here.
    #[error("unknown message type 0x{0:02x}")]
    UnknownType(u8),
    /// A body longer than its type may have.
    #[error("a message of type 0x{kind:02x} with {length} bytes, expected at most {limit}")]
    TooLong {
        /// The type of the message.
        kind: u8,
        /// The length in the header, in bytes.
        length: usize,
        /// The greatest length, in bytes.
        limit: usize,
    },
    /// A field that goes beyond the end of its message.
    #[error("a message that ends within a field")]
    Cut,
    /// A tag of 128 or more that is not known: the message cannot be understood without it.
    #[error("the unknown field {0}, which must not be ignored")]
    UnknownField(u8),
    /// A tag that is lower than the one before it, or comes twice.
    #[error("the field {0} comes twice or after a higher one")]
    Order(u8),
    /// A field that the message needs.
    #[error("the field {} is missing", *.0 as u8)]
    Missing(Tag),
    /// A value that its field cannot have.
    #[error("the field {} has a value that is not valid", *.0 as u8)]
    Value(Tag),
    /// More fields of one tag than the message may have.
    #[error("more than {limit} fields {}", *tag as u8)]
    TooMany {
        /// The tag of the repeated field.
        tag: Tag,
        /// The greatest number.
        limit: usize,
    },
    /// A name that no secret has.
    #[error("a secret's name that is not valid")]
    Name(#[from] SecretNameError),
}

impl fmt::Debug for MessageError {
    /// As for people: an error is linked into the boot client with both forms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The header of a message, checked: a body of this length may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub(super) kind: u8,
    length: usize,
}

impl Header {
    /// Reads the header of a request.
    pub fn of_request(bytes: [u8; HEADER_LEN]) -> Result<Self, MessageError> {
        Self::parse(bytes, |kind| match kind {
            kind::GET | kind::REHEARSE | kind::HEARTBEAT | kind::GOODBYE => Some(MAX_BODY),
            _ => None,
        })
    }

    /// Reads the header of a reply.
    pub fn of_reply(bytes: [u8; HEADER_LEN]) -> Result<Self, MessageError> {
        Self::parse(bytes, |kind| match kind {
            kind::ACCEPTED | kind::WAITING | kind::TERMS | kind::REFUSED => Some(MAX_BODY),
            kind::SECRET => Some(MAX_SECRET_BODY),
            _ => None,
        })
    }

    fn parse(
        [kind, length @ ..]: [u8; HEADER_LEN],
        limit: impl Fn(u8) -> Option<usize>,
    ) -> Result<Self, MessageError> {
        let limit = limit(kind).ok_or(MessageError::UnknownType(kind))?;
        let length = read_length(length);
        if length > limit {
            return Err(MessageError::TooLong {
                kind,
                length,
                limit,
            });
        }
        Ok(Self { kind, length })
    }

    /// The length of the body in bytes, at most [`MAX_SECRET_BODY`].
    pub const fn body_len(&self) -> usize {
        self.length
    }
}

fn read_length([high, middle, low]: [u8; 3]) -> usize {
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}

fn write_length(length: usize) -> [u8; 3] {
    // Bodies have at most `MAX_SECRET_BODY` bytes, which is below 16 MiB.
    debug_assert!(length <= super::MAX_SECRET_BODY);
    let [.., high, middle, low] = length.to_be_bytes();
    [high, middle, low]
}

/// Writes a message.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![kind, 0, 0, 0])
    }

    pub(super) fn field(mut self, tag: Tag, value: &[u8]) -> Self {
        self.start_field(tag, value.len());
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn duration(self, tag: Tag, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.number(tag, millis)
    }

    pub(super) fn number(self, tag: Tag, number: u64) -> Self {
        self.field(tag, &number.to_be_bytes())
    }

    pub(super) fn maybe<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }

    pub(super) fn each<T>(
        self,
        values: impl IntoIterator<Item = T>,
        write: impl FnMut(Self, T) -> Self,
    ) -> Self {
        values.into_iter().fold(self, write)
    }

    fn start_field(&mut self, tag: Tag, length: usize) {
        self.0.push(tag as u8);
        self.0.extend_from_slice(&write_length(length));
    }

    /// The whole message, with its length in the header.
    pub(super) fn finish(self) -> Vec<u8> {
        self.finish_before(0)
    }

    /// The message up to a last field `tag`, whose value of `length` bytes the caller sends itself.
    pub(super) fn finish_with(mut self, tag: Tag, length: usize) -> Vec<u8> {
        self.start_field(tag, length);
        self.finish_before(length)
    }

    fn finish_before(mut self, rest: usize) -> Vec<u8> {
        let length = write_length(self.0.len() - HEADER_LEN + rest);
        self.0[1..HEADER_LEN].copy_from_slice(&length);
        self.0
    }
}

/// The fields of a body that are known, in order.
pub(super) struct Fields<'b> {
    rest: &'b [u8],
    last: u8,
}

impl<'b> Fields<'b> {
    pub(super) fn of(body: &'b [u8]) -> Self {
        Self {
            rest: body,
            last: 0,
        }
    }

    fn read(&mut self) -> Result<Option<(Tag, &'b [u8])>, MessageError> {
        while let Some((header, rest)) = self.rest.split_first_chunk::<FIELD_HEADER_LEN>() {
            let [byte, length @ ..] = *header;
            let (value, rest) = rest
                .split_at_checked(read_length(length))
                .ok_or(MessageError::Cut)?;
            self.rest = rest;
            let tag = Tag::of(byte);
            let once = tag.is_some_and(|tag| !tag.repeats());
            if byte < self.last || byte == self.last && once {
                return Err(MessageError::Order(byte));
            }
            self.last = byte;
            match tag {
                Some(tag) => return Ok(Some((tag, value))),
                None if byte >= 128 => return Err(MessageError::UnknownField(byte)),
                None => {}
            }
        }
        if self.rest.is_empty() {
            Ok(None)
        } else {
            Err(MessageError::Cut)
        }
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(Tag, &'b [u8]), MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().transpose();
        if let Some(Err(_)) = read {
            self.rest = &[];
        }
        read
    }
}

/// A value of exactly `N` bytes.
pub(super) fn bytes<const N: usize>(tag: Tag, value: &[u8]) -> Result<[u8; N], MessageError> {
    value.try_into().map_err(|_| MessageError::Value(tag))
}

pub(super) fn number(tag: Tag, value: &[u8]) -> Result<u64, MessageError> {
    bytes(tag, value).map(u64::from_be_bytes)
}

/// On the wire in whole milliseconds.
pub(super) fn duration(tag: Tag, value: &[u8]) -> Result<Duration, MessageError> {
    number(tag, value).map(Duration::from_millis)
}

pub(super) fn text(tag: Tag, value: &[u8]) -> Result<&str, MessageError> {
    std::str::from_utf8(value).map_err(|_| MessageError::Value(tag))
}

/// Adds `value` unless there are `limit` already.
pub(super) fn push<T>(
    values: &mut Vec<T>,
    value: T,
    tag: Tag,
    limit: usize,
) -> Result<(), MessageError> {
    if values.len() == limit {
        return Err(MessageError::TooMany { tag, limit });
    }
    values.push(value);
    Ok(())
}

/// A reason that a server gives: 1 to 40 lower-case letters and dashes. Later servers may give others than this
/// version knows, and they can be shown to a person as they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReasonWord(String);

impl ReasonWord {
    const MAX_LEN: usize = 40;

    /// Refusals that a change on the server or other requests brought about: nobody has decided on this request, and the
    /// same request is decided anew.
    const ASKS_AGAIN: [Refusal; 4] = [
        Refusal::SecretChanged,
        Refusal::GuardChanged,
        Refusal::MachineIsSuspect,
        Refusal::TooManyWait,
    ];

    /// `None` when `text` is not of that form.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        (fits && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// The word as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when the machine should ask again by itself, after the `retry` of the refusal: the request was overtaken by a
    /// change, or found no place to wait.
    pub fn asks_again(&self) -> bool {
        let words = Self::ASKS_AGAIN.map(Refusal::as_str);
        words.contains(&self.as_str())
    }

    /// True when a person has denied it.
    pub fn is_denial(&self) -> bool {
        self.as_str() == Refusal::Denied.as_str()
    }

    /// The agent's word, on the local socket, for a denial that was of another request: this one asked nobody.
    pub fn denied_before() -> Self {
        Self("denied-before".to_owned())
    }

    pub(super) fn read(tag: Tag, value: &[u8]) -> Result<Self, MessageError> {
        Self::new(text(tag, value)?).ok_or(MessageError::Value(tag))
    }
}

impl fmt::Display for ReasonWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
