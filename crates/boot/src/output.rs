//! The password on its way out: to standard output, byte for byte, without a buffer that would keep
//! a copy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nightlatch_core::secret::Secret;
use nightlatch_sys::signals::{EndSignals, Signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The most that a pipe takes at once without waiting (pipe(7), `PIPE_BUF`).
const PIPE_BUF: usize = 4096;

/// Writes `password` to standard output. A reader that does not read cannot keep a signal from
/// ending the program: one that comes meanwhile is returned.
pub(crate) fn write_out(password: &Secret, signals: &EndSignals) -> io::Result<Option<Signal>> {
    write_to(io::stdout().as_fd(), password, signals)
}

/// The same to `out`.
pub(crate) fn write_to(
    out: BorrowedFd<'_>,
    password: &Secret,
    signals: &EndSignals,
) -> io::Result<Option<Signal>> {
    let mut rest = password.expose();
    while !rest.is_empty() {
        let mut waited = [
            PollFd::new(&out, PollFlags::OUT),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match poll(&mut waited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if let Some(signal) = signals.next()? {
            return Ok(Some(signal));
        }
        if waited[0].revents().is_empty() {
            continue;
        }
        match rustix::io::write(out, &rest[..rest.len().min(PIPE_BUF)]) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(None)
}
