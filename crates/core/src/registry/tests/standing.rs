//! What a client would get is what a request then gets.

use super::world::*;
use crate::event::{Grant, Refusal};
use crate::registry::{Answer, Standing};

/// What the registry says that client 1 would get, having checked that it does.
fn standing(world: &mut World) -> Standing {
    let id = world.id(1);
    let (standing, _) = world.registry.standing(id, world.now).unwrap();
    let (request, actions) = world.ask(1);
    let expected = match standing {
        Standing::Released(_) => Some(Answer::Release(id)),
        Standing::Refused(reason) => refused(reason),
        Standing::Asks => None,
    };
    assert_eq!(answer_to(&actions, request), expected);
    world.registry.handle_delivery_failed(request, world.now);
    world.registry.handle_peer_gone(request, world.now);
    world.actions();
    standing
}

/// When that ends by itself, in seconds from now.
fn ends(world: &World) -> Option<u64> {
    let (_, until) = world.registry.standing(world.id(1), world.now).unwrap();
    until.map(|until| until.since(world.now.wall).as_secs())
}

#[test]
fn it_is_what_a_request_gets() {
    let mut world = World::new(vec![config_with(1, |it| {
        it.approval_duration = seconds(60);
    })]);
    let id = world.id(1);
    assert_eq!(standing(&mut world), Standing::Released(Grant::NotNeeded));
    assert_eq!(ends(&world), Some(300));
    world.registry.handle_deny(id, world.now);
    assert_eq!(standing(&mut world), Standing::Refused(Refusal::Denied));
    assert_eq!(ends(&world), Some(60));
    world.pass(seconds(61));
    assert_eq!(standing(&mut world), Standing::Released(Grant::NotNeeded));
    world.registry.handle_disable(id, world.now);
    assert_eq!(standing(&mut world), Standing::Refused(Refusal::Disabled));
    assert_eq!(ends(&world), None);
}

#[test]
fn an_approval_changes_nothing_for_the_next_request() {
    let mut world = World::new(vec![config_with(1, |it| it.approval_delay = seconds(30))]);
    let id = world.id(1);
    world.ask(1);
    assert_eq!(world.registry.handle_approve(id, world.now), Ok(()));
    world.actions();
    assert_eq!(standing(&mut world), Standing::Asks);
}

#[test]
fn a_deadline_that_nobody_has_noticed_yet_counts() {
    let mut world = World::new(vec![config(1)]);
    world.pass(seconds(301));
    assert_eq!(standing(&mut world), Standing::Refused(Refusal::Disabled));
}
