//! One connection to one address, with blocking calls and limits for each step.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::{Accepted, Request};
use nightlatch_proto::tls::{ConnectedHostServer, HostTls, ReportError};
use nightlatch_sys::clock;
use nightlatch_sys::deadline_stream::DeadlineStream;

/// Limits for the steps of an attempt. A server takes milliseconds for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) handshake: Duration,
    /// For the request and its reply, which waits for the disk of the server.
    pub(crate) reply: Duration,
    /// For all of it.
    pub(crate) until: Monotonic,
}

impl Limits {
    /// The limits of a heartbeat: they leave time for two lost packets at the start of the connection, and for a busy server.
    pub(crate) fn heartbeat(until: Monotonic) -> Self {
        Self {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            reply: Duration::from_secs(15),
            until,
        }
    }

    /// The limits of a goodbye: the time up to `until`, half of it to connect, as the address may be dead.
    pub(crate) fn goodbye(until: Monotonic) -> Self {
        let all = until.since(clock::now().mono);
        Self {
            connect: all / 2,
            handshake: all,
            reply: all,
            until,
        }
    }

    /// For the request and the first reply.
    pub(crate) fn reply(&self) -> Duration {
        self.cut(self.reply)
    }

    /// `step`, but not beyond the end of all. Never zero, which means no limit to a socket.
    fn cut(&self, step: Duration) -> Duration {
        let left = self.until.since(clock::now().mono);
        step.min(left).max(Duration::from_millis(1))
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Connects to `address`, up to the proof of a trusted key.
pub(crate) fn connect(
    tls: &HostTls,
    address: SocketAddr,
    limits: &Limits,
) -> Result<(ConnectedHostServer, DeadlineStream), AttemptError> {
    let socket = TcpStream::connect_timeout(&address, limits.cut(limits.connect))
        .map_err(AttemptError::Connect)?;
    // The flight of the handshake is written in parts; the later ones would wait for an acknowledgement (tcp(7)).
    socket.set_nodelay(true).map_err(AttemptError::Connect)?;
    let mut stream = DeadlineStream::new(socket, limits.cut(limits.handshake));
    let server = tls.connect(&mut stream)?;
    Ok((server, stream))
}

/// Connects to `address` and reports what `request` gives for the server that is found there; leaves where it gives
/// nothing, with `None`. The reply has the key of the server with it.
pub(crate) fn attempt(
    tls: &HostTls,
    address: SocketAddr,
    limits: Limits,
    request: impl FnOnce(KeyId) -> Option<Request>,
) -> Result<Option<(KeyId, Accepted)>, AttemptError> {
    let (server, mut stream) = connect(tls, address, &limits)?;
    let key = server.server_key();
    let Some(request) = request(key) else {
        server.leave(&mut stream);
        stream.shutdown();
        return Ok(None);
    };
    stream.renew(limits.reply());
    let accepted = server.report(&request, &mut stream)?;
    stream.shutdown();
    Ok(Some((key, accepted)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use nightlatch_core::error_chain::format_error;
    use nightlatch_proto::priority::Priority;
    use nightlatch_proto::tls::{RawKey, RawKeyKind};

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    /// Only a machine that is busy with other tests takes this long.
    const LONG: Duration = Duration::from_secs(60);

    /// The error at a peer that accepts the connection, and then is sent to `peer`.
    fn error(limits: Limits, peer: fn(TcpStream)) -> String {
        let key = RawKey::generate(RawKeyKind::Ed25519).unwrap();
        let tls = HostTls::new(&key, vec![key.key_id()], &Priority::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || peer(listener.accept().unwrap().0));
        let result = attempt(&tls, address, limits, |_| None);
        format_error(&result.unwrap_err())
    }

    #[test]
    fn a_peer_that_is_silent_or_slow_is_left_at_the_limit_of_the_step_and_of_all() {
        let step = |handshake, all| Limits {
            connect: LONG,
            handshake,
            reply: LONG,
            until: clock::now().mono.after(all),
        };
        let silent = |mut socket: TcpStream| {
            let _ = socket.read_to_end(&mut Vec::new());
            // Open until the agent has left: the end of the thread closes it.
        };
        // A record of TLS, byte by byte: each of them renews nothing.
        let slow = |mut socket: TcpStream| {
            let record = [22, 3, 1, 64, 0].into_iter().chain([1; 10_000]);
            for byte in record {
                if socket.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        };
        for peer in [silent as fn(TcpStream), slow] {
            for (handshake, all) in [(SHORT, LONG), (LONG, SHORT)] {
                let before = clock::now().mono;
                let said = error(step(handshake, all), peer);
                assert!(said.contains("timed out"), "{said}");
                assert!(clock::now().mono.since(before) >= SHORT);
            }
        }
    }

    #[test]
    fn an_address_where_nobody_listens_is_an_error_at_once() {
        let key = RawKey::generate(RawKeyKind::Ed25519).unwrap();
        let tls = HostTls::new(&key, Vec::new(), &Priority::default()).unwrap();
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let limits = Limits::goodbye(clock::now().mono.after(LONG));
        let refused = attempt(&tls, address, limits, |_| None).unwrap_err();
        assert!(matches!(refused, AttemptError::Connect(_)), "{refused:?}");
    }
}
