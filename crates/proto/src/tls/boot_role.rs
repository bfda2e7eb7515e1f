//! The side of a booting machine: TLS *server* of nightlatchd or of a stock Mandos server. Proves
//! the machine's key, learns the server's where it has one, and reads the payload to its very end.

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
use crate::greeting::{Words, client_line};
use crate::priority::Priority;
use crate::rehearsal::{self, Answer, NotAnAnswer, Terms};

/// What is read at once: one TLS record (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;

/// How a booting machine asks for its secret. One serves all attempts.
pub struct BootTls {
    /// For servers that name no type of client certificate: a stock Mandos server, which has no key.
    /// GnuTLS and rustls both fail when such a peer is asked for a raw key.
    anonymous: Arc<ServerConfig>,
    /// For servers that offer raw keys as client certificates, as GnuTLS's own client.
    asking: Arc<ServerConfig>,
    /// For those that also wait to be asked: ours.
    waiting: Arc<ServerConfig>,
    trusted: Vec<KeyId>,
    words: Words,
}

/// What a server gave.
#[derive(Debug)]
pub struct Fetched {
    /// The encrypted secret, complete.
    pub payload: Secret,
    /// The server's own key, if it proved one.
    pub server_key: Option<KeyId>,
    /// How long the machine may be away, when it was a rehearsal.
    pub terms: Option<Terms>,
}

impl BootTls {
    /// A machine that proves `key`, and believes only a server that proves one of
    /// `trusted_servers`; any server when there are none.
    pub fn new(
        key: RawKey,
        trusted_servers: Vec<KeyId>,
        priority: &Priority,
    ) -> Result<Self, SetupError> {
        let ask = if trusted_servers.is_empty() {
            Ask::Optional
        } else {
            Ask::Mandatory
        };
        let asking = config(&key, priority, ask)?;
        let mut waiting = ServerConfig::clone(&asking);
        waiting.alpn_protocols = vec![WAITS_TO_BE_ASKED.to_vec()];
        Ok(Self {
            anonymous: config(&key, priority, Ask::Nothing)?,
            asking,
            waiting: Arc::new(waiting),
            trusted: trusted_servers,
            words: Words::default(),
        })
    }

    /// True when it believes servers with trusted keys only.
    pub fn trusts_only_some(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// The same, saying `words` in the first line.
    ///
    /// A machine that rehearses shakes hands only with a server that has a key: a stock server has
    /// none, and would release the secret as to a boot.
    #[must_use]
    pub fn with_words(mut self, words: Words) -> Self {
        self.words = words;
        self
    }

    /// All three steps: [`Self::connect`], [`Connected::ask`], [`Asked::payload`].
    pub fn fetch(
        &self,
        stream: &mut (impl Read + Write),
        max_payload: usize,
    ) -> Result<Fetched, FetchError> {
        let connected = self.connect(stream)?;
        connected.ask(stream)?.payload(stream, max_payload)
    }

    /// Greets the server and shakes hands as far as that asks for nothing: to the end with a server of ours,
    /// which then waits to be asked, and has proved its key; up to its ClientHello with any other, for which a
    /// complete handshake is the request.
    ///
    /// Blocks as long as `stream` does. The deadline is the caller's, on the stream, and should be one for all
    /// of it: a peer may send byte by byte.
    pub fn connect(&self, stream: &mut (impl Read + Write)) -> Result<Connected<'_>, FetchError> {
        stream.write_all(client_line(&self.words).as_bytes())?;
        stream.flush()?;
        let accepted = client_hello(stream)?;
        let mut hello = Offer::of(&accepted);
        if self.words.rehearsal && !hello.raw_keys {
            // Before we prove ourselves: it would release the secret.
            return Err(FetchError::NoRehearsal);
        }
        if !self.trusted.is_empty() && !hello.raw_keys {
            return Err(FetchError::ServerUnproven);
        }
        // Without a key to wait with it is any other server.
        hello.waits &= hello.raw_keys;
        let config = match hello {
            Offer { waits: true, .. } => &self.waiting,
            Offer { raw_keys: true, .. } => &self.asking,
            Offer { .. } => &self.anonymous,
        };
        let config = Arc::clone(config);
        if !hello.waits {
            return Ok(Connected {
                tls: self,
                step: Step::Hello(Box::new((accepted, config))),
            });
        }
        let connection = handshake(accepted, config, stream)?;
        // One that proves nothing cannot be told from others: asking it is like asking any.
        let server_key = self.check_server(&connection)?;
        Ok(Connected {
            tls: self,
            step: Step::Waits(Box::new(connection), server_key),
        })
    }

