//! The side of a booted machine: TLS *server* of nightlatchd, with the host key. Says that the machine is up or goes
//! down, and reads the one reply.
//!
//! Nothing is proved to a server that does not offer [`ALPN`], and nothing is said to one whose key is not trusted.
//!
//! [`ALPN`]: crate::release::ALPN

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use rustls::server::{ServerConfig, ServerConnection};

use super::fetch::{self, FetchError};
use super::machine_handshake::{
    KeyRequest, ServerOffer, client_hello, config, handshake, trusted_server,
};
use super::{RawKey, SetupError};
use crate::greeting::agent_line;
use crate::priority::Priority;
use crate::release::{ALPN, Accepted, MAX_BODY, ReasonWord, Refused, Reply, Request};

/// The TLS configuration of an agent. One serves all connections.
pub struct HostTls {
    config: Arc<ServerConfig>,
    trusted: Vec<KeyId>,
}

/// A failure to report to a server. For the machine's own log; the server does not get it.
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
        Reply::Refused(Refused {
            reason: Some(reason),
            retry,
            ..
        }) => Err(ReportError::RefusedFor { reason, retry }),
        Reply::Refused(_) => Err(ReportError::Refused),
        other => Err(FetchError::OtherReply(other.kind()).into()),
    }
}
