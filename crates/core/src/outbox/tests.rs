use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::client::Client;
use crate::client::saved::{ClientPresence, SavedClient, SavedSecret, Trust};
use crate::event::Durability::{Before, BeforeUnlessFailing, Soon};
use crate::record::RecordKind;
use crate::secret::Secret;
use crate::settings::client::{ClientConfig, ClientSettings, ConfiguredSecrets};
use crate::time::{BootId, Monotonic, Now, Wall};

const NONE: [u8; 0] = [];

fn row(name: &str, seed: u8) -> SavedClient {
    let config = ClientConfig {
        named: ConfiguredSecrets::default(),
        name: ClientName::new(name).unwrap(),
        settings: ClientSettings::default(),
        secret: Secret::new(vec![1]),
    };
    let now = Now {
        mono: Monotonic::from_boot(Duration::ZERO),
        wall: Wall::from_unix_micros(seed.into()),
    };
    Client::fresh(config, 0, now).to_saved(BootId::from_bytes([0; 16]), now)
}

fn state(name: &str, seed: u8) -> Change {
    let row = row(name, seed);
    let ClientPresence::Present(present) = row.presence else {
        panic!("{name} is gone");
    };
    Change::State(row.name, Box::new(present.state))
}

fn put(name: &str) -> Change {
    Change::Put(Box::new(row(name, 1)))
}

fn entry(alarm: bool) -> RecordEntry {
    RecordEntry {
        time: Wall::from_unix_micros(0),
        kind: RecordKind::Alarm,
        client: None,
        alarm,
        text: "{}".into(),
    }
}

fn forget(name: &str) -> Change {
    Change::Forget(ClientName::new(name).unwrap())
}

fn of(name: &str) -> Option<ClientName> {
    Some(ClientName::new(name).unwrap())
}

#[test]
fn an_effect_waits_for_its_own_clients_change_only() {
    let mut outbox = Outbox::default();
    outbox.effect(of("a").as_ref(), 1);
    outbox.persist(forget("a"), Before);
    outbox.effect(of("a").as_ref(), 2);
    outbox.effect(of("b").as_ref(), 3);
    outbox.effect(None, 4);
    outbox.effect_after_all(5);
    assert_eq!(outbox.ready(), [1, 3, 4]);
    outbox.take();
    assert_eq!(outbox.ready(), NONE);
    outbox.committed();
    assert_eq!(outbox.ready(), [2, 5]);
}

/// A put that finds the disk full must not keep the machine from the secret of its disk.
#[test]
fn while_the_store_fails_a_named_secret_holds_up_only_named_secrets() {
    let mut outbox = Outbox::default();
    let a = of("a");
    let secret = |sealed| Change::PutSecret {
        client: a.clone(),
        secret: Box::new(SavedSecret {
            host: KeyId::from_bytes([1; 32]).unwrap(),
            name: SecretName::new(sealed).unwrap(),
            serial: 1,
            sealed: None,
            approval: false,
            put: Wall::from_unix_micros(0),
        }),
    };
    outbox.persist(secret("pin"), Before);
    outbox.release(a.as_ref(), 1);
    assert_eq!(outbox.ready(), NONE);
    let changes = outbox.take();
    assert!(outbox.failed(changes).is_empty());
    assert_eq!(outbox.ready(), [1]);
    // A removal of another one makes nothing more generous, and takes nothing back.
    outbox.persist(secret("other"), BeforeUnlessFailing);
    outbox.release_named(a.as_ref(), 2);
    outbox.release_named(of("b").as_ref(), 3);
    outbox.release(a.as_ref(), 4);
    assert_eq!(outbox.ready(), [3, 4]);
    // What else must be durable holds up both.
    outbox.persist(put("b"), Before);
    outbox.release_named(of("b").as_ref(), 5);
    outbox.release(of("b").as_ref(), 6);
    assert_eq!(outbox.ready(), NONE);
    outbox.take();
    outbox.committed();
    assert_eq!(outbox.ready(), [2, 5, 6]);
}

#[test]
fn while_the_store_fails_only_releases_and_acknowledgements_wait() {
    let mut outbox = Outbox::default();
    let a = of("a");
    outbox.persist(forget("a"), BeforeUnlessFailing);
    outbox.effect(a.as_ref(), 1);
    outbox.release(a.as_ref(), 2);
    outbox.acknowledge(a.as_ref(), 3);
    assert_eq!(outbox.ready(), NONE);
    let changes = outbox.take();
    assert_eq!(outbox.failed(changes), [3]);
    // A change that made the server stricter delays no release.
    assert_eq!(outbox.ready(), [1, 2]);
    outbox.persist(put("a"), Before);
    outbox.effect(a.as_ref(), 4);
    outbox.release(a.as_ref(), 5);
    outbox.release(of("b").as_ref(), 6);
    outbox.acknowledge(a.as_ref(), 7);
    assert_eq!(outbox.ready(), [4, 6]);
    outbox.take();
    outbox.committed();
    assert_eq!(outbox.ready(), [5, 7]);
}

