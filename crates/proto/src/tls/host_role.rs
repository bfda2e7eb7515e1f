//! The side of a booted machine: TLS *server* of nightlatchd, with the host key. Says that the machine is up or goes
//! down, and reads the one reply; or asks for a named secret, and reads replies until it has it.
//!
//! Nothing is proved to a server that does not offer [`ALPN`], and nothing is said to one whose key is not trusted.
//!
//! [`ALPN`]: crate::release::ALPN

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::MAX_SEALED;
use rustls::server::{ServerConfig, ServerConnection};

use super::fetch::{self, FetchError};
use super::machine_handshake::{
    KeyRequest, ServerOffer, client_hello, config, handshake, trusted_server,
};
use super::{RawKey, SetupError};
use crate::greeting::agent_line;
use crate::priority::Priority;
use crate::release::{
    ALPN, Accepted, MAX_BODY, ReasonWord, Refused, Reply, Request, SecretQuery, Waiting,
};

/// The TLS configuration of an agent. One serves all connections.
pub struct HostTls {
    config: Arc<ServerConfig>,
    trusted: Vec<KeyId>,
}

/// A named secret as a server sent it: nothing about it is proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedSecret {
    /// The serial that the server says it has.
    pub serial: u64,
    /// What should be a sealed secret, at most [`MAX_SEALED`] bytes.
    pub payload: Vec<u8>,
}

/// A failure to report to a server, or to get a named secret from it. For the machine's own log; the server does not get it.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A stock server, or one of a later version only.
    #[error(
        "the server does not offer nightlatch/1 with a key of its own, as a Mandos server does not: nothing was proved to it"
    )]
    NoRelease,
    /// The server gave no reason.
    #[error(
        "the server closed the connection without an answer: it does not know this host key, or refuses it"
    )]
    Refused,
    /// The server said why.
    #[error("the server refuses: {reason}")]
    RefusedFor {
        /// The server's word for it.
        reason: ReasonWord,
        /// Time after which another report makes sense.
        retry: Option<Duration>,
    },
    /// The connection ended within the reply.
    #[error("the server's answer was cut off")]
    Cut,
    /// Any other failure.
    #[error(transparent)]
    Server(FetchError),
}

impl From<FetchError> for ReportError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Truncated { .. } => Self::Cut,
            other => Self::Server(other),
        }
    }
}

impl HostTls {
    /// A machine that proves the host key `key`, and accepts only servers that prove one of `trusted_servers`; none when the
    /// list is empty.
    pub fn new(
        key: &RawKey,
        trusted_servers: Vec<KeyId>,
        priority: &Priority,
    ) -> Result<Self, SetupError> {
        let mut config = ServerConfig::clone(&*config(key, priority, KeyRequest::Mandatory)?);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            trusted: trusted_servers,
        })
    }

    /// Greets the server and shakes hands. The server has then proved a trusted key and waits for the request; nothing
    /// counts as a sign of life before that.
    ///
    /// Blocks as long as `stream` does. The deadline is the caller's, on the stream, and should be one for all
    /// of it: a peer may send byte by byte.
    pub fn connect(
        &self,
        stream: &mut (impl Read + Write),
    ) -> Result<ConnectedHostServer, ReportError> {
        let io = |error| ReportError::Server(FetchError::Io(error));
        stream.write_all(agent_line().as_bytes()).map_err(io)?;
        stream.flush().map_err(io)?;
        let accepted = client_hello(stream)?;
        // The offer of the protocol counts only with that of a raw key.
        if !ServerOffer::of(&accepted).release {
            return Err(ReportError::NoRelease);
        }
        let connection = handshake(accepted, Arc::clone(&self.config), stream)?;
        let server_key = trusted_server(&connection, &self.trusted)?;
        Ok(ConnectedHostServer {
            connection: Box::new(connection),
            server_key,
        })
    }
}

/// A trusted server that has not been told anything yet.
pub struct ConnectedHostServer {
    connection: Box<ServerConnection>,
    server_key: KeyId,
}

impl ConnectedHostServer {
    /// The key that the server has proved.
    pub const fn server_key(&self) -> KeyId {
        self.server_key
    }

