//! Telling whoever started the server how it is (sd_notify(3)).
//!
//! The socket is connected while the server is still root: that of start-stop-daemon(8) is in a folder that its
//! own user may not enter.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::NotifyState;
use tracing::debug;

/// Where it listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    /// Connects to the one that the environment names.
    pub(crate) fn connect() -> Self {
        let Some(name) = std::env::var_os(SOCKET) else {
            return Self(None);
        };
        match connect_to(&name) {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                debug!(%error, "cannot reach the service manager");
                Self(None)
            }
        }
    }

    /// Tells it, if it is there. One that has gone away may be back under its name.
    pub(crate) fn tell(&self, states: &[NotifyState<'_>]) {
        let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
        let told = self.0.as_ref().map(|socket| socket.send(lines.as_bytes()));
        // One that reads nothing at the moment is there all the same: to try again would wait for it.
        let is_there = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        if told.is_some_and(|told| told.as_ref().map_or_else(is_there, |_| true)) {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            debug!(%error, "cannot tell the service manager");
        }
    }
}

fn connect_to(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that reads nothing must not hold the server up.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_by_path_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("nightlatch-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (named, manager) in [
            (path.into_os_string(), by_path),
            (format!("@{name}").into(), by_name),
        ] {
            let told = ServiceManager(Some(connect_to(&named).unwrap()));
            told.tell(&[NotifyState::Ready]);
            let mut heard = [0; 32];
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\n");
        }
    }
}
