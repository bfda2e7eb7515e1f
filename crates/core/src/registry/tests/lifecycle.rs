//! Tests of one client's lifecycle, one for each rule. Quotations are the rules that they test.

use std::time::Duration;

use super::approvals::waits;
use super::world::*;
use crate::checker::Checker;
use crate::checker::LastCheck;
use crate::event::{ClientId, DisableReason, Durability, Event, Refusal, RequestClaims, RequestId};
use crate::key_id::KeyId;
use crate::registry::{Action, RequestAnswer};
use crate::secret::Secret;
use crate::settings::client::{Setting, SettingChange, SettingError};

const MILLISECOND: Duration = Duration::from_millis(1);
const OK: LastCheck = LastCheck::Exited(0);

fn delivered(client: ClientId, request: RequestId) -> Event {
    Event::Delivered {
        secret: None,
        client,
        request,
        rehearsal: false,
    }
}

#[test]
fn an_unknown_key_gets_nothing() {
    let mut world = World::new(vec![config(1)]);
    assert_eq!(world.answer(2), refused(Refusal::UnknownKey));
}

#[test]
fn a_refused_unknown_key_writes_nothing() {
    let mut world = World::new(vec![config(1)]);
    let (_, actions) = world.ask(2);
    let written = |it: &Action| matches!(it, Action::Persist(..));
    assert!(!actions.iter().any(written));
}

#[test]
fn a_client_has_its_secret_up_to_its_deadline_and_not_after() {
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    world.run(seconds(300) - MILLISECOND);
    assert_eq!(world.answer(1), Some(RequestAnswer::Release(id)));
    let actions = world.run(MILLISECOND);
    let event = Event::Disabled(id, DisableReason::Expired);
    assert!(has_event(&actions, &event));
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
}

#[test]
fn a_late_call_extends_no_deadline() {
    let mut world = World::new(vec![config(1)]);
    world.pass(seconds(301));
    assert_eq!(world.answer(1), refused(Refusal::Disabled));

    let mut world = World::new(vec![config(1)]);
    world.pass(seconds(301));
    world
        .registry
        .handle_checked_ok(world.id(1), world.now)
        .unwrap();
    assert_eq!(world.left(1), None);
}

/// "checker exit 0 / CheckedOK: last_checked_ok = now, status 0, expires = now + timeout".
#[test]
fn a_proof_of_life_gives_the_whole_timeout_again() {
    let mut world = World::new(vec![config(1)]);
    world.run(seconds(200));
    world
        .registry
        .handle_checked_ok(world.id(1), world.now)
        .unwrap();
    assert_eq!(world.left(1), Some(seconds(300)));
    assert_eq!(world.client(1).last_checked_ok(), Some(world.now.wall));
    assert_eq!(world.client(1).last_check(), OK);
}

#[test]
fn a_grant_that_is_revoked_before_its_answer_is_refused_for_the_cause_of_that() {
    type Cause = fn(&mut World);
    let causes: [(Refusal, Cause); 4] = [
        (Refusal::Disabled, |world| world.pass(seconds(300))),
        (Refusal::Disabled, |world| {
            world.registry.handle_disable(world.id(1), world.now);
        }),
        (Refusal::Denied, |world| {
            world.registry.handle_deny(world.id(1), world.now);
        }),
        (Refusal::Removed, |world| {
            world.registry.handle_remove(world.id(1), world.now);
        }),
    ];
    for (reason, cause) in causes {
        let mut world = World::new(vec![config(1)]);
        let (request, _) = world.ask(1);
        assert!(world.registry.release(request).is_ok(), "{reason:?}");
        cause(&mut world);
        world.registry.handle_timeout(world.now);
        assert_eq!(world.registry.release(request).err(), Some(reason));
    }
}

/// "secret sent: expires = now + extended_timeout", which replaces and does not add.
#[test]
fn a_delivery_gives_the_extended_timeout_once_it_is_durable() {
    let mut world = World::new(vec![config(1)]);
    let (request, _) = world.ask(1);
    assert_eq!(world.left(1), Some(seconds(300)));
    world.registry.handle_delivered(request, world.now);
    let actions = world.actions();
    let persisted = position(
        &actions,
        |it| matches!(it, Action::Persist(_, durability) if *durability != Durability::Soon),
    );
    let told = position(&actions, |it| {
        matches!(it, Action::Event(Event::Delivered { .. }))
    });
    assert!(persisted < told);
    assert_eq!(world.left(1), Some(seconds(900)));
    // A second report of the same request is ignored.
    world.pass(seconds(5));
    world.registry.handle_delivered(request, world.now);
    assert_eq!(world.left(1), Some(seconds(895)));
}