    /// Sends `request`, a heartbeat or a goodbye, and reads the reply. The stream is not usable afterwards.
    ///
    /// Blocks as long as `stream` does.
    pub fn report(
        mut self,
        request: &Request,
        stream: &mut (impl Read + Write),
    ) -> Result<Accepted, ReportError> {
        let mut tls = rustls::Stream::new(&mut *self.connection, stream);
        tls.write_all(&request.to_bytes())
            .and_then(|()| tls.flush())
            .map_err(fetch::io_error)?;
        let reply = read_reply(&mut tls);
        self.close(stream);
        reply
    }

    /// Asks for a named secret, and reads replies until the server has sent or refused it. `waiting` is told each notice to
    /// wait, and can move the deadline of the stream; an error of it ends the connection. The stream is not usable
    /// afterwards.
    ///
    /// Blocks as long as `stream` does, and reads any number of notices: `waiting` must end the connection to a server that
    /// sends too many.
    pub fn get<S: Read + Write>(
        mut self,
        query: SecretQuery,
        stream: &mut S,
        waiting: &mut dyn FnMut(&Waiting, &mut S) -> io::Result<()>,
    ) -> Result<NamedSecret, ReportError> {
        let request = Request::Get(query.clone()).to_bytes();
        let mut tls = rustls::Stream::new(&mut *self.connection, stream);
        tls.write_all(&request)
            .and_then(|()| tls.flush())
            .map_err(fetch::io_error)?;
        let secret = read_secret(&mut tls, &query, waiting);
        self.close(stream);
        secret
    }

    /// Ends the connection without a request.
    pub fn leave(mut self, stream: &mut (impl Read + Write)) {
        self.close(stream);
    }

    fn close(&mut self, stream: &mut (impl Read + Write)) {
        self.connection.send_close_notify();
        // A server that is gone already has missed nothing.
        let _ = self.connection.complete_io(stream);
    }
}

fn read_reply(tls: &mut impl Read) -> Result<Accepted, ReportError> {
    let Some(header) = fetch::read_header(tls)? else {
        return Err(ReportError::Refused);
    };
    // Only a secret may be longer, and nobody asked for one.
    if header.body_len() > MAX_BODY {
        return Err(FetchError::OtherReply("a secret").into());
    }
    let body = fetch::read_body(tls, header)?;
    match Reply::parse(header, body.expose()).map_err(FetchError::from)? {
        Reply::Accepted(accepted) => Ok(accepted),
        Reply::Refused(refused) => Err(refusal(refused)),
        other => Err(FetchError::OtherReply(other.kind()).into()),
    }
}

fn refusal(Refused { reason, retry, .. }: Refused) -> ReportError {
    match reason {
        Some(reason) => ReportError::RefusedFor { reason, retry },
        None => ReportError::Refused,
    }
}

fn read_secret<S: Read + Write>(
    tls: &mut rustls::Stream<'_, ServerConnection, S>,
    query: &SecretQuery,
    waiting: &mut dyn FnMut(&Waiting, &mut S) -> io::Result<()>,
) -> Result<NamedSecret, ReportError> {
    loop {
        let Some(header) = fetch::read_header(tls)? else {
            return Err(ReportError::Refused);
        };
        // The boot secret may be longer, and nobody asked for it.
        if header.body_len() > MAX_SEALED + MAX_BODY {
            return Err(FetchError::TooLong { max: MAX_SEALED }.into());
        }
        let body = fetch::read_body(tls, header)?;
        match Reply::parse(header, body.expose()).map_err(FetchError::from)? {
            Reply::Waiting(notice) => waiting(&notice, tls.sock).map_err(FetchError::Io)?,
            Reply::Secret(head, payload) if head.name == query.name => {
                if payload.len() > MAX_SEALED {
                    return Err(FetchError::TooLong { max: MAX_SEALED }.into());
                }
                let (serial, payload) = (head.serial, payload.to_vec());
                return Ok(NamedSecret { serial, payload });
            }
            Reply::Secret(..) => {
                return Err(FetchError::OtherReply("a secret of another name").into());
            }
            Reply::Refused(refused) if refused.name == query.name => return Err(refusal(refused)),
            Reply::Refused(_) => {
                return Err(FetchError::OtherReply("the refusal of another secret").into());
            }
            other => return Err(FetchError::OtherReply(other.kind()).into()),
        }
    }
}
