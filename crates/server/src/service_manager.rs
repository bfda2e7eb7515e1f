//! Telling whoever started the server how it is (sd_notify(3)).
//!
//! The socket is connected while the server is still root: that of start-stop-daemon(8) is in a folder that its
//! own user may not enter.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{debug, warn};

/// Where it listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// How long it may have no room for what it is told. While machines boot it can be behind for a moment; one
/// that reads nothing must not hold the server up.
const PATIENCE: Duration = Duration::from_secs(2);

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    name: Option<OsString>,
    socket: Option<UnixDatagram>,
}

impl ServiceManager {
    /// Connects to the one that the environment names.
    pub(crate) fn connect() -> Self {
        Self::named(std::env::var_os(SOCKET))
    }

    fn named(name: Option<OsString>) -> Self {
        let socket = name.as_deref().and_then(|name| {
            let failed = |error| debug!(%error, "cannot reach the service manager");
            connect_to(name).map_err(failed).ok()
        });
        Self { name, socket }
    }

    /// Tells it, if it is there. Waits for two seconds at most.
    pub(crate) fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(name) = &self.name else {
            return;
        };
        let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = self.send(name, lines.as_bytes()) {
            warn!(%error, "cannot tell the service manager");
        }
    }

    fn send(&self, name: &OsStr, lines: &[u8]) -> io::Result<usize> {
        match self.socket.as_ref().map(|socket| socket.send(lines)) {
            Some(Ok(sent)) => Ok(sent),
            // It is there all the same: another socket would wait as long.
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // One that has gone away may be back under its name.
            _ => connect_to(name)?.send(lines),
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
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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
            let told = ServiceManager::named(Some(named));
            told.tell(&[NotifyState::Ready]);
            let mut heard = [0; 32];
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\n");
        }
    }

    #[test]
    fn a_manager_that_is_behind_hears_it_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(PATIENCE * 5)).unwrap();
        let others = UnixDatagram::unbound().unwrap();
        others.connect(&path).unwrap();
        others.set_nonblocking(true).unwrap();
        let waiting = (0..).take_while(|_| others.send(b"STATUS=other\n").is_ok());
        let waiting = waiting.count();
        let (begin, begun) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            begun.recv().unwrap();
            let mut heard = [0; 32];
            let mut next = || {
                manager
                    .recv(&mut heard)
                    .map(|length| heard[..length].to_vec())
            };
            (0..=waiting).map(|_| next().unwrap()).last()
        });
        let told = ServiceManager::named(Some(path.into_os_string()));
        begin.send(()).unwrap();
        told.tell(&[NotifyState::Ready]);
        assert_eq!(reader.join().unwrap().unwrap(), b"READY=1\n");
    }

    #[test]
    fn one_that_has_come_back_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let first = UnixDatagram::bind(&path).unwrap();
        let told = ServiceManager::named(Some(path.clone().into_os_string()));
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        told.tell(&[NotifyState::Ready]);
        let mut heard = [0; 32];
        second.set_nonblocking(true).unwrap();
        let length = second.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1\n");
    }
}
