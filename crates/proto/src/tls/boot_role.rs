//! The side of a booting machine: TLS *server* of nightlatchd or of a stock Mandos server. Proves
//! the machine's key, learns the server's where it has one, and reads the payload to its end.

use std::io::{self, Read, Write};
use std::sync::Arc;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret::{Secret, SecretBuffer};
use rustls::server::{
    Accepted, Acceptor, AlwaysResolvesServerRawPublicKeys, CertificateType, NoServerSessionStorage,
    ServerConfig, ServerConnection,
};
use rustls::version::TLS13;
use zeroize::Zeroizing;

use super::verifier::AnyRawKey;
use super::{ASK, PeerError, RawKey, SetupError, WAITS_TO_BE_ASKED, key_id, provider};
use crate::greeting::{GreetingOptions, client_line};
use crate::priority::Priority;
use crate::rehearsal::{self, NotARehearsalAnswer, RehearsalAnswer, RehearsalTerms};

/// The size of one read: one TLS record (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;

/// The TLS configuration of a booting machine. One serves all attempts.
pub struct BootTls {
    /// For servers that name no type of client certificate: a stock Mandos server, which has no key.
    /// GnuTLS and rustls both fail when such a peer is asked for a raw key.
    anonymous: Arc<ServerConfig>,
    /// For servers that offer raw keys as client certificates, as GnuTLS's own client.
    asking: Arc<ServerConfig>,
    /// For those that also wait to be asked: ours.
    waiting: Arc<ServerConfig>,
    trusted: Vec<KeyId>,
    options: GreetingOptions,
}

/// The payload and the facts that came with it.
#[derive(Debug)]
pub struct FetchedSecret {
    /// The encrypted secret, complete.
    pub payload: Secret,
    /// The server's own key, if it proved one.
    pub server_key: Option<KeyId>,
    /// Present after a rehearsal.
    pub terms: Option<RehearsalTerms>,
}

impl BootTls {
    /// A machine that proves `key`, and accepts only servers that prove one of `trusted_servers`; any server when the
    /// list is empty.
    pub fn new(
        key: RawKey,
        trusted_servers: Vec<KeyId>,
        priority: &Priority,
    ) -> Result<Self, SetupError> {
        let ask = if trusted_servers.is_empty() {
            KeyRequest::Optional
        } else {
            KeyRequest::Mandatory
        };
        let asking = config(&key, priority, ask)?;
        let mut waiting = ServerConfig::clone(&asking);
        waiting.alpn_protocols = vec![WAITS_TO_BE_ASKED.to_vec()];
        Ok(Self {
            anonymous: config(&key, priority, KeyRequest::Nothing)?,
            asking,
            waiting: Arc::new(waiting),
            trusted: trusted_servers,
            options: GreetingOptions::default(),
        })
    }

    /// True when only servers with trusted keys are accepted.
    pub fn requires_trusted_server(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// The same, with `options` in the first line.
    ///
    /// A machine that rehearses shakes hands only with a server that has a key: a stock server has
    /// none, and would release the secret as to a boot.
    #[must_use]
    pub fn with_options(mut self, options: GreetingOptions) -> Self {
        self.options = options;
        self
    }

    /// All three steps: [`Self::connect`], [`ConnectedServer::ask`], [`AskedServer::payload`].
    pub fn fetch(
        &self,
        stream: &mut (impl Read + Write),
        max_payload: usize,
    ) -> Result<FetchedSecret, FetchError> {
        let connected = self.connect(stream)?;
        connected.ask(stream)?.payload(stream, max_payload)
    }

    /// Greets the server and shakes hands as far as that asks for nothing: to the end with a server of ours,
    /// which then waits to be asked, and has proved its key; up to its ClientHello with any other, for which a
    /// complete handshake is the request.
    ///
    /// Blocks as long as `stream` does. The deadline is the caller's, on the stream, and should be one for all
    /// of it: a peer may send byte by byte.
    pub fn connect(
        &self,
        stream: &mut (impl Read + Write),
    ) -> Result<ConnectedServer<'_>, FetchError> {
        stream.write_all(client_line(&self.options).as_bytes())?;
        stream.flush()?;
        let accepted = client_hello(stream)?;
        let mut hello = ServerOffer::of(&accepted);
        if self.options.rehearsal && !hello.raw_keys {
            // Before we prove ourselves: it would release the secret.
            return Err(FetchError::NoRehearsal);
        }
        if !self.trusted.is_empty() && !hello.raw_keys {
            return Err(FetchError::ServerUnproven);
        }
        // Without a key to wait with it is any other server.
        hello.waits &= hello.raw_keys;
        let config = match hello {
            ServerOffer { waits: true, .. } => &self.waiting,
            ServerOffer { raw_keys: true, .. } => &self.asking,
            ServerOffer { .. } => &self.anonymous,
        };
        let config = Arc::clone(config);
        if !hello.waits {
            return Ok(ConnectedServer {
                tls: self,
                state: ConnectionState::Hello(Box::new((accepted, config))),
            });
        }
        let connection = handshake(accepted, config, stream)?;
        // A server without a key cannot be recognized at another address, so it may be asked more than once.
        let server_key = self.check_server(&connection)?;
        Ok(ConnectedServer {
            tls: self,
            state: ConnectionState::Waits(Box::new(connection), server_key),
        })
    }

