//! Random events, compared with the model: after each one the registry has the state of the model, every request got
//! its answer, and nothing was reported before it was durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::events::{Edit, Op, op};
use super::model::{Clock, Model, ModelLife, ModelOutcome, ModelSection, ModelStage, refusal_text};
use super::never_later::NeverLater;
use super::sections::{change_section, configured, setting};
use super::world::{Disk, key};
use crate::checker::LastCheck;
use crate::client::saved::{Change, End, Saved};
use crate::event::{ClientId, Durability, Event, RequestClaims, RequestId};
use crate::registry::{Action, Registry, RegistryLimits, RequestAnswer};
use crate::time::{BootId, Monotonic, Now, Wall};

pub(super) const CLIENTS: usize = 3;
const CHECKS: usize = 2;

/// The registry, its disk and its clock beside the model.
struct Pair {
    registry: Registry,
    disk: Disk,
    model: Model,
    files: Vec<Option<ModelSection>>,
    /// The model's number of each client.
    numbers: BTreeMap<ClientId, usize>,
    /// Running checks; the flag is true once one was told to stop.
    running: BTreeMap<ClientId, bool>,
    answered: BTreeSet<u64>,
    next_request: u64,
    kill_within: Option<usize>,
    latest: NeverLater,
    /// Clients that were just proved or declared to be up.
    vouched: BTreeSet<usize>,
}

/// The part of a client that is compared.
#[derive(PartialEq, Eq, Debug)]
struct Observed {
    deadline: Option<u64>,
    section: ModelSection,
    last_ok: bool,
    pending: bool,
    released: bool,
}

fn now(clock: Clock) -> Now {
    Now {
        mono: Monotonic::from_boot(Duration::from_millis(clock.mono)),
        wall: Wall::from_unix_micros(clock.wall * 1000),
    }
}

fn load(files: &[Option<ModelSection>], saved: Saved, clock: Clock) -> Registry {
    let limits = RegistryLimits {
        concurrent_checks: CHECKS,
        check_on_release: false,
        allow_rehearsals: false,
    };
    let boot = BootId::from_bytes([clock.boot; 16]);
    let configured = configured(files);
    Registry::load(configured, saved, limits, boot, now(clock), &mut |most| {
        most / 2
    })
}

fn number(name: &str) -> usize {
    name.trim_start_matches("client").parse().unwrap()
}

impl Pair {
    fn play_all(ops: Vec<Op>) -> Self {
        let mut pair = Self::new();
        for op in ops {
            pair.play(op);
        }
        pair
    }

    fn new() -> Self {
        let clock = Clock {
            mono: 100_000,
            wall: 1_700_000_000_000,
            boot: 0,
        };
        let section = ModelSection {
            enabled: true,
            timeout: 5_000,
            extended: 12_000,
            delay: 0,
            duration: 1_000,
            default: true,
            secret: 1,
        };
        let mut files = vec![Some(section); CLIENTS];
        files[1] = Some(ModelSection {
            delay: 1_500,
            ..section
        });
        let mut pair = Self {
            registry: load(&files, Saved::default(), clock),
            disk: Disk::default(),
            model: Model::new(&files, clock),
            files,
            numbers: BTreeMap::new(),
            running: BTreeMap::new(),
            answered: BTreeSet::new(),
            next_request: 0,
            kill_within: None,
            latest: NeverLater::default(),
            vouched: (0..CLIENTS).collect(),
        };
        pair.settle(usize::MAX);
        pair.check_latest(true);
        pair
    }

    fn now(&self) -> Now {
        now(self.model.clock)
    }

    fn id(&self, client: usize) -> Option<ClientId> {
        self.registry.by_name(&format!("client{client}"))
    }

    fn nth_request(&self, which: usize, wanted: impl Fn(ModelStage) -> bool) -> Option<u64> {
        let mut open = self.model.requests.iter().filter(|it| wanted(it.1.1));
        open.nth(which).map(|(request, _)| *request)
    }

    fn play(&mut self, op: Op) {
        // Only events that write once per client are cut short: the model has no half-done events.
        let whole = matches!(
            op,
            Op::Set(..) | Op::Reload | Op::Restart { .. } | Op::KillWithin(_)
        );
        let kill = if whole { None } else { self.kill_within.take() };
        let may_enable =
            kill.is_some() || matches!(op, Op::Enable(_) | Op::Reload | Op::Restart { .. });
        if let Op::Enable(_) = op {
            // An expired client is disabled first, and then enabled again.
            self.registry.handle_timeout(self.now());
            self.model.due();
            self.settle(usize::MAX);
            self.check_latest(false);
        }
        let before = self.model.clone();
        if kill.is_some() && !matches!(op, Op::Pass { .. }) {
            self.registry.handle_timeout(self.now());
            self.model.due();
            self.settle(usize::MAX);
        }
        let saved = (self.model.durable.clone(), self.model.written.clone());
        self.enter(op);
        let Some(limit) = kill else {
            self.settle(usize::MAX);
            self.compare(&before);
            self.check_latest(may_enable);
            return;
        };
        let written = self.settle(limit);
        for client in 0..CLIENTS {
            if !written.contains(&client) {
                self.model.durable[client] = saved.0[client];
                self.model.written[client] = saved.1[client];
            }
        }
        self.restart(0, false, false, false);
        self.settle(usize::MAX);
        self.compare(&before);
        self.check_latest(may_enable);
    }

