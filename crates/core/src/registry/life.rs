//! The agent of a booted machine: its signs of life, its silence, and the trust of a person.

use std::time::Duration;

use super::requests::{OpenRequest, RefusedRequest};
use super::{
    Action, ClientId, Durability, Event, Refusal, Registry, RequestAnswer, RequestId, Timer,
};
use crate::boot_nonce::{BootMark, BootNonce};
use crate::checker::LastCheck;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::event::{Alarm, KeyRole};
use crate::guard::{
    BootRequest, GoodbyeKind, Guard, GuardAlarm, GuardChange, GuardSettings, Life, LifeOutcome,
    Phase, WaitingFate,
};
use crate::key_id::KeyId;
use crate::time::{Monotonic, Now};

/// The machines whose heartbeats fall due in a second. Agents come after three quarters of their time on average, so that
/// these are some 800 heartbeats.
const MACHINES_A_SECOND: u64 = 600;

/// The shortest time between two heartbeats, unless the interval of the client is shorter.
const SHORTEST_PACE: Duration = Duration::from_secs(15);

/// No agent is asked to report more often than this, whatever the interval of its client.
const LEAST_PACE: Duration = Duration::from_secs(5);

/// A heartbeat or a goodbye, as the connection that brought it knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignOfLife {
    /// The boot that is up.
    pub boot: BootNonce,
    /// Number of resumes from hibernation in this boot.
    pub resumes: u64,
    /// Boots that noted themselves on the encrypted root, and were not heard.
    pub earlier_boots: Vec<BootMark>,
    /// The time at which the connection was opened.
    pub opened: Monotonic,
    /// Present in a goodbye.
    pub goodbye: Option<GoodbyeKind>,
    /// The agent answered a poke.
    pub pokeable: bool,
}

impl Registry {
    /// A peer that proved the key `key` says that its machine is up, or goes down. The answer is
    /// [`RequestAnswer::Alive`] where it counts for a client that is enabled.
    pub fn handle_life(&mut self, request: RequestId, key: &KeyId, sign: &SignOfLife, now: Now) {
        self.handle_timeout(now);
        if self.requests.contains_key(&request) {
            return;
        }
        let Some(id) = self.index.by_host_key(key) else {
            // The agent of a new machine runs before its section has the key: that is no flood of strangers.
            let refused = RefusedRequest {
                client: None,
                secret: None,
                reason: Refusal::UnknownHostKey,
                flood: false,
                alarm: None,
            };
            return self.refuse(request, refused);
        };
        let pace = self.pace(id);
        let was_armed = self.clients.get(&id).is_some_and(Client::is_armed);
        let newest = self.clients.get(&id).map(|it| it.guard.newest());
        let was_suspect = self.is_suspect(id);
        let Some((mut outcome, waiting)) = self.note_life(id, sign, pace, now) else {
            return;
        };
        if self.clients.get(&id).is_some_and(|it| !it.settings.guard) {
            self.only_tell(&waiting, &mut outcome);
        }
        if !was_armed {
            self.stop_check(id);
            self.set_timer(id, Timer::Check, None);
        }
        if outcome.revoke {
            self.revoke_boots(id, Refusal::MachineIsUp);
        }
        self.revoke_where_suspect(id, was_suspect);
        let is_newest = newest.is_some_and(|newest| sign.opened >= newest);
        let (moved, enabled) = self.extend_by_life(id, sign, is_newest, now);
        let durability = match (enabled, outcome.changed || moved) {
            (true, _) => Durability::Before,
            (false, true) => Durability::BeforeUnlessFailing,
            (false, false) => Durability::Soon,
        };
        self.persist_state(id, durability, now);
        self.report_life(id, sign, (was_armed, enabled), &outcome, now);
        for (request, fate) in waiting.into_iter().zip(&outcome.waiting) {
            self.refuse_by_fate(request, *fate);
        }
        self.set_guard_timer(id);
        // What is still held came later than the connection was opened, and the agent has another token.
        self.hold_all_again(id, now);
        self.reconsider(id, now);
        let is_enabled = self.clients.get(&id).is_some_and(Client::is_enabled);
        let answer = match is_enabled {
            true => RequestAnswer::Alive {
                next: pace,
                window: outcome.window.map(|until| until.since(now.mono)),
            },
            false => RequestAnswer::Refuse(Refusal::Disabled),
        };
        self.push_action(Action::Answer { request, answer });
    }

