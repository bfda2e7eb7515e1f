//! File descriptors that this program inherited: `--socket`, and sockets of systemd (sd_listen_fds(3)).
//!
//! They are named by a number only, so each is checked before it is used.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};

/// Copies never take the place of standard input, output or error.
const FIRST_FREE: RawFd = 3;

/// A descriptor of our own for what `number` refers to.
///
/// The original stays open, for it may be a standard stream, but is closed in programs that are
/// started from now on: a checker must not inherit a listening socket. Fails with `EBADF` when the
/// number refers to nothing.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the number is not -1. The borrow ends with this function and is only given to
    // fcntl(2), which takes any number and fails with EBADF for one that is not open.
    let original = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl_getfd(original)?;
    let copy = fcntl_dupfd_cloexec(original, FIRST_FREE)?;
    fcntl_setfd(original, flags | FdFlags::CLOEXEC)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_copy_refers_to_the_same_socket_and_neither_is_inherited() {
        let original = TcpListener::bind("127.0.0.1:0").unwrap();
        fcntl_setfd(&original, FdFlags::empty()).unwrap();
        let copy = duplicate(original.as_raw_fd()).unwrap();
        assert!(copy.as_raw_fd() >= FIRST_FREE);
        assert_ne!(copy.as_raw_fd(), original.as_raw_fd());
        for flags in [fcntl_getfd(&copy), fcntl_getfd(&original)] {
            assert!(flags.unwrap().contains(FdFlags::CLOEXEC));
        }
        let copy = TcpListener::from(copy);
        assert_eq!(copy.local_addr().unwrap(), original.local_addr().unwrap());
    }

    #[test]
    fn a_number_that_refers_to_nothing_is_refused() {
        for number in [-1, RawFd::MIN, RawFd::MAX] {
            let error = duplicate(number).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        }
    }
}
