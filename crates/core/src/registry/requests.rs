//! A request's way: asked, perhaps waiting, answered once, delivered or not.

use super::strangers::Heard;
use super::{
    Action, Alarm, Answer, Ask, ClientId, Durability, Event, Grant, Refusal, Registry, RequestId,
    Timer,
};
use crate::client::{Deadline, Verdict};
use crate::key_id::KeyId;
use crate::time::{Monotonic, Now};

/// A request that has not come to its end.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) client: ClientId,
    pub(super) ask: Ask,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// It waits for a decision since then.
    Waiting(Monotonic),
    /// It was granted; its delivery is not reported yet.
    Granted,
    /// It was granted and lost its right; its delivery is not reported yet.
    Revoked,
}

impl Registry {
    /// A peer that proved to hold the key `key` asks for its secret.
    pub fn handle_request(&mut self, request: RequestId, key: &KeyId, ask: Ask, now: Now) {
        self.handle_timeout(now);
        if self.requests.contains_key(&request) {
            return;
        }
        let known = self.by_key(key);
        let Some((id, client)) = known.and_then(|id| Some((id, self.clients.get_mut(&id)?))) else {
            return self.refuse_stranger(request, now);
        };
        match client.verdict(now.mono, now) {
            Verdict::Wait(_) if ask.rehearsal => {
                self.refuse_again(request, id, Refusal::RehearsalNeedsApproval, now);
            }
            Verdict::Release(_) if ask.rehearsal && !client.is_proved(now) => {
                self.refuse_again(request, id, Refusal::RehearsalUnproved, now);
            }
            Verdict::Release(grant) => self.grant(request, id, ask, grant, now),
            Verdict::Refuse(reason) => self.refuse_again(request, id, reason, now),
            Verdict::Wait(until) => self.wait(request, id, ask, until, now),
        }
    }

    /// Lets a request wait for a person.
    fn wait(&mut self, request: RequestId, id: ClientId, ask: Ask, until: Monotonic, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.last_approval_request = Some(now.wall);
        client.waiting.insert(request, now.mono);
        let approved_by_default = client.settings.approved_by_default;
        let ends = client.approval_ends();
        let several = client.waiting.len();
        let entry = Request {
            client: id,
            ask,
            stage: Stage::Waiting(now.mono),
        };
        self.requests.insert(request, entry);
        self.set_timer(id, Timer::ApprovalEnds, ends);
        self.persist_state(id, Durability::Soon, now);
        self.tell(Event::NeedsApproval {
            client: id,
            request,
            until,
            approved_by_default,
        });
        if several > 1 {
            self.tell(Event::Alarmed(Some(id), Alarm::SeveralWait(several)));
        }
    }

