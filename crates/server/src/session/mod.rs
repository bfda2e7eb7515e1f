//! Connections of machines: from a socket to a [`SecretRequest`], and from its decision to bytes or none.
//!
//! Decides nothing: the [`Gatekeeper`] does, and gets requests of `Authenticated` peers only. Before the
//! greeting is complete a peer costs a socket and a few bytes.

mod accept;
mod connection;
mod life;
mod log;
mod permit;
mod release;
mod request;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nightlatch_core::event::{Refusal, RequestId};
use nightlatch_core::time::Monotonic;
use nightlatch_proto::greeting::GreetingError;
use nightlatch_proto::release::MessageError;
use nightlatch_proto::tls::{PeerError, ServerTls};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

pub use accept::serve;
pub use life::{LifeAnswer, LifeReport};
pub use permit::{Permit, PermitState};
pub use request::SecretRequest;

use crate::random;

/// Decides on requests: the driver, or a test in its place.
pub trait Gatekeeper: Send + Sync + 'static {
    /// Releases a secret or refuses, after as long as an approval may take. Dropping the future before
    /// it is ready says that the peer is gone. That a person decides is told to `waits`, for a peer that can be told.
    fn decide(
        &self,
        request: SecretRequest,
        waits: Option<WaitNotifier>,
    ) -> impl Future<Output = Result<Permit, Refusal>> + Send;

    /// Notes a sign of life. Ready when what it changed is durable.
    fn life(&self, report: LifeReport) -> impl Future<Output = Result<LifeAnswer, Refusal>> + Send;
}

/// Takes the time at which a request that waits for approval is decided without a person.
pub type WaitNotifier = watch::Sender<Option<Monotonic>>;

/// Longest times that a peer may take for each step. The gatekeeper bounds the wait for its decision.
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
    /// Against peers that open connections and send nothing, or send byte by byte. Clients send the line as
    /// soon as they are connected; this leaves time for three retransmissions.
    pub const GREETING: Duration = Duration::from_secs(10);
    /// Against peers that have us set up TLS and then send nothing, which costs us most. A slow machine signs
    /// once in this time, over a network that has just come up.
    pub const HANDSHAKE: Duration = Duration::from_secs(30);
    /// Against peers that do not read, so that the secret does not stay in our buffers.
    pub const SEND: Duration = Duration::from_secs(30);
    /// Against peers that never close. They have everything that they will get.
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

/// State shared by all sessions of a server.
pub struct Sessions<G> {
    gatekeeper: G,
    connector: TlsConnector,
    deadlines: Deadlines,
    next_request: AtomicU64,
}

impl<G> Sessions<G> {
    /// Sessions that shake hands by `tls` and have `gatekeeper` decide.
    pub fn new(gatekeeper: G, tls: &ServerTls, deadlines: Deadlines) -> Self {
        Self {
            gatekeeper,
            connector: TlsConnector::from(tls.config()),
            deadlines,
            next_request: AtomicU64::new(random::first_number()),
        }
    }

    fn next_request(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Ordering::Relaxed))
    }
}

impl<G> fmt::Debug for Sessions<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("deadlines", &self.deadlines)
            .finish_non_exhaustive()
    }
}

/// The outcome of a session.
#[derive(Debug)]
#[must_use]
pub enum SessionEnd {
    /// The peer got its secret.
    Delivered,
    /// A sign of life was accepted.
    Heard,
    /// The gatekeeper refused.
    Refused(Refusal),
    /// The gatekeeper released, and took it back before anything was sent.
    Revoked,
    /// The peer left without having asked for anything.
    NotAsked,
    /// The peer went away while it waited for the decision, or sent something, which the protocol does not allow.
    Gone,
    /// The secret has so many bytes, which are more than the protocol of the peer can carry.
    TooLong(usize),
    /// The secret could not be sent.
    NotSent(io::Error),
    /// The request was malformed.
    Request(MessageError),
    /// The first line was malformed.
    Greeting(GreetingError),
    /// The handshake failed, or proved no usable key.
    Handshake(PeerError),
    /// The peer took too long.
    Late(SessionStage),
    /// The connection failed before the peer had proved a key.
    Broken(io::Error),
}

/// A step that has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionStage {
    /// The first line.
    Greeting,
    /// The TLS handshake.
    Handshake,
    /// Asking for the secret.
    Asking,
    /// Sending the secret.
    Sending,
}

impl fmt::Display for SessionStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the first line",
            Self::Handshake => "the handshake",
            Self::Asking => "asking for the secret",
            Self::Sending => "taking the secret",
        })
    }
}
