//! Side effects of decisions. Each effect has a test that fails without it.

use super::world::*;
use crate::checker::Checker;
use crate::checker::LastCheck;
use crate::client::saved::Trust;
use crate::event::{
    Alarm, DisableReason, Durability, Event, Grant, KeyRole, Refusal, RequestClaims, RequestId,
};
use crate::name::ClientName;
use crate::registry::{Action, DecisionError, RegistryLimits, RequestAnswer};
use crate::settings::client::ClientConfig;
use crate::settings::client::Setting;

/// A section whose checker proves the private key.
fn proving(number: u8, name: &str) -> ClientConfig {
    let mut config = config_with(number, |it| it.checker = Checker::new(PROOF).unwrap());
    config.name = ClientName::new(name).unwrap();
    config
}

/// A server that lost its state: clients that were enabled wait for a proof.
fn after_a_loss(configured: Vec<ClientConfig>) -> World {
    let mut world = World::new(vec![]);
    world.disk.trust = Trust::None;
    world.restart(configured, seconds(1), false);
    world
}

fn reload(world: &mut World, configured: Vec<ClientConfig>) -> Vec<Action> {
    world
        .registry
        .reload(configured, true, world.now, &mut |most| most / 2)
        .unwrap();
    world.actions()
}

fn prove(world: &mut World, name: &str) {
    let id = world.registry.by_name(name).unwrap();
    world.registry.handle_start_checker(id, world.now).unwrap();
    world
        .registry
        .handle_check_finished(id, LastCheck::Exited(0), world.now);
    world.actions();
}

fn refusals(actions: &[Action]) -> Vec<(Refusal, bool, Option<Alarm>)> {
    let refusal = |action: &Action| match action {
        Action::Event(Event::Refused {
            reason,
            flood,
            alarm,
            ..
        }) => Some((*reason, *flood, *alarm)),
        _ => None,
    };
    actions.iter().filter_map(refusal).collect()
}

fn failed(world: &World, request: RequestId) -> Event {
    Event::DeliveryFailed {
        secret: None,
        client: world.id(1),
        request,
    }
}

#[test]
fn a_failed_delivery_is_reported_unless_its_revocation_was() {
    let mut world = World::new(vec![config(1)]);
    let (request, _) = world.ask(1);
    world
        .registry
        .handle_delivery_failed(request, true, world.now);
    let event = failed(&world, request);
    assert!(has_event(&world.actions(), &event));
    let (request, _) = world.ask(1);
    world.registry.handle_disable(world.id(1), world.now);
    let revoked = Event::Revoked {
        secret: None,
        client: world.id(1),
        request,
        reason: Refusal::Disabled,
    };
    assert!(has_event(&world.actions(), &revoked));
    world
        .registry
        .handle_delivery_failed(request, true, world.now);
    let event = failed(&world, request);
    assert!(!has_event(&world.actions(), &event));
}

#[test]
fn a_refusal_of_an_enabled_client_raises_no_alarm_and_is_no_flood() {
    let mut world = World::new(vec![config_with(1, |it| {
        it.approval_delay = seconds(30);
        it.approval_duration = seconds(100);
    })]);
    let (request, _) = world.ask(1);
    let decided = world.registry.handle_decide(request, false, world.now);
    assert!(decided.is_ok());
    let actions = world.actions();
    let told = Event::Decided {
        secret: None,
        client: world.id(1),
        request,
        approved: false,
    };
    assert!(has_event(&actions, &told));
    assert_eq!(refusals(&actions), [(Refusal::Denied, false, None)]);
    world.registry.handle_deny(world.id(1), world.now);
    world.actions();
    let (_, actions) = world.ask(1);
    assert_eq!(refusals(&actions), [(Refusal::Denied, false, None)]);
    world
        .registry
        .handle_approve(world.id(1), world.now)
        .unwrap();
    let lifted = Event::DenialLifted(world.id(1));
    assert!(has_event(&world.actions(), &lifted));
    world.ask(1);
    world.registry.handle_disable(world.id(1), world.now);
    let actions = world.actions();
    assert_eq!(refusals(&actions), [(Refusal::Disabled, false, None)]);
}

