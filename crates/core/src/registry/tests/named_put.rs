//! Named secrets that are put, removed, lost, and replaced by those of a section.

use super::guarded::{HOST, guarded};
use super::named::{in_file, name, revoked, sealed, world};
use super::world::*;
use crate::client::saved::{Change, Trust};
use crate::event::{Durability, Event, PutApproval, Refusal};
use crate::registry::{Action, NamedSecretError, NamedSecretInfo, RequestAnswer, SecretPlace};
use crate::sealed_secret::SealedSecret;
use crate::time::Wall;

#[test]
fn a_put_that_cannot_be_right_is_refused_with_its_reason() {
    let mut world = World::new(vec![guarded(|_| {}).remove(0), config(2)]);
    let wall = world.now.wall;
    let day_ahead = |millis: i64| {
        let now = wall.unix_micros() / 1000;
        (now + 24 * 60 * 60 * 1000 + millis).unsigned_abs()
    };
    let mut fails = |sealed: SealedSecret| {
        let error = world.put(sealed.clone()).unwrap_err();
        let id = world.id(1);
        let checked = world.registry.check_put_secret(id, &sealed, world.now);
        assert_eq!(checked, Err(error.clone()), "a dry run says the same");
        assert_eq!(world.actions(), []);
        error
    };
    let other = sealed(5, |it| it.host = key(9));
    assert!(matches!(fails(other), NamedSecretError::OtherHost { .. }));
    let ahead = sealed(day_ahead(1), |_| {});
    assert!(matches!(fails(ahead), NamedSecretError::Ahead { .. }));
    let expired = sealed(5, |it| {
        it.created = Wall::from_unix_micros(0);
        it.expires = Some(Wall::from_unix_micros(1_000_000));
    });
    assert!(matches!(fails(expired), NamedSecretError::Expired { .. }));
    let id = world.id(2);
    let error = world
        .registry
        .handle_put_secret(id, sealed(5, |_| {}), None, world.now);
    assert!(matches!(error, Err(NamedSecretError::NoHostKey(_))));
    world.put(sealed(day_ahead(0), |_| {})).unwrap();
    let gone = world.id(1);
    world.registry.handle_remove(gone, world.now);
    let error = world
        .registry
        .handle_put_secret(gone, sealed(5, |_| {}), None, world.now);
    assert_eq!(error, Err(NamedSecretError::NoSuchClient));
}

#[test]
fn serials_rise_also_over_a_removal_and_a_restart() {
    let mut world = world();
    let is_old = |found: Result<Vec<Action>, NamedSecretError>, known| {
        let error = found.unwrap_err();
        assert!(
            matches!(error, NamedSecretError::NotNewer { known: it, .. } if it == known),
            "{error}"
        );
    };
    world.put(sealed(5, |_| {})).unwrap();
    is_old(world.put(sealed(5, |it| it.created = Wall::default())), 5);
    is_old(world.put(sealed(4, |_| {})), 5);
    assert!(matches!(
        world.remove("other"),
        Err(NamedSecretError::NoSuchSecret { .. })
    ));
    world.remove("pin").unwrap();
    assert!(world.remove("pin").is_err());
    for _ in 0..2 {
        is_old(world.put(sealed(5, |_| {})), 5);
        world.restart(guarded(|_| {}), seconds(1), false);
        assert_eq!(world.answer_to_get(), refused(Refusal::NoSuchSecret));
    }
    world.put(sealed(6, |_| {})).unwrap();
    assert!(world.is_released_named());
}

#[test]
fn a_machine_has_a_bounded_number_of_them() {
    let mut world = world();
    let numbered = |number: usize| sealed(5, |it| it.name = name(&format!("n{number}")));
    for number in 0..64 {
        world.put(numbered(number)).unwrap();
    }
    let error = world.put(numbered(64)).unwrap_err();
    assert!(matches!(error, NamedSecretError::TooMany(_)));
    // One in place of another, and one after a removal.
    world.put(sealed(6, |it| it.name = name("n0"))).unwrap();
    world.remove("n0").unwrap();
    world.put(numbered(64)).unwrap();
    // The serials of those that were removed are bounded too.
    for number in 64..64 + 300 {
        world.pass(seconds(1));
        world.remove(&format!("n{number}")).unwrap();
        world.put(numbered(number + 1)).unwrap();
    }
    world.disk.flush();
    assert_eq!(world.disk.secrets.len(), 64 + 256);
    // The last one is remembered, also where the clock was set back.
    world.now.wall = Wall::from_unix_micros(0);
    world.remove("n364").unwrap();
    let error = world.put(sealed(4, |it| it.name = name("n364")));
    // Also after the next removal.
    world.remove("n1").unwrap();
    let again = world.put(sealed(4, |it| it.name = name("n364")));
    assert!(again.is_err(), "{again:?}");
    assert!(
        matches!(error, Err(NamedSecretError::NotNewer { .. })),
        "{error:?}"
    );
}