    /// The server's key, which must be a trusted one if there are any.
    fn check_server(&self, connection: &ServerConnection) -> Result<Option<KeyId>, FetchError> {
        let shown = key_id(connection.peer_certificates())?;
        if self.trusted.is_empty() && !(self.words.rehearsal && shown.is_none()) {
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

/// What a server's ClientHello offers.
#[derive(Clone, Copy)]
struct Offer {
    /// To prove a raw key.
    raw_keys: bool,
    /// To wait, after the handshake, until it is asked.
    waits: bool,
}

impl Offer {
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
pub struct Connected<'a> {
    tls: &'a BootTls,
    step: Step,
}

enum Step {
    /// It has sent its ClientHello. It takes a complete handshake for the request.
    Hello(Box<(Accepted, Arc<ServerConfig>)>),
    /// The handshake is complete, and it waits to be asked.
    Waits(Box<ServerConnection>, Option<KeyId>),
}

impl Connected<'_> {
    /// The key that the server has proved; `None` of one that can prove one only by being asked, or has none.
    pub fn server_key(&self) -> Option<KeyId> {
        match &self.step {
            Step::Hello(_) => None,
            Step::Waits(_, key) => *key,
        }
    }

    /// Asks the server for the payload. Blocks as long as `stream` does, which is as long as a handshake takes,
    /// with some servers.
    pub fn ask(self, stream: &mut (impl Read + Write)) -> Result<Asked, FetchError> {
        let (connection, server_key) = match self.step {
            Step::Hello(step) => {
                let (accepted, config) = *step;
                let connection = handshake(accepted, config, stream)?;
                let server_key = self.tls.check_server(&connection)?;
                (connection, server_key)
            }
            Step::Waits(mut connection, server_key) => {
                let mut tls = rustls::Stream::new(&mut *connection, stream);
                tls.write_all(&ASK)
                    .and_then(|()| tls.flush())
                    .map_err(io_error)?;
                (*connection, server_key)
            }
        };
        Ok(Asked {
            connection,
            server_key,
            rehearsal: self.tls.words.rehearsal,
        })
    }
}

/// A server that has been asked.
pub struct Asked {
    connection: ServerConnection,
    server_key: Option<KeyId>,
    rehearsal: bool,
}

impl Asked {
    /// Reads the payload up to its end.
    ///
    /// Blocks as long as `stream` does: a server may keep a machine waiting for an approval. A payload of more
    /// than `max` bytes, or one whose end the server did not mark, is an error. The stream is spent afterwards.
    pub fn payload(
        mut self,
        stream: &mut (impl Read + Write),
        max: usize,
    ) -> Result<Fetched, FetchError> {
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
        Ok(Fetched {
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

/// Why there is no payload. For the machine's own log; the server is not told.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server closed in good order without giving anything: unknown key, disabled, denied.
    #[error("the server gave nothing: it does not know this machine, or refuses it")]
    Refused,
    /// The connection ended before the server had marked the payload's end.
    #[error("the payload was cut off after {received} bytes")]
    Truncated {
        /// How much had come.
        received: usize,
    },
    /// More than the caller was willing to take.
    #[error("the payload is longer than {max} bytes")]
    TooLong {
        /// How much it would have taken.
        max: usize,
    },
    /// A rehearsal that the server refused.
    #[error("the server refuses: {0}")]
    RefusedFor(String),
    /// A rehearsal with a server that has no key of its own.
    #[error(
        "the server has no key, as one of Mandos: it knows no rehearsals and would count it as a boot"
    )]
    NoRehearsal,
    /// A rehearsal that the server did not answer as one.
    #[error(transparent)]
    NotRehearsed(#[from] NotAnAnswer),
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

/// Whether the server is asked for its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Nothing,
    Optional,
    Mandatory,
}

pub(super) fn config(
    key: &RawKey,
    priority: &Priority,
    ask: Ask,
) -> Result<Arc<ServerConfig>, SetupError> {
    let builder = ServerConfig::builder_with_provider(provider(priority))
        .with_protocol_versions(&[&TLS13])?;
    let builder = match ask {
        Ask::Nothing => builder.with_no_client_auth(),
        Ask::Optional => {
            builder.with_client_cert_verifier(AnyRawKey::new(priority.schemes(), false))
        }
        Ask::Mandatory => {
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

/// What stands before the payload of a rehearsal.
fn rehearsed(whole: Secret) -> Result<(Secret, Terms), FetchError> {
    let bytes = whole.expose();
    match rehearsal::read(bytes)? {
        (Answer::Refused(reason), _) => Err(FetchError::RefusedFor(reason)),
        (Answer::Released(terms), end) => {
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
