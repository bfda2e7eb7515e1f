//! Tests of alarms and of rehearsals, one for each rule.

use crate::boot_nonce::BootNonce;
use std::time::Duration;

use super::world::*;
use crate::checker::LastCheck;
use crate::event::{Alarm, Durability, Event, Refusal, RequestClaims, RequestId};
use crate::registry::{Action, MAX_REHEARSAL_PERMISSION, RegistryLimits, RequestAnswer};
use crate::settings::client::Setting;

const FIRST_BOOT: Option<[u8; 16]> = Some([1; 16]);
const SECOND_BOOT: Option<[u8; 16]> = Some([2; 16]);

fn boot(boot: Option<[u8; 16]>) -> RequestClaims {
    RequestClaims {
        boot: boot.map(BootNonce::from_bytes),
        rehearsal: false,
    }
}

fn rehearsal() -> RequestClaims {
    RequestClaims {
        boot: None,
        rehearsal: true,
    }
}

/// The alarm of a request that is granted, and that is then delivered.
fn served(world: &mut World, claims: RequestClaims) -> Option<Alarm> {
    let (request, actions) = world.ask_as(1, claims);
    world.registry.handle_delivered(request, world.now);
    world.actions();
    granted(&actions, request)
}

fn granted(actions: &[Action], wanted: RequestId) -> Option<Alarm> {
    let alarm = actions.iter().find_map(|action| match action {
        Action::Event(Event::Granted { request, alarm, .. }) if *request == wanted => Some(*alarm),
        _ => None,
    });
    alarm.expect("it was not granted")
}

fn alarms(actions: &[Action]) -> Vec<Alarm> {
    let alarm = |action: &Action| match action {
        Action::Event(Event::Alarmed(_, alarm)) => Some(*alarm),
        _ => None,
    };
    actions.iter().filter_map(alarm).collect()
}

fn check(world: &mut World, result: LastCheck) -> Vec<Action> {
    let id = world.id(1);
    world.registry.handle_start_checker(id, world.now).unwrap();
    world.registry.handle_check_finished(id, result, world.now);
    world.actions()
}

#[test]
fn a_second_request_is_an_alarm_until_the_machine_was_up() {
    let mut world = World::new(vec![config(1)]);
    assert_eq!(served(&mut world, RequestClaims::default()), None);
    assert_eq!(
        served(&mut world, RequestClaims::default()),
        Some(Alarm::SecondRequest)
    );
    check(&mut world, LastCheck::Exited(1));
    assert_eq!(
        served(&mut world, RequestClaims::default()),
        Some(Alarm::SecondRequest)
    );
    check(&mut world, LastCheck::Exited(0));
    assert_eq!(served(&mut world, RequestClaims::default()), None);
    let id = world.id(1);
    world.registry.handle_checked_ok(id, world.now).unwrap();
    assert_eq!(served(&mut world, RequestClaims::default()), None);
}

#[test]
fn a_failed_delivery_is_no_release() {
    let mut world = World::new(vec![config(1)]);
    let (request, _) = world.ask(1);
    world
        .registry
        .handle_delivery_failed(request, true, world.now);
    world.actions();
    world.disk.flush();
    world.restart(vec![config(1)], seconds(1), false);
    assert_eq!(served(&mut world, RequestClaims::default()), None);
}

#[test]
fn of_two_requests_in_one_moment_the_second_is_an_alarm() {
    let second = Some(Alarm::SecondRequest);
    let mut world = World::new(vec![config(1)]);
    let (first, actions) = world.ask_as(1, boot(FIRST_BOOT));
    assert_eq!(granted(&actions, first), None);
    let (next, actions) = world.ask_as(1, boot(SECOND_BOOT));
    assert_eq!(granted(&actions, next), second);
    // One of them is still being sent.
    world.registry.handle_delivery_failed(next, true, world.now);
    let (third, actions) = world.ask(1);
    assert_eq!(granted(&actions, third), second);
}

