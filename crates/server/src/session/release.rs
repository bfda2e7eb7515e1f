//! The release protocol on a connection: [`nightlatch_proto::release`].

use std::future::pending;
use std::time::Duration;

use nightlatch_core::event::{Refusal, RequestClaims, RequestId};
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::{
    HEADER_LEN, Header, ReasonWord, Refused, Reply, Request, SecretHead, SecretQuery, WaitReason,
    Waiting,
};
use nightlatch_proto::tls::{Authenticated, PeerError};
use nightlatch_sys::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::connection::{Arrival, wait_for_input};
use super::life::Origin;
use super::{Gatekeeper, Permit, SecretRequest, SessionEnd, SessionStage, Sessions};
use crate::limits::Slot;

/// A machine that waits is told so again after this time, so that its console shows that the server is there.
const REMINDER: Duration = Duration::from_secs(30);

/// A request that must not wait is decided within this time, or refused.
const DECISION: Duration = Duration::from_secs(5);

/// Sent as `retry` with `too-many-wait`.
const WAIT_IS_FULL: Duration = Duration::from_secs(60);

impl<G: Gatekeeper> Sessions<G> {
    /// Serves a peer that speaks the release protocol. Nothing that it sends counts before its request was read whole.
    pub(super) async fn serve_release(
        &self,
        tls: &mut TlsStream<TcpStream>,
        proved: Authenticated,
        arrival: Arrival<'_>,
    ) -> SessionEnd {
        let Arrival {
            address,
            opened,
            slot,
        } = arrival;
        let origin = Origin {
            proved: &proved,
            address,
            opened,
        };
        let request = match timeout(self.deadlines.handshake, read_request(tls)).await {
            Ok(Ok(request)) => request,
            Ok(Err(ended)) => return ended,
            Err(_) => return SessionEnd::Late(SessionStage::Asking),
        };
        let (query, rehearsal) = match request {
            Request::Get(query) => (query, false),
            Request::Rehearse(query) => (query, true),
            Request::Heartbeat(heartbeat) => return self.heartbeat(tls, origin, heartbeat).await,
            Request::Goodbye(goodbye) => return self.goodbye(tls, origin, goodbye).await,
        };
        let SecretQuery { name, boot } = query;
        let claims = RequestClaims {
            boot: Some(boot),
            rehearsal,
        };
        let request = SecretRequest::new(self.next_request(), &proved, address, claims);
        let request = request.for_secret(name.clone());
        let decided = match &request.secret {
            Some(_) => self.decide_within(tls, request, slot).await,
            None => self.decide_and_tell(tls, request).await,
        };
        match decided {
            Some(Ok(permit)) => {
                let head = |permit: &Permit, length| release_head(permit, rehearsal, length);
                self.deliver(tls, permit, head).await
            }
            Some(Err(reason)) => {
                // A boot is told no reason. A rehearsal is, whoever makes it: docs/decisions/0120.
                let is_told = match name.is_boot() {
                    true => rehearsal,
                    // The agent is told what is wrong; a boot key and a stranger only that they get nothing.
                    false => !matches!(reason, Refusal::NamedByBootKey | Refusal::UnknownKey),
                };
                let told = is_told.then(|| ReasonWord::new(reason.as_str())).flatten();
                let retry = (reason == Refusal::TooManyWait).then_some(WAIT_IS_FULL);
                self.refuse(tls, name, (told, retry)).await;
                SessionEnd::Refused(reason)
            }
            None => SessionEnd::Gone,
        }
    }

    /// [`Self::decide_and_tell`] for a named secret, which must not take up a place that boots and signs of life need:
    /// without a [`WaitingPlace`](crate::limits::WaitingPlace) it waits for nobody.
    async fn decide_within(
        &self,
        tls: &mut TlsStream<TcpStream>,
        request: SecretRequest,
        slot: &Slot,
    ) -> Option<Result<Permit, Refusal>> {
        let place = slot.waiting_place();
        if place.is_some() {
            return self.decide_and_tell(tls, request).await;
        }
        let decided = self.decide_and_tell(tls, request.without_waiting());
        // Not for a person, but a full disk can hold a decision up.
        let too_late = Some(Err(Refusal::TooManyWait));
        timeout(DECISION, decided).await.unwrap_or(too_late)
    }

