//! A second, naive implementation of the rules, written from the documents alone: every event scans everything, and
//! all times are milliseconds. The registry must agree with it.

use std::collections::BTreeMap;

use crate::event::Refusal;

/// Both clocks and the boot of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Clock {
    pub(super) mono: u64,
    pub(super) wall: i64,
    pub(super) boot: u8,
}

/// Settings of a section, or the settings in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ModelSection {
    pub(super) enabled: bool,
    pub(super) timeout: u64,
    pub(super) extended: u64,
    pub(super) delay: u64,
    pub(super) duration: u64,
    pub(super) default: bool,
    pub(super) secret: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ModelState {
    pub(super) file: ModelSection,
    pub(super) force: ModelSection,
    pub(super) deadline: Option<u64>,
    pub(super) last_ok: bool,
    /// End of a denial, that moment included.
    pub(super) denied: Option<u64>,
    /// Its secret was released since the last proof of life; saved as true also while it may be on its way.
    pub(super) released: bool,
    /// It was enabled since its secret was last released. Not saved.
    pub(super) enabled_since_release: bool,
    /// It got another timeout at a start since the last proof of life.
    pub(super) renewed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ModelLife {
    Absent,
    Removed,
    Present(ModelState),
    /// Its section left the configuration; its state then, unless it was removed.
    Left(Option<ModelState>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ModelStage {
    Waiting(u64),
    Granted,
    Revoked,
    /// Revoked, and the client was removed since.
    Orphaned,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum ModelOutcome {
    Released,
    Refused(&'static str),
    Revoked,
}

/// A client in the store, and the time at which it was written.
type Row = (ModelLife, Clock);

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) clock: Clock,
    pub(super) clients: Vec<ModelLife>,
    pub(super) requests: BTreeMap<u64, (usize, ModelStage)>,
    pub(super) outcomes: Vec<(u64, ModelOutcome)>,
    /// Rows that survive every crash.
    pub(super) durable: Vec<Row>,
    /// Rows that survive unless the last second is lost.
    pub(super) written: Vec<Row>,
    /// Clients that got another timeout at the last start, because their last check had succeeded.
    pub(super) renewed: Vec<usize>,
}

pub(super) fn refusal_text(reason: Refusal) -> &'static str {
    match reason {
        Refusal::UnknownKey => "unknown",
        Refusal::Disabled => "disabled",
        Refusal::Denied => "denied",
        Refusal::ApprovalTimedOut => "timed out",
        Refusal::Removed => "removed",
        Refusal::RehearsalUnproved | Refusal::RehearsalNeedsApproval => "rehearsal",
        Refusal::RehearsalByBootKey
        | Refusal::BootIsUp
        | Refusal::MachineIsUp
        | Refusal::OtherBootIsUp
        | Refusal::GuardChanged
        | Refusal::UnknownHostKey => "guard",
        Refusal::NamedByBootKey
        | Refusal::NoSuchSecret
        | Refusal::SecretExpired
        | Refusal::SecretChanged
        | Refusal::TooManyWait
        | Refusal::MachineIsSuspect => "named",
    }
}

impl Model {
    pub(super) fn new(files: &[Option<ModelSection>], clock: Clock) -> Self {
        let nothing = vec![(ModelLife::Absent, clock); files.len()];
        let mut model = Self {
            clock,
            clients: vec![ModelLife::Absent; files.len()],
            requests: BTreeMap::new(),
            outcomes: Vec::new(),
            durable: nothing.clone(),
            written: nothing,
            renewed: Vec::new(),
        };
        model.reload(files);
        model
    }

    pub(super) fn state(&self, client: usize) -> Option<ModelState> {
        match self.clients[client] {
            ModelLife::Present(state) => Some(state),
            _ => None,
        }
    }

    pub(super) fn enabled(&self, client: usize) -> bool {
        self.state(client).is_some_and(|it| it.deadline.is_some())
    }

    fn change(&mut self, client: usize, change: impl FnOnce(&mut ModelState, u64)) {
        if let ModelLife::Present(state) = &mut self.clients[client] {
            change(state, self.clock.mono);
        }
    }

    fn save(&mut self, client: usize) {
        self.save_soon(client);
        self.durable[client] = self.written[client];
    }

    fn save_soon(&mut self, client: usize) {
        self.written[client] = (self.saved(client), self.clock);
    }

    fn saved(&self, client: usize) -> ModelLife {
        let mut life = self.clients[client];
        let leaving = self.is_leaving(client);
        if let ModelLife::Present(state) = &mut life {
            state.released |= leaving;
            state.enabled_since_release = false;
            // An ended denial is not saved.
            state.denied = state.denied.filter(|until| self.clock.mono <= *until);
        }
        life
    }

    /// Handles everything that is due, deadlines first.
    pub(super) fn due(&mut self) {
        for client in 0..self.clients.len() {
            let deadline = self.state(client).and_then(|it| it.deadline);
            if deadline.is_some_and(|deadline| deadline <= self.clock.mono) {
                self.stop(client);
            }
            self.reconsider(client);
        }
    }

    fn stop(&mut self, client: usize) {
        self.change(client, |it, _| it.deadline = None);
        self.save(client);
        self.revoke(client);
        self.reconsider(client);
    }

    fn revoke(&mut self, client: usize) {
        for (request, (of, stage)) in &mut self.requests {
            if *of == client && *stage == ModelStage::Granted {
                *stage = ModelStage::Revoked;
                self.outcomes.push((*request, ModelOutcome::Revoked));
            }
        }
    }

    /// A secret is released neither after the deadline nor while disabled, denied, or unapproved
    /// when approval is needed.
    fn verdict(&self, client: usize, since: u64) -> Option<ModelOutcome> {
        let state = match self.clients[client] {
            ModelLife::Present(state) => state,
            ModelLife::Removed => return Some(ModelOutcome::Refused("removed")),
            ModelLife::Absent | ModelLife::Left(_) => {
                return Some(ModelOutcome::Refused("removed"));
            }
        };
        let now = self.clock.mono;
        if state.deadline.is_none_or(|deadline| deadline <= now) {
            return Some(ModelOutcome::Refused("disabled"));
        }
        if state.denied.is_some_and(|until| now <= until) {
            return Some(ModelOutcome::Refused("denied"));
        }
        let waited = now - since >= state.force.delay;
        match (state.force.delay, waited, state.force.default) {
            (0, _, _) | (_, true, true) => Some(ModelOutcome::Released),
            (_, true, false) => Some(ModelOutcome::Refused("timed out")),
            (_, false, _) => None,
        }
    }

    fn reconsider(&mut self, client: usize) {
        let waiting: Vec<(u64, u64)> = self
            .requests
            .iter()
            .filter_map(|(request, it)| match it {
                (of, ModelStage::Waiting(since)) if *of == client => Some((*request, *since)),
                _ => None,
            })
            .collect();
        for (request, since) in waiting {
            if let Some(outcome) = self.verdict(client, since) {
                self.settle(request, client, outcome);
            }
        }
    }

    /// True when a grant of the secret is not reported yet.
    fn is_leaving(&self, client: usize) -> bool {
        let mut requests = self.requests.values();
        requests.any(|(of, stage)| {
            *of == client && matches!(stage, ModelStage::Granted | ModelStage::Revoked)
        })
    }

    fn settle(&mut self, request: u64, client: usize, outcome: ModelOutcome) {
        self.outcomes.push((request, outcome));
        if outcome == ModelOutcome::Released {
            self.requests.insert(request, (client, ModelStage::Granted));
            self.save_soon(client);
        } else {
            self.requests.remove(&request);
        }
    }

    pub(super) fn ask(&mut self, request: u64, client: usize) {
        self.due();
        if self.state(client).is_none() {
            self.outcomes
                .push((request, ModelOutcome::Refused("unknown")));
            return;
        }
        let since = self.clock.mono;
        match self.verdict(client, since) {
            Some(outcome) => self.settle(request, client, outcome),
            None => {
                self.requests
                    .insert(request, (client, ModelStage::Waiting(since)));
                self.save_soon(client);
            }
        }
    }

    pub(super) fn peer_gone(&mut self, request: u64) {
        self.due();
        if let Some((_, ModelStage::Waiting(_))) = self.requests.get(&request) {
            self.requests.remove(&request);
        }
    }

    pub(super) fn reported(&mut self, request: u64, delivered: bool) {
        self.due();
        let Some((client, stage)) = self.requests.get(&request).copied() else {
            return;
        };
        if let ModelStage::Waiting(_) = stage {
            return;
        }
        self.requests.remove(&request);
        if stage == ModelStage::Orphaned {
            return;
        }
        if !delivered {
            return self.save_soon(client);
        }
        // Once after each proof of life, and after each time that it was enabled.
        self.change(client, |it, now| {
            let extends = !it.released || it.enabled_since_release;
            if stage == ModelStage::Granted && it.deadline.is_some() && extends {
                it.deadline = Some(now + it.force.extended);
            }
            (it.released, it.enabled_since_release) = (true, false);
        });
        self.save(client);
    }

    /// A check or another proof ended; `stopped` when the check had been told to stop.
    pub(super) fn checked(&mut self, client: usize, result: Option<bool>, stopped: bool) {
        self.due();
        let Some(before) = self.state(client) else {
            return;
        };
        self.change(client, |it, now| {
            if result.is_some() || !stopped {
                it.last_ok = result == Some(true);
            }
            if result == Some(true) && !stopped {
                it.released = false;
                it.renewed = false;
                it.deadline = it.deadline.map(|_| now + it.force.timeout);
            }
        });
        let Some(after) = self.state(client) else {
            return;
        };
        // A change that makes the server stricter must not get lost.
        if after.deadline < before.deadline || before.last_ok && !after.last_ok {
            self.save(client);
        } else {
            self.save_soon(client);
        }
    }

    pub(super) fn enable(&mut self, client: usize) {
        self.due();
        if self.state(client).is_some() && !self.enabled(client) {
            self.enable_now(client);
            self.save(client);
        }
    }

    pub(super) fn disable(&mut self, client: usize) {
        self.due();
        if self.enabled(client) {
            self.stop(client);
        }
    }

    fn waiting(&self, client: usize) -> Vec<u64> {
        let waits = |(request, it): (&u64, &(usize, ModelStage))| match it {
            (of, ModelStage::Waiting(_)) if *of == client => Some(*request),
            _ => None,
        };
        self.requests.iter().filter_map(waits).collect()
    }

    /// Decides on the only waiting request, or lifts a denial; true when it did.
    pub(super) fn approve(&mut self, client: usize) -> bool {
        self.due();
        let now = self.clock.mono;
        let Some(state) = self.state(client) else {
            return false;
        };
        if state.denied.is_some_and(|until| now <= until) {
            self.change(client, |it, _| it.denied = None);
            self.save(client);
            return true;
        }
        match self.waiting(client)[..] {
            [only] => self.decide(only, true),
            _ => false,
        }
    }

    pub(super) fn deny(&mut self, client: usize) {
        self.due();
        if self.state(client).is_some() {
            self.change(client, |it, now| it.denied = Some(now + it.force.duration));
            self.revoke(client);
            self.save(client);
            self.reconsider(client);
        }
    }

    /// Decides on one request; false when it does not wait.
    pub(super) fn decide(&mut self, request: u64, approved: bool) -> bool {
        self.due();
        let Some((client, ModelStage::Waiting(_))) = self.requests.get(&request).copied() else {
            return false;
        };
        let outcome = match approved {
            true => ModelOutcome::Released,
            false => ModelOutcome::Refused("denied"),
        };
        self.settle(request, client, outcome);
        true
    }

    pub(super) fn remove(&mut self, client: usize) {
        self.due();
        if self.state(client).is_some() {
            self.remove_client(client, ModelLife::Removed);
        }
    }

    fn remove_client(&mut self, client: usize, life: ModelLife) {
        self.revoke(client);
        for (of, stage) in self.requests.values_mut() {
            if *of == client && *stage == ModelStage::Revoked {
                *stage = ModelStage::Orphaned;
            }
        }
        self.clients[client] = life;
        self.save(client);
        self.reconsider(client);
    }

    pub(super) fn set(&mut self, client: usize, change: impl FnOnce(&mut ModelSection)) {
        self.due();
        let Some(mut state) = self.state(client) else {
            return;
        };
        let old = state.force;
        change(&mut state.force);
        if state.force == old {
            return;
        }
        move_deadline(&mut state, old.timeout);
        self.clients[client] = ModelLife::Present(state);
        self.apply_settings(client);
    }

    /// A changed setting is saved before any request is decided by it.
    fn apply_settings(&mut self, client: usize) {
        let deadline = self.state(client).and_then(|it| it.deadline);
        if deadline.is_some_and(|deadline| deadline <= self.clock.mono) {
            self.stop(client);
        }
        self.save(client);
        self.due();
    }

    pub(super) fn reload(&mut self, files: &[Option<ModelSection>]) {
        self.due();
        for (client, file) in files.iter().enumerate() {
            match (self.clients[client], file) {
                (ModelLife::Absent | ModelLife::Left(_), None) | (ModelLife::Removed, Some(_)) => {}
                (ModelLife::Removed, None) => self.remove_client(client, ModelLife::Left(None)),
                (ModelLife::Present(_), None) => {
                    let ModelLife::Present(state) = self.saved(client) else {
                        unreachable!("it is present");
                    };
                    self.remove_client(client, ModelLife::Left(Some(state)));
                }
                (ModelLife::Left(None), Some(_)) => {
                    self.clients[client] = ModelLife::Removed;
                    self.save(client);
                }
                (ModelLife::Left(Some(state)), Some(file)) => {
                    let at = self.written[client].1;
                    let state = self.resumed(client, state, at, *file, true);
                    self.clients[client] = ModelLife::Present(state);
                    self.save(client);
                }
                (ModelLife::Absent, Some(file)) => {
                    self.clients[client] = ModelLife::Present(self.new_state(*file));
                    self.save(client);
                }
                (ModelLife::Present(state), Some(file)) if state.file != *file => {
                    let (state, enabled) = merged(state, *file, 0);
                    self.clients[client] = ModelLife::Present(state);
                    match enabled {
                        Some(true) => self.enable_in_reload(client),
                        Some(false) if self.enabled(client) => self.stop(client),
                        _ => {}
                    }
                    self.apply_settings(client);
                }
                (ModelLife::Present(_), Some(_)) => {}
            }
        }
    }

    fn enable_now(&mut self, client: usize) {
        self.change(client, |it, now| {
            it.deadline = Some(now + it.force.timeout);
            it.enabled_since_release = true;
        });
    }

    fn enable_in_reload(&mut self, client: usize) {
        if !self.enabled(client) {
            self.enable_now(client);
        }
    }

    fn new_state(&self, file: ModelSection) -> ModelState {
        ModelState {
            file,
            force: file,
            deadline: file.enabled.then_some(self.clock.mono + file.timeout),
            last_ok: false,
            denied: None,
            released: false,
            enabled_since_release: file.enabled,
            renewed: false,
        }
    }

    /// The server restarts, with the current clocks; `clean` when the last run ended cleanly.
    pub(super) fn restart(
        &mut self,
        files: &[Option<ModelSection>],
        lost: bool,
        clean: bool,
        before: u8,
    ) {
        let renews = clean || before != self.clock.boot;
        if lost {
            self.written = self.durable.clone();
        } else {
            self.durable = self.written.clone();
        }
        self.requests.clear();
        self.renewed.clear();
        for (client, file) in files.iter().enumerate() {
            let (life, at) = self.durable[client];
            self.clients[client] = match (life, file) {
                (ModelLife::Absent | ModelLife::Left(_), None) => life,
                (ModelLife::Removed, None) => ModelLife::Left(None),
                (ModelLife::Present(state), None) => ModelLife::Left(Some(state)),
                (ModelLife::Removed | ModelLife::Left(None), Some(_)) => ModelLife::Removed,
                (ModelLife::Left(Some(state)), Some(file)) => {
                    ModelLife::Present(self.resumed(client, state, at, *file, true))
                }
                (ModelLife::Absent, Some(file)) => ModelLife::Present(self.new_state(*file)),
                (ModelLife::Present(state), Some(file)) => {
                    ModelLife::Present(self.resumed(client, state, at, *file, renews))
                }
            };
            if let ModelLife::Left(_) = self.clients[client] {
                // The row keeps its state and its time of writing.
                self.written[client].0 = self.clients[client];
                self.durable[client] = self.written[client];
                continue;
            }
            let moved = at.boot != self.clock.boot;
            if moved || self.clients[client] != life {
                self.save(client);
            }
        }
    }

    fn resumed(
        &mut self,
        client: usize,
        saved: ModelState,
        at: Clock,
        file: ModelSection,
        renews: bool,
    ) -> ModelState {
        let now = self.clock.mono;
        let restored = |moment: u64| {
            if at.boot == self.clock.boot {
                return moment;
            }
            let left = moment.saturating_sub(at.mono);
            let by_wall = at.wall + i64::try_from(left).unwrap() - self.clock.wall;
            now + left.min(u64::try_from(by_wall.max(0)).unwrap())
        };
        // Time since it passed in another boot, which may exceed the clock of this one.
        let overdue = saved
            .deadline
            .filter(|_| at.boot != self.clock.boot)
            .map_or(0, |moment| {
                let left = i64::try_from(moment.saturating_sub(at.mono)).unwrap();
                u64::try_from(self.clock.wall - at.wall - left).unwrap_or(0)
            });
        let mut state = saved;
        state.deadline = saved.deadline.map(restored);
        state.denied = saved.denied.map(restored);
        let (mut state, enabled) = merged(state, file, overdue);
        let whole = Some(now + state.force.timeout);
        state.deadline = match (state.deadline, enabled) {
            (None, Some(true)) => {
                state.enabled_since_release = true;
                whole
            }
            (_, Some(false)) => None,
            (Some(deadline), _) if deadline <= now => {
                let renews = renews && state.last_ok && !state.renewed;
                self.renewed.extend(renews.then_some(client));
                state.renewed |= renews;
                whole.filter(|_| renews)
            }
            (deadline, _) => deadline,
        };
        state
    }
}

/// Settings that the file changed replace those in force.
fn merged(mut state: ModelState, file: ModelSection, overdue: u64) -> (ModelState, Option<bool>) {
    let (old, timeout) = (state.file, state.force.timeout);
    let force = &mut state.force;
    let pick = |old: u64, new: u64, force: &mut u64| {
        if old != new {
            *force = new;
        }
    };
    pick(old.timeout, file.timeout, &mut force.timeout);
    pick(old.extended, file.extended, &mut force.extended);
    pick(old.delay, file.delay, &mut force.delay);
    pick(old.duration, file.duration, &mut force.duration);
    if old.default != file.default {
        force.default = file.default;
    }
    if old.secret != file.secret {
        force.secret = file.secret;
    }
    force.enabled = file.enabled;
    state.file = file;
    move_deadline(&mut state, timeout + overdue);
    let enabled = (old.enabled != file.enabled).then_some(file.enabled);
    (state, enabled)
}

fn move_deadline(state: &mut ModelState, old: u64) {
    let new = state.force.timeout;
    state.deadline = state.deadline.map(|it| (it + new).saturating_sub(old));
}
