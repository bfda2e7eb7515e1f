//! The side of a booting machine: TLS *server* of nightlatchd or of a stock Mandos server. Proves
//! the machine's key, learns the server's where it has one, and reads the payload to its end.

use std::io::{Read, Write};
use std::sync::Arc;

use nightlatch_core::boot_nonce::{BootNonce, BootSeed};
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_name::SecretName;
use rustls::server::{Accepted, ServerConfig, ServerConnection};

use super::fetch::{self, FetchError, FetchedSecret};
use super::machine_handshake::{
    KeyRequest, ServerOffer, client_hello, config, handshake, trusted_server,
};
use super::{RawKey, SetupError, key_id};
use crate::greeting::client_line;
use crate::priority::Priority;
use crate::release::{ALPN, Request, SecretQuery, Waiting};

/// The TLS configuration of a booting machine. One serves all attempts.
pub struct BootTls {
    /// For servers that name no type of client certificate: a stock Mandos server, which has no key.
    /// GnuTLS and rustls both fail when such a peer is asked for a raw key.
    anonymous: Arc<ServerConfig>,
    /// For servers that offer raw keys as client certificates, as GnuTLS's own client.
    asking: Arc<ServerConfig>,
    /// For those that offer [`ALPN`] too, ours.
    release: Arc<ServerConfig>,
    trusted: Vec<KeyId>,
    seed: BootSeed,
    rehearsal: bool,
}

impl BootTls {
    /// A machine that proves `key`, in the boot with the seed `seed`, and accepts only servers that prove one of `trusted_servers`;
    /// any server when the list is empty.
    pub fn new(
        key: RawKey,
        trusted_servers: Vec<KeyId>,
        priority: &Priority,
        seed: BootSeed,
    ) -> Result<Self, SetupError> {
        let ask = if trusted_servers.is_empty() {
            KeyRequest::Optional
        } else {
            KeyRequest::Mandatory
        };
        let asking = config(&key, priority, ask)?;
        let mut release = ServerConfig::clone(&asking);
        release.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            anonymous: config(&key, priority, KeyRequest::Nothing)?,
            asking,
            release: Arc::new(release),
            trusted: trusted_servers,
            seed,
            rehearsal: false,
        })
    }

    /// True when only servers with trusted keys are accepted.
    pub fn requires_trusted_server(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// The same, and it asks what a boot would get, which changes nothing.
    ///
    /// Such a machine shakes hands only with a server that offers [`ALPN`]: any other would release the secret as to a
    /// boot.
    #[must_use]
    pub fn rehearsing(self) -> Self {
        Self {
            rehearsal: true,
            ..self
        }
    }

    /// All three steps: [`Self::connect`], [`ConnectedServer::ask`], [`AskedServer::payload`].
    pub fn fetch(
        &self,
        stream: &mut (impl Read + Write),
        max_payload: usize,
    ) -> Result<FetchedSecret, FetchError> {
        let connected = self.connect(stream)?;
        connected
            .ask(stream)?
            .payload(stream, max_payload, &mut |_| {})
    }

    /// Greets the server and shakes hands as far as that asks for nothing: to the end with a server of ours,
    /// which has then proved its key and waits for the request; up to its ClientHello with any other, for which a
    /// complete handshake is the request.
    ///
    /// Blocks as long as `stream` does. The deadline is the caller's, on the stream, and should be one for all
    /// of it: a peer may send byte by byte.
    pub fn connect(
        &self,
        stream: &mut (impl Read + Write),
    ) -> Result<ConnectedServer<'_>, FetchError> {
        stream.write_all(client_line().as_bytes())?;
        stream.flush()?;
        let accepted = client_hello(stream)?;
        let offer = ServerOffer::of(&accepted);
        // Before we prove ourselves: it would release the secret.
        if self.rehearsal && !offer.release {
            return Err(FetchError::NoRehearsal);
        }
        if !self.trusted.is_empty() && !offer.raw_keys {
            return Err(FetchError::ServerUnproven);
        }
        if offer.release {
            let connection = handshake(accepted, Arc::clone(&self.release), stream)?;
            let server_key = self.check_server(&connection)?;
            if self.rehearsal && server_key.is_none() {
                return Err(FetchError::ServerUnproven);
            }
            return Ok(ConnectedServer {
                tls: self,
                state: ConnectionState::Release(Box::new(connection), server_key),
            });
        }
        let config = if offer.raw_keys {
            Arc::clone(&self.asking)
        } else {
            Arc::clone(&self.anonymous)
        };
        Ok(ConnectedServer {
            tls: self,
            state: ConnectionState::Hello(Box::new((accepted, config))),
        })
    }

    /// The server's key, which must be a trusted one if there are any.
    fn check_server(&self, connection: &ServerConnection) -> Result<Option<KeyId>, FetchError> {
        if self.trusted.is_empty() {
            return Ok(key_id(connection.peer_certificates())?);
        }
        trusted_server(connection, &self.trusted).map(Some)
    }

    fn request(&self, server: Option<&KeyId>) -> Request {
        let query = SecretQuery {
            name: SecretName::boot(),
            boot: BootNonce::new(&self.seed, server),
        };
        if self.rehearsal {
            Request::Rehearse(query)
        } else {
            Request::Get(query)
        }
    }
}

