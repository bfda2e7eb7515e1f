//! TLS 1.3 with raw public keys (RFC 8446, RFC 7250), in both roles of the protocol.
//!
//! The roles are reversed: the server that holds the secrets is the TLS client, the booting machine
//! is the TLS server and proves its key in the handshake. No names, no authorities, no resumption,
//! no early data: a key is known by its [`KeyId`] or it is not known at all.

mod boot_role;
mod fetch;
mod host_role;
mod in_memory;
mod machine_handshake;
mod raw_key;
mod server_role;
mod spki;
mod verifier;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use nightlatch_core::key_id::{KeyId, KeyIdError};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, OtherError, PeerIncompatible};

pub use boot_role::{AskedServer, BootTls, ConnectedServer};
pub use fetch::{FetchError, FetchedSecret};
pub use host_role::{ConnectedHostServer, HostTls, NamedSecret, ReportError};
pub use in_memory::authenticate_in_memory;
pub use raw_key::{RawKey, RawKeyError, RawKeyKind};
pub use server_role::{ServerTls, authenticated, speaks_release};
pub use spki::{KeyAlgorithm, SpkiError, algorithm};

use crate::priority::Priority;

/// A peer that has proved, in a completed handshake, that it holds the private key of this key id.
///
/// Only this module can make one, so whatever asks for one cannot run for an anonymous peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authenticated {
    key_id: KeyId,
}

impl Authenticated {
    /// The key that was proved.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }
}

/// A peer's violation of the protocol or missing ability. For our own log only: the peer gets a TLS alert at most.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerError {
    /// No TLS 1.3.
    #[error("the peer does not speak TLS 1.3")]
    OldTls,
    /// It showed an X.509 certificate or would not use raw public keys.
    #[error("bad certificate: the peer does not use a raw public key")]
    NotRawKey,
    /// It showed no key at all.
    #[error("bad certificate: the peer showed no key")]
    NoKey,
    /// It showed a key that we cannot use.
    #[error("bad certificate: the peer's key cannot be used")]
    Key(#[source] SpkiError),
    /// It showed a key without a valid key id.
    #[error("bad certificate: the peer's key has no valid key id")]
    KeyId(#[source] KeyIdError),
    /// It signed the handshake with another key than it showed.
    #[error("the peer's signature does not belong to its key")]
    BadSignature,
    /// No cipher suite, group or signature scheme in common.
    #[error("the peer and we have no TLS parameters in common ({0})")]
    NothingInCommon(String),
    /// It closed the connection before the handshake was complete.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// It ended the handshake with this alert.
    #[error("the peer ended the handshake with the alert {0}")]
    Alert(String),
    /// It spoke no or wrong TLS.
    #[error("the peer does not keep to the TLS protocol ({0})")]
    Protocol(String),
    /// The handshake is not complete. Our own fault, never the peer's.
    #[error("the handshake is not complete")]
    Incomplete,
}

impl From<rustls::Error> for PeerError {
    fn from(error: rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                match inner.downcast_ref::<SpkiError>() {
                    Some(SpkiError::Certificate) => Self::NotRawKey,
                    Some(key) => Self::Key(key.clone()),
                    None => Self::Protocol(inner.to_string()),
                }
            }
            // With our own verifiers an invalid certificate is either of the above or a signature
            // that does not fit the key.
            E::InvalidCertificate(_) => Self::BadSignature,
            E::NoCertificatesPresented => Self::NoKey,
            E::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            )
            | E::AlertReceived(AlertDescription::ProtocolVersion) => Self::OldTls,
            E::PeerIncompatible(
                PeerIncompatible::IncorrectCertificateTypeExtension
                | PeerIncompatible::UnsolicitedCertificateTypeExtension,
            )
            | E::AlertReceived(AlertDescription::UnsupportedCertificate) => Self::NotRawKey,
            E::PeerIncompatible(what) => Self::NothingInCommon(format!("{what:?}")),
            E::AlertReceived(alert) => Self::Alert(format!("{alert:?}")),
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl PeerError {
    /// The fault of the peer that rustls reports inside an I/O error; `None` when the connection
    /// itself failed.
    pub fn from_io(error: &std::io::Error) -> Option<Self> {
        let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(inner.clone().into())
    }
}

/// A configuration that rustls refuses: a fault of this program, not of its user or a peer.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("cannot set up TLS")]
pub struct SetupError(#[from] rustls::Error);

/// The cryptography that a priority leaves.
fn provider(priority: &Priority) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: priority.suites(),
        kx_groups: priority.groups(),
        ..rustls::crypto::aws_lc_rs::default_provider()
    })
}

/// The key id of what a peer showed; `None` when it showed nothing.
fn key_id(shown: Option<&[CertificateDer<'_>]>) -> Result<Option<KeyId>, PeerError> {
    match shown {
        None | Some([]) => Ok(None),
        Some([spki]) => KeyId::of_spki(spki).map(Some).map_err(PeerError::KeyId),
        Some(_) => Err(PeerError::NotRawKey),
    }
}