#[test]
fn a_check_starts_on_a_release_only_and_only_where_that_is_wanted() {
    let started = |actions: &[Action]| {
        let is_start = |it: &&Action| matches!(it, Action::StartCheck { .. });
        actions.iter().filter(is_start).count()
    };
    let rehearsal = RequestClaims {
        boot: None,
        rehearsal: true,
    };
    for check_on_release in [false, true] {
        let limits = RegistryLimits {
            concurrent_checks: 2,
            check_on_release,
            allow_rehearsals: false,
        };
        let mut world = World::with_limits(vec![config(1)], limits);
        prove(&mut world, "client1");
        for (claims, wanted) in [
            (rehearsal, 0),
            (RequestClaims::default(), check_on_release.into()),
        ] {
            let (request, _) = world.ask_as(1, claims);
            world.registry.handle_delivered(request, world.now);
            assert_eq!(started(&world.actions()), wanted, "{claims:?}");
        }
    }
}

#[test]
fn a_proof_undoes_no_disable() {
    let mut world = after_a_loss(vec![proving(1, "client1")]);
    world
        .registry
        .handle_start_checker(world.id(1), world.now)
        .unwrap();
    world.registry.handle_disable(world.id(1), world.now);
    assert!(!world.client(1).needs_proof());
    world
        .registry
        .handle_check_finished(world.id(1), LastCheck::Exited(0), world.now);
    world.actions();
    assert!(!is_released(&mut world, 1));
}

#[test]
fn a_client_enabled_or_disabled_by_the_configuration_waits_for_no_proof() {
    let disabled = || {
        let mut config = proving(1, "client1");
        config.settings.enabled = false;
        config
    };
    let mut world = after_a_loss(vec![proving(1, "client1")]);
    assert!(world.client(1).needs_proof());
    world.restart(vec![disabled()], seconds(1), false);
    assert!(!world.client(1).needs_proof());
    prove(&mut world, "client1");
    assert!(!is_released(&mut world, 1));

    let mut world = after_a_loss(vec![disabled()]);
    assert!(!world.client(1).needs_proof());
    world.restart(vec![proving(1, "client1")], seconds(1), false);
    assert!(is_released(&mut world, 1));
    assert!(!world.client(1).needs_proof());

    let mut world = after_a_loss(vec![proving(1, "client1")]);
    world.registry.handle_enable(world.id(1), world.now);
    assert!(!world.client(1).needs_proof());
}

#[test]
fn a_first_start_reports_no_client_as_disabled() {
    let mut world = World::new(vec![]);
    let actions = reload(
        &mut world,
        vec![config(1), config_with(2, |it| it.enabled = false)],
    );
    let is_disabled = |it: &Action| matches!(it, Action::Event(Event::Disabled(..)));
    assert!(!actions.iter().any(is_disabled), "{actions:?}");
    assert!(!is_released(&mut world, 2));
}

#[test]
fn a_key_in_another_section_brings_its_disable_or_its_wait() {
    let both = || vec![proving(1, "a"), proving(2, "b")];
    let left = || vec![proving(2, "b")];
    let taken = || vec![proving(1, "b")];
    // Disabled by an administrator: a proof of the other section does not enable it.
    let mut world = after_a_loss(both());
    let a = world.registry.by_name("a").unwrap();
    world.registry.handle_disable(a, world.now);
    world.actions();
    reload(&mut world, left());
    reload(&mut world, taken());
    prove(&mut world, "b");
    assert!(!is_released(&mut world, 1));
    // It waited for a proof, which enabling the other section is not.
    let mut world = after_a_loss(both());
    let b = world.registry.by_name("b").unwrap();
    world.registry.handle_enable(b, world.now);
    world.actions();
    reload(&mut world, left());
    reload(&mut world, taken());
    assert!(!is_released(&mut world, 1));
}

