//! Decisions of a person: on one waiting request, or against all requests of a client for some time.

use super::judge::judge;
use super::{ClientId, DecisionError, Durability, Event, Grant, Refusal, Registry, RequestId};
use crate::time::Now;

impl Registry {
    /// A person decides on one waiting request. Other requests of the client keep waiting.
    pub fn handle_decide(
        &mut self,
        request: RequestId,
        approved: bool,
        now: Now,
    ) -> Result<ClientId, DecisionError> {
        self.handle_timeout(now);
        let open = self.requests.get(&request).cloned();
        let open = open
            .filter(|it| it.waiting_since().is_some())
            .ok_or(DecisionError::NoSuchRequest)?;
        let id = open.client;
        let client = self.clients.get(&id);
        let alarm = client.and_then(|client| judge(client, &self.named, &open, now).1);
        let alarm = alarm.filter(|_| !open.told);
        self.take_from_queues(request, &open);
        self.emit(Event::Decided {
            client: id,
            request,
            secret: open.secret.clone(),
            approved,
        });
        let missing = self.refusal_of_approved(&open, now);
        if let Some(reason) = missing.filter(|_| approved) {
            self.refuse(request, open.refused(reason));
        } else if approved {
            self.grant(request, open, Grant::Approved, (None, alarm), now);
        } else {
            self.note_left(&open, now);
            self.refuse(request, open.refused(Refusal::Denied));
        }
        Ok(id)
    }

    /// A person approves the only waiting request of the client for its boot secret: whoever knows of no other could not
    /// mean a named one. During a denial this lifts the denial instead, and the next request waits.
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
        let of_boot: Vec<RequestId> = self.waiting_boots(id).collect();
        match of_boot[..] {
            [] => Err(DecisionError::NoneWaits),
            [request] => self.handle_decide(request, true, now).map(drop),
            _ => Err(DecisionError::SeveralWait),
        }
    }

    /// The requests of a client for its boot secret that wait for a person, the oldest first.
    pub fn waiting_boots(&self, id: ClientId) -> impl Iterator<Item = RequestId> {
        let client = self.clients.get(&id).into_iter();
        let waiting = client.flat_map(|client| client.waiting.iter());
        let requests = waiting.map(|(request, _)| request);
        requests.filter(|request| {
            let open = self.requests.get(request);
            open.is_some_and(|it| it.secret.is_none())
        })
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
