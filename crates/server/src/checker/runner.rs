//! Talks to the process that runs commands as another user (`nightlatch_sys::spawner`).
//!
//! Sends it commands and receives their exit statuses. When that process has ended no check can be run, and
//! the server ends: see [`SpawnerLost`].

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nightlatch_sys::spawner::{CommandEnd, CommandRequest};
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

/// The search path of commands when the server was started without one.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The whole environment of a command that is run by the user `name`, whose home is `home`.
pub(crate) fn environment(name: &str, home: &str) -> Vec<CString> {
    let path = std::env::var("PATH").unwrap_or_else(|_| PATH.to_owned());
    [
        ("PATH", path.as_str()),
        ("LANG", "C.UTF-8"),
        ("SHELL", "/bin/sh"),
        ("HOME", home),
        ("USER", name),
        ("LOGNAME", name),
    ]
    .into_iter()
    // None of them has a NUL byte, as all come from the system.
    .filter_map(|(key, value)| CString::new(format!("{key}={value}")).ok())
    .collect()
}

/// The process that runs commands has ended.
#[derive(Debug, thiserror::Error)]
#[error("the process that runs checkers has ended")]
pub(crate) struct SpawnerLost(#[source] io::Error);

/// Has commands run. Clones share one process.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    messages: mpsc::UnboundedSender<SpawnerMessage>,
    next: Arc<AtomicU64>,
}

#[derive(Debug)]
enum SpawnerMessage {
    Run {
        id: u64,
        datagram: Vec<u8>,
        ended: oneshot::Sender<Option<ExitStatus>>,
    },
    Signal(Vec<u8>),
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Job {
    id: u64,
    runner: Runner,
    ended: oneshot::Receiver<Option<ExitStatus>>,
}

impl Runner {
    /// A runner for the spawner at the other end of `socket`. The future must be polled for as long as commands
    /// are run. Needs a tokio runtime.
    pub(crate) fn new(
        socket: OwnedFd,
    ) -> io::Result<(Self, impl Future<Output = SpawnerLost> + Send + 'static)> {
        // The socket is of SOCK_SEQPACKET, which shows when the other end is closed; the calls are the same.
        let socket = UnixDatagram::from_std(std::os::unix::net::UnixDatagram::from(socket))?;
        let (sender, messages) = mpsc::unbounded_channel();
        let runner = Self {
            messages: sender,
            next: Arc::default(),
        };
        Ok((runner, exchange(socket, messages)))
    }

    /// Has `line` run by a shell. Never waits.
    pub(crate) fn run(&self, line: &str, pings: bool) -> Job {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, ended) = oneshot::channel();
        // The output of a command is shown only when the server logs at the level debug.
        let order = CommandRequest::Run {
            id,
            pings,
            shows_errors: tracing::enabled!(tracing::Level::DEBUG),
            line: line.as_bytes(),
        };
        match order.to_bytes() {
            Ok(datagram) => {
                let ended = sender;
                // If the spawner has ended, dropping `ended` tells the job.
                let _ = self.messages.send(SpawnerMessage::Run {
                    id,
                    datagram,
                    ended,
                });
            }
            Err(error) => warn!(%error, "cannot run a checker"),
        }
        Job {
            id,
            runner: self.clone(),
            ended,
        }
    }

    fn signal(&self, order: CommandRequest<'_>) {
        if let Ok(datagram) = order.to_bytes() {
            let _ = self.messages.send(SpawnerMessage::Signal(datagram));
        }
    }
}

impl Job {
    /// Waits for its exit status; `None` when it could not be run. The future may be dropped and made again.
    pub(crate) async fn ended(&mut self) -> Option<ExitStatus> {
        (&mut self.ended).await.ok().flatten()
    }

    /// Sends it SIGTERM.
    pub(crate) fn terminate(&self) {
        self.runner.signal(CommandRequest::Terminate(self.id));
    }

    /// Kills it and all processes that it started.
    pub(crate) fn kill(&self) {
        self.runner.signal(CommandRequest::Kill(self.id));
    }
}

async fn exchange(
    socket: UnixDatagram,
    mut messages: mpsc::UnboundedReceiver<SpawnerMessage>,
) -> SpawnerLost {
    let mut unsent: VecDeque<Vec<u8>> = VecDeque::new();
    let mut running = HashMap::new();
    loop {
        let done = tokio::select! {
            message = messages.recv() => {
                match message {
                    Some(SpawnerMessage::Run { id, datagram, ended }) => {
                        running.insert(id, ended);
                        unsent.push_back(datagram);
                    }
                    Some(SpawnerMessage::Signal(datagram)) => unsent.push_back(datagram),
                    // Every runner is gone.
                    None => std::future::pending().await,
                }
                Ok(())
            }
            done = receive(&socket, &mut running) => done,
            done = send(&socket, &mut unsent), if !unsent.is_empty() => done,
        };
        if let Err(error) = done {
            return SpawnerLost(error);
        }
    }
}

async fn receive(
    socket: &UnixDatagram,
    running: &mut HashMap<u64, oneshot::Sender<Option<ExitStatus>>>,
) -> io::Result<()> {
    let mut bytes = [0; CommandEnd::BYTES];
    let count = socket.recv(&mut bytes).await?;
    let ended = bytes.get(..count).and_then(CommandEnd::read);
    let ended = ended.ok_or(io::ErrorKind::UnexpectedEof)?;
    if let Some(sender) = running.remove(&ended.id) {
        let _ = sender.send(ended.status.map(ExitStatus::from_raw));
    }
    Ok(())
}

async fn send(socket: &UnixDatagram, unsent: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
    if let Some(datagram) = unsent.front() {
        socket.send(datagram).await?;
        unsent.pop_front();
    }
    Ok(())
}