#[test]
fn a_denial_that_came_back_with_a_key_survives_a_crash() {
    let long = |number, name: &str| {
        let mut config = config_with(number, |it| it.approval_duration = seconds(3600));
        config.name = ClientName::new(name).unwrap();
        config
    };
    let mut world = World::new(vec![long(1, "a"), long(2, "b"), config(3)]);
    let a = world.registry.by_name("a").unwrap();
    world.registry.handle_deny(a, world.now);
    world.actions();
    reload(&mut world, vec![long(2, "b"), config(3)]);
    reload(&mut world, vec![long(1, "b"), config(3)]);
    world.disk.crash();
    world.restart(vec![long(1, "b"), config(3)], seconds(1), false);
    assert_eq!(world.answer(1), refused(Refusal::Denied));
}

#[test]
fn a_new_key_has_no_proof_and_no_permission_to_rehearse() {
    let rehearsal = RequestClaims {
        boot: None,
        rehearsal: true,
    };
    let mut world = World::new(vec![config(1), config(2)]);
    prove(&mut world, "client1");
    world
        .registry
        .handle_allow_rehearsals(world.id(1), seconds(600), world.now);
    let mut other = config(9);
    other.name = ClientName::new("client1").unwrap();
    reload(&mut world, vec![other, config(2)]);
    let (request, actions) = world.ask_as(9, rehearsal);
    let unproved = refused(Refusal::RehearsalUnproved);
    assert_eq!(answer_to(&actions, request), unproved);
    prove(&mut world, "client1");
    let (request, actions) = world.ask_as(9, rehearsal);
    let granted = Event::Granted {
        secret: None,
        client: world.id(1),
        request,
        grant: Grant::NotNeeded,
        role: KeyRole::Boot,
        rehearsal: true,
        passage: None,
        downgrade: false,
        alarm: Some(Alarm::Rehearsal),
    };
    assert!(has_event(&actions, &granted), "{actions:?}");
}

#[test]
fn a_changed_setting_is_reported() {
    let mut world = World::new(vec![config(1)]);
    let setting = Setting::Timeout.to(seconds(400));
    let id = world.id(1);
    world.registry.handle_set(id, setting, world.now).unwrap();
    let changed = Event::Changed(id, vec!["timeout"]);
    assert!(has_event(&world.actions(), &changed));
    let actions = reload(
        &mut world,
        vec![config_with(1, |it| it.interval = seconds(60))],
    );
    assert!(has_event(&actions, &Event::Changed(id, vec!["interval"])));
    world.registry.handle_disable(id, world.now);
    let disabled = Event::Disabled(id, DisableReason::Administrator);
    assert!(has_event(&world.actions(), &disabled));
}

#[test]
fn enabling_by_a_proof_is_durable_before_it_is_reported() {
    let mut world = after_a_loss(vec![proving(1, "client1")]);
    let id = world.id(1);
    world.registry.handle_start_checker(id, world.now).unwrap();
    world.actions();
    world
        .registry
        .handle_check_finished(id, LastCheck::Exited(0), world.now);
    let actions = world.actions();
    let written = position(&actions, |it| {
        matches!(it, Action::Persist(_, Durability::Before))
    });
    let told = position(&actions, |it| *it == Action::Event(Event::Enabled(id)));
    assert!(written < told, "{actions:?}");
    world.disk.crash();
    world.restart(vec![proving(1, "client1")], seconds(1), false);
    assert!(is_released(&mut world, 1));
}

#[test]
fn a_decided_request_cannot_be_decided_again() {
    for first in [true, false] {
        let mut world = World::new(vec![config_with(1, |it| it.approval_delay = seconds(30))]);
        let (request, _) = world.ask(1);
        let decided = world.registry.handle_decide(request, first, world.now);
        assert!(decided.is_ok());
        let again = world.registry.handle_decide(request, true, world.now);
        assert_eq!(again, Err(DecisionError::NoSuchRequest));
    }
}

/// Every event of client 1 while its check runs and one request waits.
type Late = fn(&mut World, RequestId);

