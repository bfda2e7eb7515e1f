//! The form of a guard in the store: bytes that begin with their version.
//!
//! What cannot be read is an error, and the state is corrupt then: a guard that is lost must not be one that was never
//! armed.

use std::time::Duration;

use super::releases::OpenRelease;
use super::{BootRequest, Guard, MAX_REMEMBERED, NEVER, Phase, Suspicion};
use crate::boot_nonce::BootNonce;
use crate::deadline::{self, SavedDeadline};
use crate::time::{BootId, Monotonic, Now, Wall};

/// The version that is written and read.
const VERSION: u8 = 1;

/// Bytes that are no guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SavedGuardError {
    /// Written by a later version of the server.
    #[error("unknown version {0} of a guard, expected {VERSION}")]
    Version(u8),
    /// The end comes too early.
    #[error("a guard that is cut off")]
    Cut,
    /// More bytes than a guard has.
    #[error("a guard with {0} bytes too many")]
    Rest(usize),
    /// A number that its field cannot have.
    #[error("a guard whose field {field} is {value}")]
    Value {
        /// The name of the field.
        field: &'static str,
        /// The value that was found.
        value: u8,
    },
}

/// A guard as it is stored. It can be read: a guard that cannot is none of these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedGuard(Box<[u8]>);

impl SavedGuard {
    /// The stored guard with these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SavedGuardError> {
        let any = Now {
            mono: NEVER,
            wall: Wall::from_unix_micros(0),
        };
        Guard::from_bytes(&bytes, BootId::from_bytes([0; 16]), any)?;
        Ok(Self(bytes.into()))
    }

    /// The boot of the server's host in which it was stored.
    pub(crate) fn written_in(&self) -> BootId {
        let bytes = self.0.get(1..17).and_then(|bytes| bytes.try_into().ok());
        BootId::from_bytes(bytes.unwrap_or_default())
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Guard {
    /// This guard for the store; `None` where nothing is to be remembered.
    pub(crate) fn to_saved(&self, boot: BootId, now: Now) -> Option<SavedGuard> {
        let is_new = !self.must_be_stored(&Self::default());
        (!is_new).then(|| SavedGuard(self.to_bytes(boot, now).into()))
    }

    /// The guard that was stored.
    pub(crate) fn of_saved(saved: Option<&SavedGuard>, boot: BootId, now: Now) -> Self {
        let Some(saved) = saved else {
            return Self::default();
        };
        // The bytes were read before. If that ever failed, a person would have to look.
        Self::from_bytes(&saved.0, boot, now).unwrap_or_else(|_| Self {
            phase: Phase::Quiet,
            suspect: Some(Suspicion::ServedImpostor),
            ..Self::default()
        })
    }

    /// The guard as it is stored at `now` in the boot `boot` of the server's host.
    pub fn to_bytes(&self, boot: BootId, now: Now) -> Vec<u8> {
        let mut writer = Writer {
            bytes: vec![VERSION],
            boot,
            now,
        };
        writer.bytes.extend(boot.as_bytes());
        writer.phase(self.phase);
        writer.nonce(self.boot);
        writer.bytes.extend(self.resumes.to_be_bytes());
        writer.bytes.push(match self.suspect {
            None => 0,
            Some(Suspicion::Doubled) => 1,
            Some(Suspicion::Impostor) => 2,
            Some(Suspicion::ServedImpostor) => 3,
        });
        writer.bytes.push(self.doubled_told.into());
        writer.bytes.push(self.sent_nonce.into());
        writer.list(&self.over, |writer, boot| writer.nonce(Some(*boot)));
        writer.list(&self.left, |writer, left| {
            writer.nonce(left.boot);
            writer.past(left.accepted);
        });
        writer.list(&self.releases, |writer, release| {
            writer.nonce(release.boot);
            writer.past(release.accepted);
            writer.deadline(release.grace_ends);
            writer.bytes.extend([release.retries, release.undelivered]);
            writer.bytes.push(release.told.into());
            writer.bytes.push(release.old_key.into());
        });
        writer.bytes
    }

    /// The stored guard at a start of the server, in the boot `boot` of its host.
    ///
    /// The agent's silence counts anew from `now`. What was accepted in another boot is older than every connection of
    /// this one.
    pub fn from_bytes(bytes: &[u8], boot: BootId, now: Now) -> Result<Self, SavedGuardError> {
        let (version, rest) = bytes.split_first().ok_or(SavedGuardError::Cut)?;
        if *version != VERSION {
            return Err(SavedGuardError::Version(*version));
        }
        let (written_in, rest) = rest.split_first_chunk().ok_or(SavedGuardError::Cut)?;
        let mut reader = Reader {
            rest,
            written_in: BootId::from_bytes(*written_in),
            boot,
            now,
        };
        let guard = Self {
            phase: reader.phase()?,
            boot: reader.nonce()?,
            resumes: u64::from_be_bytes(reader.array()?),
            first: NEVER,
            newest: NEVER,
            suspect: match reader.byte()? {
                0 => None,
                1 => Some(Suspicion::Doubled),
                2 => Some(Suspicion::Impostor),
                3 => Some(Suspicion::ServedImpostor),
                value => return Err(wrong("suspect", value)),
            },
            doubled_told: reader.flag("doubled_told")?,
            sent_nonce: reader.flag("sent_nonce")?,
            over: reader.list("over", |reader| {
                reader.nonce()?.ok_or_else(|| wrong("over", 0))
            })?,
            left: reader.list("left", |reader| {
                Ok(BootRequest {
                    boot: reader.nonce()?,
                    accepted: reader.past()?,
                })
            })?,
            releases: reader.list("releases", Reader::release)?,
        };
        match reader.rest.len() {
            0 => Ok(guard),
            rest => Err(SavedGuardError::Rest(rest)),
        }
    }
}

const fn wrong(field: &'static str, value: u8) -> SavedGuardError {
    SavedGuardError::Value { field, value }
}

struct Writer {
    bytes: Vec<u8>,
    boot: BootId,
    now: Now,
}

impl Writer {
    fn phase(&mut self, phase: Phase) {
        match phase {
            Phase::Unarmed => self.bytes.push(0),
            Phase::Up { next, .. } => {
                self.bytes.push(1);
                self.duration(next);
            }
            Phase::Quiet => self.bytes.push(2),
            Phase::Leaving { since, until } => {
                self.bytes.push(3);
                self.past(since);
                self.deadline(until);
            }
            Phase::Opened => self.bytes.push(4),
        }
    }

    fn nonce(&mut self, nonce: Option<BootNonce>) {
        match nonce {
            Some(nonce) => {
                self.bytes.push(1);
                self.bytes.extend(nonce.as_bytes());
            }
            None => self.bytes.push(0),
        }
    }

    /// Writes whole microseconds.
    fn duration(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.bytes.extend(micros.to_be_bytes());
    }

    /// A moment that has passed.
    fn past(&mut self, moment: Monotonic) {
        self.duration(moment.since_boot());
    }

    /// A moment that may come in another boot of the server's host.
    fn deadline(&mut self, moment: Monotonic) {
        let saved = deadline::to_saved(moment, self.boot, self.now);
        self.duration(saved.mono.since_boot());
        self.bytes.extend(saved.wall.unix_micros().to_be_bytes());
        self.duration(saved.remaining);
    }

    /// At most [`MAX_REMEMBERED`] values.
    fn list<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        debug_assert!(values.len() <= MAX_REMEMBERED);
        self.bytes.push(values.len() as u8);
        for value in values {
            write(self, value);
        }
    }
}

