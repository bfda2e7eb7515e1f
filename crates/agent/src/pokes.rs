//! The socket at which servers ask for a heartbeat.

use std::io;
use std::net::UdpSocket;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nightlatch_core::settings::agent::PokePort;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::{POKE_LEN, Poke, Token};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

/// Datagrams that are read at once, and the pause after so many: a flood must not keep the program busy. A server pokes
/// six times.
const BATCH: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);

/// The socket, for IPv6 and IPv4.
#[derive(Debug)]
pub(crate) struct PokeSocket {
    socket: UdpSocket,
    port: NonZeroU16,
    /// Nothing is read before this time.
    paused_until: Option<Monotonic>,
}

impl PokeSocket {
    /// Opens it; `None` where no port is wanted.
    pub(crate) fn open(port: PokePort) -> io::Result<Option<Self>> {
        let port = match port {
            PokePort::Closed => return Ok(None),
            PokePort::Any => 0,
            PokePort::Port(port) => port.get(),
        };
        // Where the kernel has no IPv6, IPv4 alone.
        let socket = open_v6(port).or_else(|_| open_v4(port))?;
        let port = NonZeroU16::new(socket.local_addr()?.port());
        let port = port.ok_or_else(|| io::Error::other("the kernel chose no port"))?;
        Ok(Some(Self {
            socket,
            port,
            paused_until: None,
        }))
    }

    pub(crate) const fn port(&self) -> NonZeroU16 {
        self.port
    }

    /// The descriptor to wait for; `None` in a pause.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.paused_until.is_none().then(|| self.socket.as_fd())
    }

    /// The end of a pause.
    pub(crate) const fn poll_timeout(&self) -> Option<Monotonic> {
        self.paused_until
    }

    /// The tokens that came. Reads nothing in a pause.
    pub(crate) fn read(&mut self, now: Monotonic) -> Vec<Token> {
        if self.paused_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        self.paused_until = None;
        let mut tokens = Vec::new();
        // One more byte, so that a longer datagram is not taken for a poke.
        let mut datagram = [0; POKE_LEN + 1];
        for _ in 0..BATCH {
            // An error is one that a datagram of ours could have caused, and none is sent, or the end of the queue.
            let Ok(length) = self.socket.recv(&mut datagram) else {
                return tokens;
            };
            tokens.extend(Poke::parse(&datagram[..length]).map(|poke| poke.0));
        }
        self.paused_until = Some(now.after(PAUSE));
        tokens
    }
}

fn open_v6(port: u16) -> io::Result<UdpSocket> {
    let socket = socket_with(
        AddressFamily::INET6,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(ipproto::UDP),
    )?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    bind(
        &socket,
        &std::net::SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, port, 0, 0),
    )?;
    Ok(socket.into())
}

fn open_v4(port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, port))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use nightlatch_test_support::Deadline;

    use super::*;

    fn open() -> PokeSocket {
        PokeSocket::open(PokePort::Any).unwrap().unwrap()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn pokes_come_by_both_families_and_anything_else_is_dropped() {
        let mut pokes = open();
        let port = pokes.port().get();
        let token = Token::from_bytes([7; Token::LEN]);
        let poke = Poke(token).to_bytes();
        for host in ["127.0.0.1", "::1"] {
            let Ok(sender) = UdpSocket::bind((host, 0)) else {
                nightlatch_test_support::skipped("needs a loopback interface with IPv6");
                continue;
            };
            for datagram in [
                &b""[..],
                b"NLP1",
                &[9; POKE_LEN],
                &[&poke[..], b"x"].concat(),
            ] {
                sender.send_to(datagram, (host, port)).unwrap();
            }
            sender.send_to(&poke, (host, port)).unwrap();
            let deadline = Deadline::after(Duration::from_secs(20));
            let mut read = Vec::new();
            while read.is_empty() {
                assert!(!deadline.passed(), "the poke did not come");
                read = pokes.read(at(1));
            }
            assert_eq!(read, [token], "{host}");
        }
        assert!(PokeSocket::open(PokePort::Closed).unwrap().is_none());
    }

    #[test]
    fn a_flood_is_read_in_parts() {
        let mut pokes = open();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..BATCH * 2 {
            sender
                .send_to(b"flood", ("127.0.0.1", pokes.port().get()))
                .unwrap();
        }
        assert_eq!(pokes.read(at(1)), []);
        assert!(pokes.descriptor().is_none());
        let end = at(1).after(PAUSE);
        assert_eq!(pokes.poll_timeout(), Some(end));
        pokes.read(end);
        // The queue of a socket may be shorter than the flood.
        pokes.read(at(9));
        assert!(pokes.descriptor().is_some());
    }
}
