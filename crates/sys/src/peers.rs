//! The process at the other end of a stream socket, and the user of a process, both from the kernel (unix(7)).
//!
//! Never decides whom to trust.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// unix(7), since Linux 6.5. libc has no name for it yet.
#[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
const SO_PEERPIDFD: libc::c_int = 77;
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
const SO_PEERPIDFD: libc::c_int = 0x56;

/// The process that connected, or that called listen(2).
#[derive(Debug)]
pub struct PeerProcess {
    /// Its effective user at that moment.
    pub user: u32,
    /// Its process id at that moment.
    pub pid: Pid,
}

impl PeerProcess {
    /// The peer of a connected stream socket.
    ///
    /// # Errors
    /// When the kernel cannot name it, for example a process outside of this one's PID namespace.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let mut peer = libc::ucred {
            pid: 0,
            uid: u32::MAX,
            gid: u32::MAX,
        };
        option(&socket, libc::SO_PEERCRED, &mut peer)?;
        let unknown = || io::Error::other("the kernel cannot tell which process the peer is");
        Ok(Self {
            user: peer.uid,
            pid: Pid::from_raw(peer.pid).ok_or_else(unknown)?,
        })
    }
}

/// The user and the groups of the process that connected, at that moment: what it has become since does not count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerCredentials {
    /// Its effective user.
    pub user: u32,
    /// Its effective group, and its supplementary ones.
    pub groups: Vec<u32>,
}

/// The greatest number of supplementary groups of a process (setgroups(2)).
const MAX_GROUPS: usize = 65_536;

impl PeerCredentials {
    /// Those of the peer of a connected stream socket of this machine.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let mut peer = libc::ucred {
            pid: 0,
            uid: u32::MAX,
            gid: u32::MAX,
        };
        option(&socket, libc::SO_PEERCRED, &mut peer)?;
        if peer.uid == u32::MAX || peer.gid == u32::MAX {
            return Err(io::Error::other(
                "the kernel cannot tell which user the peer is",
            ));
        }
        let mut groups = supplementary_groups(&socket)?;
        groups.insert(0, peer.gid);
        Ok(Self {
            user: peer.uid,
            groups,
        })
    }
}

/// `SO_PEERGROUPS` (unix(7)), since Linux 4.13.
fn supplementary_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 64];
    loop {
        let size = size_of_val(&groups[..]);
        let mut length = libc::socklen_t::try_from(size).map_err(io::Error::other)?;
        // SAFETY: `groups` has `length` bytes, lives during the call, and every content of them is a number.
        let done = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).unwrap_or(usize::MAX) / size_of::<u32>();
        if done == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // It says how much room it needs.
        let grows = error.raw_os_error() == Some(libc::ERANGE) && count > groups.len();
        if !grows || count > MAX_GROUPS {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// A descriptor of the peer's process (pidfd_open(2)). From the socket itself where the kernel can do that
/// (Linux 6.5), so that no other process can have taken its number.
pub fn process(socket: impl AsFd, peer: &PeerProcess) -> io::Result<OwnedFd> {
    let mut number: libc::c_int = -1;
    match option(&socket, SO_PEERPIDFD, &mut number) {
        // SAFETY: the kernel has just made this descriptor for us, and nothing else knows its number.
        Ok(()) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        Ok(()) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) if error.raw_os_error() == Some(Errno::NOPROTOOPT.raw_os_error()) => {
            Ok(pidfd_open(peer.pid, PidfdFlags::empty())?)
        }
        Err(error) => Err(error),
    }
}

fn option<T>(socket: &impl AsFd, name: libc::c_int, value: &mut T) -> io::Result<()> {
    let size = size_of::<T>();
    let mut length = libc::socklen_t::try_from(size).map_err(io::Error::other)?;
    // SAFETY: `value` is plain data of `length` bytes that lives during the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    match usize::try_from(length) == Ok(size) {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The user of a process, when its real, effective, saved and file system user are the same. A running set-user-ID
/// program has none.
///
/// The owner of /proc/PID is no answer: it is root for every process that is not dumpable (proc(5)), and any process
/// can make itself so.
pub fn only_user_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).ok()?;
    only_user(&status)
}

fn only_user(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let ids: Option<Vec<u32>> = ids.split_whitespace().map(|id| id.parse().ok()).collect();
    match ids?[..] {
        [real, effective, saved, files] if [effective, saved, files] == [real; 3] => Some(real),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_kernel_names_the_peer() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = PeerProcess::of(&ours).unwrap();
        assert_eq!(peer.user, rustix::process::geteuid().as_raw());
        assert_eq!(peer.pid, rustix::process::getpid());
        let process = process(&ours, &peer).unwrap();
        rustix::process::pidfd_send_signal(&process, rustix::process::Signal::CONT).unwrap();
    }

    #[test]
    fn the_kernel_names_the_groups_of_the_peer_however_many() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = PeerCredentials::of(&ours).unwrap();
        assert_eq!(peer.user, rustix::process::geteuid().as_raw());
        let own = rustix::process::getgroups().unwrap();
        let own: Vec<u32> = own.into_iter().map(|group| group.as_raw()).collect();
        assert_eq!(peer.groups[0], rustix::process::getegid().as_raw());
        assert_eq!(peer.groups[1..], own);
        if !nightlatch_test_support::is_root() {
            return;
        }
        let name = "peers::tests::the_kernel_names_the_groups_of_the_peer_however_many";
        crate::in_child::in_child(name, || {
            let many: Vec<libc::gid_t> = (1000..1500).collect();
            // SAFETY: the pointer is to as many numbers as are said.
            assert_eq!(unsafe { libc::setgroups(many.len(), many.as_ptr()) }, 0);
            // As the peer was when it connected, not as it is now.
            let (ours, _theirs) = UnixStream::pair().unwrap();
            // SAFETY: no groups are read.
            assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
            let peer = PeerCredentials::of(&ours).unwrap();
            assert_eq!(peer.groups[1..], many);
        });
    }

    #[test]
    fn a_socket_without_a_peer_has_none() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(PeerProcess::of(&stream).is_err());
        assert!(PeerCredentials::of(&stream).is_err());
    }

    #[test]
    fn a_process_that_is_several_users_is_nobodys() {
        let myself = rustix::process::geteuid().as_raw();
        assert_eq!(only_user_of(std::process::id()), Some(myself));
        assert_eq!(only_user("Name:\tUid: 0\nUid:\t5\t5\t5\t5\n"), Some(5));
        for other in [
            "Uid:\t5\t0\t0\t0\n",
            "Uid:\t0\t0\t0\t5\n",
            "Uid:\t0\n",
            "Uid:\tx\t0\t0\t0\n",
            "Gid:\t0\t0\t0\t0\n",
            "",
        ] {
            assert_eq!(only_user(other), None, "{other:?}");
        }
    }
}