struct Reader<'b> {
    rest: &'b [u8],
    /// The boot of the server's host in which the guard was stored.
    written_in: BootId,
    boot: BootId,
    now: Now,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], SavedGuardError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(SavedGuardError::Cut)?;
        self.rest = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8, SavedGuardError> {
        self.array().map(|[byte]| byte)
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, SavedGuardError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(wrong(field, value)),
        }
    }

    fn phase(&mut self) -> Result<Phase, SavedGuardError> {
        Ok(match self.byte()? {
            0 => Phase::Unarmed,
            1 => Phase::Up {
                last: self.now.mono,
                next: self.duration()?,
            },
            2 => Phase::Quiet,
            3 => Phase::Leaving {
                since: self.past()?,
                until: self.deadline()?,
            },
            4 => Phase::Opened,
            value => return Err(wrong("phase", value)),
        })
    }

    fn nonce(&mut self) -> Result<Option<BootNonce>, SavedGuardError> {
        match self.flag("nonce")? {
            true => self.array().map(BootNonce::from_bytes).map(Some),
            false => Ok(None),
        }
    }

    fn duration(&mut self) -> Result<Duration, SavedGuardError> {
        self.array()
            .map(|bytes| Duration::from_micros(u64::from_be_bytes(bytes)))
    }

    fn past(&mut self) -> Result<Monotonic, SavedGuardError> {
        let moment = Monotonic::from_boot(self.duration()?);
        Ok(if self.written_in == self.boot {
            moment
        } else {
            NEVER
        })
    }

    fn deadline(&mut self) -> Result<Monotonic, SavedGuardError> {
        let saved = SavedDeadline {
            boot: self.written_in,
            mono: Monotonic::from_boot(self.duration()?),
            wall: Wall::from_unix_micros(i64::from_be_bytes(self.array()?)),
            remaining: self.duration()?,
        };
        let (moment, _) = deadline::restore(&saved, self.boot, self.now);
        Ok(moment)
    }

    fn list<T>(
        &mut self,
        field: &'static str,
        read: impl Fn(&mut Self) -> Result<T, SavedGuardError>,
    ) -> Result<Vec<T>, SavedGuardError> {
        let count = self.byte()?;
        if usize::from(count) > MAX_REMEMBERED {
            return Err(wrong(field, count));
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn release(&mut self) -> Result<OpenRelease, SavedGuardError> {
        Ok(OpenRelease {
            boot: self.nonce()?,
            accepted: self.past()?,
            grace_ends: self.deadline()?,
            retries: self.byte()?,
            undelivered: self.byte()?,
            told: self.flag("told")?,
            old_key: self.flag("old_key")?,
        })
    }
}