const LATE: [(&str, Late); 14] = [
    ("a request", |world, _| {
        let claims = RequestClaims::default();
        let request = RequestId(1000);
        world
            .registry
            .handle_request(request, &key(1), claims, world.now);
    }),
    ("its end", |world, request| {
        world.registry.handle_peer_gone(request, world.now);
    }),
    ("a delivery", |world, request| {
        world.registry.handle_delivered(request, world.now);
    }),
    ("a failed delivery", |world, request| {
        world
            .registry
            .handle_delivery_failed(request, true, world.now);
    }),
    ("a check", |world, _| {
        let (id, good) = (world.id(1), LastCheck::Exited(0));
        world.registry.handle_check_finished(id, good, world.now);
    }),
    ("another proof", |world, _| {
        world
            .registry
            .handle_checked_ok(world.id(1), world.now)
            .unwrap();
    }),
    ("an order to check", |world, _| {
        world
            .registry
            .handle_start_checker(world.id(1), world.now)
            .unwrap();
    }),
    ("an order not to", |world, _| {
        world.registry.handle_stop_checker(world.id(1), world.now);
    }),
    ("an order to enable", |world, _| {
        world.registry.handle_enable(world.id(1), world.now);
    }),
    ("an order to disable", |world, _| {
        world.registry.handle_disable(world.id(1), world.now);
    }),
    ("a setting", |world, _| {
        let setting = Setting::Timeout.to(seconds(100_000));
        let id = world.id(1);
        world.registry.handle_set(id, setting, world.now).unwrap();
    }),
    ("a decision", |world, request| {
        let late = world.registry.handle_decide(request, true, world.now);
        assert_eq!(late, Err(DecisionError::NoSuchRequest));
    }),
    ("an approval", |world, _| {
        let late = world.registry.handle_approve(world.id(1), world.now);
        assert_eq!(late, Err(DecisionError::NoneWaits));
    }),
    ("a denial", |world, _| {
        world.registry.handle_deny(world.id(1), world.now);
    }),
];

#[test]
fn a_late_event_comes_after_the_deadline() {
    for (what, late) in LATE {
        let mut world = World::new(vec![config_with(1, |it| {
            it.approval_delay = seconds(10_000);
        })]);
        let id = world.id(1);
        let (request, _) = world.ask(1);
        world.registry.handle_start_checker(id, world.now).unwrap();
        world.actions();
        // `handle_timeout` is not called.
        world.pass(seconds(300));
        late(&mut world, request);
        let actions = world.actions();
        let expired = Event::Disabled(id, DisableReason::Expired);
        assert!(has_event(&actions, &expired), "{what}");
        let is_enabled = what == "an order to enable";
        assert_eq!(world.client(1).is_enabled(), is_enabled, "{what}");
    }
}

/// Their peers proved the previous key.
#[test]
fn requests_of_a_key_that_was_replaced_get_nothing() {
    for delay in [30, 0] {
        let with = |number| config_with(number, |it| it.approval_delay = seconds(delay));
        let mut world = World::new(vec![with(1)]);
        let (request, _) = world.ask(1);
        let replaced = ClientConfig {
            name: config(1).name,
            ..with(9)
        };
        world
            .registry
            .reload(vec![replaced], true, world.now, &mut |most| most)
            .unwrap();
        let actions = world.actions();
        if delay > 0 {
            let refused = refused(Refusal::UnknownKey);
            assert_eq!(answer_to(&actions, request), refused);
        } else {
            assert!(actions.contains(&Action::Revoke { request }));
        }
    }
}

/// Two sections with one key: the one that comes first counts, and inherits the denial of the other.
#[test]
fn a_grant_under_way_does_not_outlive_the_denial_of_another_section_with_its_key() {
    let double = || named(1, "double");
    let mut world = World::new(vec![config(1), double()]);
    let (request, actions) = world.ask(1);
    assert_eq!(
        answer_to(&actions, request),
        Some(RequestAnswer::Release(world.id(1)))
    );
    reload(&mut world, vec![double(), config(1)]);
    let other = world.registry.by_name("double").unwrap();
    world.registry.handle_deny(other, world.now);
    world.actions();
    let actions = reload(&mut world, vec![config(1), double()]);
    assert!(actions.contains(&Action::Revoke { request }), "{actions:?}");
}
