//! Requests for secrets: granting, waiting, refusing, revoking, and reports of the delivery.

use std::sync::Arc;

use super::unknown_keys::CountedRequest;
use super::{
    Action, Alarm, ClientId, DeadlineTerms, Durability, Event, Grant, Refusal, Registry, Release,
    ReleasedSecret, RequestAnswer, RequestClaims, RequestId, Timer,
};
use crate::deadline::Deadline;
use crate::event::KeyRole;
use crate::guard::{Guard, GuardAlarm, Passage, Phase};
use crate::key_id::KeyId;
use crate::secret_name::SecretName;
use crate::time::{Monotonic, Now};

/// A request that has not ended.
#[derive(Clone, Debug)]
pub(super) struct OpenRequest {
    pub(super) client: ClientId,
    /// `None` for the boot secret. Only the host key asks for a named one.
    pub(super) secret: Option<SecretName>,
    /// The key that its peer proved.
    pub(super) by_host_key: bool,
    /// The worth of that key when the request was last judged.
    pub(super) role: KeyRole,
    pub(super) claims: RequestClaims,
    pub(super) accepted: Monotonic,
    /// False where no connection may wait for a person.
    pub(super) may_wait: bool,
    pub(super) stage: RequestStage,
    /// Number of holds that began anew.
    pub(super) held_again: u8,
    /// An alarm about it was told.
    pub(super) told: bool,
    /// The guard remembers its grant.
    pub(super) is_remembered: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RequestStage {
    /// Nothing was decided yet.
    New,
    /// Held until this time at the latest, while the agent is asked.
    Held(Monotonic),
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
        // A host key speaks our protocol, and names its boot.
        let by_host_key = || {
            self.index
                .by_host_key(key)
                .filter(|_| claims.boot.is_some())
        };
        let found = self
            .by_key(key)
            .map(|id| (id, KeyRole::Boot))
            .or_else(|| by_host_key().map(|id| (id, KeyRole::Host)));
        let Some((id, role)) = found else {
            return self.refuse_unknown_key(request, None, now);
        };
        let open = OpenRequest {
            client: id,
            secret: None,
            by_host_key: role == KeyRole::Host,
            role,
            claims,
            accepted: now.mono,
            may_wait: true,
            stage: RequestStage::New,
            held_again: 0,
            told: false,
            is_remembered: false,
        };
        let role = self.role_of(&open);
        let needs_permission = claims.rehearsal && role == KeyRole::Boot;
        let client = self.clients.get(&id).filter(|it| it.is_guarded());
        if needs_permission && client.is_some_and(|it| !it.may_rehearse(now)) {
            let reason = Refusal::RehearsalByBootKey;
            let refused = RefusedRequest::of(id, reason);
            return self.refuse_repeatable(request, refused, now);
        }
        self.settle(request, open, now);
    }

    /// The worth of a request's key now. A request with the boot key that has the nonce of the boot that is up comes from
    /// root on this machine, which alone can know it (docs/decisions/0170): for its data disks, or for a rehearsal. It is
    /// worth as much as one with the host key while the agent is heard, unless the machine is suspect.
    pub(super) fn role_of(&self, open: &OpenRequest) -> KeyRole {
        let boot = open.claims.boot;
        let guard = self.clients.get(&open.client).map(|client| &client.guard);
        let is_up = |guard: &Guard| {
            let is_heard = matches!(guard.phase(), Phase::Up { .. });
            is_heard && boot.is_some() && guard.boot() == boot && guard.suspect().is_none()
        };
        match open.by_host_key || guard.is_some_and(is_up) {
            true => KeyRole::Host,
            false => KeyRole::Boot,
        }
    }

