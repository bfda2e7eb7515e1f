//! Ways around the guard that attacks found: a request that was never asked about, holds that say nothing, suspicions that
//! got lost, and alarms about honest machines.

use super::guarded::*;
use super::world::*;
use crate::event::{Alarm, Refusal, RequestClaims, RequestId};
use crate::guard::{Passage, Unannounced};
use crate::registry::{Action, SignOfLife};
use crate::settings::client::ClientSettings;

/// A client that became suspect by an impostor, and heard since.
fn suspect() -> World {
    let mut world = up();
    world.boots(9);
    world.run(seconds(1));
    world.beat(1);
    assert!(world.client(1).guard().suspect().is_some());
    world
}

#[test]
fn trust_answers_nobody_who_waits() {
    let mut world = suspect();
    let (thief, _) = world.boots(8);
    let id = world.id(1);
    world.registry.handle_trust(id, world.now);
    let answer = answer_to(&world.actions(), thief);
    assert_eq!(answer, refused(Refusal::GuardChanged));
    let (other, actions) = world.boots(7);
    assert!(is_held(&actions, other));
    // Both are found out, also the one that was refused.
    world.run(seconds(1));
    assert_eq!(alarms(&world.beat(1).1), [Alarm::Impostor, Alarm::Impostor]);
}

#[test]
fn the_nonce_of_a_boot_that_is_not_heard_is_worth_nothing() {
    let mut world = up();
    // A power cut, and somebody who knows the nonce.
    world.run(seconds(60));
    let (request, actions) = world.boots(1);
    assert_eq!(answer_to(&actions, request), refused(Refusal::BootIsUp));
}

#[test]
fn without_a_guard_a_request_that_waits_is_told_once() {
    let mut world = up_with(|settings| {
        settings.guard = false;
        settings.approval_delay = seconds(200);
    });
    let (request, _) = world.boots(9);
    world.run(seconds(1));
    assert_eq!(alarms(&world.beat(1).1), [Alarm::Impostor]);
    world.run(seconds(1));
    let actions = world.beat(1).1;
    assert_eq!(alarms(&actions), []);
    assert_eq!(answer_to(&actions, request), None);
}

#[test]
fn a_heartbeat_that_was_under_way_when_a_request_came_begins_the_hold_anew() {
    let mut world = up();
    let opened = world.now.mono;
    world.run(seconds(1));
    let (thief, _) = world.boots(9);
    world.run(seconds(2));
    let late = SignOfLife {
        opened,
        ..world.sign(1)
    };
    let (_, actions) = world.life(&late);
    assert!(is_asked_about(&actions, thief));
    // The first hold would have ended by now.
    let actions = world.run(seconds(2));
    assert_eq!(answer_to(&actions, thief), None);
    let (_, actions) = world.beat(1);
    assert_eq!(answer_to(&actions, thief), refused(Refusal::MachineIsUp));
}

#[test]
fn a_pause_or_a_late_hold_releases_nothing() {
    for gap in [true, false] {
        let mut world = up();
        world.run(seconds(5));
        let (thief, _) = world.boots(9);
        world.pass(seconds(6));
        if gap {
            world.registry.handle_gap(world.now);
        }
        world.registry.handle_timeout(world.now);
        let actions = world.actions();
        assert!(is_asked_about(&actions, thief), "{gap}");
        world.run(seconds(1));
        let (_, actions) = world.beat(1);
        assert_eq!(answer_to(&actions, thief), refused(Refusal::MachineIsUp));
    }
    // A server that is always late releases in the end.
    let mut world = up();
    let (request, _) = world.boots(2);
    let mut released = false;
    for _ in 0..7 {
        world.pass(seconds(4));
        world.registry.handle_timeout(world.now);
        released |= answer_to(&world.actions(), request).is_some();
    }
    assert!(released);
}

#[test]
fn what_the_server_itself_ended_is_accounted_for() {
    let mut world = up_with(|settings| settings.unannounced = Unannounced::Approve);
    world.run(seconds(60));
    let (thief, _) = world.boots(9);
    let actions = world.run(seconds(300));
    assert_eq!(answer_to(&actions, thief), refused(Refusal::Disabled));
    let (_, actions) = world.beat(1);
    assert_eq!(alarms(&actions), [Alarm::Impostor]);
}

#[test]
fn another_host_key_or_no_guard_refuses_what_waits() {
    for change in [
        |settings: &mut ClientSettings| settings.host_key_id = None,
        |settings: &mut ClientSettings| settings.host_key_id = Some(key(102)),
        |settings: &mut ClientSettings| settings.guard = false,
    ] {
        let mut world = up_with(|settings| settings.unannounced = Unannounced::Approve);
        world.run(seconds(60));
        let (request, actions) = world.boots(9);
        assert_eq!(answer_to(&actions, request), None);
        let other = vec![config_with(1, |settings| {
            settings.host_key_id = Some(key(HOST));
            settings.unannounced = Unannounced::Approve;
            change(settings);
        })];
        let actions = read(&mut world, true, other);
        assert_eq!(answer_to(&actions, request), refused(Refusal::GuardChanged));
    }
}

#[test]
fn another_section_with_the_key_inherits_the_suspicion() {
    for live in [true, false] {
        let mut world = suspect();
        let mut before = named(1, "before");
        before.settings.approval_delay = seconds(0);
        let mut sections = vec![before];
        sections.extend(guarded(|_| {}));
        read(&mut world, live, sections);
        let (request, actions) = world.boots(2);
        assert_eq!(answer_to(&actions, request), None, "{live}");
    }
}

