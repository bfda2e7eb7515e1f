//! Notifies the service manager (sd_notify(3)).
//!
//! The socket is connected while the program may still be root: that of start-stop-daemon(8) is in a folder that the
//! agent's user may not enter.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The environment variable with its socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    /// Connects to the socket in the environment. One that cannot be reached is none.
    pub(crate) fn connect() -> Self {
        let name = std::env::var_os(SOCKET);
        Self(name.and_then(|name| connect_to(&name).ok()))
    }

    /// The daemon is ready to do its work.
    pub(crate) fn ready(&self) {
        self.send(b"READY=1\n");
    }

    /// The daemon ends.
    pub(crate) fn stopping(&self) {
        self.send(b"STOPPING=1\n");
    }

    fn send(&self, message: &[u8]) {
        // A manager that does not read must not delay anything; it has a time limit of its own.
        if let Some(socket) = &self.0 {
            let _ = socket.send(message);
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
        let name = format!("nightlatch-agent-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (named, manager) in [
            (path.into_os_string(), by_path),
            (format!("@{name}").into(), by_name),
        ] {
            let agent = ServiceManager(Some(connect_to(&named).unwrap()));
            agent.ready();
            agent.stopping();
            let mut message = [0; 64];
            let length = manager.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"READY=1\n");
        }
    }
}
