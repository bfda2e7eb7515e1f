//! A request for a secret, as the connection knows it: the proven key, the peer's address, what it claims.

use std::net::SocketAddr;

use nightlatch_core::event::{RequestClaims, RequestId};
use nightlatch_core::key_id::KeyId;
use nightlatch_core::registry::NamedQuery;
use nightlatch_core::secret_name::SecretName;
use nightlatch_proto::tls::Authenticated;
use nightlatch_sys::netif;

/// A request for a secret. The log, the audit log and D-Bus take from it who asked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SecretRequest {
    /// The number by which people decide on it.
    pub id: RequestId,
    /// The key id that the peer proved in the handshake.
    pub key: KeyId,
    /// The peer's address; an IPv4 address is never in its IPv6 notation.
    pub address: SocketAddr,
    /// The claims of the peer.
    pub claims: RequestClaims,
    /// The named secret that it asks for; `None` for the boot secret, and in a sign of life.
    pub secret: Option<SecretName>,
    /// False where its connection has no place to wait for a person: it is refused then.
    pub may_wait: bool,
}

impl SecretRequest {
    /// A request of the peer `proved` at `address`.
    pub fn new(
        id: RequestId,
        proved: &Authenticated,
        address: SocketAddr,
        claims: RequestClaims,
    ) -> Self {
        Self {
            id,
            key: proved.key_id(),
            address,
            claims,
            secret: None,
            may_wait: true,
        }
    }

    /// The same for the secret of this name.
    pub fn for_secret(mut self, name: SecretName) -> Self {
        self.secret = Some(name).filter(|name| !name.is_boot());
        self
    }

    /// The same on a connection that must not wait for a person.
    pub(super) fn without_waiting(mut self) -> Self {
        self.may_wait = false;
        self
    }

    /// As the registry takes it; `None` for the boot secret.
    pub(crate) fn named_query(&self) -> Option<NamedQuery> {
        Some(NamedQuery {
            name: self.secret.clone()?,
            claims: self.claims,
            may_wait: self.may_wait,
        })
    }

    /// The interface that a link-local peer is behind. Every other address says less of where it came in.
    pub(crate) fn interface(&self) -> Option<String> {
        match self.address {
            SocketAddr::V6(peer) if peer.scope_id() != 0 => netif::name_of(peer.scope_id()).ok(),
            SocketAddr::V6(_) | SocketAddr::V4(_) => None,
        }
    }

    /// The peer's address and port for a person, with the name of its interface.
    pub(crate) fn peer(&self) -> String {
        match (self.interface(), self.address) {
            (Some(interface), SocketAddr::V6(peer)) => {
                format!("[{}%{interface}]:{}", peer.ip(), peer.port())
            }
            (_, address) => address.to_string(),
        }
    }
}