#[test]
fn who_waits_for_all_clients_is_told_of_a_failure_too() {
    let mut outbox = Outbox::default();
    outbox.persist(put("a"), Before);
    outbox.acknowledge_all(1);
    outbox.effect_after_all(2);
    let changes = outbox.take();
    assert_eq!(outbox.failed(changes), [1]);
    assert_eq!(outbox.ready(), NONE);
}

#[test]
fn changes_added_during_a_commit_wait_for_the_next() {
    let mut outbox = Outbox::default();
    outbox.persist(forget("a"), Before);
    outbox.take();
    outbox.persist(forget("a"), Before);
    outbox.effect(of("a").as_ref(), 1);
    outbox.committed();
    assert_eq!(outbox.ready(), NONE);
    outbox.take();
    outbox.committed();
    assert_eq!(outbox.ready(), [1]);
}

#[test]
fn changes_that_could_not_be_written_are_tried_again_first() {
    let mut outbox: Outbox<u8> = Outbox::default();
    outbox.persist(forget("a"), Before);
    let first = outbox.take();
    assert!(!outbox.is_urgent());
    outbox.persist(forget("b"), Soon);
    assert_eq!(outbox.failed(first), NONE);
    assert!(outbox.is_urgent());
    assert_eq!(outbox.take(), [forget("a"), forget("b")]);
}

#[test]
fn of_each_client_the_last_change_is_kept() {
    let mut outbox: Outbox<u8> = Outbox::default();
    for seed in 0..100 {
        outbox.persist(state("a", seed), Soon);
        outbox.persist(state("b", seed), Before);
        outbox.persist(Change::Trust(Trust::Partial), Before);
        let taken = outbox.take();
        assert_eq!(outbox.failed(taken), NONE);
    }
    assert_eq!(
        outbox.take(),
        [
            state("a", 99),
            state("b", 99),
            Change::Trust(Trust::Partial)
        ]
    );
    // A row contains the state, and a later state stays after the row.
    let changes = [state("a", 1), put("a"), state("a", 2), state("a", 3)];
    changes.into_iter().for_each(|it| outbox.persist(it, Soon));
    assert_eq!(outbox.take(), [put("a"), state("a", 3)]);
    let changes = [put("a"), state("a", 1), forget("a"), state("a", 3)];
    changes.into_iter().for_each(|it| outbox.persist(it, Soon));
    assert_eq!(outbox.take(), [forget("a"), state("a", 3)]);
}

#[test]
fn a_change_that_may_wait_delays_nothing() {
    let mut outbox = Outbox::default();
    outbox.persist(forget("a"), Soon);
    outbox.effect(of("a").as_ref(), 1);
    assert_eq!(outbox.ready(), [1]);
    assert!(outbox.is_unwritten() && !outbox.is_urgent());
}

#[test]
fn taken_records_count_as_unwritten_again_only_after_a_failure() {
    let mut outbox: Outbox<u8> = Outbox::default();
    assert!(outbox.record(entry(true)));
    assert_eq!(outbox.unwritten_records(), 1);
    let taken = outbox.take();
    assert_eq!(outbox.unwritten_records(), 0);
    assert_eq!(outbox.failed(taken), NONE);
    assert_eq!(outbox.unwritten_records(), 1);
}

#[test]
fn a_release_waits_for_its_record_unless_the_store_fails() {
    let mut outbox = Outbox::default();
    let name = of("a").unwrap();
    let record = |outbox: &mut Outbox<_>, entry| {
        outbox.persist(forget(entry), Soon);
        outbox.require(name.clone(), BeforeUnlessFailing);
    };
    record(&mut outbox, "x");
    outbox.release(of("a").as_ref(), 1);
    assert!(outbox.is_urgent());
    assert_eq!(outbox.ready(), NONE);
    let changes = outbox.take();
    assert_eq!(outbox.failed(changes), NONE);
    assert_eq!(outbox.ready(), [1]);
    record(&mut outbox, "y");
    outbox.release(of("a").as_ref(), 2);
    assert_eq!(outbox.ready(), [2], "while it fails nobody waits");
    outbox.take();
    outbox.committed();
    record(&mut outbox, "z");
    outbox.release(of("a").as_ref(), 3);
    assert_eq!(outbox.ready(), NONE, "and then again");
}

#[test]
fn while_the_store_fails_records_are_bounded_and_alarms_have_their_own_limit() {
    let mut outbox: Outbox<u8> = Outbox::default();
    let fill = |outbox: &mut Outbox<u8>, alarm| {
        (0..60_000).filter(|_| outbox.record(entry(alarm))).count()
    };
    assert_eq!(fill(&mut outbox, false), 60_000, "it does not fail");
    let taken = outbox.take();
    assert_eq!(outbox.failed(taken), NONE);
    assert_eq!(fill(&mut outbox, false), 0);
    assert_eq!(fill(&mut outbox, true), 40_000);
    outbox.take();
    outbox.committed();
    assert!(outbox.record(entry(false)));
}

