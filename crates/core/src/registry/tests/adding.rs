//! Clients that are added at run time and stand in no file.

use super::world::*;
use crate::event::{Event, Refusal};
use crate::registry::{AddError, RequestAnswer};
use crate::settings::client::ClientConfig;
use crate::settings::client::{Setting, SettingChange};

fn add(world: &mut World, config: ClientConfig) -> Result<(), AddError> {
    let added = world
        .registry
        .handle_add(config, world.now, &mut |most| most / 2);
    world.actions();
    added.map(drop)
}

fn released(world: &World, number: u8) -> Option<RequestAnswer> {
    Some(RequestAnswer::Release(world.id(number)))
}

#[test]
fn an_added_client_is_served_and_survives_restarts_and_reloads() {
    let mut world = World::new(vec![config(1)]);
    add(&mut world, config(2)).unwrap();
    assert_eq!(world.answer(2), released(&world, 2));
    world
        .registry
        .reload(vec![config(1)], true, world.now, &mut |most| most / 2)
        .unwrap();
    world.actions();
    assert_eq!(world.answer(2), released(&world, 2));
    for _ in 0..2 {
        world.restart(vec![config(1)], seconds(1), true);
        assert_eq!(world.answer(2), released(&world, 2));
        assert!(world.client(2).is_added());
    }
    let secret = world.registry.secret(world.id(2)).unwrap();
    assert_eq!(secret.expose(), config(2).secret.expose());
}

#[test]
fn settings_changed_since_survive_a_restart_too() {
    let mut world = World::new(vec![]);
    add(&mut world, config(2)).unwrap();
    let id = world.id(2);
    let settings = [
        Setting::Host.to("elsewhere".to_owned()),
        SettingChange::Secret(crate::secret::Secret::new(b"newer".to_vec())),
    ];
    for setting in settings {
        world.registry.handle_set(id, setting, world.now).unwrap();
        world.actions();
    }
    world.restart(vec![], seconds(1), false);
    assert_eq!(world.client(2).settings().host, "elsewhere");
    let secret = world.registry.secret(world.id(2)).unwrap();
    assert_eq!(secret.expose(), b"newer");
}

#[test]
fn a_file_that_has_its_section_takes_it_over() {
    let mut world = World::new(vec![]);
    add(&mut world, config(2)).unwrap();
    world.restart(vec![config(2)], seconds(1), false);
    assert!(!world.client(2).is_added());
    world.restart(vec![], seconds(1), false);
    assert_eq!(world.registry.by_name("client2"), None);
}

#[test]
fn a_removed_client_leaves_no_row_and_can_be_added_again() {
    let mut world = World::new(vec![]);
    add(&mut world, config(2)).unwrap();
    let id = world.id(2);
    world.registry.handle_remove(id, world.now);
    let actions = world.actions();
    let name = config(2).name;
    assert!(has_event(&actions, &Event::Removed(id, name)));
    assert!(world.disk.load().clients.is_empty());
    assert_eq!(world.answer(2), refused(Refusal::UnknownKey));
    add(&mut world, config(2)).unwrap();
    assert_eq!(world.answer(2), released(&world, 2));
}

#[test]
fn a_name_or_key_belongs_to_one_client() {
    let mut world = World::new(vec![config(1), config(3)]);
    assert_eq!(add(&mut world, config(1)), Err(AddError::NameTaken));
    let mut same_key = config(1);
    same_key.name = config(2).name;
    let holder = config(1).name;
    assert_eq!(add(&mut world, same_key), Err(AddError::KeyTaken(holder)));
    let id = world.id(3);
    world.registry.handle_remove(id, world.now);
    world.actions();
    // The administrator's latest decision counts.
    assert_eq!(add(&mut world, config(3)), Ok(()));
    assert_eq!(world.answer(3), released(&world, 3));
}
