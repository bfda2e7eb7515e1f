//! Tests that other sections, keys or orders do not bypass a disable, a denial or a lost state.

use super::world::*;
use crate::checker::LastCheck;
use crate::client::saved::Trust;
use crate::event::{Alarm, Event};
use crate::registry::{ConfiguredClients, RegistryLimits};
use crate::settings::client::ClientConfig;
use crate::settings::client::Setting;

fn disabled(all: Vec<ClientConfig>) -> World {
    let mut world = World::new(all);
    world.registry.handle_disable(world.id(1), world.now);
    world.actions();
    world
}

#[test]
fn a_new_section_with_the_key_of_a_disabled_client_is_closed() {
    for live in [true, false] {
        let mut world = disabled(vec![config(1)]);
        read(&mut world, live, vec![named(1, "double"), config(1)]);
        assert!(!is_released(&mut world, 1), "{live}");
    }
}

#[test]
fn a_new_section_with_the_key_of_a_removed_client_is_closed() {
    for live in [true, false] {
        let mut world = World::new(vec![config(1), config(2)]);
        world.registry.handle_remove(world.id(1), world.now);
        world.actions();
        read(
            &mut world,
            live,
            vec![config(1), config(2), named(1, "double")],
        );
        assert!(!is_released(&mut world, 1), "{live}");
    }
}

#[test]
fn removing_a_disabled_client_does_not_open_the_next_with_its_key() {
    let mut world = disabled(vec![config(1), named(1, "double")]);
    assert!(!is_released(&mut world, 1));
    world.registry.handle_remove(world.id(1), world.now);
    world.actions();
    assert!(!is_released(&mut world, 1));
}

#[test]
fn a_key_that_was_replaced_comes_back_as_disabled() {
    for live in [true, false] {
        let mut world = disabled(vec![config(1), config(2)]);
        read(&mut world, live, vec![named(9, "client1"), config(2)]);
        read(
            &mut world,
            live,
            vec![named(9, "client1"), config(2), named(1, "x")],
        );
        assert!(!is_released(&mut world, 1), "{live}");
    }
}

#[test]
fn a_client_missing_at_the_start_after_a_loss_waits_too() {
    for live in [true, false] {
        let mut world = World::new(vec![config(1), config(2), config(3)]);
        world.disk.trust = Trust::None;
        world.restart(vec![config(2), config(3)], seconds(1), false);
        read(&mut world, live, vec![config(1), config(2), config(3)]);
        assert!(!is_released(&mut world, 1), "{live}");
    }
}

#[test]
fn the_success_of_a_checker_that_was_replaced_proves_nothing() {
    let mut world = World::new(vec![]);
    world.disk.trust = Trust::None;
    world.restart(vec![config(1)], seconds(1), false);
    let id = world.id(1);
    world.registry.handle_start_checker(id, world.now).unwrap();
    world.actions();
    let proof = crate::checker::Checker::new(PROOF).unwrap();
    world
        .registry
        .handle_set(id, Setting::Checker.to(proof), world.now)
        .unwrap();
    world.actions();
    world
        .registry
        .handle_check_finished(id, LastCheck::Exited(0), world.now);
    world.actions();
    assert!(!is_released(&mut world, 1));
}

#[test]
fn a_check_that_was_stopped_does_not_use_up_the_alarm_of_a_release() {
    let mut world = World::with_limits(
        vec![config(1)],
        RegistryLimits {
            concurrent_checks: 2,
            check_on_release: true,
            allow_rehearsals: false,
        },
    );
    let id = world.id(1);
    world.registry.handle_start_checker(id, world.now).unwrap();
    world.registry.handle_stop_checker(id, world.now);
    world.actions();
    let (request, _) = world.ask(1);
    world.registry.handle_delivered(request, world.now);
    world.actions();
    world
        .registry
        .handle_check_finished(id, LastCheck::Signaled(9), world.now);
    world.actions();
    world
        .registry
        .handle_check_finished(id, LastCheck::Exited(0), world.now);
    let actions = world.actions();
    assert!(has_event(
        &actions,
        &Event::Alarmed(Some(id), Alarm::StillAnswers)
    ));
}

