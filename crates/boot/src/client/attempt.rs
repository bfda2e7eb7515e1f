//! One try of one server: connect, shake hands, fetch, decrypt, with blocking calls. It runs in a
//! process of its own ([`super::attempts`]), which has no privileges: what a server sends is parsed
//! where it can do least, and a fault over it is one failed try.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use nightlatch_core::secret::Secret;
use nightlatch_openpgp::{MAX_MESSAGE, PublicKey, SecretKey, SignaturePolicy, decrypt};
use nightlatch_proto::tls::{BootTls, FetchError};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::schedule::Destination;
use crate::log::Log;

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

/// Fetches the password from `destination`. Calls `answered` once the handshake is done.
pub(super) fn attempt(
    equipment: &Equipment,
    destination: &Destination,
    log: Log,
    answered: impl Fn(),
) -> Result<Secret, Failure> {
    let socket = connect(destination)?;
    log.debug(|| format!("connected to {destination}"));
    let mut stream = Patient::new(socket, answered)?;
    let fetched = equipment.tls.fetch(&mut stream, MAX_MESSAGE)?;
    let _ = stream.socket.shutdown(Shutdown::Both);
    let password = decrypt(
        &equipment.secret,
        Some(&equipment.public),
        fetched.payload.expose(),
        equipment.signature,
        MAX_PASSWORD,
    )?;
    if let (Some(terms), Some(key)) = (fetched.terms, fetched.server_key) {
        // For programs to read: nightlatch(1) compares it with how long a reboot takes.
        let (left, timeout) = (terms.left.as_secs(), terms.timeout.as_secs());
        let interval = terms.interval.as_secs();
        log.say(&format!(
            "rehearsed: server={key} at={destination} left={left} timeout={timeout} interval={interval}"
        ));
    }
    Ok(password)
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
struct Patient<F> {
    socket: TcpStream,
    /// To call then.
    answered: F,
    /// How often we began to speak: with the greeting, and with our side of the handshake.
    flights: u8,
    speaking: bool,
    hurried: bool,
}

impl<F: Fn()> Patient<F> {
    fn new(socket: TcpStream, answered: F) -> Result<Self, Failure> {
        let limit = Some(HANDSHAKE);
        let set = socket
            .set_read_timeout(limit)
            .and(socket.set_write_timeout(limit));
        set.map_err(Failure::Connect)?;
        Ok(Self {
            socket,
            answered,
            flights: 0,
            speaking: false,
            hurried: true,
        })
    }
}

impl<F: Fn()> Read for Patient<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(buffer)?;
        self.speaking = false;
        if self.hurried && self.flights >= 2 {
            self.socket.set_read_timeout(None)?;
            self.hurried = false;
            (self.answered)();
        }
        Ok(read)
    }
}

impl<F> Write for Patient<F> {
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
