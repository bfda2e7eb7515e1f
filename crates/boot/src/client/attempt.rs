//! One try of one server: connect, shake hands, fetch, decrypt; each in a thread of its own, so
//! that blocking code serves, and one panic is one failed try.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nightlatch_core::secret::Secret;
use nightlatch_openpgp::{MAX_MESSAGE, PublicKey, SecretKey, SignaturePolicy, decrypt};
use nightlatch_proto::tls::{BootTls, FetchError};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::schedule::Destination;

/// How long a server may take to accept a connection: three retransmissions of the first packet.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a server may keep silent until the handshake is complete. After it, it may wait for an
/// administrator's approval as long as it is alive.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// A peer that died while it waited is noticed within half a minute (tcp(7)).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_COUNT: u32 = 4;

/// Longest password: what cryptsetup(8) reads of a key file at most.
const MAX_PASSWORD: usize = 8 * 1024 * 1024;

/// What every try needs.
pub(super) struct Equipment {
    /// How to speak to a server.
    pub tls: BootTls,
    /// Opens the payload.
    pub secret: SecretKey,
    /// Must have signed it.
    pub public: PublicKey,
    /// Unless this says otherwise.
    pub signature: SignaturePolicy,
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The name has no address, or nobody can be asked for it yet.
    #[error("cannot resolve the name")]
    Resolve(#[source] io::Error),
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// No payload.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// No password in the payload.
    #[error("cannot use what the server gave")]
    Open(#[from] nightlatch_openpgp::Error),
    /// A fault of ours.
    #[error("the try ended by a fault of this program")]
    Fault,
    /// No thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl Failure {
    /// Whether it failed for want of a network, so that a change of the network may mend it.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Resolve(_) => true,
            Self::Connect(error) => matches!(
                Errno::from_io_error(error),
                Some(
                    Errno::NETUNREACH
                        | Errno::ADDRNOTAVAIL
                        | Errno::NETDOWN
                        | Errno::NODEV
                        | Errno::HOSTUNREACH
                        | Errno::INVAL
                )
            ),
            _ => false,
        }
    }

    /// Whether there was no route at all.
    pub(super) fn lacks_route(&self) -> bool {
        matches!(self, Self::Connect(error) if Errno::from_io_error(error) == Some(Errno::NETUNREACH))
    }
}

/// What a try tells.
pub(super) enum Report {
    /// It is connected; the copy of its socket can end it.
    Connected(Destination, TcpStream),
    /// It is over.
    Done(Destination, Result<Secret, Failure>),
}

/// Runs tries, and tells by a readable descriptor when there are reports.
pub(super) struct Attempts {
    equipment: Arc<Equipment>,
    wake: Arc<OwnedFd>,
    sender: Sender<Report>,
    reports: Receiver<Report>,
}

impl Attempts {
    /// No try yet.
    pub(super) fn new(equipment: Equipment) -> io::Result<Self> {
        let (sender, reports) = channel();
        Ok(Self {
            equipment: Arc::new(equipment),
            wake: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
            sender,
            reports,
        })
    }

    /// Starts a try; however it ends, a [`Report::Done`] comes.
    pub(super) fn start(&self, destination: Destination) {
        let equipment = Arc::clone(&self.equipment);
        let reporter = Reporter {
            destination: destination.clone(),
            sender: self.sender.clone(),
            wake: Arc::clone(&self.wake),
        };
        let started = std::thread::Builder::new().spawn(move || {
            // What is shared is only read, so a panic leaves nothing half done behind.
            let tried = catch_unwind(AssertUnwindSafe(|| attempt(&equipment, &reporter)));
            let result = tried.unwrap_or(Err(Failure::Fault));
            reporter.report(Report::Done(reporter.destination.clone(), result));
        });
        if let Err(error) = started {
            let failure = Err(Failure::Thread(error));
            let _ = self.sender.send(Report::Done(destination, failure));
            wake(&self.wake);
        }
    }

    /// What was reported since the last call.
    pub(super) fn poll_report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Call it before reading the reports, when the descriptor is readable.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

impl AsFd for Attempts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

struct Reporter {
    destination: Destination,
    sender: Sender<Report>,
    wake: Arc<OwnedFd>,
}

impl Reporter {
    fn report(&self, report: Report) {
        // When nobody listens any more, the program is ending.
        let _ = self.sender.send(report);
        wake(&self.wake);
    }
}

fn wake(wake: &OwnedFd) {
    // Full means that it is readable already.
    let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
}

fn attempt(equipment: &Equipment, reporter: &Reporter) -> Result<Secret, Failure> {
    let socket = connect(&reporter.destination)?;
    if let Ok(copy) = socket.try_clone() {
        reporter.report(Report::Connected(reporter.destination.clone(), copy));
    }
    let mut stream = Patient::new(socket)?;
    let fetched = equipment.tls.fetch(&mut stream, MAX_MESSAGE)?;
    let _ = stream.socket.shutdown(Shutdown::Both);
    Ok(decrypt(
        &equipment.secret,
        Some(&equipment.public),
        fetched.payload.expose(),
        equipment.signature,
        MAX_PASSWORD,
    )?)
}

fn connect(destination: &Destination) -> Result<TcpStream, Failure> {
    match destination {
        Destination::Address(address) => dial(*address),
        Destination::Name(name, port) => {
            let addresses = (name.as_str(), *port).to_socket_addrs();
            let mut last = Failure::Resolve(io::ErrorKind::NotFound.into());
            for address in addresses.map_err(Failure::Resolve)? {
                match dial(address) {
                    Ok(socket) => return Ok(socket),
                    Err(failure) => last = failure,
                }
            }
            Err(last)
        }
    }
}

fn dial(address: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = TcpStream::connect_timeout(&address, CONNECT).map_err(Failure::Connect)?;
    let configure = || {
        // Our flight of the handshake is written in three parts. The second would wait for the server's
        // kernel to acknowledge the first, which it puts off for 40 ms (tcp(7), `TCP_NODELAY`).
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_COUNT)
    };
    configure().map_err(|errno| Failure::Connect(errno.into()))?;
    Ok(socket)
}

/// A socket with a deadline for each read until the server has answered our side of the handshake,
/// and none from then on.
struct Patient {
    socket: TcpStream,
    /// How often we began to speak: with the greeting, and with our side of the handshake.
    flights: u8,
    speaking: bool,
    hurried: bool,
}

impl Patient {
    fn new(socket: TcpStream) -> Result<Self, Failure> {
        let limit = Some(HANDSHAKE);
        let set = socket
            .set_read_timeout(limit)
            .and(socket.set_write_timeout(limit));
        set.map_err(Failure::Connect)?;
        Ok(Self {
            socket,
            flights: 0,
            speaking: false,
            hurried: true,
        })
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(buffer)?;
        self.speaking = false;
        if self.hurried && self.flights >= 2 {
            self.socket.set_read_timeout(None)?;
            self.hurried = false;
        }
        Ok(read)
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.speaking {
            self.speaking = true;
            self.flights = self.flights.saturating_add(1);
        }
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
