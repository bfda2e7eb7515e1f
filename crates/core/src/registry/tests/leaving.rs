//! Tests of sections that leave the configuration and come back, under the same name or another: a disable is not
//! forgotten.

use super::world::*;
use crate::client::saved::{ClientPresence, Trust};
use crate::event::{DisableReason, Event, Refusal};
use crate::registry::mass_removal;
use crate::settings::client::ClientConfig;
use crate::settings::client::Setting;

const BOTH: [bool; 2] = [false, true];

#[test]
fn a_disable_survives_a_configuration_that_is_empty_for_a_moment() {
    for (empty, full) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = World::new(vec![config(1), config(2)]);
        world.registry.handle_disable(world.id(1), world.now);
        world.actions();
        read(&mut world, empty, vec![]);
        assert_eq!(world.registry.iter().len(), 0);
        assert_eq!(world.answer(1), refused(Refusal::UnknownKey));
        let actions = read(&mut world, full, vec![config(1), config(2)]);
        let remembered = Event::Disabled(world.id(1), DisableReason::Remembered);
        assert!(has_event(&actions, &remembered));
        assert_eq!(world.answer(1), refused(Refusal::Disabled));
        assert!(is_released(&mut world, 2));
        assert_eq!(world.disk.load().tombstones, []);
        world.registry.handle_enable(world.id(1), world.now);
        world.actions();
        read(&mut world, full, vec![config(1), config(2)]);
        assert!(is_released(&mut world, 1));
    }
}

#[test]
fn a_disable_comes_back_under_another_name() {
    for live in BOTH {
        // Immediately, and after an absence.
        for away in BOTH {
            let mut world = World::new(vec![config(1), config(2)]);
            world.registry.handle_disable(world.id(1), world.now);
            world.actions();
            if away {
                read(&mut world, live, vec![config(2)]);
            }
            read(&mut world, live, vec![config(2), named(1, "other")]);
            assert_eq!(world.answer(1), refused(Refusal::Disabled));
            assert!(world.registry.by_name("client1").is_none());
            let rows = world.disk.load().clients;
            assert_eq!(rows.len(), 2, "{rows:?}");
        }
    }
}

#[test]
fn a_removed_client_comes_back_removed_under_another_name() {
    for live in BOTH {
        for away in BOTH {
            let mut world = World::new(vec![config(1), config(2)]);
            world.registry.handle_remove(world.id(1), world.now);
            world.actions();
            if away {
                read(&mut world, live, vec![config(2)]);
            }
            read(&mut world, live, vec![config(2), named(1, "other")]);
            assert_eq!(world.answer(1), refused(Refusal::UnknownKey));
            assert!(world.registry.by_name("other").is_none());
            read(&mut world, live, vec![config(2), named(1, "third")]);
            assert_eq!(world.answer(1), refused(Refusal::UnknownKey));
            let rows = world.disk.load().clients;
            assert!(
                rows.iter()
                    .any(|row| row.presence == ClientPresence::Removed
                        && row.name.as_str() == "third")
            );
        }
    }
}

#[test]
fn a_client_added_and_removed_at_run_time_does_not_come_back_by_a_file() {
    let mut world = World::new(vec![]);
    world
        .registry
        .handle_add(config(1), world.now, &mut |most| most)
        .unwrap();
    world.registry.handle_remove(world.id(1), world.now);
    world.actions();
    for live in BOTH {
        read(&mut world, live, vec![named(1, "filed")]);
        assert_eq!(world.answer(1), refused(Refusal::UnknownKey));
    }
}

#[test]
fn a_renamed_section_keeps_its_deadline_its_denial_and_its_settings() {
    for live in BOTH {
        let mut world = World::new(vec![config(1), config(2)]);
        world.run(seconds(100));
        let id = world.id(1);
        let setting = Setting::ApprovalDelay.to(seconds(60));
        world.registry.handle_set(id, setting, world.now).unwrap();
        let setting = Setting::ApprovalDuration.to(seconds(1000));
        world.registry.handle_set(id, setting, world.now).unwrap();
        world.registry.handle_deny(id, world.now);
        world.actions();
        read(&mut world, live, vec![named(1, "other"), config(2)]);
        let id = world.registry.by_name("other").unwrap();
        let client = world.registry.client(id).unwrap();
        let left = client.deadline.unwrap().mono.since(world.now.mono);
        assert_eq!(left, seconds(if live { 200 } else { 199 }));
        assert_eq!(client.settings().approval_delay, seconds(60));
        assert_eq!(world.answer(1), refused(Refusal::Denied));
    }
}

#[test]
fn swapped_names_swap_no_state() {
    for live in BOTH {
        let mut world = World::new(vec![config(1), config(2)]);
        world.registry.handle_disable(world.id(1), world.now);
        world.actions();
        for names in [["client2", "client1"], ["client1", "client2"]] {
            read(
                &mut world,
                live,
                vec![named(1, names[0]), named(2, names[1])],
            );
            assert_eq!(world.answer(1), refused(Refusal::Disabled));
            assert!(is_released(&mut world, 2));
            assert_eq!(world.disk.load().clients.len(), 2);
        }
    }
}

