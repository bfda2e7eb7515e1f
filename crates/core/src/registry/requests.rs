//! Requests for secrets: granting, waiting, refusing, revoking, and reports of the delivery.

use std::sync::Arc;

use super::unknown_keys::CountedRequest;
use super::{
    Action, Alarm, ClientId, DeadlineTerms, Durability, Event, Grant, Refusal, Registry, Release,
    RequestAnswer, RequestClaims, RequestId, Timer,
};
use crate::client::ReleaseDecision;
use crate::deadline::Deadline;
use crate::key_id::KeyId;
use crate::time::{Monotonic, Now};

/// A request that waits, or that was granted and whose delivery has not been reported.
#[derive(Debug)]
pub(super) struct OpenRequest {
    pub(super) client: ClientId,
    pub(super) claims: RequestClaims,
    pub(super) stage: RequestStage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RequestStage {
    /// Waits for a decision since this time.
    Waiting(Monotonic),
    /// Granted; the delivery has not been reported.
    Granted,
    /// Granted and revoked for this reason; the delivery has not been reported.
    Revoked(Refusal),
}

impl Registry {
    /// A peer that proved the key `key` requests its secret.
    pub fn handle_request(
        &mut self,
        request: RequestId,
        key: &KeyId,
        claims: RequestClaims,
        now: Now,
    ) {
        self.handle_timeout(now);
        if self.requests.contains_key(&request) {
            return;
        }
        let known = self.by_key(key);
        let Some((id, client)) = known.and_then(|id| Some((id, self.clients.get_mut(&id)?))) else {
            return self.refuse_unknown_key(request, now);
        };
        match client.decision(now.mono, now) {
            ReleaseDecision::Wait(_) if claims.rehearsal => {
                self.refuse_repeatable(request, id, Refusal::RehearsalNeedsApproval, now);
            }
            ReleaseDecision::Release(_) if claims.rehearsal && !client.is_proved(now) => {
                self.refuse_repeatable(request, id, Refusal::RehearsalUnproved, now);
            }
            ReleaseDecision::Release(grant) => self.grant(request, id, claims, grant, now),
            ReleaseDecision::Refuse(reason) => self.refuse_repeatable(request, id, reason, now),
            ReleaseDecision::Wait(until) => self.wait(request, id, claims, until, now),
        }
    }

    /// Makes a request wait for a person's decision.
    fn wait(
        &mut self,
        request: RequestId,
        id: ClientId,
        claims: RequestClaims,
        until: Monotonic,
        now: Now,
    ) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.last_approval_request = Some(now.wall);
        client.waiting.insert(request, now.mono);
        let approved_by_default = client.settings.approved_by_default;
        let ends = client.approval_ends();
        let several = client.waiting.len();
        let entry = OpenRequest {
            client: id,
            claims,
            stage: RequestStage::Waiting(now.mono),
        };
        self.requests.insert(request, entry);
        self.set_timer(id, Timer::ApprovalEnds, ends);
        self.persist_state(id, Durability::Soon, now);
        self.emit(Event::NeedsApproval {
            client: id,
            request,
            until,
            approved_by_default,
        });
        if several > 1 {
            self.emit(Event::Alarmed(Some(id), Alarm::SeveralWait(several)));
        }
    }

    /// The peer of a waiting request disconnected: it gets no answer. A granted request ends with the report of its
    /// delivery, even if its peer disconnected.
    pub fn handle_peer_gone(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some(OpenRequest {
            client: id,
            stage: RequestStage::Waiting(since),
            ..
        }) = self.requests.get(&request)
        else {
            return;
        };
        let (id, since) = (*id, *since);
        self.requests.remove(&request);
        self.stop_waiting(request, id, since);
        self.emit(Event::Abandoned {
            client: id,
            request,
        });
    }

    /// The secret and the terms for the answer to a granted request. Fails with the reason when the grant was revoked
    /// before its answer, as by a deadline that passed in between: then the request is refused, and reported as not
    /// delivered.
    pub fn release(&self, request: RequestId) -> Result<Release, Refusal> {
        let request = self.requests.get(&request);
        let client = match request.map(|it| (it.stage, it.client)) {
            Some((RequestStage::Granted, client)) => self.clients.get(&client),
            Some((RequestStage::Revoked(reason), _)) => return Err(reason),
            Some((RequestStage::Waiting(_), _)) | None => None,
        };
        let client = client.ok_or(Refusal::Removed)?;
        let terms = DeadlineTerms {
            deadline: client.deadline.ok_or(Refusal::Disabled)?.mono,
            timeout: client.settings.timeout,
            interval: client.settings.interval,
        };
        Ok(Release {
            secret: Arc::clone(&client.secret),
            terms,
        })
    }

    /// The secret of a granted request reached the client. The first delivery after a proof of life, or after the
    /// client was enabled, gives it its extended timeout from now. Further ones do not move the deadline; otherwise
    /// requests alone could postpone it for ever.
    pub fn handle_delivered(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some(OpenRequest {
            client: id,
            claims,
            stage,
        }) = self.take_granted(request)
        else {
            return;
        };
        let mut starts_check = false;
        // A rehearsal changes nothing.
        if let Some(client) = self.clients.get_mut(&id).filter(|_| !claims.rehearsal) {
            let first = !client.released || client.enabled_since_release;
            client.released = true;
            client.enabled_since_release = false;
            client.released_boot = claims.boot.or(client.released_boot);
            // A request that was revoked while the secret was being sent moves no deadline.
            if stage == RequestStage::Granted && client.is_enabled() {
                let deadline = Deadline::within(client.settings.extended_timeout, now);
                if first {
                    self.set_deadline(id, deadline);
                }
                starts_check = self.check_on_release;
            }
            self.persist_state(id, Durability::BeforeUnlessFailing, now);
        }
        self.emit(Event::Delivered {
            client: id,
            request,
            rehearsal: claims.rehearsal,
        });
        if starts_check {
            self.check_after_release(id);
        }
    }

