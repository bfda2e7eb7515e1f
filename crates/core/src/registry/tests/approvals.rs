//! Tests of waiting requests and of a person's decisions, one for each rule.

use std::time::Duration;

use super::world::*;
use crate::event::{Alarm, Event, Refusal, RequestId};
use crate::registry::{Action, DecisionError, PendingDecision, RequestAnswer};
use crate::settings::client::Setting;

const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) fn waits(delay: u64, default: bool) -> World {
    World::new(vec![config_with(1, |it| {
        it.approval_delay = seconds(delay);
        it.approved_by_default = default;
    })])
}

/// "If it elapsed fully: approved_by_default true: send, else Approval timed out".
#[test]
fn without_a_decision_the_default_counts() {
    for (default, expected) in [(true, None), (false, refused(Refusal::ApprovalTimedOut))] {
        let mut world = waits(30, default);
        let (request, actions) = world.ask(1);
        assert_eq!(answer_to(&actions, request), None);
        assert!(world.client(1).approval_pending());
        assert_eq!(
            world.client(1).last_approval_request(),
            Some(world.now.wall)
        );
        assert_eq!(answer_to(&world.run(seconds(29)), request), None);
        let expected = expected.or(Some(RequestAnswer::Release(world.id(1))));
        assert_eq!(answer_to(&world.run(seconds(1)), request), expected);
        assert!(!world.client(1).approval_pending());
    }
}

#[test]
fn an_approval_that_ends_with_the_deadline_gives_nothing() {
    let mut world = waits(300, true);
    let (request, _) = world.ask(1);
    world.pass(seconds(300));
    world.registry.handle_timeout(world.now);
    let answer = answer_to(&world.actions(), request);
    assert_eq!(answer, refused(Refusal::Disabled));
}

#[test]
fn a_late_end_of_approval_gives_nothing_after_the_deadline() {
    let mut world = waits(30, true);
    let (request, _) = world.ask(1);
    world.pass(seconds(301));
    world.registry.handle_timeout(world.now);
    let answer = answer_to(&world.actions(), request);
    assert_eq!(answer, refused(Refusal::Disabled));
}

#[test]
fn an_approval_is_for_the_one_request_that_waits() {
    let mut world = waits(30, false);
    let id = world.id(1);
    let (request, _) = world.ask(1);
    assert_eq!(world.registry.handle_approve(id, world.now), Ok(()));
    let actions = world.actions();
    assert_eq!(
        answer_to(&actions, request),
        Some(RequestAnswer::Release(id))
    );
    // The next request waits, even one at the same time.
    assert_eq!(world.answer(1), None);
}

#[test]
fn approvals_cannot_be_given_in_advance() {
    let mut world = waits(30, false);
    let id = world.id(1);
    let none = Err(DecisionError::NoneWaits);
    assert_eq!(world.registry.handle_approve(id, world.now), none);
    assert_eq!(world.answer(1), None);
}

#[test]
fn of_several_waiting_requests_the_named_one_is_decided() {
    let mut world = waits(30, false);
    let id = world.id(1);
    let (first, _) = world.ask(1);
    let (second, actions) = world.ask(1);
    let alarm = Event::Alarmed(Some(id), Alarm::SeveralWait(2));
    assert!(has_event(&actions, &alarm));
    let several = Err(DecisionError::SeveralWait);
    assert_eq!(world.registry.handle_approve(id, world.now), several);
    assert_eq!(world.actions(), []);
    let decided = world.registry.handle_decide(second, true, world.now);
    assert_eq!(decided, Ok(id));
    let actions = world.actions();
    assert_eq!(
        answer_to(&actions, second),
        Some(RequestAnswer::Release(id))
    );
    assert_eq!(answer_to(&actions, first), None);
    let waiting: Vec<_> = world.registry.waiting(id, world.now).collect();
    let expected = PendingDecision {
        request: first,
        until: world.now.mono.after(seconds(30)),
        approved_by_default: false,
    };
    assert_eq!(waiting, [expected]);
    let decided = world.registry.handle_decide(first, false, world.now);
    assert_eq!(decided, Ok(id));
    let answer = answer_to(&world.actions(), first);
    assert_eq!(answer, refused(Refusal::Denied));
    // The decision was about one request: the next one waits again.
    assert_eq!(world.answer(1), None);
}

