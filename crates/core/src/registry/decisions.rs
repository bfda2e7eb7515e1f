//! Decisions of a person: on one waiting request, or against all requests of a client for some time.

use super::requests::RequestStage;
use super::{ClientId, DecisionError, Durability, Event, Grant, Refusal, Registry, RequestId};
use crate::time::{Monotonic, Now};

impl Registry {
    /// Requests of a client that wait for a decision, the oldest first, each with the time at which it is decided by
    /// default.
    pub fn waiting(&self, id: ClientId) -> impl Iterator<Item = (RequestId, Monotonic)> {
        let client = self.clients.get(&id).into_iter();
        client.flat_map(|client| {
            let delay = client.settings.approval_delay;
            let waiting = client.waiting.iter();
            waiting.map(move |(request, since)| (request, since.after(delay)))
        })
    }

    /// A person decides on one waiting request. Other requests of the client keep waiting.
    pub fn handle_decide(
        &mut self,
        request: RequestId,
        approved: bool,
        now: Now,
    ) -> Result<ClientId, DecisionError> {
        self.handle_timeout(now);
        let entry = self.requests.get(&request);
        let entry = entry.and_then(|it| match it.stage {
            RequestStage::Waiting(since) => Some((it.client, it.claims, since)),
            RequestStage::Granted | RequestStage::Revoked(_) => None,
        });
        let (id, claims, since) = entry.ok_or(DecisionError::NoSuchRequest)?;
        self.requests.remove(&request);
        self.stop_waiting(request, id, since);
        self.emit(Event::Decided {
            client: id,
            request,
            approved,
        });
        if approved {
            self.grant(request, id, claims, Grant::Approved, now);
        } else {
            self.refuse(request, Some(id), Refusal::Denied);
        }
        Ok(id)
    }

    /// A person approves the only waiting request of the client. During a denial this lifts the denial instead, and
    /// the next request waits.
    pub fn handle_approve(&mut self, id: ClientId, now: Now) -> Result<(), DecisionError> {
        self.handle_timeout(now);
        let Some(client) = self.clients.get_mut(&id) else {
            return Err(DecisionError::NoneWaits);
        };
        if client.denial(now).is_some() {
            client.denied = None;
            self.persist_state(id, Durability::Before, now);
            self.emit(Event::DenialLifted(id));
            self.reconsider(id, now);
            return Ok(());
        }
        match client.waiting.only() {
            Some(request) => self.handle_decide(request, true, now).map(drop),
            None if client.waiting.is_empty() => Err(DecisionError::NoneWaits),
            None => Err(DecisionError::SeveralWait),
        }
    }

    /// A person denies all requests of the client: waiting ones, granted ones that are not delivered yet, and those
    /// within the next `approval_duration`. No request need wait.
    pub fn handle_deny(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.denied = Some(now.mono.after(client.settings.approval_duration));
        self.revoke(id, Refusal::Denied);
        self.persist_state(id, Durability::BeforeUnlessFailing, now);
        self.emit(Event::Denied(id));
        self.reconsider(id, now);
    }
}