#[test]
fn another_key_in_the_same_section_enables_no_client() {
    for live in BOTH {
        let mut world = World::new(vec![config(1)]);
        world.registry.handle_disable(world.id(1), world.now);
        world.actions();
        read(&mut world, live, vec![named(9, "client1")]);
        assert_eq!(world.answer(9), refused(Refusal::Disabled));
        // A new section with the key of a disabled client that left is disabled.
        let mut world = World::new(vec![config(1), config(2)]);
        world.registry.handle_disable(world.id(1), world.now);
        world.actions();
        read(&mut world, live, vec![config(2)]);
        read(&mut world, live, vec![named(1, "client2")]);
        assert_eq!(world.answer(1), refused(Refusal::Disabled));
    }
}

#[test]
fn another_section_with_the_key_of_a_disabled_client_is_disabled() {
    let double = || named(1, "double");
    for live in BOTH {
        let mut world = World::new(vec![config(1), double()]);
        world.registry.handle_disable(world.id(1), world.now);
        world.actions();
        read(&mut world, live, vec![double()]);
        assert_eq!(world.answer(1), refused(Refusal::Disabled));
    }
    // Another order in the file changes nothing.
    let mut world = World::new(vec![config(1), double()]);
    world.registry.handle_disable(world.id(1), world.now);
    world.actions();
    read(&mut world, true, vec![double(), config(1)]);
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
}

#[test]
fn a_client_that_left_enabled_comes_back_with_its_deadline() {
    let mut world = World::new(vec![config(1), config(2)]);
    world.run(seconds(100));
    read(&mut world, true, vec![config(2)]);
    world.run(seconds(100));
    read(&mut world, true, vec![config(1), config(2)]);
    assert_eq!(world.left(1), Some(seconds(100)));
    read(&mut world, true, vec![config(2)]);
    world.run(seconds(101));
    read(&mut world, true, vec![config(1), config(2)]);
    assert_eq!(world.left(1), None);
}

#[test]
fn a_configuration_without_most_clients_is_refused() {
    let three = || vec![config(1), config(2), config(3)];
    let start = || {
        let mut world = World::new(three());
        world
            .registry
            .handle_add(config(4), world.now, &mut |most| most)
            .unwrap();
        world.actions();
        world
    };
    let reload = |world: &mut World, configured: Vec<ClientConfig>, may_drop| {
        let jitter = &mut |most| most;
        world
            .registry
            .reload(configured, may_drop, world.now, jitter)
            .err()
    };
    let mut world = start();
    let saved = world.disk.load();
    type Sections = fn() -> Vec<ClientConfig>;
    let cases: [(Sections, Option<usize>); 8] = [
        (three, None),
        (|| vec![config(1), config(2)], None),
        (|| vec![config(1), config(2), config(9)], None),
        (|| vec![named(1, "a"), named(2, "b"), named(3, "c")], None),
        (
            || {
                vec![
                    named(7, "client1"),
                    named(8, "client2"),
                    named(9, "client3"),
                ]
            },
            None,
        ),
        (|| vec![config(1)], Some(2)),
        (|| vec![config(7), config(8), config(9)], Some(3)),
        (Vec::new, Some(3)),
    ];
    for (configured, missing) in cases {
        let removal = mass_removal(&configured(), &saved);
        assert_eq!(removal.as_ref().map(|it| it.missing.len()), missing);
        let mut world = start();
        assert_eq!(reload(&mut world, configured(), false), removal);
        if missing.is_some() {
            assert_eq!(world.actions(), []);
        }
        assert_eq!(reload(&mut world, configured(), true), None);
    }
    let told = mass_removal(&[], &saved).unwrap().to_string();
    assert_eq!(
        told,
        "3 of the 3 known clients are missing in the configuration: client1, client2, client3"
    );
    // A removed client is not missing, and a first start knows no clients.
    for number in 1..=3 {
        world.registry.handle_remove(world.id(number), world.now);
    }
    world.actions();
    assert_eq!(reload(&mut world, Vec::new(), false), None);
    assert_eq!(mass_removal(&[], &world.disk.load()), None);
    assert_eq!(mass_removal(&[], &Default::default()), None);
}

const PROOF: &str = "builtin:ssh-hostkey ssh-ed25519 \
                     AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

fn provable(number: u8) -> ClientConfig {
    config_with(number, |it| {
        it.checker = crate::checker::Checker::new(PROOF).unwrap();
    })
}

