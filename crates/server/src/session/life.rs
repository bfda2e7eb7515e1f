//! Signs of life of booted machines: heartbeats and goodbyes.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use nightlatch_core::boot_nonce::{BootMark, BootNonce};
use nightlatch_core::event::RequestClaims;
use nightlatch_core::guard::GoodbyeKind;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::secret_rejection::Rejection;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::{Accepted, Goodbye, Heartbeat, ReasonWord, Reply, Token};
use nightlatch_proto::tls::Authenticated;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::connection::wait_for_input;
use super::{Gatekeeper, SecretRequest, SessionEnd, SessionStage, Sessions};

/// A sign of life, as the connection knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LifeReport {
    /// The peer that says it.
    pub peer: SecretRequest,
    /// The boot that is up.
    pub boot: BootNonce,
    /// Number of resumes from hibernation.
    pub resumes: u64,
    /// Boots that were noted on the encrypted root, and not heard.
    pub earlier_boots: Vec<BootMark>,
    /// The port at which the agent can be poked.
    pub poke_port: Option<NonZeroU16>,
    /// The token of the poke that it answers.
    pub poked: Option<Token>,
    /// Named secrets that the agent has refused.
    pub rejected: Vec<Rejection>,
    /// Present in a goodbye.
    pub goodbye: Option<GoodbyeKind>,
    /// The time at which the connection was opened.
    pub opened: Monotonic,
}

/// The answer to a sign of life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LifeAnswer {
    /// Time to the next heartbeat.
    pub next: Duration,
    /// The token in the next pokes.
    pub token: Token,
    /// The longest time for an announced reboot.
    pub window: Option<Duration>,
}

/// The connection of a sign of life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) proved: &'a Authenticated,
    pub(super) address: SocketAddr,
    pub(super) opened: Monotonic,
}

impl LifeReport {
    fn of_heartbeat(peer: SecretRequest, heartbeat: Heartbeat, opened: Monotonic) -> Self {
        Self {
            peer,
            boot: heartbeat.boot,
            resumes: heartbeat.resumes,
            earlier_boots: heartbeat.earlier_boots,
            poke_port: heartbeat.poke_port,
            poked: heartbeat.poked,
            rejected: heartbeat.rejected,
            goodbye: None,
            opened,
        }
    }

    fn of_goodbye(peer: SecretRequest, goodbye: Goodbye, opened: Monotonic) -> Self {
        Self {
            peer,
            boot: goodbye.boot,
            resumes: goodbye.resumes,
            earlier_boots: Vec::new(),
            poke_port: None,
            poked: None,
            rejected: Vec::new(),
            goodbye: Some(goodbye.kind),
            opened,
        }
    }
}

impl<G: Gatekeeper> Sessions<G> {
    pub(super) async fn heartbeat(
        &self,
        tls: &mut TlsStream<TcpStream>,
        origin: Origin<'_>,
        heartbeat: Heartbeat,
    ) -> SessionEnd {
        let peer = self.peer_of(origin, heartbeat.boot);
        let report = LifeReport::of_heartbeat(peer, heartbeat, origin.opened);
        self.note(tls, report).await
    }

    pub(super) async fn goodbye(
        &self,
        tls: &mut TlsStream<TcpStream>,
        origin: Origin<'_>,
        goodbye: Goodbye,
    ) -> SessionEnd {
        let peer = self.peer_of(origin, goodbye.boot);
        let report = LifeReport::of_goodbye(peer, goodbye, origin.opened);
        self.note(tls, report).await
    }

    fn peer_of(&self, origin: Origin<'_>, boot: BootNonce) -> SecretRequest {
        let claims = RequestClaims {
            boot: Some(boot),
            rehearsal: false,
        };
        SecretRequest::new(self.next_request(), origin.proved, origin.address, claims)
    }

    /// Has the gatekeeper note it, even if its peer goes away meanwhile: it was said.
    async fn note(&self, tls: &mut TlsStream<TcpStream>, report: LifeReport) -> SessionEnd {
        let noted = tokio::select! {
            // The report is sent by the first poll, so it counts even if the peer goes away.
            biased;
            noted = self.gatekeeper.life(report) => noted,
            () = wait_for_input(tls) => return SessionEnd::Gone,
        };
        match noted {
            Ok(LifeAnswer {
                next,
                token,
                window,
            }) => {
                let accepted = Reply::Accepted(Accepted {
                    next,
                    token,
                    window,
                });
                let sending = async {
                    tls.write_all(&accepted.to_bytes()).await?;
                    tls.shutdown().await
                };
                match timeout(self.deadlines.send, sending).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return SessionEnd::NotSent(error),
                    Err(_) => return SessionEnd::Late(SessionStage::Sending),
                }
                self.wait_for_close(tls).await;
                SessionEnd::Heard
            }
            Err(reason) => {
                let told = ReasonWord::new(reason.as_str());
                self.refuse(tls, SecretName::boot(), (told, None)).await;
                SessionEnd::Refused(reason)
            }
        }
    }
}