#[test]
fn a_revoked_release_counts_because_it_may_have_been_sent() {
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    world.ask(1);
    world.registry.handle_disable(id, world.now);
    world.registry.handle_enable(id, world.now);
    world.actions();
    let (next, actions) = world.ask(1);
    assert_eq!(granted(&actions, next), Some(Alarm::SecondRequest));
}

#[test]
fn a_release_in_progress_is_saved_with_its_record() {
    let mut world = World::new(vec![config(1)]);
    let (request, actions) = world.ask(1);
    let saved = position(&actions, |it| {
        matches!(it, Action::Persist(_, Durability::Soon))
    });
    let told = position(&actions, |it| {
        matches!(it, Action::Event(Event::Granted { .. }))
    });
    let answered = position(&actions, |it| matches!(it, Action::Answer { .. }));
    assert!(saved < told && told < answered, "{request:?}");
    world.disk.flush();
    world.restart(vec![config(1)], seconds(1), true);
    assert_eq!(
        served(&mut world, RequestClaims::default()),
        Some(Alarm::SecondRequest)
    );
}

#[test]
fn a_check_that_was_told_to_stop_proves_nothing() {
    let mut world = World::new(vec![config(1)]);
    served(&mut world, RequestClaims::default());
    let id = world.id(1);
    world.registry.handle_start_checker(id, world.now).unwrap();
    world.registry.handle_stop_checker(id, world.now);
    world
        .registry
        .handle_check_finished(id, LastCheck::Exited(0), world.now);
    world.actions();
    assert_eq!(
        served(&mut world, RequestClaims::default()),
        Some(Alarm::SecondRequest)
    );
}

#[test]
fn a_boot_is_served_once_even_between_successful_checks() {
    let mut world = World::new(vec![config(1)]);
    assert_eq!(served(&mut world, boot(FIRST_BOOT)), None);
    check(&mut world, LastCheck::Exited(0));
    assert_eq!(served(&mut world, boot(FIRST_BOOT)), Some(Alarm::SameBoot));
    check(&mut world, LastCheck::Exited(0));
    assert_eq!(served(&mut world, boot(SECOND_BOOT)), None);
}

#[test]
fn alarms_survive_a_restart() {
    let mut world = World::new(vec![config(1)]);
    served(&mut world, boot(FIRST_BOOT));
    world.restart(vec![config(1)], seconds(1), true);
    assert_eq!(
        served(&mut world, boot(SECOND_BOOT)),
        Some(Alarm::SecondRequest)
    );
    check(&mut world, LastCheck::Exited(0));
    world.disk.flush();
    world.restart(vec![config(1)], seconds(1), false);
    assert_eq!(served(&mut world, boot(SECOND_BOOT)), Some(Alarm::SameBoot));
}

fn watching() -> World {
    World::with_limits(
        vec![config(1)],
        RegistryLimits {
            concurrent_checks: 2,
            check_on_release: true,
            allow_rehearsals: false,
        },
    )
}

#[test]
fn a_machine_that_still_answers_after_a_release_raises_an_alarm() {
    let mut world = watching();
    let id = world.id(1);
    let (request, _) = world.ask(1);
    world.registry.handle_delivered(request, world.now);
    let actions = world.actions();
    assert!(actions.contains(&Action::StartCheck { client: id }));
    world
        .registry
        .handle_check_finished(id, LastCheck::Exited(0), world.now);
    assert_eq!(alarms(&world.actions()), [Alarm::StillAnswers]);
    // The next check is an ordinary one.
    assert_eq!(alarms(&check(&mut world, LastCheck::Exited(0))), []);
}

#[test]
fn a_machine_that_does_not_answer_after_a_release_raises_no_alarm() {
    let mut world = watching();
    let id = world.id(1);
    served(&mut world, RequestClaims::default());
    world
        .registry
        .handle_check_finished(id, LastCheck::Exited(1), world.now);
    assert_eq!(alarms(&world.actions()), []);
    assert_eq!(alarms(&check(&mut world, LastCheck::Exited(0))), []);
}

