//! The socket by which the commands of this program reach the daemon: one line, and one line as the answer.
//!
//! It lies in a folder that only root and the daemon's user can enter.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nightlatch_core::guard::GoodbyeKind;
use nightlatch_sys::local_stream::read_line;

use crate::goodbye::Told;

/// The longest line.
const MAX_LINE: usize = 64;

/// Time for a caller to send its line. The daemon waits for it.
const LINE: Duration = Duration::from_secs(1);

/// Time for a caller to wait for the answer: that of all goodbyes, and some for a daemon with other things to do.
const ANSWER: Duration = Duration::from_secs(4);

const NAME: &str = "control";

/// The daemon's end.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// One caller that waits for its answer.
#[derive(Debug)]
pub(crate) struct Caller(UnixStream);

impl ControlSocket {
    /// Opens the socket in `folder`, in place of one that another run has left behind.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        // One run of systemd makes this folder and that of the other socket, with the mode of the other.
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        let path = folder.join(NAME);
        if UnixStream::connect(&path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another agent runs here already",
            ));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// The next order for a goodbye.
    pub(crate) fn accept(&self) -> Option<(GoodbyeKind, Caller)> {
        let (mut stream, _) = self.listener.accept().ok()?;
        let line = stream
            .set_nonblocking(false)
            .and_then(|()| read_line(&mut stream, MAX_LINE, LINE))
            .ok()?;
        let kind = line.strip_prefix("goodbye ")?;
        let kind = GoodbyeKind::ALL
            .into_iter()
            .find(|it| it.as_str() == kind)?;
        Some((kind, Caller(stream)))
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Caller {
    /// A caller that is gone misses its answer.
    pub(crate) fn answer(mut self, told: Told) {
        let _ = self.0.set_write_timeout(Some(LINE));
        let _ = self
            .0
            .write_all(format!("told {} of {}\n", told.told, told.of).as_bytes());
    }
}

/// Makes the daemon with its socket in `folder` say goodbye, and waits until it has.
///
/// # Errors
/// `NotFound` and `ConnectionRefused` when there is no daemon.
pub(crate) fn order(folder: &Path, kind: GoodbyeKind) -> io::Result<Told> {
    let mut stream = UnixStream::connect(folder.join(NAME))?;
    stream.set_write_timeout(Some(LINE))?;
    stream.write_all(format!("goodbye {}\n", kind.as_str()).as_bytes())?;
    let line = read_line(&mut stream, MAX_LINE, ANSWER)?;
    parse_answer(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer"))
}

fn parse_answer(line: &str) -> Option<Told> {
    let (told, of) = line.strip_prefix("told ")?.split_once(" of ")?;
    Some(Told {
        told: told.parse().ok()?,
        of: of.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn an_order_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(
            order(folder, GoodbyeKind::Reboot).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        // What a run that was killed left behind is no obstacle.
        drop(UnixListener::bind(folder.join(NAME)).unwrap());
        let control = ControlSocket::open(folder).unwrap();
        let told = Told { told: 1, of: 2 };
        thread::scope(|scope| {
            let caller = scope.spawn(|| order(folder, GoodbyeKind::Hibernate));
            poll(&mut [PollFd::new(&control, PollFlags::IN)], None).unwrap();
            let (kind, caller_end) = control.accept().unwrap();
            assert_eq!(kind, GoodbyeKind::Hibernate);
            caller_end.answer(told);
            assert_eq!(caller.join().unwrap().unwrap(), told);
        });
        for line in ["goodbye\n", "goodbye now\n", "hello\n", ""] {
            let mut stream = UnixStream::connect(folder.join(NAME)).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            drop(stream);
            assert!(control.accept().is_none(), "{line:?}");
        }
        drop(control);
        assert!(!folder.join(NAME).exists());
    }
}
