//! The handshake of a machine, which is the TLS *server* in it, whatever it wants from the server afterwards.

use std::io::{self, Read, Write};
use std::sync::Arc;

use nightlatch_core::key_id::KeyId;
use rustls::crypto::CryptoProvider;
use rustls::server::{
    Accepted, Acceptor, AlwaysResolvesServerRawPublicKeys, CertificateType, NoServerSessionStorage,
    ServerConfig, ServerConnection,
};
use rustls::version::TLS13;
use rustls::{CipherSuite, SupportedCipherSuite};

use super::fetch::{self, FetchError};
use super::verifier::AnyRawKey;
use super::{PeerError, RawKey, SetupError, key_id, provider};
use crate::priority::Priority;
use crate::release::ALPN;

/// Abilities that a server's ClientHello announces.
#[derive(Clone, Copy)]
pub(super) struct ServerOffer {
    /// To prove a raw key.
    pub(super) raw_keys: bool,
    /// To speak [`ALPN`], with a key to prove.
    pub(super) release: bool,
}

impl ServerOffer {
    pub(super) fn of(accepted: &Accepted) -> Self {
        let hello = accepted.client_hello();
        let raw_keys = hello
            .client_cert_types()
            .is_some_and(|types| types.contains(&CertificateType::RawPublicKey));
        let release = hello
            .alpn()
            .is_some_and(|mut protocols| protocols.any(|name| name == ALPN));
        Self {
            raw_keys,
            // Without a key it cannot be recognized at another address, and there is no nonce for it.
            release: release && raw_keys,
        }
    }
}

pub(super) fn handshake(
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
        connection
            .complete_io(stream)
            .map_err(fetch::handshake_error)?;
    }
    Ok(connection)
}

/// The key that the server has proved, which must be one of `trusted`.
pub(super) fn trusted_server(
    connection: &ServerConnection,
    trusted: &[KeyId],
) -> Result<KeyId, FetchError> {
    let shown = key_id(connection.peer_certificates())?.ok_or(FetchError::ServerUnproven)?;
    // Every key is compared, and each in constant time.
    let known = trusted
        .iter()
        .fold(false, |found, key| found | (*key == shown));
    if known {
        Ok(shown)
    } else {
        Err(FetchError::ServerUntrusted(shown))
    }
}

/// The server's key in the handshake: not requested, optional, or mandatory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRequest {
    Nothing,
    Optional,
    Mandatory,
}

/// The cryptography that a priority leaves, in the order in which a machine takes what the server offers: ChaCha20-Poly1305 first,
/// whose hash is SHA-256. A handshake encrypts some hundred bytes and hashes in some hundred steps, so that the hash decides:
/// with SHA-384 a server's side of it costs a sixth more (docs/decisions/0030-tls-library.md).
fn machine_provider(priority: &Priority) -> Arc<CryptoProvider> {
    let mut provider = Arc::unwrap_or_clone(provider(priority));
    let is_quick =
        |suite: &SupportedCipherSuite| suite.suite() == CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    provider.cipher_suites.sort_by_key(|suite| !is_quick(suite));
    Arc::new(provider)
}

pub(super) fn config(
    key: &RawKey,
    priority: &Priority,
    key_request: KeyRequest,
) -> Result<Arc<ServerConfig>, SetupError> {
    let builder = ServerConfig::builder_with_provider(machine_provider(priority))
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
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Reads the ClientHello and nothing more.
pub(super) fn client_hello(stream: &mut (impl Read + Write)) -> Result<Accepted, FetchError> {
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
