//! One connection to one address, with blocking calls and limits for each step.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::{Accepted, Request};
use nightlatch_proto::tls::{HostTls, ReportError};
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
    /// Those of a heartbeat: two lost packets at the start of the connection, and a server with much to do.
    pub(crate) fn heartbeat(until: Monotonic) -> Self {
        Self {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            reply: Duration::from_secs(15),
            until,
        }
    }

    /// Those of a goodbye: what time there is, and half of it for an address that may be dead.
    pub(crate) fn goodbye(until: Monotonic) -> Self {
        let all = until.since(clock::now().mono);
        Self {
            connect: all / 2,
            handshake: all,
            reply: all,
            until,
        }
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

/// Connects to `address` and reports what `request` gives for the server that is found there; leaves where it gives
/// nothing, with `None`. The reply has the key of the server with it.
pub(crate) fn attempt(
    tls: &HostTls,
    address: SocketAddr,
    limits: Limits,
    request: impl FnOnce(KeyId) -> Option<Request>,
) -> Result<Option<(KeyId, Accepted)>, AttemptError> {
    let socket = TcpStream::connect_timeout(&address, limits.cut(limits.connect))
        .map_err(AttemptError::Connect)?;
    // The flight of the handshake is written in parts; the later ones would wait for an acknowledgement (tcp(7)).
    socket.set_nodelay(true).map_err(AttemptError::Connect)?;
    let mut stream = DeadlineStream::new(socket, limits.cut(limits.handshake));
    let server = tls.connect(&mut stream)?;
    let key = server.server_key();
    let Some(request) = request(key) else {
        server.leave(&mut stream);
        stream.shutdown();
        return Ok(None);
    };
    stream.renew(limits.cut(limits.reply));
    let accepted = server.report(&request, &mut stream)?;
    stream.shutdown();
    Ok(Some((key, accepted)))
}
