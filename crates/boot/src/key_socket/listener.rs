//! The socket that keys are read from: handed over by systemd (sd_listen_fds(3)) or made here.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nightlatch_core::digits;
use nightlatch_sys::inherited;
use nightlatch_sys::peers::PeerProcess;
use nightlatch_sys::trusted::check_folder;
use rustix::fs::Mode;
use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::process::{geteuid, umask};

use crate::files::is_trusted;

/// The first descriptor that systemd hands over.
const FIRST: i32 = 3;

/// Precedes the volume's name in a peer's address (crypttab(5), AF_UNIX KEY FILES).
const MARK: &[u8] = b"/cryptsetup/";

/// A socket that listens. Its file is removed on drop when it was made here.
#[derive(Debug)]
pub(super) struct KeySocket {
    socket: UnixListener,
    made: Option<PathBuf>,
}

/// The connection of a volume that needs its key.
#[derive(Debug)]
pub(super) struct VolumeConnection {
    pub(super) stream: UnixStream,
    /// The volume that it is for; empty when the peer does not say.
    pub(super) volume: String,
}

impl KeySocket {
    /// The socket that systemd hands over, or else one at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let listener = match handed_over()? {
            Some(socket) => Self { socket, made: None },
            None => Self {
                socket: make(path)?,
                made: Some(path.to_owned()),
            },
        };
        listener.socket.set_nonblocking(true)?;
        Ok(listener)
    }

    /// The next connection, without waiting. Peers of users other than root and this program's own are dropped, and
    /// those whose user the kernel does not know.
    pub(super) fn accept(&self) -> io::Result<Option<VolumeConnection>> {
        loop {
            match self.socket.accept() {
                Ok((stream, address)) => {
                    // A peer from outside this process's PID namespace has no number here, which is an error: it
                    // gets nothing, and others are served.
                    if PeerProcess::of(&stream).is_ok_and(|peer| is_trusted(peer.user)) {
                        let volume = volume(&address);
                        return Ok(Some(VolumeConnection { stream, volume }));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for KeySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for KeySocket {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = fs::remove_file(path);
        }
    }
}

fn handed_over() -> io::Result<Option<UnixListener>> {
    let number = |name| {
        env::var(name)
            .ok()
            .and_then(|text| digits::decimal::<u32>(&text))
    };
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    let refused = |words| Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    if number("LISTEN_FDS") != Some(1) {
        return refused("expected one socket from systemd");
    }
    let socket = inherited::duplicate(FIRST)?;
    if socket_domain(&socket)? != AddressFamily::UNIX || !socket_acceptconn(&socket)? {
        return refused("expected a listening stream socket in the file system from systemd");
    }
    Ok(Some(UnixListener::from(socket)))
}

/// For this program's user alone, from its birth on. A socket that an earlier run left is replaced.
fn make(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent()
        && !parent.exists()
    {
        DirBuilder::new().mode(0o700).create(parent)?;
    }
    // A user who can write there could replace the socket.
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    check_folder(parent.unwrap_or(Path::new(".")), geteuid().as_raw()).map_err(io::Error::other)?;
    match fs::symlink_metadata(path) {
        Ok(old) if old.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) | Err(_) => {}
    }
    let before = umask(Mode::RWXG | Mode::RWXO);
    let socket = UnixListener::bind(path);
    umask(before);
    socket
}

fn volume(address: &SocketAddr) -> String {
    let name = address.as_abstract_name().unwrap_or_default();
    let at = name.windows(MARK.len()).position(|part| part == MARK);
    let volume = at.map_or(&b""[..], |at| &name[at + MARK.len()..]);
    String::from_utf8_lossy(volume).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volume_stands_behind_the_mark() {
        for (name, expected) in [
            (&b"a1b2/cryptsetup/root"[..], "root"),
            (b"a1b2/cryptsetup/a/b", "a/b"),
            (b"/cryptsetup/", ""),
            (b"a1b2", ""),
            (b"", ""),
        ] {
            let address = SocketAddr::from_abstract_name(name).unwrap();
            assert_eq!(volume(&address), expected);
        }
    }
}
