//! Tests of the bound on audit records that peers can cause.

use crate::boot_nonce::BootNonce;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::world::*;
use crate::checker::LastCheck;
use crate::event::quota::{Admission, MAX_RECORDS, MAX_UNKNOWN_KEY_RECORDS, RecordQuotas};
use crate::event::{ClientId, Event, RequestClaims, RequestId};
use crate::name::ClientName;
use crate::registry::{Action, RegistryLimits};

/// Pairs of kind and alarm (or none) that peers can cause about one client: released and rehearsed 3 each, refused and
/// alarm 2 each, and five without an alarm.
const CLASSES: u32 = 3 + 3 + 2 + 2 + 5;

/// Records that peers can cause in an hour about one client: the quota of each class, and one that announces the rest.
const MOST_OF_A_CLIENT: u64 = (CLASSES * (MAX_RECORDS + 1)) as u64;

/// Repetitions that make an unbounded event exceed the bound.
const ROUNDS: usize = 2 * MOST_OF_A_CLIENT as usize;

#[derive(Clone, Copy, Debug)]
enum Op {
    Pass(u64),
    Ask {
        number: u8,
        boot: Option<u8>,
        rehearsal: bool,
    },
    Gone(usize),
    Delivered(usize),
    Failed(usize),
    Checked(LastCheck),
    Person(PersonAct),
}

#[derive(Clone, Copy, Debug)]
enum PersonAct {
    Enable(u8),
    Disable(u8),
    Approve(u8),
    Deny(u8),
    Decide(usize, bool),
}

fn op() -> impl Strategy<Value = Op> {
    let result = prop_oneof![
        Just(LastCheck::Exited(0)),
        Just(LastCheck::Exited(1)),
        Just(LastCheck::Signaled(9))
    ];
    let client = || 1..=2_u8;
    let act = prop_oneof![
        client().prop_map(PersonAct::Enable),
        client().prop_map(PersonAct::Disable),
        client().prop_map(PersonAct::Approve),
        client().prop_map(PersonAct::Deny),
        (0..3_usize, any::<bool>()).prop_map(|(which, yes)| PersonAct::Decide(which, yes)),
    ];
    prop_oneof![
        2 => (0..500_u64).prop_map(Op::Pass),
        6 => (1..=3_u8, prop::option::of(0..2_u8), any::<bool>())
            .prop_map(|(number, boot, rehearsal)| Op::Ask { number, boot, rehearsal }),
        1 => (0..3_usize).prop_map(Op::Gone),
        2 => (0..3_usize).prop_map(Op::Delivered),
        1 => (0..3_usize).prop_map(Op::Failed),
        3 => result.prop_map(Op::Checked),
        1 => act.prop_map(Op::Person),
    ]
}

/// A server with counts of its audit records.
struct Recorder {
    world: World,
    quotas: RecordQuotas,
    open: VecDeque<RequestId>,
    running: VecDeque<ClientId>,
    acts: u64,
    /// Records written: of the kinds that peers cause, and of all others.
    by_peers: BTreeMap<Option<ClientName>, u64>,
    others: BTreeMap<Option<ClientName>, u64>,
    /// Records of the kinds that peers cause, without quotas.
    unbounded: u64,
    left_out: u64,
}

impl Recorder {
    fn new() -> Self {
        let limits = RegistryLimits {
            concurrent_checks: 2,
            check_on_release: true,
            allow_rehearsals: false,
        };
        let asks = config_with(2, |it| {
            it.approval_delay = seconds(60);
            it.approved_by_default = false;
        });
        Self {
            world: World::with_limits(vec![config(1), asks], limits),
            quotas: RecordQuotas::default(),
            open: VecDeque::new(),
            running: VecDeque::new(),
            acts: 0,
            by_peers: BTreeMap::new(),
            others: BTreeMap::new(),
            unbounded: 0,
            left_out: 0,
        }
    }

    fn play(&mut self, op: Op) {
        let actions = self.enter(op);
        for action in actions {
            match action {
                Action::StartCheck { client } => self.running.push_back(client),
                Action::Event(event) => self.record(&event),
                _ => {}
            }
        }
    }

    fn enter(&mut self, op: Op) -> Vec<Action> {
        let now = self.world.now;
        let nth = |which: usize| self.open.get(which).copied();
        match op {
            Op::Pass(millis) => return self.world.run(Duration::from_millis(millis)),
            Op::Ask {
                number,
                boot,
                rehearsal,
            } => {
                let boot = boot.map(|boot| [boot; 16]);
                let (request, actions) = self.world.ask_as(
                    number,
                    RequestClaims {
                        boot: boot.map(BootNonce::from_bytes),
                        rehearsal,
                    },
                );
                self.open.push_front(request);
                self.open.truncate(8);
                return actions;
            }
            Op::Gone(which) => {
                if let Some(request) = nth(which) {
                    self.world.registry.handle_peer_gone(request, now);
                }
            }
            Op::Delivered(which) => {
                if let Some(request) = nth(which) {
                    self.world.registry.handle_delivered(request, now);
                }
            }
            Op::Failed(which) => {
                if let Some(request) = nth(which) {
                    self.world
                        .registry
                        .handle_delivery_failed(request, true, now);
                }
            }
            Op::Checked(result) => {
                if let Some(client) = self.running.pop_front() {
                    let registry = &mut self.world.registry;
                    registry.handle_check_finished(client, result, now);
                }
            }
            Op::Person(act) => self.carry_out(act),
        }
        self.world.actions()
    }