    /// The peer of a request without a decision disconnected: it gets no answer. A granted request ends with the report
    /// of its delivery, even if its peer disconnected.
    pub fn handle_peer_gone(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some(open) = self.requests.get(&request).cloned() else {
            return;
        };
        if !matches!(open.stage, RequestStage::Held(_) | RequestStage::Waiting(_)) {
            return;
        }
        let id = open.client;
        self.take_from_queues(request, &open);
        self.note_left(&open, now);
        self.emit(Event::Abandoned {
            client: id,
            request,
            secret: open.secret,
        });
    }

    /// A request ended without the secret. Whose it was is found out by the next sign of life.
    pub(super) fn note_left(&mut self, open: &OpenRequest, now: Now) {
        if open.is_boot() {
            let left = open.of_boot();
            self.change_guard(open.client, now, |guard, _, _| guard.request_left(left));
        }
    }

    /// The secret and the terms for the answer to a granted request. Fails with the reason when the grant was revoked
    /// before its answer, as by a deadline that passed in between: then the request is refused, and reported as not
    /// delivered.
    pub fn release(&self, request: RequestId) -> Result<Release, Refusal> {
        let request = self.requests.get(&request).ok_or(Refusal::Removed)?;
        let client = match request.stage {
            RequestStage::Granted => self.clients.get(&request.client),
            RequestStage::Revoked(reason) => return Err(reason),
            RequestStage::New | RequestStage::Held(_) | RequestStage::Waiting(_) => None,
        };
        let client = client.ok_or(Refusal::Removed)?;
        let terms = DeadlineTerms {
            deadline: client.deadline.ok_or(Refusal::Disabled)?.mono,
            timeout: client.settings.timeout,
            interval: client.settings.interval,
        };
        let secret = match &request.secret {
            None => ReleasedSecret::Boot(Arc::clone(&client.secret)),
            Some(name) => {
                let found = self.named.find(client, name);
                ReleasedSecret::Named(Arc::clone(found.ok_or(Refusal::SecretChanged)?.sealed))
            }
        };
        Ok(Release { secret, terms })
    }

    /// The secret of a granted request reached the client. The first delivery after a proof of life, or after the
    /// client was enabled, gives it its extended timeout from now. Further ones do not move the deadline; otherwise
    /// requests alone could postpone it for ever.
    pub fn handle_delivered(&mut self, request: RequestId, now: Now) {
        self.handle_timeout(now);
        let Some(open) = self.take_granted(request) else {
            return;
        };
        let (id, claims, stage) = (open.client, open.claims, open.stage);
        let mut starts_check = false;
        // A rehearsal changes nothing, and nor does a machine that is up.
        if let Some(client) = self.clients.get_mut(&id).filter(|_| open.is_boot()) {
            let first = !client.released || client.enabled_since_release;
            client.released = true;
            client.enabled_since_release = false;
            client.released_boot = claims.boot.or(client.released_boot);
            // A request that was revoked while the secret was being sent moves no deadline.
            if stage == RequestStage::Granted && client.is_enabled() {
                let deadline = Deadline::within(client.settings.extended_timeout, now);
                starts_check = self.check_on_release && !client.is_armed();
                if first {
                    self.set_deadline(id, deadline);
                }
            }
            self.persist_state(id, Durability::BeforeUnlessFailing, now);
        }
        self.emit(Event::Delivered {
            client: id,
            request,
            secret: open.secret,
            rehearsal: claims.rehearsal,
        });
        if starts_check {
            self.check_after_release(id);
        }
    }

    /// The secret of a granted request did not reach the client. `sent` is true when a part of it may have left.
    pub fn handle_delivery_failed(&mut self, request: RequestId, sent: bool, now: Now) {
        self.handle_timeout(now);
        let Some(open) = self.take_granted(request) else {
            return;
        };
        let id = open.client;
        if open.is_boot() {
            // This request released nothing.
            self.persist_state(id, Durability::Soon, now);
            if !sent && open.is_remembered {
                self.change_guard(id, now, |guard, _, _| {
                    guard.not_delivered(open.claims.boot, open.accepted)
                });
            }
        }
        if open.stage == RequestStage::Granted {
            self.emit(Event::DeliveryFailed {
                client: id,
                request,
                secret: open.secret,
            });
        }
    }