    /// No client is enabled for longer than allowed, or by an event that must not enable it.
    fn check_latest(&mut self, may_enable: bool) {
        for client in 0..CLIENTS {
            let now = self.model.clock.mono;
            let seen = self.observed(client);
            // An expired client is not enabled, even before `handle_timeout` is called.
            let enabled = seen.and_then(|it| Some((it.deadline?, it.section)));
            let enabled = enabled.filter(|(deadline, _)| *deadline > now);
            let vouched =
                self.vouched.remove(&client) || may_enable && !self.latest.is_enabled(client, now);
            self.latest.check(client, enabled, vouched, now);
        }
    }

    fn enter(&mut self, op: Op) {
        let at = self.now();
        match op {
            Op::Pass { time, late } => {
                self.model.clock.mono += time;
                self.model.clock.wall += i64::try_from(time).unwrap();
                if !late {
                    self.registry.handle_timeout(self.now());
                    self.model.due();
                }
            }
            Op::Jump(by) => {
                self.model.clock.wall += by;
                self.latest.jump(by);
            }
            Op::Ask(client) => {
                let request = self.next_request;
                self.next_request += 1;
                let key = key(u8::try_from(client).unwrap());
                self.registry.handle_request(
                    RequestId(request),
                    &key,
                    RequestClaims::default(),
                    at,
                );
                self.model.ask(request, client);
            }
            Op::PeerGone(which) => {
                if let Some(request) = self.nth_request(which, |_| true) {
                    self.registry.handle_peer_gone(RequestId(request), at);
                    self.model.peer_gone(request);
                }
            }
            Op::Reported { which, delivered } => {
                let granted = |it| !matches!(it, ModelStage::Waiting(_));
                let Some(request) = self.nth_request(which, granted) else {
                    return;
                };
                if delivered {
                    self.registry.handle_delivered(RequestId(request), at);
                } else {
                    self.registry
                        .handle_delivery_failed(RequestId(request), true, at);
                }
                self.model.reported(request, delivered);
            }
            Op::Decide(which, approved) => {
                let request = self.nth_request(which, |_| true).unwrap_or(u64::MAX);
                let decided = self
                    .registry
                    .handle_decide(RequestId(request), approved, at);
                let expected = self.model.decide(request, approved);
                assert_eq!(decided.is_ok(), expected, "{decided:?}");
            }
            Op::Checked { which, result } => self.end_check(which, result),
            Op::Reload => {
                let configured = configured(&self.files);
                self.registry
                    .reload(configured, true, at, &mut |most| most / 2)
                    .unwrap();
                self.model.reload(&self.files);
            }
            Op::Edit(client, edit) => self.edit(client, edit),
            Op::Restart { down, reboot, lost } => self.restart(down, reboot, lost, !lost),
            Op::KillWithin(limit) => self.kill_within = Some(limit),
            Op::CheckedOk(client)
            | Op::StartChecker(client)
            | Op::StopChecker(client)
            | Op::Enable(client)
            | Op::Disable(client)
            | Op::Approve(client)
            | Op::Deny(client)
            | Op::Remove(client)
            | Op::Set(client, _) => self.act_on_client(client, &op),
        }
    }

    fn act_on_client(&mut self, client: usize, op: &Op) {
        let Some(id) = self.id(client) else { return };
        let at = self.now();
        let (registry, model) = (&mut self.registry, &mut self.model);
        match *op {
            Op::CheckedOk(_) => {
                registry.handle_checked_ok(id, at).unwrap();
                model.checked(client, Some(true), false);
                self.vouched.insert(client);
            }
            Op::StartChecker(_) => {
                registry.handle_timeout(at);
                model.due();
                if model.enabled(client) {
                    registry.handle_start_checker(id, at).unwrap();
                }
            }
            Op::StopChecker(_) => {
                registry.handle_stop_checker(id, at);
                model.due();
            }
            Op::Enable(_) => {
                registry.handle_enable(id, at);
                model.enable(client);
            }
            Op::Disable(_) => {
                registry.handle_disable(id, at);
                model.disable(client);
            }
            Op::Approve(_) => {
                let approved = registry.handle_approve(id, at);
                assert_eq!(approved.is_ok(), model.approve(client), "{approved:?}");
            }
            Op::Deny(_) => {
                registry.handle_deny(id, at);
                model.deny(client);
            }
            Op::Remove(_) => {
                registry.handle_remove(id, at);
                model.remove(client);
            }
            Op::Set(_, setting_change) => {
                registry
                    .handle_set(id, setting(setting_change), at)
                    .unwrap();
                model.set(client, |section| change_section(section, setting_change));
            }
            _ => unreachable!("no event of one client"),
        }
    }