#[test]
fn a_request_that_does_not_wait_cannot_be_decided() {
    let mut world = waits(30, false);
    let (request, _) = world.ask(1);
    let no = Err(DecisionError::NoSuchRequest);
    let other = RequestId(4711);
    assert_eq!(world.registry.handle_decide(other, true, world.now), no);
    // A peer that reconnects makes another request.
    world.registry.handle_peer_gone(request, world.now);
    assert_eq!(world.registry.handle_decide(request, true, world.now), no);
    let (granted, _) = world.ask(1);
    for expected in [Ok(world.id(1)), no] {
        let decided = world.registry.handle_decide(granted, true, world.now);
        assert_eq!(decided, expected);
    }
    let (late, _) = world.ask(1);
    world.pass(seconds(30));
    assert_eq!(world.registry.handle_decide(late, true, world.now), no);
    let (expired, _) = world.ask(1);
    world.pass(seconds(3000));
    assert_eq!(world.registry.handle_decide(expired, true, world.now), no);
}

#[test]
fn a_denial_answers_waiting_requests_and_those_during_it() {
    let mut world = waits(30, true);
    let denied = refused(Refusal::Denied);
    let (first, _) = world.ask(1);
    let (second, _) = world.ask(1);
    world.registry.handle_deny(world.id(1), world.now);
    let actions = world.actions();
    assert_eq!(answer_to(&actions, first), denied);
    assert_eq!(answer_to(&actions, second), denied);
    world.run(seconds(1));
    assert_eq!(world.answer(1), denied);
    world.run(MILLISECOND);
    assert_eq!(world.answer(1), None);
}

#[test]
fn lifting_a_denial_releases_nothing_by_itself() {
    let settings = || {
        vec![config_with(1, |it| {
            it.approval_delay = seconds(30);
            it.approval_duration = seconds(600);
        })]
    };
    let mut world = World::new(settings());
    let id = world.id(1);
    world.registry.handle_deny(id, world.now);
    world.actions();
    assert_eq!(world.answer(1), refused(Refusal::Denied));
    assert_eq!(world.registry.handle_approve(id, world.now), Ok(()));
    world.actions();
    assert_eq!(world.answer(1), None);
    world.disk.crash();
    world.restart(settings(), seconds(1), false);
    assert_eq!(world.answer(1), None);
}

#[test]
fn a_denial_revokes_grants_and_survives_a_restart() {
    let changed = |it: &mut crate::settings::client::ClientSettings| {
        it.approval_duration = seconds(60);
    };
    let mut world = World::new(vec![config_with(1, changed)]);
    let (request, _) = world.ask(1);
    world.registry.handle_deny(world.id(1), world.now);
    assert!(world.actions().contains(&Action::Revoke { request }));
    assert_eq!(world.answer(1), refused(Refusal::Denied));
    world.disk.crash();
    for reboot in [false, true] {
        world.restart(vec![config_with(1, changed)], seconds(20), reboot);
        assert_eq!(world.answer(1), refused(Refusal::Denied));
    }
    world.run(seconds(21));
    assert_eq!(world.answer(1), Some(RequestAnswer::Release(world.id(1))));
}

/// "With approval_delay = 0, approved_by_default=False has no effect".
#[test]
fn without_a_delay_no_approval_is_needed() {
    let mut world = waits(0, false);
    assert_eq!(world.answer(1), Some(RequestAnswer::Release(world.id(1))));
}

#[test]
fn a_waiting_request_whose_peer_disconnects_gets_no_answer() {
    let mut world = waits(30, true);
    let (gone, _) = world.ask(1);
    let (stays, _) = world.ask(1);
    world.registry.handle_peer_gone(gone, world.now);
    let actions = world.run(seconds(30));
    assert_eq!(answer_to(&actions, gone), None);
    assert!(answer_to(&actions, stays).is_some());
    assert_eq!(answer_to(&world.actions(), gone), None);
}

#[test]
fn changed_approval_settings_count_for_those_that_wait() {
    let mut world = waits(30, true);
    let (request, _) = world.ask(1);
    world.run(seconds(10));
    let setting = Setting::ApprovalDelay.to(seconds(20));
    world
        .registry
        .handle_set(world.id(1), setting, world.now)
        .unwrap();
    let setting = Setting::ApprovedByDefault.to(false);
    world
        .registry
        .handle_set(world.id(1), setting, world.now)
        .unwrap();
    let answer = answer_to(&world.run(seconds(10)), request);
    assert_eq!(answer, refused(Refusal::ApprovalTimedOut));
}
