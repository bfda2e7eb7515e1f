//! Tests of restarts, changed files and clock jumps.

use std::time::Duration;

use super::world::*;
use crate::checker::LastCheck;
use crate::client::saved::{ClientPresence, End};
use crate::event::{DisableReason, Event, Refusal};
use crate::registry::{Action, RequestAnswer};
use crate::secret::Secret;
use crate::settings::client::{Setting, SettingChange};
use crate::time::{BootId, Wall};

const BOTH: [bool; 2] = [false, true];

#[test]
fn a_deadline_holds_over_a_restart() {
    for reboot in BOTH {
        let mut world = World::new(vec![config(1)]);
        world.run(seconds(100));
        world.restart(vec![config(1)], seconds(50), reboot);
        assert_eq!(world.left(1), Some(seconds(150)));
        world.restart(vec![config(1)], seconds(50), false);
        assert_eq!(world.left(1), Some(seconds(100)));
    }
}

#[test]
fn a_clock_that_went_backwards_extends_nothing() {
    let mut world = World::new(vec![config(1)]);
    world.now.wall = Wall::from_unix_micros(0);
    world.restart(vec![config(1)], Duration::ZERO, false);
    assert_eq!(world.left(1), Some(seconds(300)));
    world.restart(vec![config(1)], Duration::ZERO, true);
    assert_eq!(world.left(1), Some(seconds(300)));
    // Within this boot the monotonic clock counts, whatever the wall clock does.
    world.run(seconds(100));
    world.now.wall = Wall::from_unix_micros(0);
    world.restart(vec![config(1)], Duration::ZERO, false);
    assert_eq!(world.left(1), Some(seconds(200)));
}

/// "Expired while server was down: never checked OK: disable; last status not 0: disable; else
/// expires = now + timeout".
#[test]
fn expiry_while_the_server_was_down_depends_on_the_last_check() {
    for (last, lives) in [
        (None, false),
        (Some(LastCheck::Exited(1)), false),
        (Some(LastCheck::Signaled(9)), false),
        (Some(LastCheck::Exited(0)), true),
    ] {
        for reboot in BOTH {
            let mut world = World::new(vec![config(1)]);
            let id = world.id(1);
            world.run(seconds(60));
            if let Some(last) = last {
                world.registry.handle_check_finished(id, last, world.now);
                world.actions();
                world.disk.flush();
            }
            let actions = world.restart(vec![config(1)], seconds(301), reboot);
            let event = Event::Disabled(world.id(1), DisableReason::ExpiredWhileDown);
            assert_eq!(has_event(&actions, &event), !lives);
            assert_eq!(world.left(1), lives.then_some(seconds(300)));
        }
    }
}

/// The deadline was at 300 s, the server was down until 700 s, and the file says 600 s in place of 300 s now.
#[test]
fn a_longer_timeout_does_not_give_back_the_time_that_the_server_was_down() {
    for reboot in BOTH {
        for (timeout, left) in [(600, None), (800, Some(seconds(100)))] {
            let mut world = World::new(vec![config(1)]);
            let mut longer = config(1);
            longer.settings.timeout = seconds(timeout);
            world.restart(vec![longer], seconds(700), reboot);
            assert_eq!(world.left(1), left, "reboot: {reboot}");
        }
    }
}

/// A server that was killed is started again at once, so its end does not explain a missing check and renews no
/// client.
#[test]
fn an_expired_client_is_renewed_only_if_the_end_of_the_last_run_explains_it() {
    let same = BootId::from_bytes([0; 16]);
    for (end, reboot, lives) in [
        (End::Clean, false, true),
        (End::Clean, true, true),
        (End::Cut(same), false, false),
        (End::Cut(same), true, true),
        (End::Unknown, true, false),
    ] {
        let mut world = World::new(vec![config(1)]);
        world
            .registry
            .handle_checked_ok(world.id(1), world.now)
            .unwrap();
        world.actions();
        world.disk.flush();
        world.disk.end = Some(end);
        world.restart(vec![config(1)], seconds(301), reboot);
        assert_eq!(
            world.left(1),
            lives.then_some(seconds(300)),
            "{end:?} {reboot}"
        );
    }
}

#[test]
fn keeping_the_server_down_repeatedly_gains_one_timeout() {
    let mut world = World::new(vec![config(1)]);
    world
        .registry
        .handle_checked_ok(world.id(1), world.now)
        .unwrap();
    world.actions();
    world.disk.flush();
    world.restart(vec![config(1)], seconds(301), true);
    assert_eq!(world.left(1), Some(seconds(300)));
    world.restart(vec![config(1)], seconds(301), true);
    assert_eq!(world.left(1), None);
}