    fn carry_out(&mut self, act: PersonAct) {
        self.acts += 1;
        let now = self.world.now;
        match act {
            PersonAct::Enable(number) => {
                let id = self.world.id(number);
                self.world.registry.handle_enable(id, now);
            }
            PersonAct::Disable(number) => {
                let id = self.world.id(number);
                self.world.registry.handle_disable(id, now);
            }
            PersonAct::Approve(number) => {
                let id = self.world.id(number);
                // Fails when none or several wait.
                let _ = self.world.registry.handle_approve(id, now);
            }
            PersonAct::Deny(number) => {
                let id = self.world.id(number);
                self.world.registry.handle_deny(id, now);
            }
            PersonAct::Decide(which, yes) => {
                if let Some(request) = self.open.get(which) {
                    let _ = self.world.registry.handle_decide(*request, yes, now);
                }
            }
        }
    }

    fn record(&mut self, event: &Event) {
        let Some(content) = event.record(None) else {
            return;
        };
        let client = event
            .subject()
            .0
            .and_then(|id| self.world.registry.name(id));
        let bounded = content.kind.is_caused_by_peers();
        self.unbounded += u64::from(bounded);
        let counts = match bounded {
            true => &mut self.by_peers,
            false => &mut self.others,
        };
        match self.quotas.admit(&content, client, self.world.now.mono) {
            Admission::Recorded => *counts.entry(client.cloned()).or_default() += 1,
            Admission::Announced(class, _) => {
                assert_eq!(class.client.as_ref(), client);
                *counts.entry(client.cloned()).or_default() += 1;
                self.left_out += 1;
            }
            Admission::LeftOut => self.left_out += 1,
        }
    }
}

fn records_about_clients(recorder: &Recorder) -> u64 {
    recorder
        .by_peers
        .iter()
        .filter(|(client, _)| client.is_some())
        .map(|(_, count)| *count)
        .sum()
}

fn asks(number: u8) -> Op {
    Op::Ask {
        number,
        boot: None,
        rehearsal: false,
    }
}

#[test]
fn constant_requests_of_a_thief_do_not_flood_the_audit_log() {
    let mut recorder = Recorder::new();
    for _ in 0..1000 {
        recorder.play(asks(1));
        recorder.play(Op::Delivered(0));
        recorder.play(Op::Checked(LastCheck::Exited(1)));
        recorder.play(Op::Pass(10));
    }
    // Released once, then with an alarm; the checks that each release starts; that further ones are left out.
    assert_eq!(records_about_clients(&recorder), 1 + 11 + 11);
    assert_eq!(recorder.unbounded, 2000);
}

#[test]
fn requests_that_wait_and_disconnect_do_not_flood_the_audit_log() {
    let mut recorder = Recorder::new();
    for _ in 0..1000 {
        recorder.play(asks(2));
        recorder.play(Op::Gone(0));
    }
    assert_eq!(records_about_clients(&recorder), 2 * 11);
}

#[test]
fn repeated_concurrent_requests_do_not_flood_the_audit_log() {
    let mut recorder = Recorder::new();
    recorder.play(asks(2));
    for _ in 0..100 {
        recorder.play(asks(2));
        recorder.play(Op::Gone(0));
    }
    // One that waits, one that disconnected, and the alarm about several.
    assert_eq!(records_about_clients(&recorder), 3 * 11);
}

#[test]
fn requests_of_a_disabled_machine_do_not_flood_the_audit_log() {
    let mut recorder = Recorder::new();
    recorder.play(Op::Person(PersonAct::Disable(1)));
    for _ in 0..100 {
        recorder.play(asks(1));
    }
    // The first one is an alarm.
    assert_eq!(records_about_clients(&recorder), 1 + 11);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn peers_cause_a_bounded_number_of_records_in_an_hour(ops in prop::collection::vec(op(), 1..12)) {
        let mut recorder = Recorder::new();
        let began = recorder.world.now.mono;
        for _ in 0..ROUNDS {
            for op in &ops {
                recorder.play(*op);
            }
        }
        let length = recorder.world.now.mono.since(began);
        prop_assert!(length < seconds(3600), "the hour is over: {length:?}");
        for (client, count) in &recorder.by_peers {
            let most = match client {
                Some(_) => MOST_OF_A_CLIENT,
                // Their number is reported twice a minute.
                None => u64::from(MAX_UNKNOWN_KEY_RECORDS) + 1 + 2 + 2 * length.as_secs() / 60,
            };
            prop_assert!(*count <= most, "{client:?}: {count} entries");
        }
        // Acts of a person are recorded, and the expiry of clients that a person enabled.
        let others: u64 = recorder.others.values().sum();
        prop_assert!(others <= 2 + 2 * recorder.acts, "{:?}", recorder.others);
        // Every record is counted.
        let recorded: u64 = recorder.by_peers.values().sum();
        let left_out = recorder.quotas.finish();
        let announced = u64::try_from(left_out.len()).unwrap();
        let counted: u64 = left_out.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(counted, recorder.left_out);
        prop_assert_eq!(recorded - announced + counted, recorder.unbounded);
    }
}