/// Delivers to client 1 after `after`.
fn deliver(world: &mut World, after: u64) {
    world.run(seconds(after));
    let (request, _) = world.ask(1);
    world.registry.handle_delivered(request, world.now);
    world.actions();
}

#[test]
fn requests_alone_extend_no_deadline() {
    let mut world = World::new(vec![config(1)]);
    deliver(&mut world, 200);
    assert_eq!(world.left(1), Some(seconds(900)));
    deliver(&mut world, 800);
    assert_eq!(world.left(1), Some(seconds(100)));
    // A restart does not make the next delivery the first.
    world.restart(vec![config(1)], seconds(50), true);
    deliver(&mut world, 0);
    assert_eq!(world.left(1), Some(seconds(50)));
    world.run(seconds(50));
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
}

#[test]
fn of_several_deliveries_in_flight_one_extends() {
    let mut world = World::new(vec![config(1)]);
    let (first, _) = world.ask(1);
    let (second, _) = world.ask(1);
    world.registry.handle_delivered(first, world.now);
    world.run(seconds(100));
    world.registry.handle_delivered(second, world.now);
    assert_eq!(world.left(1), Some(seconds(800)));
}

#[test]
fn a_proof_or_an_enable_lets_the_next_delivery_extend() {
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    deliver(&mut world, 0);
    world.registry.handle_checked_ok(id, world.now).unwrap();
    deliver(&mut world, 100);
    assert_eq!(world.left(1), Some(seconds(900)));
    world.run(seconds(900));
    world.registry.handle_enable(id, world.now);
    deliver(&mut world, 100);
    assert_eq!(world.left(1), Some(seconds(900)));
    deliver(&mut world, 100);
    assert_eq!(world.left(1), Some(seconds(800)));
}

#[test]
fn a_failed_delivery_moves_no_deadline() {
    let mut world = World::new(vec![config(1)]);
    let (request, _) = world.ask(1);
    world
        .registry
        .handle_delivery_failed(request, true, world.now);
    assert_eq!(world.left(1), Some(seconds(300)));
}

#[test]
fn a_proof_that_shortens_an_extended_deadline_is_durable() {
    for by_check in [false, true] {
        let mut world = World::new(vec![config(1)]);
        let id = world.id(1);
        world.run(seconds(60));
        let (request, _) = world.ask(1);
        world.registry.handle_delivered(request, world.now);
        if by_check {
            world.registry.handle_check_finished(id, OK, world.now);
        } else {
            world.registry.handle_checked_ok(id, world.now).unwrap();
        }
        world.actions();
        world.disk.crash();
        world.restart(vec![config(1)], Duration::ZERO, false);
        assert_eq!(world.left(1), Some(seconds(300)));
    }
}

#[test]
fn disabling_wins_over_a_request_in_flight() {
    let mut world = World::new(vec![config(1)]);
    let (request, _) = world.ask(1);
    let id = world.id(1);
    world.registry.handle_disable(id, world.now);
    let actions = world.actions();
    let revoked = position(&actions, |it| *it == Action::Revoke { request });
    let persisted = position(
        &actions,
        |it| matches!(it, Action::Persist(_, durability) if *durability != Durability::Soon),
    );
    let event = Action::Event(Event::Disabled(id, DisableReason::Administrator));
    let told = position(&actions, |it| *it == event);
    assert!(revoked < persisted && persisted < told);
    // It had begun to send: the delivery is reported, and moves no deadline.
    world.registry.handle_delivered(request, world.now);
    let actions = world.actions();
    assert!(has_event(&actions, &delivered(id, request)));
    assert_eq!(world.left(1), None);
}

#[test]
fn a_delivery_that_was_revoked_extends_nothing_after_enabling_again() {
    let mut world = World::new(vec![config(1)]);
    let (request, _) = world.ask(1);
    world.registry.handle_disable(world.id(1), world.now);
    world.registry.handle_enable(world.id(1), world.now);
    world.registry.handle_delivered(request, world.now);
    assert_eq!(world.left(1), Some(seconds(300)));
}