    /// The peer of a request that waits is gone: it gets no answer any more. A request that was
    /// granted ends by its report, whether its peer is gone or not.
    pub fn handle_peer_gone(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some(Request {
            client: id,
            stage: Stage::Waiting(since),
            ..
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

    /// The secret of a granted request reached the client. The first delivery after a proof of life, or
    /// after the client was enabled, gives it its extended timeout from now on; further ones move no
    /// deadline, or requests alone would keep it away for ever.
    pub fn handle_delivered(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some(Request {
            client: id,
            ask,
            stage,
        }) = self.end(request)
        else {
            return;
        };
        let mut watch = false;
        // A rehearsal changes nothing, whatever became of it.
        if let Some(client) = self.clients.get_mut(&id).filter(|_| !ask.rehearsal) {
            let first = !client.released || client.vouched;
            client.released = true;
            client.vouched = false;
            client.released_boot = ask.boot.or(client.released_boot);
            // One that lost its right while the secret was on its way moves no deadline.
            if stage == Stage::Granted && client.is_enabled() {
                let deadline = Deadline::within(client.settings.extended_timeout, now);
                if first {
                    self.set_deadline(id, deadline);
                }
                watch = self.check_on_release;
            }
            self.persist_state(id, Durability::BeforeUnlessFailing, now);
        }
        self.tell(Event::Delivered {
            client: id,
            request,
        });
        if watch {
            self.watch(id);
        }
    }

    /// The secret of a granted request did not reach the client, or was not sent at all.
    pub fn handle_delivery_failed(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some(Request {
            client: id,
            ask,
            stage,
        }) = self.end(request)
        else {
            return;
        };
        if !ask.rehearsal {
            // Nothing was released, as far as this request goes.
            self.persist_state(id, Durability::Soon, now);
        }
        if stage == Stage::Granted {
            self.tell(Event::DeliveryFailed {
                client: id,
                request,
            });
        }
    }

    /// Decides anew over every waiting request of a client after any change.
    pub(super) fn reconsider(&mut self, id: ClientId, now: Now) {
        while let Some(client) = self.clients.get_mut(&id) {
            let Some((request, since)) = client.waiting.oldest() else {
                break;
            };
            // Those that came later wait at least as long.
            let verdict = client.verdict(since, now);
            let decided = match verdict {
                Verdict::Wait(_) => break,
                Verdict::Refuse(reason) => Err(reason),
                Verdict::Release(grant) => Ok(grant),
            };
            client.waiting.remove(request, since);
            let ask = self.requests.remove(&request).map(|it| it.ask);
            match decided {
                Err(reason) => self.refuse_again(request, id, reason, now),
                Ok(grant) => self.grant(request, id, ask.unwrap_or_default(), grant, now),
            }
        }
        let ends = self.clients.get(&id).and_then(|it| it.approval_ends());
        self.set_timer(id, Timer::ApprovalEnds, ends);
    }

    /// Takes the right from every granted request that has not been reported.
    pub(super) fn revoke(&mut self, id: ClientId, reason: Refusal) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let under_way: Vec<RequestId> = client.under_way.keys().copied().collect();
        for request in under_way {
            match self.requests.get_mut(&request) {
                Some(entry) if entry.stage == Stage::Granted => entry.stage = Stage::Revoked,
                _ => continue,
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

    pub(super) fn grant(
        &mut self,
        request: RequestId,
        id: ClientId,
        ask: Ask,
        grant: Grant,
        now: Now,
    ) {
        let mut alarm = None;
        if let Some(client) = self.clients.get_mut(&id) {
            alarm = client.alarm(ask, self.allow_rehearsals, now);
            client.under_way.insert(request, ask);
        }
        if !ask.rehearsal {
            // Durable before the secret leaves, recorded or not: a crash between the two must not make the next request look like the first.
            self.persist_state(id, Durability::Soon, now);
        }
        let entry = Request {
            client: id,
            ask,
            stage: Stage::Granted,
        };
        self.requests.insert(request, entry);
        self.tell(Event::Granted {
            client: id,
            request,
            grant,
            rehearsal: ask.rehearsal,
            alarm,
        });
        self.act(Action::Answer {
            request,
            answer: Answer::Release(id),
        });
    }

    pub(super) fn refuse(&mut self, request: RequestId, client: Option<ClientId>, reason: Refusal) {
        self.refuse_in(request, client, reason, (false, None));
    }

    /// Refuses what may come again and again.
    fn refuse_again(&mut self, request: RequestId, id: ClientId, reason: Refusal, now: Now) {
        let client = self.clients.get_mut(&id);
        let news = reason == Refusal::Disabled
            && client.is_some_and(|client| client.disabled_alarm.is_news(now.mono));
        let alarm = news.then_some(Alarm::Disabled);
        self.refuse_in(request, Some(id), reason, (false, alarm));
    }

    fn refuse_stranger(&mut self, request: RequestId, now: Now) {
        let Heard { flood, alarm, over } = self.strangers.hear(now.mono);
        for count in [over, alarm].into_iter().flatten() {
            self.tell(Event::Alarmed(None, Alarm::UnknownKeys(count)));
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
        self.tell(Event::Refused {
            client,
            request,
            reason,
            flood,
            alarm,
        });
        self.act(Action::Answer {
            request,
            answer: Answer::Refuse(reason),
        });
    }

    /// Ends a request that was granted.
    fn end(&mut self, request: RequestId) -> Option<Request> {
        if let Stage::Waiting(_) = self.requests.get(&request)?.stage {
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
