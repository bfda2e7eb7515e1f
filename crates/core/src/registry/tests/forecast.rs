//! Tests that a forecast equals the answer to a request.

use super::guarded::guarded;
use super::world::*;
use crate::event::{Grant, Refusal};
use crate::guard::{GoodbyeKind, GuardState};
use crate::registry::{ReleaseForecast, RequestAnswer, SignOfLife};

/// The forecast for client 1, compared with the answer to a request.
fn forecast(world: &mut World) -> ReleaseForecast {
    let id = world.id(1);
    let (forecast, _) = world.registry.forecast(id, world.now).unwrap();
    let (request, actions) = world.ask(1);
    let expected = match forecast {
        ReleaseForecast::Released(_) => Some(RequestAnswer::Release(id)),
        ReleaseForecast::Refused(reason) => refused(reason),
        ReleaseForecast::ReleasedAfterAsking(..)
        | ReleaseForecast::NeedsApproval
        | ReleaseForecast::NeedsPerson => None,
    };
    assert_eq!(answer_to(&actions, request), expected);
    world
        .registry
        .handle_delivery_failed(request, true, world.now);
    world.registry.handle_peer_gone(request, world.now);
    world.actions();
    forecast
}

/// End of the forecast, in seconds from now.
fn ends(world: &World) -> Option<u64> {
    let (_, until) = world.registry.forecast(world.id(1), world.now).unwrap();
    until.map(|until| until.since(world.now.wall).as_secs())
}

#[test]
fn a_forecast_is_what_a_request_gets() {
    let mut world = World::new(vec![config_with(1, |it| {
        it.approval_duration = seconds(60);
    })]);
    let id = world.id(1);
    assert_eq!(
        forecast(&mut world),
        ReleaseForecast::Released(Grant::NotNeeded)
    );
    assert_eq!(ends(&world), Some(300));
    world.registry.handle_deny(id, world.now);
    assert_eq!(
        forecast(&mut world),
        ReleaseForecast::Refused(Refusal::Denied)
    );
    assert_eq!(ends(&world), Some(60));
    world.pass(seconds(61));
    assert_eq!(
        forecast(&mut world),
        ReleaseForecast::Released(Grant::NotNeeded)
    );
    world.registry.handle_disable(id, world.now);
    assert_eq!(
        forecast(&mut world),
        ReleaseForecast::Refused(Refusal::Disabled)
    );
    assert_eq!(ends(&world), None);
}

#[test]
fn an_approval_changes_nothing_for_the_next_request() {
    let mut world = World::new(vec![config_with(1, |it| it.approval_delay = seconds(30))]);
    let id = world.id(1);
    world.ask(1);
    assert_eq!(world.registry.handle_approve(id, world.now), Ok(()));
    world.actions();
    assert_eq!(forecast(&mut world), ReleaseForecast::NeedsApproval);
}

#[test]
fn a_passed_deadline_counts_before_it_is_handled() {
    let mut world = World::new(vec![config(1)]);
    world.pass(seconds(301));
    assert_eq!(
        forecast(&mut world),
        ReleaseForecast::Refused(Refusal::Disabled)
    );
}

#[test]
fn a_forecast_knows_the_guard() {
    let mut world = World::new(guarded(|_| {}));
    let id = world.id(1);
    let shown = |world: &World| {
        let client = world.registry.client(id).unwrap();
        (client.guard_state(), client.leaving_until())
    };
    assert_eq!(
        forecast(&mut world),
        ReleaseForecast::Released(Grant::NotNeeded)
    );
    assert_eq!(shown(&world), (GuardState::Unarmed, None));
    world.beat(1);
    assert_eq!(
        forecast(&mut world),
        ReleaseForecast::ReleasedAfterAsking(Grant::NotNeeded, seconds(3))
    );
    assert_eq!(shown(&world), (GuardState::Up, None));
    assert_eq!(ends(&world), Some(300));
    let goodbye = |world: &World| SignOfLife {
        goodbye: Some(GoodbyeKind::Reboot),
        ..world.sign(1)
    };
    // An initramfs that sends no nonce has no announced boot.
    world.life(&goodbye(&world));
    let asking = ReleaseForecast::ReleasedAfterAsking(Grant::NotNeeded, seconds(3));
    assert_eq!(forecast(&mut world), asking);
    world.boots(2);
    world.run(seconds(1));
    world.beat(2);
    let goodbye = |world: &World| SignOfLife {
        goodbye: Some(GoodbyeKind::Reboot),
        ..world.sign(2)
    };
    world.life(&goodbye(&world));
    // The window ends with the deadline, which is nearer.
    assert_eq!(ends(&world), Some(300));
    let until = world.now.wall.after(seconds(300));
    assert_eq!(shown(&world), (GuardState::Leaving, Some(until)));
    let (forecast, _) = world.registry.forecast(id, world.now).unwrap();
    assert_eq!(forecast, ReleaseForecast::Released(Grant::NotNeeded));
}

#[test]
fn the_end_of_an_announced_reboot_is_one_moment() {
    let mut world = World::new(guarded(|it| it.reboot_window = seconds(60)));
    let id = world.id(1);
    world.beat(1);
    let goodbye = SignOfLife {
        goodbye: Some(GoodbyeKind::Reboot),
        ..world.sign(1)
    };
    world.life(&goodbye);
    let until = world.now.wall.after(seconds(60));
    assert_eq!(ends(&world), Some(60));
    let shown = |world: &World| world.registry.client(id).unwrap().leaving_until();
    assert_eq!(shown(&world), Some(until));
    world.pass(seconds(10));
    assert_eq!(shown(&world), Some(until));
    world.registry.handle_disable(id, world.now);
    assert_eq!(shown(&world), None);
}

#[test]
fn a_forecast_of_a_suspect_is_a_person() {
    let mut world = World::new(guarded(|_| {}));
    world.beat(1);
    let (request, _) = world.ask(1);
    world.pass(seconds(1));
    world.beat(1);
    world.registry.handle_peer_gone(request, world.now);
    assert_eq!(forecast(&mut world), ReleaseForecast::NeedsPerson);
    let id = world.id(1);
    world.registry.handle_trust(id, world.now);
    world.actions();
    assert_eq!(
        forecast(&mut world),
        ReleaseForecast::ReleasedAfterAsking(Grant::NotNeeded, seconds(3))
    );
}

#[test]
fn without_a_wait_nobody_waits_for_the_agent() {
    let mut world = World::new(guarded(|settings| settings.guard_wait = seconds(0)));
    world.beat(1);
    assert_eq!(
        forecast(&mut world),
        ReleaseForecast::Released(Grant::NotNeeded)
    );
    let (request, actions) = world.boots(2);
    assert!(answer_to(&actions, request).is_some());
}