    /// The secret of a granted request did not reach the client, or was not sent at all.
    pub fn handle_delivery_failed(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some(OpenRequest {
            client: id,
            claims,
            stage,
        }) = self.take_granted(request)
        else {
            return;
        };
        if !claims.rehearsal {
            // This request released nothing.
            self.persist_state(id, Durability::Soon, now);
        }
        if stage == RequestStage::Granted {
            self.emit(Event::DeliveryFailed {
                client: id,
                request,
            });
        }
    }

    /// Decides again on every waiting request of a client, after any change.
    pub(super) fn reconsider(&mut self, id: ClientId, now: Now) {
        while let Some(client) = self.clients.get_mut(&id) {
            let Some((request, since)) = client.waiting.oldest() else {
                break;
            };
            // Later requests wait at least as long.
            let decision = client.decision(since, now);
            let decided = match decision {
                ReleaseDecision::Wait(_) => break,
                ReleaseDecision::Refuse(reason) => Err(reason),
                ReleaseDecision::Release(grant) => Ok(grant),
            };
            client.waiting.remove(request, since);
            let claims = self.requests.remove(&request).map(|it| it.claims);
            match decided {
                Err(reason) => self.refuse_repeatable(request, id, reason, now),
                Ok(grant) => self.grant(request, id, claims.unwrap_or_default(), grant, now),
            }
        }
        let ends = self.clients.get(&id).and_then(|it| it.approval_ends());
        self.set_timer(id, Timer::ApprovalEnds, ends);
    }

    /// Revokes every granted request whose delivery has not been reported.
    pub(super) fn revoke(&mut self, id: ClientId, reason: Refusal) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let under_way: Vec<RequestId> = client.under_way.keys().copied().collect();
        for request in under_way {
            match self.requests.get_mut(&request) {
                Some(entry) if entry.stage == RequestStage::Granted => {
                    entry.stage = RequestStage::Revoked(reason)
                }
                _ => continue,
            }
            self.push_action(Action::Revoke { request });
            self.emit(Event::Revoked {
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

    pub(super) fn grant(
        &mut self,
        request: RequestId,
        id: ClientId,
        claims: RequestClaims,
        grant: Grant,
        now: Now,
    ) {
        let mut alarm = None;
        if let Some(client) = self.clients.get_mut(&id) {
            alarm = client.alarm(claims, self.allow_rehearsals, now);
            client.under_way.insert(request, claims);
        }
        if !claims.rehearsal {
            // Durable before the secret is sent, even if the grant is not recorded: after a crash in between, the next
            // request must not look like the first.
            self.persist_state(id, Durability::Soon, now);
        }
        let entry = OpenRequest {
            client: id,
            claims,
            stage: RequestStage::Granted,
        };
        self.requests.insert(request, entry);
        self.emit(Event::Granted {
            client: id,
            request,
            grant,
            rehearsal: claims.rehearsal,
            alarm,
        });
        self.push_action(Action::Answer {
            request,
            answer: RequestAnswer::Release(id),
        });
    }

    pub(super) fn refuse(&mut self, request: RequestId, client: Option<ClientId>, reason: Refusal) {
        self.refuse_in(request, client, reason, (false, None));
    }

    /// Refuses a request that a peer can repeat at will: only one in an hour raises an alarm.
    fn refuse_repeatable(&mut self, request: RequestId, id: ClientId, reason: Refusal, now: Now) {
        let client = self.clients.get_mut(&id);
        let news = reason == Refusal::Disabled
            && client.is_some_and(|client| client.disabled_alarm.is_news(now.mono));
        let alarm = news.then_some(Alarm::Disabled);
        self.refuse_in(request, Some(id), reason, (false, alarm));
    }

    fn refuse_unknown_key(&mut self, request: RequestId, now: Now) {
        let CountedRequest {
            flood,
            alarm,
            previous_flood,
        } = self.unknown_keys.count_request(now.mono);
        for count in [previous_flood, alarm].into_iter().flatten() {
            self.emit(Event::Alarmed(None, Alarm::UnknownKeys(count)));
        }
        self.refuse_in(request, None, Refusal::UnknownKey, (flood, None));
    }

    fn refuse_in(
        &mut self,
        request: RequestId,
        client: Option<ClientId>,
        reason: Refusal,
        (flood, alarm): (bool, Option<Alarm>),
    ) {
        self.emit(Event::Refused {
            client,
            request,
            reason,
            flood,
            alarm,
        });
        self.push_action(Action::Answer {
            request,
            answer: RequestAnswer::Refuse(reason),
        });
    }

    /// Removes a granted request; `None` when it waits or is unknown.
    fn take_granted(&mut self, request: RequestId) -> Option<OpenRequest> {
        if let RequestStage::Waiting(_) = self.requests.get(&request)?.stage {
            return None;
        }
        let ended = self.requests.remove(&request)?;
        if let Some(client) = self.clients.get_mut(&ended.client) {
            client.under_way.remove(&request);
        }
        Some(ended)
    }

    pub(super) fn stop_waiting(&mut self, request: RequestId, id: ClientId, since: Monotonic) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.waiting.remove(request, since);
        let ends = client.approval_ends();
        self.set_timer(id, Timer::ApprovalEnds, ends);
    }
}
