//! The side of nightlatchd: TLS *client* of a booting machine. Authenticates the machine by its raw
//! key, and offers the server's own key to machines that ask for it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection};

use super::verifier::AnyRawKey;
use super::{Authenticated, PeerError, RawKey, SetupError, key_id, provider};
use crate::priority::Priority;
use crate::release::ALPN;

/// The TLS configuration of the server. Cheap to clone; one serves all connections.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ClientConfig>,
}

impl ServerTls {
    /// A server that proves `own` to machines that ask, and is anonymous as a stock one without it.
    pub fn new(own: Option<&RawKey>, priority: &Priority) -> Result<Self, SetupError> {
        let builder = ClientConfig::builder_with_provider(provider(priority))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            // Not dangerous here: the key is verified, and names mean nothing in this protocol.
            .with_custom_certificate_verifier(AnyRawKey::new(priority.schemes(), true));
        let mut config = match own {
            Some(key) => builder.with_client_cert_resolver(Arc::new(
                AlwaysResolvesClientRawPublicKeys::new(key.certified()),
            )),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// The same, and the server offers [`ALPN`]: see [`speaks_release`]. A stock client does not know the offer; its
    /// handshake is its request.
    #[must_use]
    pub fn offering_release(self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Self {
            config: Arc::new(config),
        }
    }

    /// The configuration, for an asynchronous connector.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The name to give to a connector. It is never sent nor compared with anything.
    pub fn peer_name() -> ServerName<'static> {
        Ipv4Addr::UNSPECIFIED.into()
    }

    /// A new connection without a socket.
    pub fn connection(&self) -> Result<ClientConnection, SetupError> {
        Ok(ClientConnection::new(self.config(), Self::peer_name())?)
    }
}

/// The authenticated peer of this connection; an error before the handshake is complete.
pub fn authenticated(connection: &ClientConnection) -> Result<Authenticated, PeerError> {
    if connection.is_handshaking() {
        return Err(PeerError::Incomplete);
    }
    let key_id = key_id(connection.peer_certificates())?.ok_or(PeerError::NoKey)?;
    Ok(Authenticated { key_id })
}

/// True when the peer of this connection, whose handshake is complete, speaks [`ALPN`] and has not asked for anything
/// yet. With any other the handshake was the request.
pub fn speaks_release(connection: &ClientConnection) -> bool {
    connection.alpn_protocol() == Some(ALPN)
}
