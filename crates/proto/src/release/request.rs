//! Messages of the machine.

use std::num::NonZeroU16;

use nightlatch_core::boot_nonce::{BootMark, BootNonce};
use nightlatch_core::guard::GoodbyeKind;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::secret_rejection::{MAX_REJECTIONS, Rejection};

use super::MAX_EARLIER_BOOTS;
use super::frame::{Fields, Header, MessageError, Tag, Writer, bytes, kind, number, push, text};
use super::poke::Token;

/// The one request of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Asks for a secret.
    Get(SecretQuery),
    /// Asks what a boot would get now; changes nothing.
    Rehearse(SecretQuery),
    /// Says that the machine is up.
    Heartbeat(Heartbeat),
    /// Says that the machine goes down.
    Goodbye(Goodbye),
}

/// A secret that a machine asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretQuery {
    /// The name of the secret.
    pub name: SecretName,
    /// The boot in which it asks.
    pub boot: BootNonce,
}

/// A sign of life of the booted machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// The boot that is up.
    pub boot: BootNonce,
    /// Number of resumes from hibernation in this boot. Each one needed the password of the disk.
    pub resumes: u64,
    /// The UDP port at which the agent can be poked.
    pub poke_port: Option<NonZeroU16>,
    /// Boots that were noted on the encrypted root before the network was up, at most [`MAX_EARLIER_BOOTS`].
    pub earlier_boots: Vec<BootMark>,
    /// The token of the poke that it answers.
    pub poked: Option<Token>,
    /// The version of the agent: at most [`Heartbeat::MAX_PROGRAM`] printable ASCII characters.
    pub program: String,
    /// Named secrets that the machine has refused and this server has not heard of, at most [`MAX_REJECTIONS`].
    pub rejected: Vec<Rejection>,
}

impl Heartbeat {
    /// The greatest length of `program`.
    pub const MAX_PROGRAM: usize = 64;
}

/// The announcement of a reboot or shutdown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Goodbye {
    /// The boot that ends.
    pub boot: BootNonce,
    /// Number of resumes from hibernation in this boot, as in a heartbeat.
    pub resumes: u64,
    /// The way in which it ends.
    pub kind: GoodbyeKind,
}

impl Request {
    /// The whole message.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Get(query) => query.write(kind::GET),
            Self::Rehearse(query) => query.write(kind::REHEARSE),
            Self::Heartbeat(heartbeat) => heartbeat.write(),
            Self::Goodbye(Goodbye {
                boot,
                resumes,
                kind,
            }) => Writer::new(kind::GOODBYE)
                .field(Tag::Boot, boot.as_bytes())
                .number(Tag::Resumes, *resumes)
                .field(Tag::Kind, kind.as_str().as_bytes())
                .finish(),
        }
    }

    /// Reads the body that came after `header`.
    pub fn parse(header: Header, body: &[u8]) -> Result<Self, MessageError> {
        match header.kind {
            kind::GET => SecretQuery::parse(body).map(Self::Get),
            kind::REHEARSE => SecretQuery::parse(body).map(Self::Rehearse),
            kind::HEARTBEAT => Heartbeat::parse(body).map(Self::Heartbeat),
            kind::GOODBYE => Goodbye::parse(body).map(Self::Goodbye),
            other => Err(MessageError::UnknownType(other)),
        }
    }
}

impl SecretQuery {
    fn write(&self, kind: u8) -> Vec<u8> {
        Writer::new(kind)
            .field(Tag::Name, self.name.as_str().as_bytes())
            .field(Tag::Boot, self.boot.as_bytes())
            .finish()
    }

    fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let (mut name, mut boot) = (None, None);
        for field in Fields::of(body) {
            match field? {
                (tag @ Tag::Name, value) => name = Some(SecretName::new(text(tag, value)?)?),
                (tag @ Tag::Boot, value) => boot = Some(nonce(tag, value)?),
                _ => {}
            }
        }
        Ok(Self {
            name: name.ok_or(MessageError::Missing(Tag::Name))?,
            boot: boot.ok_or(MessageError::Missing(Tag::Boot))?,
        })
    }
}