/// A server that has not been asked for anything yet.
pub struct ConnectedServer<'a> {
    tls: &'a BootTls,
    state: ConnectionState,
}

enum ConnectionState {
    /// It has sent its ClientHello. It takes a complete handshake for the request.
    Hello(Box<(Accepted, Arc<ServerConfig>)>),
    /// The handshake is complete, and it waits for the request.
    Release(Box<ServerConnection>, Option<KeyId>),
}

impl ConnectedServer<'_> {
    /// The key that the server has proved; `None` of one that can prove one only by being asked, or has none.
    pub fn server_key(&self) -> Option<KeyId> {
        match &self.state {
            ConnectionState::Hello(_) => None,
            ConnectionState::Release(_, key) => *key,
        }
    }

    /// Asks the server for the payload. Blocks as long as `stream` does, which is as long as a handshake takes,
    /// with some servers.
    pub fn ask(self, stream: &mut (impl Read + Write)) -> Result<AskedServer, FetchError> {
        match self.state {
            ConnectionState::Hello(state) => {
                let (accepted, config) = *state;
                let connection = handshake(accepted, config, stream)?;
                let server_key = self.tls.check_server(&connection)?;
                Ok(AskedServer {
                    connection,
                    server_key,
                    request: None,
                })
            }
            ConnectionState::Release(mut connection, server_key) => {
                let request = self.tls.request(server_key.as_ref());
                let mut tls = rustls::Stream::new(&mut *connection, stream);
                tls.write_all(&request.to_bytes())
                    .and_then(|()| tls.flush())
                    .map_err(fetch::io_error)?;
                Ok(AskedServer {
                    connection: *connection,
                    server_key,
                    request: Some(request),
                })
            }
        }
    }
}

/// A server that has been asked.
pub struct AskedServer {
    connection: ServerConnection,
    server_key: Option<KeyId>,
    /// `None` where the handshake was the request.
    request: Option<Request>,
}

impl AskedServer {
    /// Reads the payload up to its end. `waiting` is told when a server of ours says that the request waits.
    ///
    /// Blocks as long as `stream` does: a server may let a machine wait for an approval. A payload of more than `max`
    /// bytes, or one whose end the server did not mark, is an error. The stream is not usable afterwards.
    pub fn payload(
        mut self,
        stream: &mut (impl Read + Write),
        max: usize,
        waiting: &mut dyn FnMut(&Waiting),
    ) -> Result<FetchedSecret, FetchError> {
        let mut tls = rustls::Stream::new(&mut self.connection, stream);
        let (payload, terms) = match &self.request {
            Some(request) => {
                let rehearsal = matches!(request, Request::Rehearse(_));
                fetch::boot_secret(&mut tls, max, rehearsal, waiting)?
            }
            None => (fetch::to_end(&mut tls, max)?, None),
        };
        self.close(stream);
        if payload.is_empty() {
            return Err(FetchError::Refused);
        }
        Ok(FetchedSecret {
            payload,
            server_key: self.server_key,
            terms,
        })
    }

    /// The payload is complete. A server that waits for our close_notify gets it, and one that does not is not our
    /// concern.
    fn close(&mut self, stream: &mut (impl Read + Write)) {
        self.connection.send_close_notify();
        let _ = self.connection.complete_io(stream);
    }
}