    /// The server's key, which must be a trusted one if there are any.
    fn check_server(&self, connection: &ServerConnection) -> Result<Option<KeyId>, FetchError> {
        let shown = key_id(connection.peer_certificates())?;
        if self.trusted.is_empty() && !(self.options.rehearsal && shown.is_none()) {
            return Ok(shown);
        }
        let shown = shown.ok_or(FetchError::ServerUnproven)?;
        // Every key is compared, and each in constant time.
        let trusted = self
            .trusted
            .iter()
            .fold(false, |found, key| found | (*key == shown));
        if !trusted {
            return Err(FetchError::ServerUntrusted(shown));
        }
        Ok(Some(shown))
    }
}

/// Abilities that a server's ClientHello announces.
#[derive(Clone, Copy)]
struct ServerOffer {
    /// To prove a raw key.
    raw_keys: bool,
    /// To wait, after the handshake, until it is asked.
    waits: bool,
}

impl ServerOffer {
    fn of(accepted: &Accepted) -> Self {
        let hello = accepted.client_hello();
        let raw_keys = hello
            .client_cert_types()
            .is_some_and(|types| types.contains(&CertificateType::RawPublicKey));
        let waits = hello
            .alpn()
            .is_some_and(|mut protocols| protocols.any(|name| name == WAITS_TO_BE_ASKED));
        Self { raw_keys, waits }
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
    /// The handshake is complete, and it waits to be asked.
    Waits(Box<ServerConnection>, Option<KeyId>),
}

impl ConnectedServer<'_> {
    /// The key that the server has proved; `None` of one that can prove one only by being asked, or has none.
    pub fn server_key(&self) -> Option<KeyId> {
        match &self.state {
            ConnectionState::Hello(_) => None,
            ConnectionState::Waits(_, key) => *key,
        }
    }

    /// Asks the server for the payload. Blocks as long as `stream` does, which is as long as a handshake takes,
    /// with some servers.
    pub fn ask(self, stream: &mut (impl Read + Write)) -> Result<AskedServer, FetchError> {
        let (connection, server_key) = match self.state {
            ConnectionState::Hello(state) => {
                let (accepted, config) = *state;
                let connection = handshake(accepted, config, stream)?;
                let server_key = self.tls.check_server(&connection)?;
                (connection, server_key)
            }
            ConnectionState::Waits(mut connection, server_key) => {
                let mut tls = rustls::Stream::new(&mut *connection, stream);
                tls.write_all(&ASK)
                    .and_then(|()| tls.flush())
                    .map_err(io_error)?;
                (*connection, server_key)
            }
        };
        Ok(AskedServer {
            connection,
            server_key,
            rehearsal: self.tls.options.rehearsal,
        })
    }
}

/// A server that has been asked.
pub struct AskedServer {
    connection: ServerConnection,
    server_key: Option<KeyId>,
    rehearsal: bool,
}

impl AskedServer {
    /// Reads the payload up to its end.
    ///
    /// Blocks as long as `stream` does: a server may let a machine wait for an approval. A payload of more than `max`
    /// bytes, or one whose end the server did not mark, is an error. The stream is not usable afterwards.
    pub fn payload(
        mut self,
        stream: &mut (impl Read + Write),
        max: usize,
    ) -> Result<FetchedSecret, FetchError> {
        let payload = read_payload(&mut self.connection, stream, max)?;
        // The payload is complete. A server that waits for our close_notify gets it, and one that
        // does not is not our concern.
        self.connection.send_close_notify();
        let _ = self.connection.complete_io(stream);
        if payload.is_empty() {
            return Err(FetchError::Refused);
        }
        let (payload, terms) = match self.rehearsal {
            true => rehearsed(payload).map(|(payload, terms)| (payload, Some(terms)))?,
            false => (payload, None),
        };
        Ok(FetchedSecret {
            payload,
            server_key: self.server_key,
            terms,
        })
    }
}

fn handshake(
    accepted: Accepted,
    config: Arc<ServerConfig>,
    stream: &mut (impl Read + Write),
) -> Result<ServerConnection, FetchError> {
    let mut connection = match accepted.into_connection(config) {
        Ok(connection) => connection,
        Err((error, mut alert)) => {
            let _ = alert.write_all(stream);
            return Err(FetchError::Peer(error.into()));
        }
    };
    while connection.is_handshaking() {
        connection.complete_io(stream).map_err(handshake_error)?;
    }
    Ok(connection)
}