#[test]
fn any_end_of_a_client_refuses_the_requests_that_wait() {
    let mut world = waits(30, true);
    let (request, _) = world.ask(1);
    world.registry.handle_disable(world.id(1), world.now);
    let answer = answer_to(&world.actions(), request);
    assert_eq!(answer, refused(Refusal::Disabled));

    let mut world = waits(30, true);
    let (request, _) = world.ask(1);
    world.registry.handle_remove(world.id(1), world.now);
    let answer = answer_to(&world.actions(), request);
    assert_eq!(answer, refused(Refusal::Removed));

    let mut world = waits(400, true);
    let (request, _) = world.ask(1);
    let answer = answer_to(&world.run(seconds(400)), request);
    assert_eq!(answer, refused(Refusal::Disabled));
}

/// "set Timeout: expires += new - old; if already past: disable".
#[test]
fn a_set_timeout_moves_the_deadline_by_the_difference() {
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    world.run(seconds(100));
    let set = |world: &mut World, timeout| {
        let setting = Setting::Timeout.to(seconds(timeout));
        world.registry.handle_set(id, setting, world.now).unwrap();
    };
    set(&mut world, 400);
    assert_eq!(world.left(1), Some(seconds(300)));
    set(&mut world, 101);
    assert_eq!(world.left(1), Some(seconds(1)));
    set(&mut world, 100);
    assert_eq!(world.left(1), None);
}

/// "set Interval: timer restarted with new interval and a checker is started now".
#[test]
fn a_set_interval_checks_now_and_then_by_the_new_interval() {
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    let setting = Setting::Interval.to(seconds(50));
    world.registry.handle_set(id, setting, world.now).unwrap();
    let start = Action::StartCheck { client: id };
    assert!(world.actions().contains(&start));
    world.registry.handle_check_finished(id, OK, world.now);
    assert!(!world.run(seconds(49)).contains(&start));
    assert!(world.run(seconds(1)).contains(&start));
}

#[test]
fn a_setting_that_could_not_work_is_refused() {
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    let mut set = |setting| world.registry.handle_set(id, setting, world.now);
    assert_eq!(
        set(Setting::Interval.to(Duration::ZERO)),
        Err(SettingError::IntervalTooShort(Duration::ZERO))
    );
    assert_eq!(
        set(SettingChange::Secret(Secret::new(Vec::new()))),
        Err(SettingError::EmptySecret)
    );
    world.registry.handle_remove(id, world.now);
    let setting = Setting::Host.to(String::new());
    assert_eq!(
        world.registry.handle_set(id, setting, world.now),
        Err(SettingError::NoSuchClient)
    );
}

/// "enable(): no-op if enabled; last_enabled = now; first checker after one full interval".
#[test]
fn enabling_gives_the_whole_timeout_and_a_check_after_one_interval() {
    let mut world = World::new(vec![config_with(1, |it| it.enabled = false)]);
    let id = world.id(1);
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
    assert_eq!(world.registry.poll_timeout(), None);
    world.registry.handle_enable(id, world.now);
    assert!(has_event(&world.actions(), &Event::Enabled(id)));
    assert_eq!(world.left(1), Some(seconds(300)));
    let start = Action::StartCheck { client: id };
    assert!(!world.run(seconds(119)).contains(&start));
    assert!(world.run(seconds(1)).contains(&start));
    world.registry.handle_enable(id, world.now);
    assert_eq!(world.actions(), []);
    assert_eq!(world.left(1), Some(seconds(180)));
}

/// "interval tick while checker still running: nothing new started".
#[test]
fn a_check_that_still_runs_is_not_started_again() {
    let mut world = World::new(vec![config_with(1, |it| it.timeout = seconds(3000))]);
    let start = Action::StartCheck {
        client: world.id(1),
    };
    let actions = world.run(seconds(1000));
    assert_eq!(actions.iter().filter(|it| **it == start).count(), 1);
    assert!(world.client(1).checker_running());
}

