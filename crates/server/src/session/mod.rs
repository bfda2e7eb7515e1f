//! From a connection to a [`Peer`] with a proven key, and from a verdict to bytes or none.
//!
//! Decides nothing: who gets what is the [`Gatekeeper`]'s to say, and only an `Authenticated` peer
//! is ever asked about. Before the greeting is complete a peer costs a socket and a few bytes.

mod accept;
mod connection;
mod log;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::event::Refusal;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret::Secret;
use nightlatch_proto::greeting::{GreetingError, GreetingOptions};
use nightlatch_proto::rehearsal::RehearsalTerms;
use nightlatch_proto::tls::{Authenticated, PeerError, ServerTls};
use nightlatch_sys::netif;
use tokio_rustls::TlsConnector;

pub use accept::serve;

/// Who decides, as a session sees it.
pub trait Gatekeeper: Clone + Send + Sync + 'static {
    /// A request that waits for its verdict.
    type Request: Request;

    /// `who` asks for its secret.
    fn request(&self, who: Authenticated, peer: Peer)
    -> impl Future<Output = Self::Request> + Send;
}

/// One request. Dropping it before its verdict says that the peer is gone; afterwards it says
/// nothing.
pub trait Request: Send {
    /// The right to send.
    type Permit: Permit;

    /// Waits for the one answer, for as long as an approval may take.
    fn verdict(&mut self) -> impl Future<Output = Verdict<Self::Permit>> + Send;
}

/// The right to send one client's secret once. Dropped, it counts as [`Permit::failed`].
pub trait Permit: Send {
    /// The secret, to be sent now; `None` when the right was revoked since the verdict. A secret
    /// whose sending has begun cannot be called back.
    fn begin(&self) -> Option<Arc<Secret>>;

    /// How long the machine may be away, for one that rehearses.
    fn terms(&self) -> RehearsalTerms;

    /// All of it, and its end, left for the peer.
    fn delivered(self);

    /// It did not.
    fn failed(self);
}

/// The answer to a request.
#[derive(Debug)]
pub enum Verdict<P> {
    /// Send the secret.
    Release(P),
    /// Close in good order without a byte.
    Refuse(Refusal),
}

/// What is known of a peer besides its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Where it connects from; an IPv4 address is one, not its IPv6 notation.
    pub address: SocketAddr,
    /// What it said in its first line. Not authenticated: see [`nightlatch_proto::greeting`].
    pub words: GreetingOptions,
}

impl Peer {
    /// The interface that a link-local peer is behind. Every other address says less of where it came in.
    pub(crate) fn interface(&self) -> Option<String> {
        match self.address {
            SocketAddr::V6(peer) if peer.scope_id() != 0 => netif::name_of(peer.scope_id()).ok(),
            SocketAddr::V6(_) | SocketAddr::V4(_) => None,
        }
    }

    /// Its address and port for a person, with the name of its interface.
    pub(crate) fn named(&self) -> String {
        match (self.interface(), self.address) {
            (Some(interface), SocketAddr::V6(peer)) => {
                format!("[{}%{interface}]:{}", peer.ip(), peer.port())
            }
            (_, address) => address.to_string(),
        }
    }
}

/// Who asked for a secret.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// The number of the request, by which people decide on it.
    pub(crate) number: u64,
    pub(crate) peer: Peer,
    pub(crate) key: KeyId,
}

/// How long a peer may take for each step. The wait for a verdict is the gatekeeper's to bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// For the first line.
    pub greeting: Duration,
    /// For the TLS handshake, and as long again for asking after it, where that is a step of its own.
    pub handshake: Duration,
    /// For taking the secret.
    pub send: Duration,
    /// For closing, after we have closed.
    pub close: Duration,
}

impl Deadlines {
    /// Stops whoever opens connections and says nothing, or says it byte by byte. Clients send the
    /// line as soon as they are connected; this leaves three retransmissions.
    pub const GREETING: Duration = Duration::from_secs(10);
    /// Stops whoever lets us set up TLS and then falls silent, which costs us most. A slow machine
    /// signs once here, over a network that has just come up.
    pub const HANDSHAKE: Duration = Duration::from_secs(30);
    /// Stops a client that does not read, so that its secret does not stay in our buffers.
    pub const SEND: Duration = Duration::from_secs(30);
    /// Stops a peer that never closes. It has everything it will get.
    pub const CLOSE: Duration = Duration::from_secs(5);
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            greeting: Self::GREETING,
            handshake: Self::HANDSHAKE,
            send: Self::SEND,
            close: Self::CLOSE,
        }
    }
}

/// What all sessions share.
pub struct Sessions<G> {
    gatekeeper: G,
    connector: TlsConnector,
    deadlines: Deadlines,
}

impl<G> Sessions<G> {
    /// Sessions that shake hands as `tls` says and ask `gatekeeper`.
    pub fn new(gatekeeper: G, tls: &ServerTls, deadlines: Deadlines) -> Self {
        Self {
            gatekeeper,
            connector: TlsConnector::from(tls.config()),
            deadlines,
        }
    }
}

impl<G> fmt::Debug for Sessions<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("deadlines", &self.deadlines)
            .finish_non_exhaustive()
    }
}

/// How a session ended.
#[derive(Debug)]
#[must_use]
pub enum Ended {
    /// The peer got its secret.
    Delivered,
    /// The gatekeeper refused.
    Refused(Refusal),
    /// The gatekeeper released, and took it back before anything was sent.
    Revoked,
    /// The peer left without having asked for anything.
    NotAsked,
    /// The peer went away while it waited for the verdict, or broke the silence it owes.
    Gone,
    /// The secret could not be sent.
    NotSent(io::Error),
    /// The first line was none.
    Greeting(GreetingError),
    /// The handshake failed, or proved no key that can be anyone's.
    Handshake(PeerError),
    /// The peer took too long.
    Late(Stage),
    /// The connection failed before the peer had shown who it is.
    Broken(io::Error),
}

/// A step that has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The first line.
    Greeting,
    /// The TLS handshake.
    Handshake,
    /// Asking for the secret.
    Asking,
    /// Sending the secret.
    Sending,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the first line",
            Self::Handshake => "the handshake",
            Self::Asking => "asking for the secret",
            Self::Sending => "taking the secret",
        })
    }
}
