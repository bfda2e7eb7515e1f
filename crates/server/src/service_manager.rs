//! Notifies the service manager (sd_notify(3)).
//!
//! The socket is connected while the server is still root: that of start-stop-daemon(8) is in a directory that the
//! server's user may not enter. A task of its own sends the messages: a service manager that does not read must not
//! delay the server.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as Connected};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

/// The environment variable with its socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Messages that wait while the socket is full: more than a start, an end and some reloads make.
const WAITING: usize = 64;

/// Longest time that the end of the server waits for its last message.
const LAST_MESSAGE: Duration = Duration::from_millis(200);

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    name: Option<OsString>,
    socket: Option<Connected>,
}

/// Sends messages to the service manager, in order. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct Notifier(Option<mpsc::Sender<QueuedMessage>>);

#[derive(Debug)]
enum QueuedMessage {
    Send(String),
    /// Answered when all messages before it were sent.
    Flush(oneshot::Sender<()>),
}

impl ServiceManager {
    /// Connects to the socket in the environment.
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

    /// Starts the task that sends. Needs a tokio runtime.
    pub(crate) fn notifier(self) -> Notifier {
        let Some(name) = self.name else {
            return Notifier(None);
        };
        let (sender, mut messages) = mpsc::channel(WAITING);
        let mut socket = self.socket.and_then(|socket| in_runtime(socket).ok());
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                match message {
                    QueuedMessage::Flush(done) => drop(done.send(())),
                    QueuedMessage::Send(lines) => {
                        if let Err(error) = send(&mut socket, &name, lines.as_bytes()).await {
                            warn!(%error, "cannot tell the service manager");
                        }
                    }
                }
            }
        });
        Notifier(Some(sender))
    }
}

impl Notifier {
    /// Queues a message, if there is a service manager. Never waits.
    pub(crate) fn notify(&self, states: &[NotifyState<'_>]) {
        let Some(sender) = &self.0 else {
            return;
        };
        let is_behind = sender.capacity() < sender.max_capacity();
        if is_behind && matches!(states, [NotifyState::Watchdog]) {
            // The messages that wait already show that the server is alive.
            return;
        }
        let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
        if sender.try_send(QueuedMessage::Send(lines)).is_err() {
            warn!("cannot tell the service manager: it has read nothing of what was told before");
        }
    }

    /// Waits until all messages were sent, for [`LAST_MESSAGE`] at most.
    pub(crate) async fn flush(&self) {
        let Some(sender) = &self.0 else {
            return;
        };
        let (done, sent) = oneshot::channel();
        let flushed = async {
            if sender.send(QueuedMessage::Flush(done)).await.is_ok() {
                let _ = sent.await;
            }
        };
        let _ = timeout(LAST_MESSAGE, flushed).await;
    }
}

/// Sends as soon as there is room. Connects again if the socket was replaced.
async fn send(socket: &mut Option<UnixDatagram>, name: &OsStr, lines: &[u8]) -> io::Result<()> {
    if let Some(connected) = socket
        && connected.send(lines).await.is_ok()
    {
        return Ok(());
    }
    let again = socket.insert(in_runtime(connect_to(name)?)?);
    again.send(lines).await.map(drop)
}

fn in_runtime(socket: Connected) -> io::Result<UnixDatagram> {
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

fn connect_to(name: &OsStr) -> io::Result<Connected> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = Connected::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a test that hangs takes this long.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn receive(manager: &UnixDatagram) -> Vec<u8> {
        let mut message = [0; 64];
        let length = timeout(PATIENCE, manager.recv(&mut message)).await.unwrap();
        message[..length.unwrap()].to_vec()
    }

    #[tokio::test]
    async fn sockets_are_found_by_path_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = Connected::bind(&path).unwrap();
        let name = format!("nightlatch-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let by_name = Connected::bind_addr(&address).unwrap();
        for (named, manager) in [
            (path.into_os_string(), by_path),
            (format!("@{name}").into(), by_name),
        ] {
            let manager = in_runtime(manager).unwrap();
            let notifier = ServiceManager::named(Some(named)).notifier();
            notifier.notify(&[NotifyState::Ready]);
            assert_eq!(receive(&manager).await, b"READY=1\n");
        }
    }

    #[tokio::test]
    async fn a_manager_that_does_not_read_delays_nothing_and_gets_all_messages_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = Connected::bind(&path).unwrap();
        let others = Connected::unbound().unwrap();
        others.connect(&path).unwrap();
        others.set_nonblocking(true).unwrap();
        let waiting = (0..).take_while(|_| others.send(b"STATUS=other\n").is_ok());
        let waiting = waiting.count();
        let notifier = ServiceManager::named(Some(path.into_os_string())).notifier();
        notifier.notify(&[NotifyState::Ready]);
        // The runtime has one thread: a call that waited would keep the test from reading.
        for _ in 0..1000 {
            notifier.notify(&[NotifyState::Watchdog]);
        }
        notifier.notify(&[NotifyState::Stopping]);
        let manager = in_runtime(manager).unwrap();
        for _ in 0..waiting {
            assert_eq!(receive(&manager).await, b"STATUS=other\n");
        }
        assert_eq!(receive(&manager).await, b"READY=1\n");
        assert_eq!(receive(&manager).await, b"STOPPING=1\n");
        timeout(PATIENCE, notifier.flush()).await.unwrap();
    }

    #[tokio::test]
    async fn a_manager_that_was_restarted_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let first = Connected::bind(&path).unwrap();
        let notifier = ServiceManager::named(Some(path.clone().into_os_string())).notifier();
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = in_runtime(Connected::bind(&path).unwrap()).unwrap();
        notifier.notify(&[NotifyState::Ready]);
        assert_eq!(receive(&second).await, b"READY=1\n");
    }
}