/// A failure to get the payload. For the machine's own log; the server does not get it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server closed in good order without giving anything: unknown key, disabled, denied.
    #[error("the server gave nothing: it does not know this machine, or refuses it")]
    Refused,
    /// The connection ended before the server had marked the payload's end.
    #[error("the payload was cut off after {received} bytes")]
    Truncated {
        /// Bytes received before the end.
        received: usize,
    },
    /// More than the caller was willing to take.
    #[error("the payload is longer than {max} bytes")]
    TooLong {
        /// The caller's limit in bytes.
        max: usize,
    },
    /// A rehearsal that the server refused.
    #[error("the server refuses: {0}")]
    RefusedFor(String),
    /// A rehearsal with a server that has no key.
    #[error(
        "the server has no key, as a Mandos server has none: it does not support rehearsals and would count this as a boot"
    )]
    NoRehearsal,
    /// A rehearsal that the server did not answer as one.
    #[error(transparent)]
    NotRehearsed(#[from] NotARehearsalAnswer),
    /// There is a list of trusted servers, and this one showed no key.
    #[error("the server proved no key, but only servers with a trusted key are believed")]
    ServerUnproven,
    /// There is a list of trusted servers, and this one is not on it.
    #[error("the server's key {0} is not among the trusted ones")]
    ServerUntrusted(KeyId),
    /// The server does not keep to the protocol.
    #[error("the handshake with the server failed")]
    Peer(#[from] PeerError),
    /// The connection failed, or a deadline on it passed.
    #[error("the connection to the server failed")]
    Io(#[from] io::Error),
}

/// The server's key in the handshake: not requested, optional, or mandatory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRequest {
    Nothing,
    Optional,
    Mandatory,
}

pub(super) fn config(
    key: &RawKey,
    priority: &Priority,
    key_request: KeyRequest,
) -> Result<Arc<ServerConfig>, SetupError> {
    let builder = ServerConfig::builder_with_provider(provider(priority))
        .with_protocol_versions(&[&TLS13])?;
    let builder = match key_request {
        KeyRequest::Nothing => builder.with_no_client_auth(),
        KeyRequest::Optional => {
            builder.with_client_cert_verifier(AnyRawKey::new(priority.schemes(), false))
        }
        KeyRequest::Mandatory => {
            builder.with_client_cert_verifier(AnyRawKey::new(priority.schemes(), true))
        }
    };
    let resolver = AlwaysResolvesServerRawPublicKeys::new(key.certified());
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Reads the ClientHello and nothing more.
fn client_hello(stream: &mut (impl Read + Write)) -> Result<Accepted, FetchError> {
    let mut acceptor = Acceptor::default();
    loop {
        if read_tls(&mut acceptor, stream)? == 0 {
            return Err(FetchError::Peer(PeerError::Closed));
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let _ = alert.write_all(stream);
                return Err(FetchError::Peer(error.into()));
            }
        }
    }
}

fn read_tls(acceptor: &mut Acceptor, stream: &mut impl Read) -> io::Result<usize> {
    loop {
        match acceptor.read_tls(stream) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn read_payload(
    connection: &mut ServerConnection,
    stream: &mut (impl Read + Write),
    max: usize,
) -> Result<Secret, FetchError> {
    let mut payload = SecretBuffer::default();
    let mut record = Zeroizing::new([0; RECORD]);
    loop {
        let read = rustls::Stream::new(connection, stream).read(record.as_mut());
        match read {
            Ok(0) => return Ok(payload.finish()),
            Ok(n) if n > max - payload.len() => return Err(FetchError::TooLong { max }),
            Ok(n) => payload.append(&record[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(FetchError::Truncated {
                    received: payload.len(),
                });
            }
            Err(error) => return Err(io_error(error)),
        }
    }
}

/// Splits the server's answer to a rehearsal from the payload that follows.
fn rehearsed(whole: Secret) -> Result<(Secret, RehearsalTerms), FetchError> {
    let bytes = whole.expose();
    match rehearsal::read(bytes)? {
        (RehearsalAnswer::Refused(reason), _) => Err(FetchError::RefusedFor(reason)),
        (RehearsalAnswer::Released(terms), end) => {
            let mut payload = SecretBuffer::default();
            payload.append(&bytes[end..]);
            Ok((payload.finish(), terms))
        }
    }
}

fn handshake_error(error: io::Error) -> FetchError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FetchError::Peer(PeerError::Closed),
        _ => io_error(error),
    }
}

/// rustls reports what the peer did wrong inside an `io::Error`.
fn io_error(error: io::Error) -> FetchError {
    match PeerError::from_io(&error) {
        Some(peer) => FetchError::Peer(peer),
        None => FetchError::Io(error),
    }
}
