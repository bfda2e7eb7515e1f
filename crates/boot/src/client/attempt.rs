//! One try of one server: connect, shake hands, fetch, decrypt, with blocking calls. It runs in a
//! process of its own ([`super::attempts`]), which has no privileges: what a server sends is parsed
//! where it can do least, and a fault over it is one failed try.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nightlatch_core::duration::in_whole_seconds;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret::Secret;
use nightlatch_openpgp::{MAX_MESSAGE, PublicKey, SecretKey, SignaturePolicy, decrypt};
use nightlatch_proto::release::{WaitReason, Waiting};
use nightlatch_proto::tls::{BootTls, FetchError};
use nightlatch_sys::deadline_stream::DeadlineStream;
use rustix::io::Errno;
use rustix::net::sockopt;

use super::resolve::ResolveError;
use crate::log::AppletLog;

/// Limit for a connection: three retransmissions of the first packet.
const CONNECT: Duration = Duration::from_secs(10);

/// Limit for the part of a handshake that shows the server, and once more for the rest of it. After that the server
/// may wait for an administrator's approval for as long as it is alive.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// A peer that died while it waited is noticed within half a minute (tcp(7)).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_COUNT: u32 = 4;

/// Longest password: what cryptsetup(8) reads of a key file at most.
const MAX_PASSWORD: usize = 8 * 1024 * 1024;

/// The keys of this machine, and the rules for a server and its payload.
pub(super) struct Credentials {
    pub tls: BootTls,
    /// Opens the payload.
    pub secret: SecretKey,
    /// Must have signed it.
    pub public: PublicKey,
    /// Unless this says otherwise.
    pub signature: SignaturePolicy,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    /// The name has no address, or no resolver is known yet.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// No password in the payload.
    #[error("cannot use what the server gave")]
    Open(#[from] nightlatch_openpgp::Error),
}

impl AttemptError {
    /// True when there was no usable network: a change of the network may help.
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

    /// True when no resolver is known.
    pub(super) fn lacks_resolver(&self) -> bool {
        matches!(self, Self::Resolve(ResolveError::NoResolver))
    }

    /// True when no sign of the host came.
    pub(super) fn is_unreached(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() != io::ErrorKind::ConnectionRefused)
    }

    /// True when there was no route at all.
    pub(super) fn lacks_route(&self) -> bool {
        matches!(self, Self::Connect(error) if Errno::from_io_error(error) == Some(Errno::NETUNREACH))
    }
}

/// Fetches the password from `destination`. Before it requests anything it calls `connected` with the server's proven
/// key, if that is a trusted one; the request is sent once that has returned. Calls `waits` with a line for
/// a person when the server makes the request wait.
pub(super) fn attempt(
    credentials: &Credentials,
    destination: SocketAddr,
    log: AppletLog,
    connected: impl FnOnce(Option<KeyId>) -> io::Result<()>,
    waits: impl Fn(&str),
) -> Result<Secret, AttemptError> {
    let socket = dial(destination)?;
    log.debug(|| format!("connected to {destination}"));
    let mut stream = DeadlineStream::new(socket, HANDSHAKE);
    let server = credentials.tls.connect(&mut stream)?;
    connected(server.server_key()).map_err(FetchError::Io)?;
    stream.renew(HANDSHAKE);
    let asked = server.ask(&mut stream)?;
    log.debug(|| format!("asked {destination}"));
    stream.lift();
    let mut told = None;
    let fetched = asked.payload(&mut stream, MAX_MESSAGE, &mut |waiting| {
        let reminds = told.replace(waiting.reference) == Some(waiting.reference);
        if !reminds {
            waits(&wait_line(waiting));
        }
    })?;
    stream.shutdown();
    let password = decrypt(
        &credentials.secret,
        Some(&credentials.public),
        fetched.payload.expose(),
        credentials.signature,
        MAX_PASSWORD,
    )?;
    if let (Some(terms), Some(key)) = (fetched.terms, fetched.server_key) {
        // For programs to read: nightlatch(1) compares it with how long a reboot takes.
        let (left, timeout) = (terms.left.as_secs(), terms.timeout.as_secs());
        let interval = terms.interval.as_secs();
        let alarm = if terms.alarm { "yes" } else { "no" };
        log.info(&format!(
            "rehearsed: server={key} at={destination} left={left} timeout={timeout} interval={interval} alarm={alarm}"
        ));
    }
    Ok(password)
}

/// The line for the console while a server makes the machine wait. It has no word of the server's.
fn wait_line(waiting: &Waiting) -> String {
    let what = match &waiting.reason {
        Some(WaitReason::Approval) => format!(
            "request {} waits for an administrator's approval",
            waiting.reference
        ),
        Some(WaitReason::Other(_)) | None => {
            format!("the server makes request {} wait", waiting.reference)
        }
    };
    match waiting.left {
        Some(left) => format!("{what}, at most {}", in_whole_seconds(left)),
        None => what,
    }
}

fn dial(address: SocketAddr) -> Result<TcpStream, AttemptError> {
    let socket = TcpStream::connect_timeout(&address, CONNECT).map_err(AttemptError::Connect)?;
    let configure = || {
        // Our flight of the handshake is written in three parts. The second would wait for the server's
        // kernel to acknowledge the first, which it puts off for 40 ms (tcp(7), `TCP_NODELAY`).
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_COUNT)
    };
    configure().map_err(|errno| AttemptError::Connect(errno.into()))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use nightlatch_proto::release::ReasonWord;

    use super::*;

    #[test]
    fn the_line_for_a_person_has_no_word_of_the_server() {
        let line = |reason| {
            wait_line(&Waiting {
                reason,
                left: Some(Duration::from_secs(90)),
                reference: 4711,
            })
        };
        assert_eq!(
            line(Some(WaitReason::Approval)),
            "request 4711 waits for an administrator's approval, at most 1m30s"
        );
        let other = "the server makes request 4711 wait, at most 1m30s";
        let word = ReasonWord::new("type-the-password").unwrap();
        assert_eq!(line(Some(WaitReason::Other(word))), other);
        assert_eq!(line(None), other);
    }
}
