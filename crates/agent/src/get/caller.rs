//! The local socket at which programs of this machine ask, and one of them.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nightlatch_core::agent_files::GET_SOCKET;
use nightlatch_core::secret::Secret;
use nightlatch_proto::local::{LocalAnswer, MAX_LINE};
use nightlatch_sys::local_stream::{read_line, write_all};
use nightlatch_sys::peers::PeerCredentials;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Time for a caller to send its line.
const LINE: Duration = Duration::from_secs(5);

/// Time for a caller to take a line. The kernel keeps hundreds of them for one that does not read.
const ANSWER: Duration = Duration::from_secs(2);

/// Time for a caller to take its value.
const VALUE: Duration = Duration::from_secs(20);

/// The name of the socket until all users can reach it.
const NEW: &str = "socket.new";

/// The agent's end, which every user can reach.
#[derive(Debug)]
pub(crate) struct GetSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl GetSocket {
    /// Opens the socket in `folder`, in place of one that another run has left behind.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        if fs::metadata(folder)?.permissions().mode() & 0o777 != 0o755 {
            fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        }
        let path = folder.join(GET_SOCKET);
        let new = folder.join(NEW);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        // Who may ask is decided by the kernel's word for who it is.
        fs::set_permissions(&new, Permissions::from_mode(0o666))?;
        // Now, so that no caller finds a socket that it cannot use.
        fs::rename(&new, &path)?;
        Ok(Self { listener, path })
    }

    /// Waits for the next caller.
    pub(super) fn accept(&self) -> io::Result<(Caller, PeerCredentials)> {
        let (stream, _) = self.listener.accept()?;
        let peer = PeerCredentials::of(&stream)?;
        Ok((Caller(stream), peer))
    }
}

impl Drop for GetSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A program that asks for a named secret.
#[derive(Debug)]
pub(super) struct Caller(UnixStream);

impl Caller {
    /// Its connection, for one who shuts it down.
    pub(super) fn handle(&self) -> io::Result<UnixStream> {
        self.0.try_clone()
    }

    /// The line that it sends, within [`LINE`].
    pub(super) fn line(&mut self) -> io::Result<String> {
        read_line(&mut self.0, MAX_LINE, LINE)
    }

    /// Sends a line. An error means that the caller is gone, or does not read.
    pub(super) fn tell(&mut self, answer: &LocalAnswer) -> io::Result<()> {
        write_all(&mut self.0, answer.line().as_bytes(), ANSWER)
    }

    /// True when the caller has closed its end.
    pub(super) fn is_gone(&self) -> bool {
        let mut end = [PollFd::new(&self.0, PollFlags::empty())];
        let polled = poll(&mut end, Some(&Timespec::default()));
        polled.is_ok() && end.iter().any(|it| it.revents().contains(PollFlags::HUP))
    }

    /// Sends the value.
    pub(super) fn give(&mut self, value: &Secret) -> io::Result<()> {
        self.tell(&LocalAnswer::Value(value.len()))?;
        write_all(&mut self.0, value.expose(), VALUE)
    }

    /// Sends a line to a caller that is not served, without waiting for it.
    pub(super) fn turn_away(self, answer: &LocalAnswer) {
        // It fits into the empty buffer of the kernel.
        if self.0.set_nonblocking(true).is_ok() {
            let _ = io::Write::write_all(&mut &self.0, answer.line().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_caller_is_gone_when_it_has_closed_and_not_when_it_has_said_all() {
        let (caller, theirs) = UnixStream::pair().unwrap();
        let caller = Caller(caller);
        theirs.shutdown(Shutdown::Write).unwrap();
        assert!(!caller.is_gone());
        drop(theirs);
        assert!(caller.is_gone());
    }

    #[test]
    fn a_socket_replaces_that_of_another_run_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = GetSocket::open(folder.path()).unwrap();
        let path = folder.path().join(GET_SOCKET);
        let number = || fs::metadata(&path).unwrap().ino();
        let before = number();
        // As a run that was killed leaves it.
        std::mem::forget(first);
        let _left = UnixListener::bind(folder.path().join(NEW)).unwrap();
        let _second = GetSocket::open(folder.path()).unwrap();
        assert_ne!(number(), before);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(UnixStream::connect(&path).is_ok());
    }
}