    /// Revokes every granted request whose delivery has not been reported.
    pub(super) fn revoke(&mut self, id: ClientId, reason: Refusal) {
        self.revoke_those(id, reason, |_, _| true);
    }

    /// Revokes those of boots, and not what the machine that is up gets.
    pub(super) fn revoke_boots(&mut self, id: ClientId, reason: Refusal) {
        self.revoke_those(id, reason, |role, _| role == KeyRole::Boot);
    }

    /// Revokes those of the named secret `name`.
    pub(super) fn revoke_named(&mut self, id: ClientId, name: &SecretName, reason: Refusal) {
        self.revoke_those(id, reason, |_, open| open.secret.as_ref() == Some(name));
    }

    /// Revokes those of all named secrets.
    pub(super) fn revoke_all_named(&mut self, id: ClientId, reason: Refusal) {
        self.revoke_those(id, reason, |_, open| open.secret.is_some());
    }

    fn revoke_those(
        &mut self,
        id: ClientId,
        reason: Refusal,
        those: impl Fn(KeyRole, &OpenRequest) -> bool,
    ) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let under_way: Vec<_> = client
            .under_way
            .iter()
            .map(|(id, (role, _))| (*id, *role))
            .collect();
        for (request, role) in under_way {
            let secret = match self.requests.get_mut(&request) {
                Some(entry) if entry.stage == RequestStage::Granted && those(role, entry) => {
                    entry.stage = RequestStage::Revoked(reason);
                    entry.secret.clone()
                }
                _ => continue,
            };
            self.push_action(Action::Revoke { request });
            self.emit(Event::Revoked {
                client: id,
                request,
                secret,
                reason,
            });
        }
    }

    /// Refuses every request that is held or waits.
    pub(super) fn refuse_waiting(&mut self, id: ClientId, reason: Refusal, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let waiting = client.held.take().chain(client.waiting.take());
        for request in waiting.collect::<Vec<_>>() {
            let Some(open) = self.requests.remove(&request) else {
                continue;
            };
            if reason == Refusal::Disabled {
                self.note_left(&open, now);
            }
            self.refuse(request, open.refused(reason));
        }
        self.set_timer(id, Timer::HoldEnds, None);
        self.set_timer(id, Timer::ApprovalEnds, None);
    }

    /// Grants a request. It stands in no queue any more.
    pub(super) fn grant(
        &mut self,
        request: RequestId,
        open: OpenRequest,
        grant: Grant,
        (passage, guard_alarm): (Option<Passage>, Option<GuardAlarm>),
        now: Now,
    ) {
        let (id, claims) = (open.client, open.claims);
        let mut alarm = guard_alarm.map(Alarm::from);
        let mut downgrade = false;
        let mut is_remembered = false;
        if let Some(client) = self.clients.get_mut(&id) {
            is_remembered = open.is_boot() && client.is_armed();
            if open.role == KeyRole::Boot {
                // Where no agent is known, the guard knows of no release.
                let is_guarded = client.is_guarded() && client.is_armed();
                if !is_guarded || claims.rehearsal {
                    let allowed = self.allow_rehearsals && !is_guarded;
                    alarm = client.alarm(claims, allowed, now);
                }
                downgrade = client.guard.is_downgrade(claims.boot);
            }
            client.under_way.insert(request, (open.role, claims));
        }
        if open.is_boot() {
            self.change_guard(id, now, |guard, settings, now| {
                guard.released(claims.boot, open.accepted, settings, now)
            });
            // Durable before the secret is sent, even if the grant is not recorded: after a crash in between, the next
            // request must not look like the first.
            self.persist_state(id, Durability::Soon, now);
        }
        let (role, secret) = (open.role, open.secret.clone());
        let stage = RequestStage::Granted;
        let granted = OpenRequest {
            stage,
            is_remembered,
            ..open
        };
        self.requests.insert(request, granted);
        self.emit(Event::Granted {
            client: id,
            request,
            secret,
            grant,
            role,
            rehearsal: claims.rehearsal,
            passage,
            downgrade,
            alarm,
        });
        self.push_action(Action::Answer {
            request,
            answer: RequestAnswer::Release(id),
        });
    }

    pub(super) fn refuse(&mut self, request: RequestId, refused: RefusedRequest) {
        let RefusedRequest {
            client,
            secret,
            reason,
            flood,
            alarm,
        } = refused;
        self.emit(Event::Refused {
            client,
            request,
            secret,
            reason,
            flood,
            alarm,
        });
        self.push_action(Action::Answer {
            request,
            answer: RequestAnswer::Refuse(reason),
        });
    }

    /// Refuses a request that a peer can repeat at will: only one in an hour raises an alarm.
    pub(super) fn refuse_repeatable(
        &mut self,
        request: RequestId,
        mut refused: RefusedRequest,
        now: Now,
    ) {
        let client = refused.client.and_then(|id| self.clients.get_mut(&id));
        // A machine that is up and disabled asks for its named secrets again and again: that hides no thief.
        let news = refused.reason == Refusal::Disabled
            && refused.secret.is_none()
            && client.is_some_and(|client| client.disabled_alarm.is_news(now.mono));
        refused.alarm = refused.alarm.or(news.then_some(Alarm::Disabled));
        self.refuse(request, refused);
    }

    /// Refuses a request for `secret` of a key that is no client's.
    pub(super) fn refuse_unknown_key(
        &mut self,
        request: RequestId,
        secret: Option<SecretName>,
        now: Now,
    ) {
        let CountedRequest {
            flood,
            alarm,
            previous_flood,
        } = self.unknown_keys.count_request(now.mono);
        for count in [previous_flood, alarm].into_iter().flatten() {
            self.emit(Event::Alarmed(None, Alarm::UnknownKeys(count)));
        }
        let refused = RefusedRequest {
            client: None,
            secret,
            reason: Refusal::UnknownKey,
            flood,
            alarm: None,
        };
        self.refuse(request, refused);
    }

    /// Removes a granted request; `None` when it waits or is unknown.
    fn take_granted(&mut self, request: RequestId) -> Option<OpenRequest> {
        let stage = self.requests.get(&request)?.stage;
        if !matches!(stage, RequestStage::Granted | RequestStage::Revoked(_)) {
            return None;
        }
        let ended = self.requests.remove(&request)?;
        if let Some(client) = self.clients.get_mut(&ended.client) {
            client.under_way.remove(&request);
        }
        Some(ended)
    }
}

impl OpenRequest {
    /// True for the request of a boot: what is released to it counts until the machine is up again.
    pub(super) fn is_boot(&self) -> bool {
        self.role == KeyRole::Boot && !self.claims.rehearsal
    }

    /// Its refusal for `reason`, without an alarm.
    pub(super) fn refused(&self, reason: Refusal) -> RefusedRequest {
        RefusedRequest {
            secret: self.secret.clone(),
            ..RefusedRequest::of(self.client, reason)
        }
    }
}

/// A refusal that is not told yet.
#[derive(Debug)]
pub(super) struct RefusedRequest {
    /// `None` for an unknown key.
    pub(super) client: Option<ClientId>,
    /// `None` for the boot secret.
    pub(super) secret: Option<SecretName>,
    pub(super) reason: Refusal,
    /// One of a flood of unknown keys.
    pub(super) flood: bool,
    pub(super) alarm: Option<Alarm>,
}

impl RefusedRequest {
    /// The refusal of the boot secret of `client`, without an alarm.
    pub(super) fn of(client: ClientId, reason: Refusal) -> Self {
        Self {
            client: Some(client),
            secret: None,
            reason,
            flood: false,
            alarm: None,
        }
    }
}
