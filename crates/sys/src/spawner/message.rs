//! The datagrams between a server and its spawner.

/// The longest line that the kernel takes as one argument (`MAX_ARG_STRLEN`, execve(2)), its final zero
/// included.
pub(super) const LONGEST_LINE: usize = 128 * 1024;

/// Kind, id, flags.
const HEAD: usize = 1 + 8 + 1;

/// Bytes of the longest datagram.
pub(super) const LONGEST: usize = HEAD + LONGEST_LINE;

const RUN: u8 = 1;
const TERMINATE: u8 = 2;
const KILL: u8 = 3;

const PINGS: u8 = 1;
const SHOWS_ERRORS: u8 = 2;

/// A request of the server. Each command has a number of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandRequest<'l> {
    /// Run `/bin/sh -c LINE`.
    Run {
        /// The number of the command.
        id: u64,
        /// It may open raw sockets, where the spawner may.
        pings: bool,
        /// Its standard error is the server's.
        shows_errors: bool,
        /// The command line.
        line: &'l [u8],
    },
    /// End it (`SIGTERM`).
    Terminate(u64),
    /// End it at once (`SIGKILL`).
    Kill(u64),
}

/// A command line that no program can be started with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a command line of less than 128 KiB without NUL characters")]
pub struct BadCommandLine;

impl<'l> CommandRequest<'l> {
    /// The datagram of the request.
    pub fn to_bytes(self) -> Result<Vec<u8>, BadCommandLine> {
        let (kind, id, flags, line) = match self {
            Self::Run {
                id,
                pings,
                shows_errors,
                line,
            } => {
                if line.len() >= LONGEST_LINE || line.contains(&0) {
                    return Err(BadCommandLine);
                }
                let flags = (u8::from(pings) * PINGS) | (u8::from(shows_errors) * SHOWS_ERRORS);
                (RUN, id, flags, line)
            }
            Self::Terminate(id) => (TERMINATE, id, 0, &[][..]),
            Self::Kill(id) => (KILL, id, 0, &[][..]),
        };
        let mut bytes = Vec::with_capacity(HEAD + line.len());
        bytes.push(kind);
        bytes.extend_from_slice(&id.to_ne_bytes());
        bytes.push(flags);
        bytes.extend_from_slice(line);
        Ok(bytes)
    }

    pub(super) fn read(bytes: &'l [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (flags, line) = rest.split_first()?;
        let id = u64::from_ne_bytes(*id);
        match *kind {
            RUN => Some(Self::Run {
                id,
                pings: flags & PINGS != 0,
                shows_errors: flags & SHOWS_ERRORS != 0,
                line,
            }),
            TERMINATE => Some(Self::Terminate(id)),
            KILL => Some(Self::Kill(id)),
            _ => None,
        }
    }
}

/// The end of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandEnd {
    /// The number of the command.
    pub id: u64,
    /// As of wait(2); `None` when it could not be started.
    pub status: Option<i32>,
}

impl CommandEnd {
    /// The longest datagram.
    pub const BYTES: usize = 8 + 1 + 4;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (id, status) = bytes.split_at_mut(8);
        id.copy_from_slice(&self.id.to_ne_bytes());
        if let (Some(code), [known, rest @ ..]) = (self.status, status) {
            *known = 1;
            rest.copy_from_slice(&code.to_ne_bytes());
        }
        bytes
    }

    /// Reads a datagram of the spawner's.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (known, code) = rest.split_first()?;
        let code = i32::from_ne_bytes(code.try_into().ok()?);
        Some(Self {
            id: u64::from_ne_bytes(*id),
            status: (*known != 0).then_some(code),
        })
    }
}