#[test]
fn a_check_that_fails_after_a_success_is_not_lost() {
    let mut world = World::new(vec![config(1)]);
    world
        .registry
        .handle_checked_ok(world.id(1), world.now)
        .unwrap();
    world.actions();
    world.disk.flush();
    world.run(seconds(60));
    let result = LastCheck::Exited(1);
    world
        .registry
        .handle_check_finished(world.id(1), result, world.now);
    world.actions();
    world.disk.crash();
    world.restart(vec![config(1)], seconds(400), false);
    assert_eq!(world.left(1), None);
}

#[test]
fn disabling_and_removing_survive_a_crash() {
    let mut world = World::new(vec![config(1), config(2)]);
    world.registry.handle_disable(world.id(1), world.now);
    world.registry.handle_remove(world.id(2), world.now);
    world.actions();
    world.disk.crash();
    world.restart(vec![config(1), config(2)], Duration::ZERO, true);
    assert_eq!(world.answer(1), refused(Refusal::Disabled));
    assert_eq!(world.answer(2), refused(Refusal::UnknownKey));
}

#[test]
fn nothing_of_a_removed_clients_secret_is_kept() {
    let mut world = World::new(vec![config(1)]);
    let setting = SettingChange::Secret(Secret::new(b"own".to_vec()));
    world
        .registry
        .handle_set(world.id(1), setting, world.now)
        .unwrap();
    world.registry.handle_remove(world.id(1), world.now);
    world.actions();
    assert_eq!(
        world.disk.load().clients[0].presence,
        ClientPresence::Removed
    );
}

/// "Client removed at run time but still in clients.conf stays removed after restart; if it is then
/// also removed from clients.conf the server crashes at start": here it stays removed, whatever the file says,
/// until an administrator adds it.
#[test]
fn a_removed_client_stays_removed_until_it_is_added() {
    let mut world = World::new(vec![config(1)]);
    world.registry.handle_remove(world.id(1), world.now);
    world.actions();
    world
        .registry
        .reload(vec![config(1)], true, world.now, &mut |most| most)
        .unwrap();
    assert_eq!(world.actions(), []);
    world.restart(vec![config(1)], Duration::ZERO, false);
    assert_eq!(world.registry.iter().len(), 0);
    world.restart(vec![], Duration::ZERO, false);
    assert!(world.disk.load().clients.is_empty());
    world.restart(vec![config(1)], Duration::ZERO, false);
    assert_eq!(world.answer(1), refused(Refusal::UnknownKey));
    world
        .registry
        .handle_add(config(1), world.now, &mut |most| most)
        .unwrap();
    world.actions();
    assert_eq!(world.answer(1), Some(RequestAnswer::Release(world.id(1))));
    world.restart(vec![config(1)], Duration::ZERO, false);
    assert_eq!(world.answer(1), Some(RequestAnswer::Release(world.id(1))));
    assert_eq!(world.disk.load().tombstones, []);
}

/// "If new-config value differs from old-config value: take new config; else keep saved value".
#[test]
fn a_changed_file_counts_setting_by_setting() {
    for live in BOTH {
        let mut world = World::new(vec![config(1)]);
        for setting in [
            Setting::Host.to("set".to_owned()),
            Setting::ExtendedTimeout.to(seconds(7)),
        ] {
            world
                .registry
                .handle_set(world.id(1), setting, world.now)
                .unwrap();
        }
        world.actions();
        let changed = || config_with(1, |it| it.host = "filed".into());
        if live {
            world
                .registry
                .reload(vec![changed()], true, world.now, &mut |most| most)
                .unwrap();
            world.actions();
        } else {
            world.restart(vec![changed()], Duration::ZERO, false);
        }
        let settings = world.client(1).settings();
        assert_eq!(settings.host, "filed");
        assert_eq!(settings.extended_timeout, seconds(7));
        // It is saved as the file's secret.
        world.restart(vec![changed()], Duration::ZERO, false);
        assert_eq!(world.client(1).settings().extended_timeout, seconds(7));
    }
}