    fn edit(&mut self, client: usize, edit: Edit) {
        let file = &mut self.files[client];
        match (edit, file) {
            (Edit::Section(false), file) => *file = None,
            (Edit::Section(true), file @ None) => {
                *file = Some(ModelSection {
                    enabled: true,
                    timeout: 5_000,
                    extended: 12_000,
                    delay: 1_500,
                    duration: 1_000,
                    default: false,
                    secret: 2,
                });
            }
            (Edit::Enabled(enabled), Some(section)) => section.enabled = enabled,
            (Edit::Setting(setting_change), Some(section)) => {
                change_section(section, setting_change)
            }
            _ => {}
        }
    }

    fn end_check(&mut self, which: usize, result: u8) {
        let Some((id, _)) = self.running.iter().nth(which) else {
            return;
        };
        let id = *id;
        // Due events come first: they may stop this check.
        self.registry.handle_timeout(self.now());
        self.model.due();
        self.settle(usize::MAX);
        let stopped = self.running.remove(&id).unwrap();
        let (seen, meant) = match result {
            0 => (LastCheck::Exited(0), Some(true)),
            1 => (LastCheck::Exited(1), Some(false)),
            _ => (LastCheck::Signaled(9), None),
        };
        let client = self.numbers[&id];
        let alive = self.registry.client(id).is_some();
        self.registry.handle_check_finished(id, seen, self.now());
        if alive {
            self.model.checked(client, meant, stopped);
            self.vouched
                .extend((meant == Some(true) && !stopped).then_some(client));
        }
    }

    fn restart(&mut self, down: u64, reboot: bool, lost: bool, clean: bool) {
        let clock = &mut self.model.clock;
        let before = clock.boot;
        clock.mono += down;
        clock.wall += i64::try_from(down).unwrap();
        if reboot {
            self.latest.reboot(clock.mono, 50_000);
            clock.mono = 50_000;
            clock.boot = clock.boot.wrapping_add(1);
        }
        if lost {
            self.disk.crash();
        } else {
            self.disk.flush();
        }
        let cut = End::Cut(BootId::from_bytes([before; 16]));
        self.disk.end = Some(if clean { End::Clean } else { cut });
        self.registry = load(&self.files, self.disk.load(), self.model.clock);
        self.model.restart(&self.files, lost, clean, before);
        self.vouched.extend(&self.model.renewed);
        self.running.clear();
        self.numbers.clear();
    }

    /// Carries out up to `limit` actions; returns the clients whose rows were written.
    fn settle(&mut self, limit: usize) -> BTreeSet<usize> {
        let clients: Vec<_> = self
            .registry
            .iter()
            .map(|(id, client)| (id, number(client.name().as_str())))
            .collect();
        self.numbers.extend(clients);
        let mut written = BTreeSet::new();
        let mut durable = BTreeSet::new();
        let mut outcomes = Vec::new();
        let mut left = limit;
        while let Some(action) = self.registry.poll_action() {
            if left == 0 {
                // The server was killed: the remaining outcomes are dropped from the model too.
                self.model.outcomes.clear();
                return written;
            }
            left -= 1;
            self.disk.carry_out(&action);
            match action {
                Action::Persist(change, Durability::Soon) => written.extend(client_of(&change)),
                Action::Persist(change, _) => {
                    written.extend(client_of(&change));
                    durable.extend(client_of(&change));
                }
                Action::Answer { request, answer } => {
                    assert!(self.answered.insert(request.0), "answered twice");
                    outcomes.push((request.0, outcome(answer)));
                }
                Action::Revoke { request } => outcomes.push((request.0, ModelOutcome::Revoked)),
                Action::StartCheck { client } => {
                    let already = self.running.insert(client, false);
                    assert_eq!(already, None, "two checks of one client");
                    assert!(self.running.len() <= CHECKS, "too many checks");
                }
                Action::StopCheck { client } => {
                    assert_eq!(self.running.insert(client, true), Some(false));
                }
                Action::Poke { .. } => unreachable!("no agent was heard"),
                Action::Event(event) => self.check_durable(&event, &durable),
            }
        }
        let mut expected = std::mem::take(&mut self.model.outcomes);
        expected.sort_unstable();
        outcomes.sort_unstable();
        assert_eq!(outcomes, expected, "registry and model answer differently");
        written
    }

