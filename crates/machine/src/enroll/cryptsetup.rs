//! Runs cryptsetup(8): one command, secrets through pipes, its words of complaint kept.
//!
//! No secret ever stands in its arguments, its environment or a file.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nightlatch_console::failure::{EX_OSERR, EX_UNAVAILABLE, Failure};
use nightlatch_core::secret::Secret;
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

/// Its exit status for a wrong passphrase (cryptsetup(8), RETURN CODES).
const NO_PERMISSION: i32 = 2;

/// A command that was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CryptsetupError {
    /// It could not be started.
    #[error("cannot run cryptsetup")]
    Start(#[source] io::Error),
    /// A secret could not be handed over.
    #[error("cannot make a pipe")]
    Pipe(#[source] io::Error),
    #[error("cryptsetup says: {says}")]
    Failed {
        /// Its exit status; `None` when a signal ended it.
        status: Option<i32>,
        /// Its standard error in one line.
        says: String,
    },
}

impl CryptsetupError {
    /// True when the passphrase fits no key slot.
    pub(crate) fn is_wrong_passphrase(&self) -> bool {
        matches!(
            self,
            Self::Failed {
                status: Some(NO_PERMISSION),
                ..
            }
        )
    }

    /// True when there is no room for one more key: no slot, or no place for its material.
    pub(crate) fn is_lack_of_room(&self) -> bool {
        const WORDS: [&str; 3] = ["slots full", "No space for new keyslot", "No free keyslot"];
        match self {
            Self::Failed { says, .. } => WORDS.iter().any(|words| says.contains(words)),
            Self::Start(_) | Self::Pipe(_) => false,
        }
    }

    /// As the reason of a failure.
    pub(crate) fn failure(self, what: &str) -> Failure {
        match &self {
            Self::Start(error) if error.kind() == io::ErrorKind::NotFound => {
                Failure::new(EX_UNAVAILABLE, what)
                    .because(self)
                    .hint("install the package cryptsetup-bin, and see that PATH has /usr/sbin")
            }
            Self::Start(_) | Self::Pipe(_) => Failure::new(EX_OSERR, what).because(self),
            Self::Failed { .. } => Failure::new(EX_UNAVAILABLE, what).because(self),
        }
    }
}

/// Runs `cryptsetup --batch-mode ARGUMENTS [NEW KEY]`: `input` on its standard input, `new_key` as a
/// file to be read at the end of the arguments. What it printed.
pub(crate) fn run(
    arguments: &[&OsStr],
    input: Option<&Secret>,
    new_key: Option<&Secret>,
) -> Result<Vec<u8>, CryptsetupError> {
    let stdin = match input {
        Some(secret) => Stdio::from(filled(secret).map_err(CryptsetupError::Pipe)?),
        None => Stdio::null(),
    };
    let new_key = new_key
        .map(filled)
        .transpose()
        .map_err(CryptsetupError::Pipe)?;
    let mut command = Command::new("cryptsetup");
    // What it says is read here.
    command
        .env("LC_ALL", "C")
        .arg("--batch-mode")
        .args(arguments);
    if let Some(pipe) = &new_key {
        rustix::io::fcntl_setfd(pipe, FdFlags::empty())
            .map_err(|e| CryptsetupError::Pipe(e.into()))?;
        command.arg(format!("/proc/self/fd/{}", pipe.as_raw_fd()));
    }
    // In a group of its own: an interrupt typed at the terminal must not cut a write to the header
    // short. We hear of it, and undo what was done.
    let output = command
        .process_group(0)
        .stdin(stdin)
        .output()
        .map_err(CryptsetupError::Start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let says = String::from_utf8_lossy(&output.stderr);
    let says: Vec<&str> = says
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    Err(CryptsetupError::Failed {
        status: output.status.code(),
        says: if says.is_empty() {
            output.status.to_string()
        } else {
            says.join(" ")
        },
    })
}

/// A pipe with all of the secret in it, and its writing end closed: whoever reads it waits for
/// nobody. A secret that the pipe has no room for is an error, not a deadlock.
fn filled(secret: &Secret) -> io::Result<OwnedFd> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let mut rest = secret.expose();
    while !rest.is_empty() {
        let written = rustix::io::write(&writer, rest)?;
        rest = &rest[written..];
    }
    Ok(reader)
}