#[test]
fn a_secret_set_at_run_time_counts_until_the_file_has_another() {
    for live in BOTH {
        let mut world = World::new(vec![config(1)]);
        let own = b"set at run time".to_vec();
        let setting = SettingChange::Secret(Secret::new(own.clone()));
        world
            .registry
            .handle_set(world.id(1), setting, world.now)
            .unwrap();
        world.actions();
        world.restart(vec![config(1)], Duration::ZERO, true);
        let secret = world.registry.secret(world.id(1)).unwrap();
        assert_eq!(secret.expose(), own);
        let mut other = config(1);
        other.secret = Secret::new(b"filed".to_vec());
        if live {
            world
                .registry
                .reload(vec![other], true, world.now, &mut |most| most)
                .unwrap();
        } else {
            world.restart(vec![other], Duration::ZERO, false);
        }
        let secret = world.registry.secret(world.id(1)).unwrap();
        assert_eq!(secret.expose(), b"filed");
    }
}

#[test]
fn the_file_enables_and_disables_only_when_it_changes() {
    let disabled = || config_with(1, |it| it.enabled = false);
    for live in BOTH {
        let mut world = World::new(vec![config(1)]);
        let change = |world: &mut World, file| {
            if live {
                world
                    .registry
                    .reload(vec![file], true, world.now, &mut |most| most)
                    .unwrap();
                world.actions()
            } else {
                world.restart(vec![file], Duration::ZERO, false)
            }
        };
        let actions = change(&mut world, disabled());
        let event = Event::Disabled(world.id(1), DisableReason::Configuration);
        assert!(has_event(&actions, &event));
        world.registry.handle_enable(world.id(1), world.now);
        world.actions();
        change(&mut world, disabled());
        assert_eq!(world.left(1), Some(seconds(300)));
        world.registry.handle_disable(world.id(1), world.now);
        world.actions();
        let actions = change(&mut world, config(1));
        assert!(has_event(&actions, &Event::Enabled(world.id(1))));
        assert_eq!(world.left(1), Some(seconds(300)));
    }
}

#[test]
fn a_reload_with_another_key_ends_the_requests_of_the_old_one() {
    let delayed = || config_with(1, |it| it.approval_delay = seconds(30));
    let mut world = World::new(vec![delayed(), config(2)]);
    let (waiting, _) = world.ask(1);
    let (granted, _) = world.ask(2);
    let mut files = vec![delayed(), config(2)];
    files[0].settings.key_id = Some(key(3));
    files[1].settings.key_id = Some(key(4));
    world
        .registry
        .reload(files, true, world.now, &mut |most| most)
        .unwrap();
    let actions = world.actions();
    assert_eq!(answer_to(&actions, waiting), refused(Refusal::UnknownKey));
    assert!(actions.contains(&Action::Revoke { request: granted }));
    assert_eq!(world.answer(1), refused(Refusal::UnknownKey));
    assert_eq!(world.answer(4), Some(RequestAnswer::Release(world.id(2))));
}

#[test]
fn a_reload_adds_new_and_removes_missing_sections() {
    let mut world = World::new(vec![config(1), config(2)]);
    let (old, gone) = (world.id(2), world.id(1));
    let (request, _) = world.ask(1);
    world.run(seconds(10));
    world
        .registry
        .reload(vec![config(2), config(3)], true, world.now, &mut |most| {
            most
        })
        .unwrap();
    let actions = world.actions();
    assert!(actions.contains(&Action::Revoke { request }));
    assert!(has_event(&actions, &Event::Added(world.id(3))));
    assert!(world.registry.client(gone).is_none());
    assert_eq!(world.id(2), old);
    assert_eq!(world.left(2), Some(seconds(290)));
    assert_eq!(world.left(3), Some(seconds(300)));
    assert_eq!(world.disk.load().clients.len(), 2);
}

#[test]
fn an_unchanged_restart_in_the_same_boot_writes_nothing() {
    let mut world = World::new(vec![config(1)]);
    let actions = world.restart(vec![config(1)], seconds(5), false);
    assert_eq!(actions, []);
}

/// Whoever enables it while the server is down vouches for it as much as one who does so while it runs.
#[test]
fn a_client_that_the_file_enables_has_time_to_boot_whenever_the_file_is_read() {
    let disabled = || vec![config_with(1, |settings| settings.enabled = false)];
    for live in [true, false] {
        let mut world = World::new(vec![config(1)]);
        let (request, _) = world.ask(1);
        world.registry.handle_delivered(request, world.now);
        world.actions();
        read(&mut world, live, disabled());
        read(&mut world, live, vec![config(1)]);
        let (request, _) = world.ask(1);
        world.registry.handle_delivered(request, world.now);
        world.actions();
        assert_eq!(world.left(1), Some(seconds(900)), "{live}");
    }
}
