//! A request's way: asked, perhaps waiting, answered once, delivered or not.

use super::{Action, Answer, ClientId, Event, Refusal, Registry, RequestId, Timer};
use crate::client::{Deadline, Decision, Verdict};
use crate::key_id::KeyId;
use crate::time::{Monotonic, Now};

/// A request that has not come to its end.
#[derive(Debug)]
pub(super) struct Request {
    client: ClientId,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It waits for a decision since then.
    Waiting(Monotonic),
    /// It was granted; its delivery is not reported yet.
    Granted,
    /// It was granted and lost its right; its delivery is not reported yet.
    Revoked,
}

impl Registry {
    /// A peer that proved to hold the key `key` asks for its secret.
    pub fn handle_request(&mut self, request: RequestId, key: &KeyId, now: Now) {
        self.handle_timeout(now);
        if self.requests.contains_key(&request) {
            return;
        }
        let Some(id) = self.by_key(key) else {
            return self.refuse(request, None, Refusal::UnknownKey);
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return self.refuse(request, None, Refusal::UnknownKey);
        };
        match client.verdict(now.mono, now) {
            Verdict::Release => self.grant(request, id),
            Verdict::Refuse(reason) => self.refuse(request, Some(id), reason),
            Verdict::Wait(until) => {
                client.last_approval_request = Some(now.wall);
                client.waiting.insert(request, now.mono);
                let approved_by_default = client.settings.approved_by_default;
                let ends = client.approval_ends();
                let stage = Stage::Waiting(now.mono);
                self.requests.insert(request, Request { client: id, stage });
                self.set_timer(id, Timer::ApprovalEnds, ends);
                self.persist_state_soon(id, now);
                self.tell(Event::NeedsApproval {
                    client: id,
                    request,
                    until,
                    approved_by_default,
                });
            }
        }
    }

    /// The peer of a request that waits is gone: it gets no answer any more. A request that was
    /// granted ends by its report, whether its peer is gone or not.
    pub fn handle_peer_gone(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some(Request {
            client: id,
            stage: Stage::Waiting(since),
        }) = self.requests.get(&request)
        else {
            return;
        };
        let (id, since) = (*id, *since);
        self.requests.remove(&request);
        self.stop_waiting(request, id, since);
        self.tell(Event::Abandoned {
            client: id,
            request,
        });
    }

    /// The secret of a granted request reached the client: it has its extended timeout from now on.
    pub fn handle_delivered(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some((id, stage)) = self.end(request) else {
            return;
        };
        // One that lost its right while the secret was on its way moves no deadline.
        let enabled = self
            .clients
            .get(&id)
            .filter(|client| stage == Stage::Granted && client.is_enabled());
        if let Some(client) = enabled {
            let deadline = Deadline::within(client.settings.extended_timeout, now);
            self.set_deadline(id, deadline);
            self.persist_state(id, now);
        }
        self.tell(Event::Delivered {
            client: id,
            request,
        });
    }

    /// The secret of a granted request did not reach the client, or was not sent at all.
    pub fn handle_delivery_failed(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        if let Some((id, Stage::Granted)) = self.end(request) {
            self.tell(Event::DeliveryFailed {
                client: id,
                request,
            });
        }
    }

    /// A person approves or denies the client, for its `approval_duration` from now.
    pub fn handle_approve(&mut self, id: ClientId, approved: bool, now: Now) {
        self.handle_timeout(now);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let denied_before = client
            .decision
            .is_some_and(|old| !old.approved && old.counts(now.mono));
        client.decision = Some(Decision {
            approved,
            until: now.mono.after(client.settings.approval_duration),
        });
        if !approved {
            self.revoke(id, Refusal::Denied);
        }
        if !approved || denied_before {
            self.persist_state(id, now);
        }
        self.tell(Event::Decided {
            client: id,
            approved,
        });
        self.reconsider(id, now);
    }

    /// Decides anew over every waiting request of a client after any change.
    pub(super) fn reconsider(&mut self, id: ClientId, now: Now) {
        while let Some(client) = self.clients.get_mut(&id) {
            let Some((request, since)) = client.waiting.oldest() else {
                break;
            };
            // Those that came later wait at least as long.
            let verdict = client.verdict(since, now);
            if let Verdict::Wait(_) = verdict {
                break;
            }
            client.waiting.remove(request, since);
            self.requests.remove(&request);
            match verdict {
                Verdict::Refuse(reason) => self.refuse(request, Some(id), reason),
                _ => self.grant(request, id),
            }
        }
        let ends = self.clients.get(&id).and_then(|it| it.approval_ends());
        self.set_timer(id, Timer::ApprovalEnds, ends);
    }

    /// Takes the right from every granted request that has not been reported.
    pub(super) fn revoke(&mut self, id: ClientId, reason: Refusal) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        for request in std::mem::take(&mut client.granted) {
            if let Some(entry) = self.requests.get_mut(&request) {
                entry.stage = Stage::Revoked;
            }
            self.act(Action::Revoke { request });
            self.tell(Event::Revoked {
                client: id,
                request,
                reason,
            });
        }
    }

    /// Refuses every waiting request.
    pub(super) fn refuse_waiting(&mut self, id: ClientId, reason: Refusal) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        for request in client.waiting.take() {
            self.requests.remove(&request);
            self.refuse(request, Some(id), reason);
        }
        self.set_timer(id, Timer::ApprovalEnds, None);
    }

    fn grant(&mut self, request: RequestId, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.granted.insert(request);
        }
        let stage = Stage::Granted;
        self.requests.insert(request, Request { client: id, stage });
        self.act(Action::Answer {
            request,
            answer: Answer::Release(id),
        });
        self.tell(Event::Granted {
            client: id,
            request,
        });
    }

    fn refuse(&mut self, request: RequestId, client: Option<ClientId>, reason: Refusal) {
        self.act(Action::Answer {
            request,
            answer: Answer::Refuse(reason),
        });
        self.tell(Event::Refused {
            client,
            request,
            reason,
        });
    }

    /// Ends a request that was granted.
    fn end(&mut self, request: RequestId) -> Option<(ClientId, Stage)> {
        let Request { client: id, stage } = *self.requests.get(&request)?;
        if let Stage::Waiting(_) = stage {
            return None;
        }
        self.requests.remove(&request);
        if let Some(client) = self.clients.get_mut(&id) {
            client.granted.remove(&request);
        }
        Some((id, stage))
    }

    fn stop_waiting(&mut self, request: RequestId, id: ClientId, since: Monotonic) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.waiting.remove(request, since);
        let ends = client.approval_ends();
        self.set_timer(id, Timer::ApprovalEnds, ends);
    }
}