    /// The decision on `request`; `None` when its peer went away or sent something before. Until then the peer is told
    /// that it waits. A peer that does not take a notice delays its own decision, by the time for sending at most.
    async fn decide_and_tell(
        &self,
        tls: &mut TlsStream<TcpStream>,
        request: SecretRequest,
    ) -> Option<Result<Permit, Refusal>> {
        let id = request.id;
        let (notifier, mut notices) = watch::channel(None);
        let mut decision = std::pin::pin!(self.gatekeeper.decide(request, Some(notifier)));
        loop {
            let notice = tokio::select! {
                biased;
                () = wait_for_input(tls) => return None,
                decision = &mut decision => return Some(decision),
                notice = next_notice(&mut notices, REMINDER) => notice,
            };
            let message = waiting(id, notice).to_bytes();
            let told = timeout(self.deadlines.send, async {
                tls.write_all(&message).await?;
                tls.flush().await
            });
            if !matches!(told.await, Ok(Ok(()))) {
                return None;
            }
        }
    }

    pub(super) async fn refuse(
        &self,
        tls: &mut TlsStream<TcpStream>,
        name: SecretName,
        (reason, retry): (Option<ReasonWord>, Option<Duration>),
    ) {
        let refused = Reply::Refused(Refused {
            name,
            reason,
            retry,
        });
        // As with the end: a peer that does not even take this gets nothing.
        let _ = timeout(self.deadlines.close, tls.write_all(&refused.to_bytes())).await;
        self.close(tls).await;
    }
}

/// The messages before the payload, up to it.
fn release_head(permit: &Permit, rehearsal: bool, length: usize) -> Option<Vec<u8>> {
    let mut head = match rehearsal {
        true => Reply::Terms(permit.terms()).to_bytes(),
        false => Vec::new(),
    };
    let (name, serial) = permit.label();
    head.extend(SecretHead { name, serial }.to_bytes(length)?);
    Some(head)
}

fn waiting(RequestId(reference): RequestId, until: Monotonic) -> Reply<'static> {
    Reply::Waiting(Waiting {
        reason: Some(WaitReason::Approval),
        left: Some(until.since(clock::now().mono)),
        reference,
    })
}

/// The next time that is told, or the last one again after `reminder`.
async fn next_notice(
    notices: &mut watch::Receiver<Option<Monotonic>>,
    reminder: Duration,
) -> Monotonic {
    loop {
        let remind = notices.borrow().is_some();
        tokio::select! {
            changed = notices.changed() => if changed.is_err() {
                // The decision is about to come.
                pending::<()>().await;
            },
            () = sleep(reminder), if remind => {}
        }
        if let Some(until) = *notices.borrow() {
            return until;
        }
    }
}

/// Reads the one request of a connection. What follows it ends the connection: [`wait_for_input`].
async fn read_request(tls: &mut TlsStream<TcpStream>) -> Result<Request, SessionEnd> {
    let mut header = [0; HEADER_LEN];
    read_or_leave(tls, &mut header).await?;
    let header = Header::of_request(header).map_err(SessionEnd::Request)?;
    let mut body = vec![0; header.body_len()];
    read_or_leave(tls, &mut body).await?;
    Request::parse(header, &body).map_err(SessionEnd::Request)
}

async fn read_or_leave(
    tls: &mut TlsStream<TcpStream>,
    buffer: &mut [u8],
) -> Result<(), SessionEnd> {
    match tls.read_exact(buffer).await {
        Ok(_) => Ok(()),
        // A machine that has found this server at another address too leaves here.
        Err(error) => {
            Err(PeerError::from_io(&error).map_or(SessionEnd::NotAsked, SessionEnd::Handshake))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time in which something would come if it were to come.
    const A_MOMENT: Duration = Duration::from_millis(50);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn a_machine_is_told_of_each_change_and_reminded() {
        const NEVER: Duration = Duration::from_secs(3600);
        let (notifier, mut notices) = watch::channel(None);
        // Nothing is told before there is something to tell.
        let quiet = timeout(A_MOMENT, next_notice(&mut notices, Duration::ZERO));
        assert!(quiet.await.is_err());
        notifier.send_replace(Some(at(1)));
        assert_eq!(next_notice(&mut notices, NEVER).await, at(1));
        let quiet = timeout(A_MOMENT, next_notice(&mut notices, NEVER));
        assert!(quiet.await.is_err());
        assert_eq!(next_notice(&mut notices, Duration::ZERO).await, at(1));
        notifier.send_replace(Some(at(2)));
        assert_eq!(next_notice(&mut notices, NEVER).await, at(2));
        // Its decision is about to come.
        drop(notifier);
        let quiet = timeout(A_MOMENT, next_notice(&mut notices, Duration::ZERO));
        assert!(quiet.await.is_err());
    }
}