#[test]
fn a_burst_of_unknown_keys_raises_two_alarms_and_ten_records() {
    let mut world = World::new(vec![config(1)]);
    let mut told = Vec::new();
    let mut recorded = 0;
    for _ in 0..500 {
        let (request, actions) = world.ask(9);
        assert_eq!(answer_to(&actions, request), refused(Refusal::UnknownKey));
        told.extend(alarms(&actions));
        let plain = |it: &&Action| matches!(it, Action::Event(Event::Refused { flood: false, .. }));
        recorded += actions.iter().filter(plain).count();
    }
    told.extend(alarms(&world.run(seconds(60))));
    assert_eq!(told, [Alarm::UnknownKeys(10), Alarm::UnknownKeys(500)]);
    assert_eq!(recorded, 10);
}

#[test]
fn a_machine_that_is_up_may_rehearse_and_nothing_changes() {
    let mut world = World::new(vec![config(1)]);
    check(&mut world, LastCheck::Exited(0));
    let (left, before) = (
        world.left(1),
        world.client(1).to_state(world.boot, world.now),
    );
    let id = world.id(1);
    world
        .registry
        .handle_allow_rehearsals(id, seconds(60), world.now);
    world.actions();
    for _ in 0..3 {
        let (request, actions) = world.ask_as(1, rehearsal());
        assert_eq!(
            answer_to(&actions, request),
            Some(RequestAnswer::Release(id))
        );
        assert_eq!(granted(&actions, request), None);
        world.registry.handle_delivered(request, world.now);
        world.actions();
    }
    assert_eq!(world.left(1), left);
    assert_eq!(world.client(1).to_state(world.boot, world.now), before);
    assert_eq!(served(&mut world, RequestClaims::default()), None);
}

/// The alarm of a rehearsal of client 1, which is granted and delivered.
fn rehearsed(world: &mut World) -> Option<Alarm> {
    served(world, rehearsal())
}

#[test]
fn a_rehearsal_without_permission_is_an_alarm() {
    let alarm = Some(Alarm::Rehearsal);
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    check(&mut world, LastCheck::Exited(0));
    assert_eq!(rehearsed(&mut world), alarm);
    let allow = |world: &mut World, length| {
        world
            .registry
            .handle_allow_rehearsals(id, seconds(length), world.now);
        world.actions();
    };
    allow(&mut world, 100);
    assert_eq!(rehearsed(&mut world), None);
    world.pass(seconds(100));
    assert_eq!(rehearsed(&mut world), alarm);
    allow(&mut world, 100);
    allow(&mut world, 0);
    assert_eq!(rehearsed(&mut world), alarm);
    // A restart and a disable both end the permission.
    allow(&mut world, 100);
    world.disk.flush();
    world.restart(vec![config(1)], seconds(1), false);
    check(&mut world, LastCheck::Exited(0));
    assert_eq!(rehearsed(&mut world), alarm);
    let id = world.id(1);
    world
        .registry
        .handle_allow_rehearsals(id, seconds(100), world.now);
    world.registry.handle_disable(id, world.now);
    world.registry.handle_enable(id, world.now);
    world.actions();
    assert_eq!(rehearsed(&mut world), alarm);
}

#[test]
fn rehearsals_are_allowed_for_a_bounded_time() {
    let mut world = World::new(vec![config_with(1, |it| it.interval = seconds(1_000_000))]);
    let id = world.id(1);
    world.registry.handle_checked_ok(id, world.now).unwrap();
    let length = seconds(u64::MAX);
    world
        .registry
        .handle_allow_rehearsals(id, length, world.now);
    let told = world.actions();
    assert!(has_event(
        &told,
        &Event::RehearsalsAllowed(id, MAX_REHEARSAL_PERMISSION)
    ));
    let setting = Setting::Timeout.to(seconds(1_000_000));
    world.registry.handle_set(id, setting, world.now).unwrap();
    world.actions();
    world.pass(MAX_REHEARSAL_PERMISSION);
    assert_eq!(rehearsed(&mut world), Some(Alarm::Rehearsal));
}