/// A call of the outbox; clients are 0 and 1.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A change of a client, or of none.
    Persist(Option<u8>, Durability),
    Hold(u8),
    Push(Sort, Option<u8>),
    /// A commit starts.
    Take,
    /// The commit ends; the flag is its success.
    End(bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sort {
    Effect,
    Release,
    Acknowledge,
    AtLast,
}

fn op() -> impl Strategy<Value = Op> {
    let client = prop::sample::select(&[None, Some(0), Some(1)][..]);
    let durability = prop::sample::select(&[Before, BeforeUnlessFailing, Soon][..]);
    let sorts = &[Sort::Effect, Sort::Release, Sort::Acknowledge, Sort::AtLast][..];
    prop_oneof![
        4 => (client.clone(), durability).prop_map(|(client, it)| Op::Persist(client, it)),
        1 => (0..2_u8).prop_map(Op::Hold),
        4 => (prop::sample::select(sorts), client).prop_map(|(sort, client)| Op::Push(sort, client)),
        3 => Just(Op::Take),
        3 => any::<bool>().prop_map(Op::End),
    ]
}

/// A naive model of the outbox.
#[derive(Default)]
struct Model {
    added: Vec<(Option<u8>, Durability)>,
    /// Effects of the client wait for all changes so far.
    holds: Vec<(u8, usize)>,
    durable: usize,
    /// Number of changes that the commit in progress makes durable.
    commit: Option<(Vec<Change>, usize)>,
    failing: bool,
    /// Waiting effects by position, with the numbers of changes and of calls of `require` before them.
    waiting: BTreeMap<usize, (Sort, Option<u8>, usize, usize)>,
}

impl Model {
    /// Follows the rules, not the implementation.
    fn may_be_done(&self, place: usize) -> bool {
        let (sort, client, added, holds) = self.waiting[&place];
        let counts = |durability| match (sort, durability) {
            (_, Soon) => false,
            (Sort::Acknowledge, _) | (Sort::Release, Before) => true,
            _ => !self.failing,
        };
        let is_held = |place| {
            let mut holds = self.holds[..holds].iter();
            holds.any(|(held, added)| Some(*held) == client && place < *added)
        };
        (self.durable..added).all(|place| {
            let (of, durability) = self.added[place];
            let own = client.is_some() && of == client && counts(durability);
            let held = is_held(place) && counts(BeforeUnlessFailing);
            sort != Sort::AtLast && !own && !held
        })
    }
}

fn named(client: u8) -> ClientName {
    ClientName::new(&format!("client{client}")).unwrap()
}

fn compare(ops: &[Op]) {
    let (mut outbox, mut model) = (Outbox::default(), Model::default());
    for (place, op) in ops
        .iter()
        .chain(&[Op::End(true), Op::Take, Op::End(true)])
        .enumerate()
    {
        match *op {
            Op::Persist(client, durability) => {
                model.added.push((client, durability));
                let change = client.map_or(Change::Trust(Trust::Full), |it| {
                    state(named(it).as_str(), 1)
                });
                outbox.persist(change, durability);
            }
            Op::Hold(client) => {
                model.holds.push((client, model.added.len()));
                outbox.require(named(client), BeforeUnlessFailing);
            }
            Op::Push(sort, client) => {
                let waits = (sort, client, model.added.len(), model.holds.len());
                model.waiting.insert(place, waits);
                let client = client.map(named);
                match sort {
                    Sort::Effect => outbox.effect(client.as_ref(), place),
                    Sort::Release => outbox.release(client.as_ref(), place),
                    Sort::Acknowledge => outbox.acknowledge(client.as_ref(), place),
                    Sort::AtLast => outbox.effect_after_all(place),
                }
            }
            Op::Take if model.commit.is_none() => {
                model.commit = Some((outbox.take(), model.added.len()));
            }
            Op::End(well) => match model.commit.take() {
                Some((_, durable)) if well => {
                    (model.durable, model.failing) = (durable, false);
                    outbox.committed();
                }
                Some((changes, _)) => {
                    model.failing = true;
                    for place in outbox.failed(changes) {
                        let (sort, ..) = model.waiting.remove(&place).unwrap();
                        assert_eq!(sort, Sort::Acknowledge);
                    }
                    let left = model.waiting.values();
                    assert!(
                        left.into_iter()
                            .all(|(sort, ..)| *sort != Sort::Acknowledge)
                    );
                }
                None => {}
            },
            Op::Take => {}
        }
        let (done, expected) = (outbox.ready(), model.waiting.keys().copied());
        let expected: Vec<usize> = expected.filter(|it| model.may_be_done(*it)).collect();
        assert_eq!(
            done, expected,
            "after {op:?}, while it fails: {}",
            model.failing
        );
        model.waiting.retain(|place, _| !done.contains(place));
    }
    assert!(model.waiting.is_empty() && !outbox.is_unwritten());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_outbox_agrees_with_the_model(ops in prop::collection::vec(op(), 1..40)) {
        compare(&ops);
    }
}