    /// Asserts that a change was durable before its event.
    fn check_durable(&self, event: &Event, durable: &BTreeSet<usize>) {
        let client = match event {
            Event::Added(id)
            | Event::Removed(id, _)
            | Event::Enabled(id)
            | Event::Disabled(id, _)
            | Event::Changed(id, _)
            | Event::Denied(id)
            | Event::DenialLifted(id) => id,
            _ => return,
        };
        let number = self.numbers[client];
        assert!(durable.contains(&number), "{event:?} told too early");
    }

    fn compare(&self, before: &Model) {
        let found: Vec<_> = (0..CLIENTS).map(|client| self.observed(client)).collect();
        let expected: Vec<_> = (0..CLIENTS).map(|client| self.expected(client)).collect();
        assert_eq!(found, expected, "registry (left) and model differ");
        for (id, stopped) in &self.running {
            let enabled = self.registry.client(*id).is_some_and(|it| it.is_enabled());
            assert!(enabled || *stopped, "a check goes on without its client");
        }
        self.check_deadlines(before);
        let next = self.registry.poll_timeout();
        for client in 0..CLIENTS {
            if let Some(deadline) = self.model.state(client).and_then(|it| it.deadline) {
                let deadline = Monotonic::from_boot(Duration::from_millis(deadline));
                assert!(next.is_some_and(|next| next <= deadline));
            }
        }
    }

    /// No client is disabled before its deadline without a cause. This checks the model itself, where only time
    /// passed.
    fn check_deadlines(&self, before: &Model) {
        for client in 0..CLIENTS {
            let (Some(old), Some(new)) = (before.state(client), self.model.state(client)) else {
                continue;
            };
            let same = (new.file, new.force) == (old.file, old.force);
            if same && new.deadline.is_some() && before.clock.boot == self.model.clock.boot {
                assert!(new.deadline > Some(before.clock.mono) || old.deadline == new.deadline);
            }
        }
    }

    fn observed(&self, client: usize) -> Option<Observed> {
        let id = self.id(client)?;
        let it = self.registry.client(id).unwrap();
        let settings = it.settings();
        let millis = |it: Duration| u64::try_from(it.as_millis()).unwrap();
        let section = ModelSection {
            enabled: settings.enabled,
            timeout: millis(settings.timeout),
            extended: millis(settings.extended_timeout),
            delay: millis(settings.approval_delay),
            duration: millis(settings.approval_duration),
            default: settings.approved_by_default,
            secret: self.registry.secret(id).unwrap().expose()[0],
        };
        let deadline = it.deadline.map(|it| millis(it.mono.since_boot()));
        let last_ok = it.last_check() == LastCheck::Exited(0);
        Some(Observed {
            deadline,
            section,
            last_ok,
            pending: it.approval_pending(),
            released: it.released,
        })
    }

    fn expected(&self, client: usize) -> Option<Observed> {
        let ModelLife::Present(state) = self.model.clients[client] else {
            return None;
        };
        let mut requests = self.model.requests.values();
        let pending =
            requests.any(|(of, stage)| *of == client && matches!(stage, ModelStage::Waiting(_)));
        Some(Observed {
            deadline: state.deadline,
            section: state.force,
            last_ok: state.last_ok,
            pending,
            released: state.released,
        })
    }
}

fn client_of(change: &Change) -> Option<usize> {
    Some(number(change.client()?.as_str()))
}

fn outcome(answer: RequestAnswer) -> ModelOutcome {
    match answer {
        RequestAnswer::Release(_) => ModelOutcome::Released,
        RequestAnswer::Alive { .. } => unreachable!("no agent says anything"),
        RequestAnswer::Refuse(reason) => ModelOutcome::Refused(refusal_text(reason)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_registry_agrees_with_the_model(ops in prop::collection::vec(op(), 1..60)) {
        let mut pair = Pair::play_all(ops);
        // After all delays every request is answered.
        pair.play(Op::Pass { time: 1_000_000, late: false });
        prop_assert!(!pair.model.requests.values().any(|it| matches!(it.1, ModelStage::Waiting(_))));
    }
}

/// Found by the property above, once in some ten thousand sequences.
#[test]
fn a_section_that_is_enabled_while_the_server_is_down_counts_as_enabled_since_the_last_release() {
    let restart = Op::Restart {
        down: 0,
        reboot: false,
        lost: false,
    };
    let pair = Pair::play_all(vec![
        Op::Ask(2),
        Op::Edit(2, Edit::Enabled(false)),
        Op::KillWithin(0),
        Op::Pass {
            time: 0,
            late: false,
        },
        Op::Edit(2, Edit::Enabled(true)),
        restart,
        Op::Ask(2),
        Op::Reported {
            which: 0,
            delivered: true,
        },
    ]);
    assert_eq!(pair.observed(2).and_then(|it| it.deadline), Some(112_000));
}