#[test]
fn after_a_loss_a_removed_secret_needs_a_person_once_it_is_put_again() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    world.remove("pin").unwrap();
    world.disk.trust = Trust::None;
    world.restart(guarded(|_| {}), seconds(1), false);
    world.beat(1);
    world.put(sealed(6, |_| {})).unwrap();
    assert_eq!(world.answer_to_get(), None);
    world.put_as(sealed(6, |_| {}), false).unwrap();
    assert!(world.is_released_named());
}

#[test]
fn a_put_is_durable_before_anything_follows_it() {
    let mut world = world();
    let actions = world.put(sealed(5, |_| {})).unwrap();
    let stored = position(&actions, |it| {
        matches!(
            it,
            Action::Persist(Change::PutSecret { .. }, Durability::Before)
        )
    });
    let told = position(&actions, |it| {
        matches!(it, Action::Event(Event::SecretPut { serial: 5, .. }))
    });
    assert!(stored < told);
    let actions = world.remove("pin").unwrap();
    let is_stored = |it: &Action| {
        let durability = Durability::BeforeUnlessFailing;
        matches!(it, Action::Persist(Change::PutSecret { .. }, found) if *found == durability)
    };
    assert!(actions.iter().any(is_stored));
}

/// A crash between the change and its answer: it is there, or it is not, and nothing else.
#[test]
fn after_a_crash_before_it_was_durable_there_is_no_secret() {
    let mut world = world();
    let before = world.disk.clone();
    world.put(sealed(5, |_| {})).unwrap();
    world.disk = before;
    world.restart(guarded(|_| {}), seconds(1), false);
    assert_eq!(world.answer_to_get(), refused(Refusal::NoSuchSecret));
    // It was never acknowledged, so it may come again.
    world.put(sealed(5, |_| {})).unwrap();
    world.restart(guarded(|_| {}), seconds(1), true);
    assert!(world.is_released_named());
}

/// An older state brings a removed secret back.
#[test]
fn after_a_loss_each_request_waits_for_a_person_until_a_put_lifts_that() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    let older = world.disk.clone();
    world.remove("pin").unwrap();
    world.disk = older;
    world.disk.trust = Trust::None;
    world.restart(guarded(|_| {}), seconds(1), false);
    assert_eq!(world.answer_to_get(), refused(Refusal::Disabled));
    // Its agent is the proof that enables it.
    world.beat(1);
    for _ in 0..2 {
        let (request, actions) = world.get();
        assert_eq!(answer_to(&actions, request), None);
        world.restart(guarded(|_| {}), seconds(1), false);
    }
    // Another value alone lifts nothing.
    world.put(sealed(6, |_| {})).unwrap();
    assert_eq!(world.answer_to_get(), None);
    world.put_as(sealed(6, |_| {}), false).unwrap();
    assert!(world.is_released_named());
}

#[test]
fn a_put_that_says_nothing_of_approval_leaves_it_as_it_is() {
    let mut world = world();
    let put = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Event(Event::SecretPut { approval, .. }) => Some(*approval),
            _ => None,
        })
    };
    world.put_as(sealed(5, |_| {}), true).unwrap();
    let actions = world.put(sealed(6, |_| {})).unwrap();
    assert_eq!(put(&actions), Some(PutApproval::Needed));
    assert_eq!(world.answer_to_get(), None);
    let actions = world.put_as(sealed(7, |_| {}), false).unwrap();
    assert_eq!(put(&actions), Some(PutApproval::Lifted));
    assert!(world.is_released_named());
    let actions = world.put(sealed(8, |_| {})).unwrap();
    assert_eq!(put(&actions), Some(PutApproval::None));
}

/// Another administrator may have put it just now.
#[test]
fn a_removal_of_one_value_leaves_another() {
    let mut world = world();
    world.put(sealed(6, |_| {})).unwrap();
    let remove = |world: &mut World, serial| {
        let id = world.id(1);
        let name = name("pin");
        world
            .registry
            .handle_remove_secret(id, &name, Some(serial), world.now)
    };
    let error = remove(&mut world, 5).unwrap_err();
    let is_other = matches!(
        error,
        NamedSecretError::OtherSerial {
            expected: 5,
            found: 6,
            ..
        }
    );
    assert!(is_other, "{error}");
    assert!(world.is_released_named());
    remove(&mut world, 6).unwrap();
    assert_eq!(world.answer_to_get(), refused(Refusal::NoSuchSecret));
}

/// The section is another one, so that nothing in it changed.
#[test]
fn a_value_that_another_section_replaced_does_not_come_back() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    let mut renamed = in_file(6, true);
    renamed[0].name = named(1, "renamed").name;
    let actions = read(&mut world, true, renamed);
    let put = Event::SecretPut {
        client: world.registry.by_name("renamed").unwrap(),
        name: name("pin"),
        serial: 6,
        approval: PutApproval::Needed,
    };
    assert!(has_event(&actions, &put));
    let mut without = guarded(|_| {});
    without[0].name = named(1, "renamed").name;
    read(&mut world, true, without);
    assert_eq!(world.answer_to_get(), refused(Refusal::NoSuchSecret));
}

