//! The way to the process that runs commands as another user (`nightlatch_sys::spawner`).
//!
//! Commands go there as orders and come back as exit statuses. When that process has ended nothing can be
//! checked any more, and so the server ends: see [`Lost`].

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

/// Where commands are looked for when the server itself was started without a search path.
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
    // None of them can hold a zero byte, for all come from the system.
    .filter_map(|(key, value)| CString::new(format!("{key}={value}")).ok())
    .collect()
}

/// The process that runs commands is gone.
#[derive(Debug, thiserror::Error)]
#[error("the process that runs checkers has ended")]
pub(crate) struct Lost(#[source] io::Error);

/// Hands commands over. Clones share one process.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    orders: mpsc::UnboundedSender<ToDo>,
    next: Arc<AtomicU64>,
}

#[derive(Debug)]
enum ToDo {
    Run {
        id: u64,
        datagram: Vec<u8>,
        ended: oneshot::Sender<Option<ExitStatus>>,
    },
    Signal(Vec<u8>),
}

/// A command that was handed over.
#[derive(Debug)]
pub(crate) struct Job {
    id: u64,
    runner: Runner,
    ended: oneshot::Receiver<Option<ExitStatus>>,
}

impl Runner {
    /// Speaks to the spawner at the other end of `socket`, for as long as the future runs. Needs a tokio
    /// runtime.
    pub(crate) fn new(
        socket: OwnedFd,
    ) -> io::Result<(Self, impl Future<Output = Lost> + Send + 'static)> {
        // Of the two kinds of socket with datagrams it is the one that says when the other end is closed; the
        // calls are the same.
        let socket = UnixDatagram::from_std(std::os::unix::net::UnixDatagram::from(socket))?;
        let (sender, orders) = mpsc::unbounded_channel();
        let runner = Self {
            orders: sender,
            next: Arc::default(),
        };
        Ok((runner, speak(socket, orders)))
    }

    /// Has `line` run by a shell. Never waits.
    pub(crate) fn run(&self, line: &str, pings: bool) -> Job {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, ended) = oneshot::channel();
        // What a command prints is seen when the server is being debugged, and belongs nowhere else.
        let order = CommandRequest::Run {
            id,
            pings,
            shows_errors: tracing::enabled!(tracing::Level::DEBUG),
            line: line.as_bytes(),
        };
        match order.to_bytes() {
            Ok(datagram) => {
                let ended = sender;
                // Who cannot be told has ended, and says so to who waits by that.
                let _ = self.orders.send(ToDo::Run {
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
            let _ = self.orders.send(ToDo::Signal(datagram));
        }
    }
}

impl Job {
    /// How it ended; `None` when it could not be run. May be dropped and asked again.
    pub(crate) async fn ended(&mut self) -> Option<ExitStatus> {
        (&mut self.ended).await.ok().flatten()
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.runner.signal(CommandRequest::Terminate(self.id));
    }

    /// Ends it and all that it started.
    pub(crate) fn kill(&self) {
        self.runner.signal(CommandRequest::Kill(self.id));
    }
}

async fn speak(socket: UnixDatagram, mut orders: mpsc::UnboundedReceiver<ToDo>) -> Lost {
    let mut unsent: VecDeque<Vec<u8>> = VecDeque::new();
    let mut running = HashMap::new();
    loop {
        let worked = tokio::select! {
            order = orders.recv() => {
                match order {
                    Some(ToDo::Run { id, datagram, ended }) => {
                        running.insert(id, ended);
                        unsent.push_back(datagram);
                    }
                    Some(ToDo::Signal(datagram)) => unsent.push_back(datagram),
                    // Nobody is left who could want anything.
                    None => std::future::pending().await,
                }
                Ok(())
            }
            worked = hear(&socket, &mut running) => worked,
            worked = tell(&socket, &mut unsent), if !unsent.is_empty() => worked,
        };
        if let Err(error) = worked {
            return Lost(error);
        }
    }
}

async fn hear(
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

async fn tell(socket: &UnixDatagram, unsent: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
    if let Some(datagram) = unsent.front() {
        socket.send(datagram).await?;
        unsent.pop_front();
    }
    Ok(())
}