#[test]
fn after_a_lost_state_every_client_waits_for_a_person() {
    for old_rows in BOTH {
        let all = || {
            vec![
                config(1),
                config(2),
                config_with(3, |it| it.enabled = false),
            ]
        };
        let mut world = if old_rows {
            World::new(all())
        } else {
            World::new(vec![])
        };
        world.disk.trust = Trust::None;
        let actions = world.restart(all(), seconds(1), false);
        let lost = Event::Disabled(world.id(1), DisableReason::StateLost);
        assert!(has_event(&actions, &lost));
        assert_eq!(world.disk.trust, Trust::Partial);
        assert_eq!(world.registry.waiting_for_proof(), 2);
        world.restart(all(), seconds(1), true);
        // New sections wait too, as long as any client does.
        read(&mut world, true, vec![config(1), config(2), config(4)]);
        for number in [1, 2, 4] {
            assert_eq!(world.answer(number), refused(Refusal::Disabled));
            assert!(world.client(number).needs_proof());
        }
        // An ordinary check, or `CheckedOK`, is no proof.
        world
            .registry
            .handle_start_checker(world.id(1), world.now)
            .unwrap();
        world
            .registry
            .handle_checked_ok(world.id(1), world.now)
            .unwrap();
        let id = world.id(1);
        world
            .registry
            .handle_check_finished(id, crate::checker::LastCheck::Exited(0), world.now);
        world.actions();
        assert_eq!(world.answer(1), refused(Refusal::Disabled));
        world.registry.handle_enable(world.id(1), world.now);
        world.registry.handle_disable(world.id(2), world.now);
        world.registry.handle_remove(world.id(4), world.now);
        world.actions();
        assert!(is_released(&mut world, 1));
        assert_eq!(world.disk.trust, Trust::Full);
        read(&mut world, true, vec![config(1), config(2), config(5)]);
        assert!(is_released(&mut world, 5));
        world.restart(vec![config(1), config(2), config(5)], seconds(1), false);
        assert!(is_released(&mut world, 1));
        assert_eq!(world.answer(2), refused(Refusal::Disabled));
    }
}

#[test]
fn after_a_lost_state_a_proof_of_the_private_key_enables() {
    let mut world = World::new(vec![]);
    world.disk.trust = Trust::None;
    world.restart(vec![provable(1), provable(2), config(3)], seconds(1), false);
    world.registry.handle_disable(world.id(2), world.now);
    let actions = world.run(seconds(121));
    let id = world.id(1);
    assert!(has_event(&actions, &Event::CheckStarted(id)));
    assert!(!has_event(&actions, &Event::CheckStarted(world.id(2))));
    assert!(!has_event(&actions, &Event::CheckStarted(world.id(3))));
    world
        .registry
        .handle_check_finished(id, crate::checker::LastCheck::Exited(1), world.now);
    world.actions();
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
    world.run(seconds(120));
    world
        .registry
        .handle_check_finished(id, crate::checker::LastCheck::Exited(0), world.now);
    let actions = world.actions();
    assert!(has_event(&actions, &Event::Enabled(id)));
    assert!(is_released(&mut world, 1));
    assert_eq!(world.left(1), Some(seconds(300)));
}

#[test]
fn after_a_lost_state_an_answered_ping_enables_nobody() {
    let pinged = config_with(1, |it| it.checker = crate::checker::Checker::ping());
    let mut world = World::new(vec![]);
    world.disk.trust = Trust::None;
    world.restart(vec![pinged], seconds(1), false);
    let id = world.id(1);
    let actions = world.run(seconds(121));
    assert!(!has_event(&actions, &Event::CheckStarted(id)));
    world.registry.handle_start_checker(id, world.now).unwrap();
    world
        .registry
        .handle_check_finished(id, crate::checker::LastCheck::Exited(0), world.now);
    world.actions();
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
    assert!(world.client(1).needs_proof());
}

#[test]
fn a_lost_state_without_clients_is_still_lost_when_they_come() {
    let mut world = World::new(vec![]);
    world.disk.trust = Trust::None;
    world.restart(vec![], seconds(1), false);
    world.restart(vec![], seconds(1), false);
    read(&mut world, true, vec![config(1)]);
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
    read(&mut world, false, vec![config(1)]);
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
    // Adding a client vouches for it.
    world
        .registry
        .handle_add(config(2), world.now, &mut |most| most)
        .unwrap();
    world.actions();
    assert!(is_released(&mut world, 2));
}

#[test]
fn a_client_that_left_before_a_rollback_waits_when_it_comes_back() {
    let mut world = World::new(vec![config(1), config(2)]);
    read(&mut world, true, vec![config(2)]);
    world.disk.trust = Trust::None;
    world.restart(vec![config(2)], seconds(1), false);
    world.registry.handle_enable(world.id(2), world.now);
    world.actions();
    assert_eq!(world.disk.trust, Trust::Full);
    read(&mut world, true, vec![config(1), config(2)]);
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
    assert!(world.client(1).needs_proof());
}
