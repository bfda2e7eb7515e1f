//! One feed for each FIFO: it holds a lock on a file beside it (fcntl(2)), by which a later process can end it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{
    Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, pidfd_open, pidfd_send_signal,
};

use crate::files::is_private;
use crate::wait;

/// Longer than the feed takes to end: its search has two seconds for what it started, which has as many.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lock is held until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(super) struct FeedLock {
    _held: File,
}

impl FeedLock {
    /// Takes the lock of `fifo`; none when another process has it.
    pub(super) fn take(fifo: &Path) -> io::Result<Option<Self>> {
        let file = open(fifo)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::ACCESS | Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(Some(Self { _held: file })),
        }
    }
}

/// Ends the process that has the lock of `fifo`, and waits until it has put everything back. False when there is none.
pub(super) fn end(fifo: &Path) -> io::Result<bool> {
    let file = open(fifo)?;
    let Some(pid) = holder(&file)? else {
        return Ok(false);
    };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(true),
        handle => handle?,
    };
    // It has the lock still, so the number has not come to mean another process.
    if holder(&file)? != Some(pid) {
        return Ok(true);
    }
    for signal in [Signal::TERM, Signal::KILL] {
        match pidfd_send_signal(&handle, signal) {
            Err(Errno::SRCH) => return Ok(true),
            result => result?,
        }
        if wait::for_end(handle.as_fd(), PATIENCE)? {
            return Ok(true);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The process that has the lock.
fn holder(file: &File) -> io::Result<Option<Pid>> {
    let lock = fcntl_getlk(file, &Flock::from(FlockType::WriteLock))?;
    Ok(lock.and_then(|lock| lock.pid))
}

fn open(fifo: &Path) -> io::Result<File> {
    let mut path = PathBuf::from(fifo).into_os_string();
    path.push(".nightlatch");
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).custom_flags(flags).open(&path)?;
    let about = file.metadata()?;
    match about.is_file() && is_private(&about) {
        true => Ok(file),
        // A lock on another user's file must not make this program end its holder.
        false => Err(io::Error::other(format!(
            "expected {path:?} to be a file of root's or this user's, and of nobody else's use"
        ))),
    }
}
