//! Messages of the server.

use std::time::Duration;

use nightlatch_core::secret_name::SecretName;

use super::MAX_PAYLOAD;
use super::frame::{
    Fields, Header, MessageError, ReasonWord, Tag, Writer, bytes, duration, kind, number, text,
};
use super::poke::Token;

/// A message of the server after a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply<'b> {
    /// A heartbeat or a goodbye was accepted, and what it changed is durable.
    Accepted(Accepted),
    /// A request waits. Sent at once, every 30 s, and when the reason changes.
    Waiting(Waiting),
    /// The limits of the machine's absence; before the secret of a rehearsal.
    Terms(Terms),
    /// A secret, encrypted to the machine's key.
    Secret(SecretHead, &'b [u8]),
    /// There is no secret, for a reason that only a host key is told.
    Refused(Refused),
}

/// The answer to a sign of life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Time to the next heartbeat.
    pub next: Duration,
    /// The token in the pokes of this server.
    pub token: Token,
    /// After a goodbye: how long the reboot may take.
    pub window: Option<Duration>,
}

/// A request waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The reason; a boot key is told only [`WaitReason::Approval`].
    pub reason: Option<WaitReason>,
    /// Time until it is decided without a person.
    pub left: Option<Duration>,
    /// Its number, which an administrator sees too.
    pub reference: u64,
}

/// The reason for which a request waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WaitReason {
    /// A person has to decide.
    Approval,
    /// Another, of a later server.
    Other(ReasonWord),
}

impl WaitReason {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Approval => "approval",
            Self::Other(word) => word.as_str(),
        }
    }

    fn of(word: ReasonWord) -> Self {
        if word.as_str() == Self::Approval.as_str() {
            Self::Approval
        } else {
            Self::Other(word)
        }
    }
}

/// The durations that limit how long the machine may be away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Time left until it is disabled, if no further proof of life comes.
    pub left: Duration,
    /// Time from a proof of life to the deadline.
    pub timeout: Duration,
    /// The time between two checks.
    pub interval: Duration,
    /// The rehearsal raised an alarm, because none was allowed.
    pub alarm: bool,
}

impl Terms {
    /// The longest absence that is safe at any time. Just before a check, the remaining time is shorter by one
    /// interval.
    pub fn safe_absence(&self) -> Duration {
        self.timeout.saturating_sub(self.interval)
    }
}

/// The name and number of a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretHead {
    /// The name under which it was asked for.
    pub name: SecretName,
    /// Rises with every new value. 0 for the boot secret, which has no number.
    pub serial: u64,
}

impl SecretHead {
    /// The message up to the payload, of which `length` bytes must follow. `None` when that is more than [`MAX_PAYLOAD`].
    pub fn to_bytes(&self, length: usize) -> Option<Vec<u8>> {
        let writer = (length <= MAX_PAYLOAD).then(|| Writer::new(kind::SECRET))?;
        let head = writer
            .field(Tag::Name, self.name.as_str().as_bytes())
            .number(Tag::Serial, self.serial)
            .finish_with(Tag::Payload, length);
        Some(head)
    }
}

/// The refusal of one secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The secret that is refused.
    pub name: SecretName,
    /// The reason; told to a rehearsal and never to a boot.
    pub reason: Option<ReasonWord>,
    /// Time after which another request makes sense.
    pub retry: Option<Duration>,
}

impl Reply<'_> {
    /// Names the type, for an error.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "an acceptance",
            Self::Waiting(_) => "a notice to wait",
            Self::Terms(_) => "the terms of a rehearsal",
            Self::Secret(..) => "a secret",
            Self::Refused(_) => "a refusal",
        }
    }

    /// The whole message; the payload of a secret is copied.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Accepted(Accepted {
                next,
                token,
                window,
            }) => Writer::new(kind::ACCEPTED)
                .duration(Tag::Next, *next)
                .field(Tag::Token, token.as_bytes())
                .maybe(*window, |writer, window| {
                    writer.duration(Tag::Window, window)
                })
                .finish(),
            Self::Waiting(Waiting {
                reason,
                left,
                reference,
            }) => Writer::new(kind::WAITING)
                .maybe(reason.as_ref(), |writer, reason| {
                    writer.field(Tag::Reason, reason.as_str().as_bytes())
                })
                .maybe(*left, |writer, left| writer.duration(Tag::Left, left))
                .number(Tag::Reference, *reference)
                .finish(),
            Self::Terms(terms) => Writer::new(kind::TERMS)
                .duration(Tag::Left, terms.left)
                .duration(Tag::Timeout, terms.timeout)
                .duration(Tag::Interval, terms.interval)
                .maybe(terms.alarm.then_some(()), |writer, ()| {
                    writer.field(Tag::Alarm, &[])
                })
                .finish(),
            Self::Secret(head, payload) => {
                // What was read fits.
                let mut message = head.to_bytes(payload.len()).unwrap_or_default();
                message.extend_from_slice(payload);
                message
            }
            Self::Refused(Refused {
                name,
                reason,
                retry,
            }) => Writer::new(kind::REFUSED)
                .field(Tag::Name, name.as_str().as_bytes())
                .maybe(reason.as_ref(), |writer, reason| {
                    writer.field(Tag::Reason, reason.as_str().as_bytes())
                })
                .maybe(*retry, |writer, retry| writer.duration(Tag::Retry, retry))
                .finish(),
        }
    }
}