#[test]
fn the_file_wins_and_what_it_replaced_does_not_come_back() {
    for live in [true, false] {
        let mut world = world();
        world.put(sealed(5, |_| {})).unwrap();
        read(&mut world, live, in_file(6, false));
        let (request, _) = world.get();
        assert_eq!(world.released(request), Ok(6));
        let is_in_file = |error: NamedSecretError| matches!(error, NamedSecretError::InFile { .. });
        assert!(is_in_file(world.put(sealed(7, |_| {})).unwrap_err()));
        assert!(is_in_file(world.remove("pin").unwrap_err()));
        read(&mut world, live, guarded(|_| {}));
        assert_eq!(world.answer_to_get(), refused(Refusal::NoSuchSecret));
        assert!(world.put(sealed(6, |_| {})).is_err());
        world.put(sealed(7, |_| {})).unwrap();
        assert!(world.is_released_named());
    }
}

#[test]
fn a_reload_tells_what_it_changed_and_applies_policies_to_what_waits() {
    let mut world = World::new(in_file(5, true));
    let (request, actions) = world.get();
    assert_eq!(answer_to(&actions, request), None);
    let actions = read(&mut world, true, in_file(5, false));
    let released = Some(RequestAnswer::Release(world.id(1)));
    assert_eq!(answer_to(&actions, request), released);
    let policy = Event::Changed(world.id(1), vec!["policy"]);
    assert!(has_event(&actions, &policy));
    let actions = read(&mut world, true, in_file(6, false));
    let put = Event::SecretPut {
        client: world.id(1),
        name: name("pin"),
        serial: 6,
        approval: PutApproval::None,
    };
    assert!(has_event(&actions, &put));
    assert_eq!(revoked(&actions, request), Some(Refusal::SecretChanged));
    let actions = read(&mut world, true, guarded(|_| {}));
    let removed = Event::SecretRemoved {
        client: Some(world.id(1)),
        host: Some(key(HOST)),
        name: name("pin"),
    };
    assert!(has_event(&actions, &removed));
    assert_eq!(read(&mut world, true, guarded(|_| {})), []);
}

#[test]
fn a_policy_of_the_section_counts_for_what_is_put() {
    let mut sections = in_file(1, true);
    sections[0].named.sealed.clear();
    let mut world = World::new(sections);
    world.put(sealed(5, |_| {})).unwrap();
    assert_eq!(world.answer_to_get(), None);
    assert!(world.registry.named_secrets(None)[0].approval);
}

#[test]
fn secrets_belong_to_the_host_key_and_not_to_the_section() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    let mut renamed = guarded(|_| {});
    renamed[0].name = named(1, "renamed").name;
    read(&mut world, true, renamed);
    assert!(world.is_released_named());
    // Another host key has none of them, and the old one no client.
    read(
        &mut world,
        true,
        guarded(|it| it.host_key_id = Some(key(102))),
    );
    let (request, actions) = world.get_as(102, "pin", false);
    assert_eq!(answer_to(&actions, request), refused(Refusal::NoSuchSecret));
    let (request, actions) = world.get();
    assert_eq!(answer_to(&actions, request), refused(Refusal::UnknownKey));
    let orphan = NamedSecretInfo {
        client: None,
        host: key(HOST),
        name: name("pin"),
        serial: 5,
        created: at_boot().wall,
        expires: None,
        approval: false,
        size: sealed(5, |_| {}).as_bytes().len(),
        source: SecretPlace::Runtime,
    };
    assert_eq!(world.registry.named_secrets(None), [orphan]);
    assert_eq!(world.registry.named_secrets(Some(world.id(1))), []);
    let remove = |world: &mut World| {
        world
            .registry
            .handle_remove_orphaned_secret(&key(HOST), &name("pin"), None, world.now)
    };
    remove(&mut world).unwrap();
    assert!(remove(&mut world).is_err());
    assert_eq!(world.registry.named_secrets(None), []);
}

#[test]
fn the_list_has_the_value_in_force() {
    let mut sections = in_file(6, true);
    sections.push(config(2));
    let mut world = World::new(sections);
    world.put(sealed(5, |it| it.name = name("aaa"))).unwrap();
    let listed = world.registry.named_secrets(Some(world.id(1)));
    let listed: Vec<_> = listed
        .iter()
        .map(|it| (it.name.as_str(), it.serial, it.approval, it.source.as_str()))
        .collect();
    assert_eq!(
        listed,
        [("aaa", 5, false, "runtime"), ("pin", 6, true, "file")]
    );
    assert_eq!(world.registry.named_secrets(Some(world.id(2))), []);
    assert_eq!(world.registry.named_secrets(None).len(), 2);
}