#[test]
fn a_denial_comes_back_with_the_key_that_left() {
    let long = |n, name: &str| {
        let mut c = named(n, name);
        c.settings.approval_duration = seconds(3600);
        c
    };
    let mut world = World::new(vec![long(1, "client1"), long(2, "client2"), config(3)]);
    world.registry.handle_deny(world.id(1), world.now);
    world.actions();
    read(&mut world, true, vec![long(2, "client2"), config(3)]);
    read(&mut world, true, vec![long(1, "client2"), config(3)]);
    assert!(!is_released(&mut world, 1));
}

#[test]
fn a_proof_does_not_undo_a_disable_when_the_order_of_sections_changes() {
    let prove = |name: &str| {
        let mut c = named(1, name);
        c.settings.checker = crate::checker::Checker::new(PROOF).unwrap();
        c
    };
    let mut world = World::new(vec![]);
    world.disk.trust = Trust::None;
    world.restart(vec![prove("client1"), prove("b")], seconds(1), false);
    world.registry.handle_disable(world.id(1), world.now);
    world.actions();
    read(&mut world, true, vec![prove("b"), prove("client1")]);
    world.run(seconds(121));
    let b = world.registry.by_name("b").unwrap();
    world
        .registry
        .handle_check_finished(b, LastCheck::Exited(0), world.now);
    world.actions();
    assert!(!is_released(&mut world, 1));
}

#[test]
fn a_loss_is_not_over_before_a_section_was_read() {
    let mut world = World::new(vec![]);
    world.disk.trust = Trust::None;
    world.restart(vec![], seconds(1), false);
    world
        .registry
        .handle_add(config(2), world.now, &mut |most| most)
        .unwrap();
    world.actions();
    read(&mut world, true, vec![]);
    // An administrator has vouched for it, over restarts too.
    world.restart(vec![], seconds(1), false);
    assert!(is_released(&mut world, 2));
    read(&mut world, true, vec![config(1)]);
    assert!(!is_released(&mut world, 1));
}

#[test]
fn a_denial_that_is_over_does_not_hide_one_that_counts() {
    let denied_for = |n, name: &str, length| {
        let mut c = named(n, name);
        c.settings.approval_duration = seconds(length);
        c
    };
    let long = |name: &str| denied_for(1, name, 3600);
    let short = || denied_for(2, "client2", 1);
    let mut world = World::new(vec![long("client1"), short(), config(3)]);
    world.registry.handle_deny(world.id(1), world.now);
    world.registry.handle_deny(world.id(2), world.now);
    world.actions();
    read(&mut world, true, vec![short(), config(3)]);
    world.run(seconds(5));
    read(&mut world, false, vec![long("client2"), config(3)]);
    assert!(!is_released(&mut world, 1));
}

#[test]
fn a_loss_is_not_over_before_every_section_was_read() {
    let mut world = World::new(vec![]);
    world.disk.trust = Trust::None;
    let part = ConfiguredClients {
        clients: vec![config(2)],
        is_complete: false,
    };
    world.restart(part, seconds(1), false);
    world.registry.handle_enable(world.id(2), world.now);
    world.actions();
    read(&mut world, true, vec![config(1), config(2)]);
    assert!(is_released(&mut world, 2));
    assert!(!is_released(&mut world, 1));
}

#[test]
fn a_denial_counts_by_its_end_though_the_clock_was_set_after_it() {
    let denied_for = |n, name: &str, length| {
        let mut c = named(n, name);
        c.settings.approval_duration = seconds(length);
        c
    };
    let long = |name: &str| denied_for(1, name, 3600);
    let short = || denied_for(2, "client2", 60);
    let mut world = World::new(vec![long("client1"), short(), config(3)]);
    world.registry.handle_deny(world.id(1), world.now);
    world.actions();
    // A host without a battery-backed clock sets its time.
    world.now.wall = world.now.wall.after(seconds(50 * 365 * 86_400));
    world.registry.handle_deny(world.id(2), world.now);
    world.actions();
    read(&mut world, true, vec![short(), config(3)]);
    read(&mut world, false, vec![long("client2"), config(3)]);
    world.run(seconds(120));
    assert!(!is_released(&mut world, 1));
}