    /// Tells the guard. Returns the outcome, and the requests whose fates it has.
    fn note_life(
        &mut self,
        id: ClientId,
        sign: &SignOfLife,
        pace: Duration,
        now: Now,
    ) -> Option<(LifeOutcome, Vec<RequestId>)> {
        let (waiting, requests) = self.boot_requests(id);
        let client = self.clients.get_mut(&id)?;
        let life = Life {
            boot: sign.boot,
            resumes: sign.resumes,
            earlier_boots: sign.earlier_boots.clone(),
            opened: sign.opened,
            next: pace,
            goodbye: sign.goodbye.filter(|_| client.is_enabled()),
        };
        let deadline = client.deadline_after(sign.opened, now).mono;
        let settings = client.guard_settings(now);
        let outcome = client
            .guard
            .life(&life, &requests, deadline, &settings, now.mono);
        client.pokeable = sign.pokeable;
        Some((outcome, waiting))
    }

    /// The requests with the boot key that have no decision.
    fn boot_requests(&self, id: ClientId) -> (Vec<RequestId>, Vec<BootRequest>) {
        let client = self.clients.get(&id).into_iter();
        let queued = client.flat_map(|client| client.held.iter().chain(client.waiting.iter()));
        let of_boot = queued.filter_map(|(request, _)| {
            let open = self.requests.get(&request)?;
            (open.role == KeyRole::Boot).then(|| (request, open.of_boot()))
        });
        of_boot.unzip()
    }

    /// Moves the deadline of an enabled client, and enables one that waits for a proof. Returns whether the deadline was
    /// moved backwards, and whether it was enabled.
    fn extend_by_life(
        &mut self,
        id: ClientId,
        sign: &SignOfLife,
        is_newest: bool,
        now: Now,
    ) -> (bool, bool) {
        let Some(client) = self.clients.get_mut(&id) else {
            return (false, false);
        };
        // One that was under way while something was released, or while the next boot came up, says nothing about now.
        let counts =
            client.guard.boot() == Some(sign.boot) && client.guard.phase() != Phase::Opened;
        if !counts || !is_newest || !(client.is_enabled() || client.needs_proof) {
            return (false, false);
        }
        let was_released = client.released;
        client.note_check(LastCheck::Exited(0), false, now);
        if client.needs_proof {
            self.enable(id, now);
            return (false, true);
        }
        let new = client.deadline_after(sign.opened, now);
        let is_earlier = client.deadline.is_some_and(|old| new.mono < old.mono);
        // Only what a release added is taken back.
        if was_released || !is_earlier {
            self.set_deadline(id, new);
        }
        (was_released && is_earlier, false)
    }

    fn report_life(
        &mut self,
        id: ClientId,
        sign: &SignOfLife,
        (was_armed, enabled): (bool, bool),
        outcome: &LifeOutcome,
        now: Now,
    ) {
        if !was_armed {
            self.emit(Event::Armed(id));
        }
        self.emit(Event::Heard(id));
        if enabled {
            self.emit(Event::Enabled(id));
        }
        for alarm in &outcome.alarms {
            self.emit(Event::Alarmed(Some(id), Alarm::from(*alarm)));
        }
        if let Some(kind) = sign.goodbye {
            let window = outcome.window.map(|until| until.since(now.mono));
            self.emit(Event::SaidGoodbye {
                client: id,
                kind,
                window,
            });
        }
    }

    fn refuse_by_fate(&mut self, request: RequestId, fate: WaitingFate) {
        let Some(open) = self.requests.get(&request).cloned() else {
            return;
        };
        let (reason, alarm) = match fate {
            WaitingFate::Keep => return,
            // It is the boot that is up itself, which asks for a data disk: it is judged again at once.
            WaitingFate::Superseded if self.role_of(&open) == KeyRole::Host => return,
            WaitingFate::Superseded => (Refusal::BootIsUp, None),
            WaitingFate::Refused(alarm) => {
                let reason = match alarm {
                    GuardAlarm::Impostor => Refusal::MachineIsUp,
                    _ => Refusal::OtherBootIsUp,
                };
                (reason, Some(Alarm::from(alarm)))
            }
        };
        self.take_from_queues(request, &open);
        let refused = RefusedRequest {
            alarm,
            ..open.refused(reason)
        };
        self.refuse(request, refused);
    }

    /// The time to the next heartbeat of a client. Whole seconds, so that it does not change with each machine.
    fn pace(&self, id: ClientId) -> Duration {
        let machines = self.index.hosts() as u64;
        let pace = Duration::from_secs(machines / MACHINES_A_SECOND).max(SHORTEST_PACE);
        let interval = self.clients.get(&id).map(Client::interval);
        interval.map_or(pace, |interval| pace.min(interval).max(LEAST_PACE))
    }

