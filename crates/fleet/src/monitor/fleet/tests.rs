//! The index against the plain way: sort everything, look at everything.

use std::time::Duration;

use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_bus::names::ClientPath;
use nightlatch_core::time::Wall;
use proptest::prelude::*;

use super::filter::Filter;
use super::order::Sort;
use super::{ClientNumber, Fleet};
use crate::monitor::tests::{NOON, client};
use crate::state::ClientState;

/// Something that happens to a fleet of few names, so that everything meets.
#[derive(Clone, Debug)]
enum Step {
    Insert(u8, ClientTraits),
    Change(u8, ClientTraits),
    Remove(u8),
    Sort(Sort, bool),
    Show(&'static str),
    Replace(Vec<(u8, ClientTraits)>),
}

/// The properties that an order or a filter can depend on.
#[derive(Clone, Copy, Debug)]
struct ClientTraits {
    enabled: bool,
    pending: bool,
    check: i16,
    minutes: Option<u8>,
}

fn traits() -> impl Strategy<Value = ClientTraits> {
    (
        any::<bool>(),
        any::<bool>(),
        -2_i16..2,
        proptest::option::of(0_u8..4),
    )
        .prop_map(|(enabled, pending, check, minutes)| ClientTraits {
            enabled,
            pending,
            check,
            minutes,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0_u8..12;
    let sort = prop_oneof![Just(Sort::Name), Just(Sort::State), Just(Sort::Deadline)];
    const FILTERS: [&str; 8] = ["", "a", "is:dis", "is:w", "<2m", "b is:e", "<", "nobody"];
    prop_oneof![
        4 => (name.clone(), traits()).prop_map(|(name, traits)| Step::Insert(name, traits)),
        6 => (name.clone(), traits()).prop_map(|(name, traits)| Step::Change(name, traits)),
        2 => name.clone().prop_map(Step::Remove),
        1 => (sort, any::<bool>()).prop_map(|(sort, reversed)| Step::Sort(sort, reversed)),
        1 => proptest::sample::select(&FILTERS[..]).prop_map(Step::Show),
        1 => proptest::collection::vec((name, traits()), 0..12).prop_map(Step::Replace),
    ]
}

fn name(number: u8) -> String {
    let letter = ['a', 'b', 'c'][usize::from(number) % 3];
    format!("{letter}{number}")
}

fn view(number: u8, traits: ClientTraits) -> ClientView {
    let minutes = |minutes: u8| NOON.after(Duration::from_secs(60 * u64::from(minutes)));
    ClientView {
        enabled: traits.enabled,
        approval_pending: traits.pending,
        last_check: CheckStatus::from_number(traits.check).unwrap(),
        expires: traits.minutes.map(minutes),
        ..client(&name(number))
    }
}

fn path(number: u8) -> ClientPath {
    ClientPath::of_name(&name(number))
}

fn take(fleet: &mut Fleet, step: Step, now: Wall) {
    match step {
        Step::Insert(number, traits) => drop(fleet.insert(view(number, traits), now)),
        Step::Change(number, traits) => {
            if let Some(id) = fleet.find(&path(number)) {
                fleet.change(id, now, |client| *client = view(number, traits));
            }
        }
        Step::Remove(number) => drop(fleet.remove(&path(number))),
        Step::Sort(sort, reversed) => fleet.sort(sort, reversed, now),
        Step::Show(text) => fleet.show(Filter::new(text), now),
        Step::Replace(clients) => {
            let clients = clients
                .into_iter()
                .map(|(number, traits)| view(number, traits));
            fleet.replace(clients.collect(), now);
        }
    }
}

/// All clients in order, found the plain way.
fn sorted(fleet: &Fleet) -> Vec<ClientNumber> {
    let (sort, reversed) = fleet.order();
    let mut all: Vec<(&ClientNumber, &ClientView)> = fleet.clients.iter().collect();
    all.sort_by(|(_, a), (_, b)| sort.compare(a, b));
    if reversed {
        all.reverse();
    }
    all.into_iter().map(|(id, _)| *id).collect()
}

proptest! {
    #[test]
    fn what_is_shown_is_what_sorting_and_filtering_everything_shows(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut fleet = Fleet::default();
        for step in steps {
            take(&mut fleet, step, NOON);
            let all = sorted(&fleet);
            prop_assert_eq!(&fleet.all, &all);
            let shows = |id: &ClientNumber| fleet.filter().shows(&fleet.clients[id], NOON);
            let shown: Vec<ClientNumber> = all.iter().copied().filter(shows).collect();
            prop_assert_eq!(fleet.shown(), &shown);
            for (row, id) in shown.iter().enumerate() {
                prop_assert_eq!(fleet.row(*id), Some(row));
            }
            for (id, client) in &fleet.clients {
                prop_assert_eq!(fleet.find(&client.path), Some(*id));
                let waits = ClientState::of(client) == ClientState::Waiting;
                prop_assert_eq!(fleet.waiting().contains(id), waits);
            }
            let standings = fleet.clients.values().map(ClientState::of);
            let disabled = standings.filter(|standing| *standing == ClientState::Disabled);
            prop_assert_eq!(fleet.count(ClientState::Disabled), disabled.count());
            prop_assert_eq!(fleet.len(), fleet.clients.len());
        }
    }
}

#[test]
fn a_deadline_comes_under_a_filter_as_time_passes() {
    let mut fleet = Fleet::default();
    fleet.insert(client("a"), NOON);
    fleet.show(Filter::new("<2m"), NOON);
    assert_eq!(fleet.shown(), []);
    fleet.pass_time(NOON.after(Duration::from_secs(200)));
    assert_eq!(fleet.shown().len(), 1);
}

#[test]
fn requests_keep_the_order_in_which_they_came() {
    let mut fleet = Fleet::default();
    let asks = |number: u8, since: u64| ClientView {
        approval_pending: true,
        last_approval_request: Some(NOON.after(Duration::from_secs(since))),
        ..client(&name(number))
    };
    fleet.replace(vec![asks(1, 9), asks(2, 3)], NOON);
    let third = fleet.insert(asks(0, 1), NOON);
    // A change of a client that waits does not move its request.
    fleet.insert(asks(2, 20), NOON);
    let names: Vec<&str> = fleet
        .waiting()
        .iter()
        .map(|id| fleet.get(*id).unwrap().name.as_str())
        .collect();
    assert_eq!(names, ["c2", "b1", "a0"]);
    assert_eq!(fleet.waiting().last(), Some(&third));
}
