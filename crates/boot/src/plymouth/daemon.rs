//! Plymouth's daemon: whether there is one, and which it is.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;

use nightlatch_sys::peers::{self, PeerProcess, only_user_of};

use super::protocol::SOCKET;
use crate::daemon::{DaemonError, SplashDaemon};
use crate::files::is_trusted;

/// The file with the daemon's process id.
const PID_FILE: &str = "/run/plymouth/pid";

const NAME: &str = "plymouthd";

/// True when Plymouth has the screen: its process id is in `PID_FILE`, or there is a process of its name
/// (password-prompt(8mandos)). Processes of other users do not count: they may have any name.
pub fn is_running() -> bool {
    Path::new(PID_FILE).exists() || has_process()
}

fn has_process() -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    entries.filter_map(Result::ok).any(|entry| {
        let name = fs::read_to_string(entry.path().join("comm"));
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
        name.is_ok_and(|name| name.trim_end() == NAME)
            && pid.and_then(only_user_of).is_some_and(is_trusted)
    })
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Connecting to the daemon failed.
    #[error("Plymouth does not run")]
    NotThere(#[source] io::Error),
    /// The name is abstract, so that everybody can take it.
    #[error("the user {0} (process {1}) listens in Plymouth's place: expected a daemon of root's")]
    Impostor(u32, i32),
}

/// Connects to the daemon. Refused unless root or this program's user runs it.
pub(super) fn connect() -> Result<UnixStream, ConnectError> {
    let address = SocketAddr::from_abstract_name(SOCKET);
    let stream = address.and_then(|address| UnixStream::connect_addr(&address));
    let stream = stream.map_err(ConnectError::NotThere)?;
    let peer = PeerProcess::of(&stream).map_err(ConnectError::NotThere)?;
    match is_trusted(peer.user) {
        true => Ok(stream),
        false => {
            let pid = peer.pid.as_raw_nonzero().get();
            Err(ConnectError::Impostor(peer.user, pid))
        }
    }
}

/// The daemon at the other end of its socket, as the kernel knows it.
pub(super) fn at(stream: &UnixStream) -> Result<SplashDaemon, DaemonError> {
    let peer = PeerProcess::of(stream).map_err(DaemonError::Peer)?;
    let handle = peers::process(stream, &peer).map_err(DaemonError::Peer)?;
    SplashDaemon::of_process(handle, peer.pid, NAME)
}