impl Heartbeat {
    fn write(&self) -> Vec<u8> {
        Writer::new(kind::HEARTBEAT)
            .field(Tag::Boot, self.boot.as_bytes())
            .number(Tag::Resumes, self.resumes)
            .maybe(self.poke_port, |writer, port| {
                writer.field(Tag::PokePort, &port.get().to_be_bytes())
            })
            .each(&self.earlier_boots, |writer, boot| {
                writer.field(Tag::EarlierBoot, boot.as_bytes())
            })
            .field(Tag::Program, self.program.as_bytes())
            .maybe(self.poked, |writer, token| {
                writer.field(Tag::Token, token.as_bytes())
            })
            .each(&self.rejected, |writer, rejected| {
                writer.field(Tag::Rejected, rejected.to_string().as_bytes())
            })
            .finish()
    }

    fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let (mut boot, mut resumes, mut poke_port, mut program) = (None, None, None, None);
        let mut earlier_boots = Vec::new();
        let (mut poked, mut rejected) = (None, Vec::new());
        for field in Fields::of(body) {
            match field? {
                (tag @ Tag::Boot, value) => boot = Some(nonce(tag, value)?),
                (tag @ Tag::Resumes, value) => resumes = Some(number(tag, value)?),
                (tag @ Tag::PokePort, value) => {
                    let port = NonZeroU16::new(u16::from_be_bytes(bytes(tag, value)?));
                    poke_port = Some(port.ok_or(MessageError::Value(tag))?);
                }
                (tag @ Tag::EarlierBoot, value) => {
                    push(
                        &mut earlier_boots,
                        BootMark::from_bytes(bytes(tag, value)?),
                        tag,
                        MAX_EARLIER_BOOTS,
                    )?;
                }
                (tag @ Tag::Program, value) => program = Some(printable(tag, value)?),
                (tag @ Tag::Token, value) => poked = Some(Token::from_bytes(bytes(tag, value)?)),
                (tag @ Tag::Rejected, value) => {
                    let read = text(tag, value)?.parse();
                    let read = read.map_err(|_| MessageError::Value(tag))?;
                    push(&mut rejected, read, tag, MAX_REJECTIONS)?;
                }
                _ => {}
            }
        }
        Ok(Self {
            boot: boot.ok_or(MessageError::Missing(Tag::Boot))?,
            resumes: resumes.ok_or(MessageError::Missing(Tag::Resumes))?,
            poke_port,
            earlier_boots,
            poked,
            program: program.ok_or(MessageError::Missing(Tag::Program))?,
            rejected,
        })
    }
}

impl Goodbye {
    fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let (mut boot, mut resumes, mut kind) = (None, None, None);
        for field in Fields::of(body) {
            match field? {
                (tag @ Tag::Boot, value) => boot = Some(nonce(tag, value)?),
                (tag @ Tag::Resumes, value) => resumes = Some(number(tag, value)?),
                (tag @ Tag::Kind, value) => {
                    let word = text(tag, value)?;
                    let known = GoodbyeKind::ALL.into_iter().find(|it| it.as_str() == word);
                    kind = Some(known.ok_or(MessageError::Value(tag))?);
                }
                _ => {}
            }
        }
        Ok(Self {
            boot: boot.ok_or(MessageError::Missing(Tag::Boot))?,
            resumes: resumes.ok_or(MessageError::Missing(Tag::Resumes))?,
            kind: kind.ok_or(MessageError::Missing(Tag::Kind))?,
        })
    }
}

fn nonce(tag: Tag, value: &[u8]) -> Result<BootNonce, MessageError> {
    bytes(tag, value).map(BootNonce::from_bytes)
}

/// A text that can be shown to a person as it is.
fn printable(tag: Tag, value: &[u8]) -> Result<String, MessageError> {
    let text = text(tag, value)?;
    let shown = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !shown || text.len() > Heartbeat::MAX_PROGRAM {
        return Err(MessageError::Value(tag));
    }
    Ok(text.to_owned())
}