    /// The server did not listen until `now`: nothing follows from the silence of agents until then. To be called before
    /// any other event.
    pub fn handle_gap(&mut self, now: Now) {
        let armed = self.clients.iter().filter(|(_, client)| client.is_armed());
        let armed: Vec<ClientId> = armed.map(|(id, _)| *id).collect();
        for id in armed {
            if let Some(client) = self.clients.get_mut(&id) {
                let settings = client.guard_settings(now);
                client.guard.handle_gap(&settings, now.mono);
            }
            self.set_guard_timer(id);
            self.hold_all_again(id, now);
        }
    }

    /// A person trusts the machine again: its releases need him no more because of what its guard found.
    pub fn handle_trust(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.guard.suspect().is_none() {
            return;
        }
        client.guard.trust();
        self.persist_state(id, Durability::Before, now);
        self.emit(Event::Trusted(id));
        // The order is about the machine, and not about who happens to ask now: an honest machine asks again. Whose they
        // were is found out by the next sign of life.
        for open in self.open_requests(id) {
            self.note_left(&open, now);
        }
        self.refuse_waiting(id, Refusal::GuardChanged, now);
    }

    /// The requests of a client that have no decision.
    fn open_requests(&self, id: ClientId) -> Vec<OpenRequest> {
        let client = self.clients.get(&id).into_iter();
        let queued = client.flat_map(|client| client.held.iter().chain(client.waiting.iter()));
        let open = queued.filter_map(|(request, _)| self.requests.get(&request).cloned());
        open.collect()
    }

    /// Without a guard nothing is refused, and people are told all the same: once about each request.
    fn only_tell(&mut self, waiting: &[RequestId], outcome: &mut LifeOutcome) {
        outcome.revoke = false;
        for (request, fate) in waiting.iter().zip(&mut outcome.waiting) {
            let fate = std::mem::replace(fate, WaitingFate::Keep);
            if let WaitingFate::Refused(alarm) = fate
                && let Some(open) = self.requests.get_mut(request)
                && !std::mem::replace(&mut open.told, true)
            {
                outcome.alarms.push(alarm);
            }
        }
    }

    /// The guard's timer went off.
    pub(super) fn handle_guard_due(&mut self, id: ClientId, now: Now) {
        let phase = |registry: &Self| registry.clients.get(&id).map(|it| it.guard.phase());
        let before = phase(self);
        self.change_guard(id, now, |guard, _, now| guard.handle_timeout(now));
        if before != phase(self) && phase(self) == Some(Phase::Quiet) {
            self.emit(Event::Silent(id));
            self.reconsider(id, now);
        }
    }

    /// Changes the guard of a client, and carries out what follows: it is durable before anything else.
    pub(super) fn change_guard(
        &mut self,
        id: ClientId,
        now: Now,
        change: impl FnOnce(&mut Guard, &GuardSettings, Monotonic) -> GuardChange,
    ) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let was_suspect = client.guard.suspect().is_some();
        let settings = client.guard_settings(now);
        let GuardChange { alarms, changed } = change(&mut client.guard, &settings, now.mono);
        if changed {
            self.persist_state(id, Durability::BeforeUnlessFailing, now);
        }
        self.revoke_where_suspect(id, was_suspect);
        self.set_guard_timer(id);
        for alarm in alarms {
            self.emit(Event::Alarmed(Some(id), alarm.into()));
        }
    }

    fn is_suspect(&self, id: ClientId) -> bool {
        let client = self.clients.get(&id);
        client.is_some_and(|it| it.guard.suspect().is_some())
    }

    /// Takes back the named secrets that were granted before the machine became suspect: its agent asks again, and waits
    /// for a person.
    fn revoke_where_suspect(&mut self, id: ClientId, was_suspect: bool) {
        if !was_suspect && self.is_suspect(id) {
            self.revoke_all_named(id, Refusal::MachineIsSuspect);
        }
    }

    pub(super) fn set_guard_timer(&mut self, id: ClientId) {
        let due = self.clients.get(&id).and_then(|it| it.guard.poll_timeout());
        self.set_timer(id, Timer::Guard, due);
    }
}

impl Client {
    /// Its deadline after a sign of life whose connection was opened at `opened`: whoever delays it gains nothing.
    fn deadline_after(&self, opened: Monotonic, now: Now) -> Deadline {
        Deadline::at(opened.after(self.settings.timeout), now)
    }
}
