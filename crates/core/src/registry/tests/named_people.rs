//! Named secrets and people: how many requests wait for them, and what they decided on the next value.

use super::guarded::{HOST, guarded};
use super::named::{in_file, name, revoked, sealed, world};
use super::world::*;
use crate::event::{Alarm, Event, PutApproval, Refusal, RequestClaims};
use crate::registry::{Action, DecisionError, NamedQuery, RequestAnswer};

#[test]
fn few_requests_of_a_machine_wait_and_the_next_is_refused_at_once() {
    let mut world = world();
    for secret in ["a", "b", "c", "d", "e"] {
        let sealed = sealed(5, |it| it.name = name(secret));
        world.put_as(sealed, true).unwrap();
    }
    let mut waiting = Vec::new();
    for secret in ["a", "b", "c", "d"] {
        let (request, actions) = world.get_as(HOST, secret, false);
        assert_eq!(answer_to(&actions, request), None);
        waiting.push(request);
    }
    let (request, actions) = world.get_as(HOST, "e", false);
    assert_eq!(answer_to(&actions, request), refused(Refusal::TooManyWait));
    // What waits keeps waiting, and its end makes room.
    world.registry.handle_peer_gone(waiting[0], world.now);
    world.actions();
    let (request, actions) = world.get_as(HOST, "e", false);
    assert_eq!(answer_to(&actions, request), None);
    // The boot secret has its own room.
    world.becomes_suspect();
    let (request, actions) = world.boots(8);
    assert_eq!(answer_to(&actions, request), None);
}

#[test]
fn a_connection_that_may_not_wait_gets_what_needs_nobody() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    let ask = |world: &mut World| {
        let query = NamedQuery {
            name: name("pin"),
            claims: RequestClaims::default(),
            may_wait: false,
        };
        let (request, actions) = world.query(HOST, query);
        answer_to(&actions, request)
    };
    let released = Some(RequestAnswer::Release(world.id(1)));
    assert_eq!(ask(&mut world), released);
    world.put_as(sealed(6, |_| {}), true).unwrap();
    assert_eq!(ask(&mut world), refused(Refusal::TooManyWait));
}

/// The agent asks again, and a person decides then.
#[test]
fn what_was_granted_before_the_machine_became_suspect_is_taken_back() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    let (request, _) = world.get();
    assert_eq!(world.released(request), Ok(5));
    world.becomes_suspect();
    assert_eq!(world.released(request), Err(Refusal::MachineIsSuspect));
    assert_eq!(world.answer_to_get(), None);
}

/// Whoever approves without a number has seen the request of a boot, as Mandos shows no other.
#[test]
fn an_approval_without_a_number_is_for_a_boot() {
    let mut world = World::new(guarded(|it| it.approval_delay = seconds(300)));
    world.put_as(sealed(5, |_| {}), true).unwrap();
    let (named, _) = world.get();
    let id = world.id(1);
    let none = world.registry.handle_approve(id, world.now);
    assert_eq!(none, Err(DecisionError::NoneWaits));
    let (boot, _) = world.boots(2);
    world.registry.handle_approve(id, world.now).unwrap();
    let actions = world.actions();
    assert_eq!(answer_to(&actions, boot), Some(RequestAnswer::Release(id)));
    assert_eq!(answer_to(&actions, named), None);
    world
        .registry
        .handle_decide(named, true, world.now)
        .unwrap();
    assert_eq!(world.released(named), Ok(5));
}

#[test]
fn a_service_that_asks_again_hides_no_thief_of_a_disabled_machine() {
    let mut world = world();
    let id = world.id(1);
    world.registry.handle_disable(id, world.now);
    assert_eq!(world.answer_to_get(), refused(Refusal::Disabled));
    let (thief, actions) = world.boots(7);
    let alarm = |action: &Action| match action {
        Action::Event(Event::Refused { request, alarm, .. }) if *request == thief => *alarm,
        _ => None,
    };
    assert_eq!(actions.iter().find_map(alarm), Some(Alarm::Disabled));
}

#[test]
fn approval_stays_over_a_removal_and_a_value_of_the_section() {
    let mut world = world();
    world.put_as(sealed(5, |_| {}), true).unwrap();
    world.remove("pin").unwrap();
    world.put(sealed(6, |_| {})).unwrap();
    assert_eq!(world.answer_to_get(), None);
    // The section says otherwise, and that is told.
    let actions = read(&mut world, true, in_file(7, false));
    let put = Event::SecretPut {
        client: world.id(1),
        name: name("pin"),
        serial: 7,
        approval: PutApproval::Lifted,
    };
    assert!(has_event(&actions, &put));
    assert!(world.is_released_named());
    // So it is over a removal.
    read(&mut world, true, guarded(|_| {}));
    world.put(sealed(8, |_| {})).unwrap();
    world.remove("pin").unwrap();
    let actions = read(&mut world, true, in_file(9, false));
    let lifted = |action: &Action| {
        matches!(
            action,
            Action::Event(Event::SecretPut {
                approval: PutApproval::Lifted,
                ..
            })
        )
    };
    assert!(actions.iter().any(lifted));
    // Its value goes with it, and what the administrator has said about what is put counts again.
    read(&mut world, true, guarded(|_| {}));
    world.put(sealed(10, |_| {})).unwrap();
    assert_eq!(world.answer_to_get(), None);
}

#[test]
fn a_new_policy_takes_back_what_no_person_has_approved() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    let (request, _) = world.get();
    assert_eq!(world.released(request), Ok(5));
    let mut stricter = in_file(5, true);
    stricter[0].named.sealed.clear();
    let actions = read(&mut world, true, stricter);
    assert_eq!(revoked(&actions, request), Some(Refusal::SecretChanged));
}

/// Mandos's property is about the boot secret: a request for another must not move its time.
#[test]
fn a_named_request_moves_no_time_of_the_boots() {
    let mut world = world();
    world.put_as(sealed(5, |_| {}), true).unwrap();
    assert_eq!(world.answer_to_get(), None);
    assert_eq!(world.client(1).last_approval_request, None);
}