impl<'b> Reply<'b> {
    /// Reads the body that came after `header`.
    pub fn parse(header: Header, body: &'b [u8]) -> Result<Self, MessageError> {
        let mut found = Found::default();
        for field in Fields::of(body) {
            let (tag, value) = field?;
            found.read(tag, value)?;
        }
        match header.kind {
            kind::ACCEPTED => Ok(Self::Accepted(Accepted {
                next: needed(found.next, Tag::Next)?,
                token: needed(found.token, Tag::Token)?,
                window: found.window,
            })),
            kind::WAITING => Ok(Self::Waiting(Waiting {
                reason: found.reason.map(WaitReason::of),
                left: found.left,
                reference: needed(found.reference, Tag::Reference)?,
            })),
            kind::TERMS => Ok(Self::Terms(Terms {
                left: needed(found.left, Tag::Left)?,
                timeout: needed(found.timeout, Tag::Timeout)?,
                interval: needed(found.interval, Tag::Interval)?,
                alarm: found.alarm,
            })),
            kind::SECRET => Ok(Self::Secret(
                SecretHead {
                    name: needed(found.name, Tag::Name)?,
                    serial: needed(found.serial, Tag::Serial)?,
                },
                needed(found.payload, Tag::Payload)?,
            )),
            kind::REFUSED => Ok(Self::Refused(Refused {
                name: needed(found.name, Tag::Name)?,
                reason: found.reason,
                retry: found.retry,
            })),
            other => Err(MessageError::UnknownType(other)),
        }
    }
}

/// The fields of a reply, as far as they were there. Those that its type does not use are ignored.
#[derive(Default)]
struct Found<'b> {
    name: Option<SecretName>,
    next: Option<Duration>,
    token: Option<Token>,
    window: Option<Duration>,
    reason: Option<ReasonWord>,
    left: Option<Duration>,
    reference: Option<u64>,
    serial: Option<u64>,
    retry: Option<Duration>,
    timeout: Option<Duration>,
    interval: Option<Duration>,
    alarm: bool,
    payload: Option<&'b [u8]>,
}

impl<'b> Found<'b> {
    fn read(&mut self, tag: Tag, value: &'b [u8]) -> Result<(), MessageError> {
        match tag {
            Tag::Name => self.name = Some(SecretName::new(text(tag, value)?)?),
            Tag::Next => self.next = Some(duration(tag, value)?),
            Tag::Token => self.token = Some(Token::from_bytes(bytes(tag, value)?)),
            Tag::Window => self.window = Some(duration(tag, value)?),
            Tag::Reason => self.reason = Some(ReasonWord::read(tag, value)?),
            Tag::Left => self.left = Some(duration(tag, value)?),
            Tag::Reference => self.reference = Some(number(tag, value)?),
            Tag::Serial => self.serial = Some(number(tag, value)?),
            Tag::Retry => self.retry = Some(duration(tag, value)?),
            Tag::Timeout => self.timeout = Some(duration(tag, value)?),
            Tag::Interval => self.interval = Some(duration(tag, value)?),
            Tag::Alarm => {
                bytes::<0>(tag, value)?;
                self.alarm = true;
            }
            Tag::Payload => self.payload = Some(value),
            Tag::Boot
            | Tag::Resumes
            | Tag::PokePort
            | Tag::EarlierBoot
            | Tag::Program
            | Tag::Kind
            | Tag::Rejected => {}
        }
        Ok(())
    }
}

fn needed<T>(value: Option<T>, tag: Tag) -> Result<T, MessageError> {
    value.ok_or(MessageError::Missing(tag))
}