#[test]
fn a_rehearsal_hides_no_other_alarm() {
    let second = Some(Alarm::SecondRequest);
    let mut world = World::with_limits(
        vec![config(1)],
        RegistryLimits {
            concurrent_checks: 2,
            check_on_release: false,
            allow_rehearsals: true,
        },
    );
    check(&mut world, LastCheck::Exited(0));
    assert_eq!(rehearsed(&mut world), None);
    // A boot beside a rehearsal, and a rehearsal beside a boot.
    let (_, actions) = world.ask_as(1, rehearsal());
    assert!(!actions.is_empty());
    let (boots, actions) = world.ask(1);
    assert_eq!(granted(&actions, boots), second);
    let (request, actions) = world.ask_as(1, rehearsal());
    assert_eq!(granted(&actions, request), second);
    world.registry.handle_delivered(boots, world.now);
    world.registry.handle_delivered(request, world.now);
    world.actions();
    assert_eq!(rehearsed(&mut world), second);
}

#[test]
fn a_machine_that_was_not_just_proved_up_may_not_rehearse() {
    let mut world = World::new(vec![config_with(1, |it| it.timeout = seconds(3600))]);
    let unproved = refused(Refusal::RehearsalUnproved);
    let (request, actions) = world.ask_as(1, rehearsal());
    assert_eq!(answer_to(&actions, request), unproved);
    check(&mut world, LastCheck::Exited(0));
    world.pass(seconds(241));
    let (request, actions) = world.ask_as(1, rehearsal());
    assert_eq!(answer_to(&actions, request), unproved);
}

#[test]
fn a_rehearsal_never_waits_for_approval() {
    let mut world = World::new(vec![config_with(1, |it| {
        it.approval_delay = Duration::from_secs(60);
    })]);
    check(&mut world, LastCheck::Exited(0));
    let (request, actions) = world.ask_as(1, rehearsal());
    assert_eq!(
        answer_to(&actions, request),
        refused(Refusal::RehearsalNeedsApproval)
    );
    assert!(!world.client(1).approval_pending());
    let id = world.id(1);
    world.registry.handle_disable(id, world.now);
    world.actions();
    let (request, actions) = world.ask_as(1, rehearsal());
    assert_eq!(answer_to(&actions, request), refused(Refusal::Disabled));
}

/// The alarms of refusals.
fn refused_with(actions: &[Action]) -> Vec<Option<Alarm>> {
    let refused = |action: &Action| match action {
        Action::Event(Event::Refused { alarm, .. }) => Some(*alarm),
        _ => None,
    };
    actions.iter().filter_map(refused).collect()
}

#[test]
fn a_disabled_machine_that_asks_is_an_alarm_once_an_hour_and_once_for_each_disable() {
    let mut world = World::new(vec![config(1)]);
    let id = world.id(1);
    let disabled = [Some(Alarm::Disabled)];
    world.registry.handle_disable(id, world.now);
    world.actions();
    assert_eq!(refused_with(&world.ask(1).1), disabled);
    assert_eq!(refused_with(&world.ask(1).1), [None]);
    world.registry.handle_enable(id, world.now);
    world.registry.handle_disable(id, world.now);
    world.actions();
    assert_eq!(refused_with(&world.ask(1).1), disabled);
    for _ in 0..20 {
        assert_eq!(refused_with(&world.ask(1).1), [None]);
    }
    world.pass(seconds(60 * 60));
    assert_eq!(refused_with(&world.ask(1).1), disabled);
    // Unknown keys have an alarm of their own kind.
    let (_, actions) = world.ask(9);
    assert_eq!(refused_with(&actions), [None]);
}