#[test]
fn a_guard_that_comes_back_does_not_arm_a_section_without_its_host_key() {
    for live in [true, false] {
        let mut world = suspect();
        let other_key = vec![config_with(1, |settings| settings.key_id = Some(key(7)))];
        read(&mut world, live, other_key);
        read(&mut world, live, vec![config(1)]);
        assert!(!world.client(1).is_armed(), "{live}");
        let id = world.id(1);
        assert_eq!(world.registry.handle_checked_ok(id, world.now), Ok(()));
        // What was known of thieves stays known.
        assert!(world.client(1).guard().suspect().is_some(), "{live}");
    }
}

#[test]
fn an_old_heartbeat_takes_no_time_away() {
    let mut world = up();
    let opened = world.now.mono;
    world.run(seconds(20));
    world.beat(1);
    let late = SignOfLife {
        opened,
        ..world.sign(1)
    };
    world.life(&late);
    assert_eq!(world.left(1), Some(seconds(300)));
}

#[test]
fn a_machine_that_was_away_by_a_release_is_renewed() {
    let mut world = up();
    world.goodbye(1);
    world.run(seconds(1));
    let (request, _) = world.boots(2);
    world.delivered(request);
    world.disk.flush();
    world.restart(guarded(|_| {}), seconds(1000), true);
    assert_eq!(world.left(1), Some(seconds(300)));
}

#[test]
fn the_agent_is_poked_beside_each_new_request() {
    let mut world = suspect();
    let pokes = |actions: &[Action]| {
        let poke = |it: &&Action| matches!(it, Action::Poke { .. });
        actions.iter().filter(poke).count()
    };
    assert_eq!(pokes(&world.boots(8).1), 1);
    let mut world = up();
    world.run(seconds(60));
    assert_eq!(pokes(&world.boots(2).1), 1);
    world.beat(2);
    assert_eq!(pokes(&world.boots(1).1), 0);
}

#[test]
fn one_alarm_about_one_request() {
    let mut world = up_with(|settings| settings.approval_delay = seconds(30));
    world.goodbye(1);
    world.run(seconds(1));
    let (first, _) = world.boots(2);
    let actions = world.run(seconds(30));
    assert_eq!(answer_to(&actions, first), RELEASED(&world));
    let (_, actions) = world.boots(9);
    assert_eq!(alarms(&actions), [Alarm::SecondRequest]);
    let actions = world.run(seconds(30));
    assert_eq!(passage_of(&actions), Some(Passage::Unannounced));
    assert_eq!(alarms(&actions), []);
}

/// Somebody typed the password, and a data disk is fetched before the agent has its network.
#[test]
fn a_boot_that_asks_for_a_data_disk_before_its_agent_is_heard_is_served_as_soon_as_it_is() {
    let mut world = up();
    world.run(seconds(5));
    let (request, actions) = world.boots(2);
    assert!(is_held(&actions, request));
    world.run(seconds(1));
    let (_, actions) = world.beat(2);
    assert_eq!(answer_to(&actions, request), RELEASED(&world));
    assert_eq!(alarms(&actions), []);
}

#[test]
fn what_a_person_denied_is_accounted_for() {
    let mut world = up_with(|settings| settings.unannounced = Unannounced::Approve);
    world.run(seconds(60));
    let (thief, _) = world.boots(9);
    world
        .registry
        .handle_decide(thief, false, world.now)
        .unwrap();
    world.actions();
    world.run(seconds(1));
    assert_eq!(alarms(&world.beat(1).1), [Alarm::Impostor]);
}

#[test]
fn a_theft_takes_nothing_from_the_machine_that_is_up() {
    let mut world = up();
    world.goodbye(1);
    world.run(seconds(1));
    let (thief, _) = world.boots(9);
    let own = RequestClaims {
        boot: Some(boot(1)),
        rehearsal: false,
    };
    let (own, _) = world.asks_by_host_key(own);
    world.run(seconds(1));
    let (_, actions) = world.beat(1);
    let revoked = |wanted: RequestId| {
        let revokes = |it: &Action| matches!(it, Action::Revoke { request } if *request == wanted);
        actions.iter().any(revokes)
    };
    assert!(revoked(thief) && !revoked(own));
}

#[test]
fn agents_of_machines_that_are_not_configured_yet_are_no_flood() {
    let mut world = up();
    for _ in 0..50 {
        let request = world.next_request();
        let sign = world.sign(1);
        world
            .registry
            .handle_life(request, &key(77), &sign, world.now);
        let actions = world.actions();
        let unknown = refused(Refusal::UnknownHostKey);
        assert_eq!(answer_to(&actions, request), unknown);
        assert_eq!(alarms(&actions), []);
    }
    assert_eq!(alarms(&world.run(seconds(60))), []);
}

#[test]
fn a_grant_that_the_guard_does_not_know_hides_no_theft() {
    let mut world = up();
    world.run(seconds(60));
    let (thief, actions) = world.boots(7);
    assert_eq!(passage_of(&actions), Some(Passage::Unannounced));
    world.delivered(thief);
    // The host key goes and comes back; the thief asks again meanwhile, and does not take the secret.
    read(&mut world, true, guarded(|it| it.host_key_id = None));
    let (again, _) = world.boots(7);
    read(&mut world, true, guarded(|_| {}));
    let opened = world.now.mono;
    world.life(&SignOfLife {
        opened: opened.before(seconds(1)),
        ..world.sign(1)
    });
    world
        .registry
        .handle_delivery_failed(again, false, world.now);
    world.pass(seconds(1));
    let (_, actions) = world.beat(1);
    assert_eq!(alarms(&actions), [Alarm::ServedImpostor]);
}