#[test]
fn checks_wait_for_their_turn_first_due_first_served() {
    let mut world = World::new((1..=4).map(config).collect());
    let ids: Vec<_> = (1..=4).map(|number| world.id(number)).collect();
    let started = |actions: &[Action]| -> Vec<_> {
        let client = |it: &Action| match it {
            Action::StartCheck { client } => Some(*client),
            _ => None,
        };
        actions.iter().filter_map(client).collect()
    };
    // Two at once; the second tick finds each of them running or waiting already.
    assert_eq!(started(&world.run(seconds(200))), ids[..2]);
    for (ended, next) in [(ids[1], ids[2]), (ids[0], ids[3])] {
        world.registry.handle_check_finished(ended, OK, world.now);
        assert_eq!(started(&world.actions()), [next]);
    }
    for ended in [ids[2], ids[3]] {
        world.registry.handle_check_finished(ended, OK, world.now);
        assert_eq!(started(&world.actions()), []);
    }
}

#[test]
fn a_disabled_clients_check_is_stopped_and_its_result_extends_nothing() {
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    world.run(seconds(60));
    world.registry.handle_disable(id, world.now);
    let stop = Action::StopCheck { client: id };
    assert!(world.actions().contains(&stop));
    assert!(!world.client(1).checker_running());
    world.registry.handle_check_finished(id, OK, world.now);
    assert_eq!(world.client(1).last_check(), OK);
    assert_eq!(world.left(1), None);
}

#[test]
fn a_removed_clients_check_keeps_its_place_until_it_reports() {
    let mut world = World::new((1..=3).map(config).collect());
    world.run(seconds(60));
    let (first, third) = (world.id(1), world.id(3));
    world.registry.handle_remove(first, world.now);
    let start = Action::StartCheck { client: third };
    assert!(!world.actions().contains(&start));
    let result = LastCheck::Signaled(15);
    world
        .registry
        .handle_check_finished(first, result, world.now);
    assert!(world.actions().contains(&start));
}

#[test]
fn a_failed_check_leaves_the_deadline() {
    let mut world = World::new(vec![config(1)]);
    world.run(seconds(60));
    let result = LastCheck::Exited(1);
    world
        .registry
        .handle_check_finished(world.id(1), result, world.now);
    assert_eq!(world.left(1), Some(seconds(240)));
    assert_eq!(world.client(1).last_check(), result);
}

#[test]
fn of_two_clients_with_one_key_the_first_counts_until_it_is_gone() {
    let twin = config_with(2, |it| it.key_id = Some(key(1)));
    let mut world = World::new(vec![config(1), twin]);
    assert_eq!(world.answer(1), Some(RequestAnswer::Release(world.id(1))));
    world.registry.handle_remove(world.id(1), world.now);
    world.actions();
    assert_eq!(world.answer(1), Some(RequestAnswer::Release(world.id(2))));
}

#[test]
fn a_removed_client_has_its_name_only_for_later_events() {
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    let (request, _) = world.ask(1);
    world.registry.handle_remove(id, world.now);
    world.registry.handle_delivered(request, world.now);
    assert!(has_event(&world.actions(), &delivered(id, request)));
    assert_eq!(world.registry.by_name("client1"), None);
    assert_eq!(
        world.registry.by_key(&key(1)),
        None::<crate::event::ClientId>
    );
    assert!(world.registry.client(id).is_none());
    assert_eq!(world.registry.name(id).unwrap().as_str(), "client1");
}

#[test]
fn a_request_number_is_used_once() {
    let mut world = World::new(vec![config(1)]);
    let request = RequestId(7);
    let key: KeyId = key(1);
    world
        .registry
        .handle_request(request, &key, RequestClaims::default(), world.now);
    assert!(answer_to(&world.actions(), request).is_some());
    world
        .registry
        .handle_request(request, &key, RequestClaims::default(), world.now);
    assert_eq!(answer_to(&world.actions(), request), None);
}

#[test]
fn a_checker_command_has_the_current_values_quoted() {
    let mut world = World::new(vec![config_with(1, |it| {
        it.host = "a host".into();
        it.checker = Checker::new("ping %(host)s %(enabled)s %(dbus_object_path)s").unwrap();
    })]);
    let id = world.id(1);
    world.registry.handle_disable(id, world.now);
    let probe = world.registry.probe(id, "/clients/client1").unwrap();
    assert_eq!(probe.line(), "ping 'a host' False /clients/client1");
}
