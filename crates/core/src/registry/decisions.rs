//! Decisions of a person: on one request that waits, or against all requests of a client for a while.

use super::requests::Stage;
use super::{ClientId, Durability, Event, Grant, NotDecided, Refusal, Registry, RequestId};
use crate::time::{Monotonic, Now};

impl Registry {
    /// The requests of a client that wait for a decision, the one that waits longest first, and until when
    /// each does.
    pub fn waiting(&self, id: ClientId) -> impl Iterator<Item = (RequestId, Monotonic)> {
        let client = self.clients.get(&id).into_iter();
        client.flat_map(|client| {
            let delay = client.settings.approval_delay;
            let waiting = client.waiting.iter();
            waiting.map(move |(request, since)| (request, since.after(delay)))
        })
    }

    /// A person decides on the request, which waits. Others of the same client go on waiting.
    pub fn handle_decide(
        &mut self,
        request: RequestId,
        approved: bool,
        now: Now,
    ) -> Result<ClientId, NotDecided> {
        self.handle_timeout(now);
        let entry = self.requests.get(&request);
        let entry = entry.and_then(|it| match it.stage {
            Stage::Waiting(since) => Some((it.client, it.ask, since)),
            Stage::Granted | Stage::Revoked => None,
        });
        let (id, ask, since) = entry.ok_or(NotDecided::NoSuchRequest)?;
        self.requests.remove(&request);
        self.stop_waiting(request, id, since);
        self.tell(Event::Decided {
            client: id,
            request,
            approved,
        });
        if approved {
            self.grant(request, id, ask, Grant::Approved, now);
        } else {
            self.refuse(request, Some(id), Refusal::Denied);
        }
        Ok(id)
    }

    /// A person approves the one request of the client that waits. Where none waits because a denial
    /// counts, the denial is taken back, and the next request waits.
    pub fn handle_approve(&mut self, id: ClientId, now: Now) -> Result<(), NotDecided> {
        self.handle_timeout(now);
        let Some(client) = self.clients.get_mut(&id) else {
            return Err(NotDecided::NoneWaits);
        };
        if client.denial(now).is_some() {
            client.denied = None;
            self.persist_state(id, Durability::Before, now);
            self.tell(Event::DenialLifted(id));
            self.reconsider(id, now);
            return Ok(());
        }
        match client.waiting.only() {
            Some(request) => self.handle_decide(request, true, now).map(drop),
            None if client.waiting.is_empty() => Err(NotDecided::NoneWaits),
            None => Err(NotDecided::SeveralWait),
        }
    }

    /// A person denies the client: whatever waits or is under way, and what comes within its
    /// `approval_duration`. It releases nothing, and so needs no request.
    pub fn handle_deny(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.denied = Some(now.mono.after(client.settings.approval_duration));
        self.revoke(id, Refusal::Denied);
        self.persist_state(id, Durability::BeforeUnlessFailing, now);
        self.tell(Event::Denied(id));
        self.reconsider(id, now);
    }
}
