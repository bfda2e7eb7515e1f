//! Waiting for one of several things.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nightlatch_sys::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until one of `descriptors` can be read or has come to its end, or `limit` is over, or for no
/// reason at all: the caller looks at each.
pub(crate) fn for_any<'a>(
    descriptors: impl IntoIterator<Item = BorrowedFd<'a>>,
    limit: Option<Duration>,
) -> io::Result<()> {
    let mut waited: Vec<PollFd<'_>> = descriptors
        .into_iter()
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    match poll(&mut waited, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits until the process of a pidfd (pidfd_open(2)) has ended, for at most `limit`. True when it has ended.
pub(crate) fn for_end(process: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let due = clock::now().mono.after(limit);
    loop {
        let left = due.since(clock::now().mono);
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::from_borrowed_fd(process, PollFlags::IN)],
            Some(&left),
        ) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
