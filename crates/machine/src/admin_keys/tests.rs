use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nightlatch_openpgp::{
    AdminKeyOptions, Algorithm, GenerateOptions, generate, generate_admin_key,
};

use super::*;

const NOW: Wall = Wall::from_unix_micros(1_796_000_000_000_000);

fn admin(name: &str) -> String {
    let options = AdminKeyOptions {
        name,
        created: NOW,
        passphrase: None,
    };
    generate_admin_key(&options).unwrap().public_armored
}

fn machine(name: &str, expires: Option<Duration>) -> String {
    let options = GenerateOptions {
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        name,
        comment: "",
        email: "",
        created: NOW,
        expires,
    };
    generate(&options).unwrap().public_armored
}

fn read(folder: &Path, text: &str) -> Result<Vec<PublicKey>, String> {
    let file = folder.join("given");
    fs::write(&file, text).unwrap();
    read_new(&[file], NOW).map_err(|failure| failure.to_string())
}

#[test]
fn the_list_grows_and_has_each_key_once() {
    let root = tempfile::tempdir().unwrap();
    let pinned = PinnedAdminKeys::of(root.path());
    assert!(pinned.read().unwrap().is_none());
    let (alice, bob) = (admin("alice"), admin("bob"));
    let one = read(root.path(), &alice).unwrap();
    let both = read(root.path(), &format!("{alice}\n{bob}")).unwrap();
    let pin = |keys: &[PublicKey]| {
        let pinnings = pinned.pin(keys).unwrap().into_iter();
        pinnings.map(|it| it.action).collect::<Vec<_>>()
    };
    assert_eq!(pin(&one), [PinAction::Add]);
    assert_eq!(pin(&both), [PinAction::Keep, PinAction::Add]);
    let before = fs::read(pinned.path()).unwrap();
    assert_eq!(pin(&both), [PinAction::Keep; 2]);
    assert_eq!(fs::read(pinned.path()).unwrap(), before);
    let keys = pinned.read().unwrap().unwrap();
    let names: Vec<_> = keys.iter().map(PublicKey::user_id).collect();
    assert_eq!(names, [Some("alice".to_owned()), Some("bob".to_owned())]);
    let mode = fs::metadata(pinned.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn a_damaged_list_is_neither_believed_nor_replaced() {
    let root = tempfile::tempdir().unwrap();
    let pinned = PinnedAdminKeys::of(root.path());
    fs::create_dir_all(pinned.path().parent().unwrap()).unwrap();
    fs::write(pinned.path(), "what is this\n").unwrap();
    let keys = read(root.path(), &admin("alice")).unwrap();
    assert!(pinned.read().is_err());
    assert!(pinned.pin(&keys).is_err());
    assert_eq!(fs::read(pinned.path()).unwrap(), b"what is this\n");
}

#[test]
fn a_key_that_is_over_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let minute = Duration::from_secs(60);
    assert!(read(folder.path(), &machine("later", Some(minute))).is_ok());
    let file = folder.path().join("given");
    let failure = read_new(&[file], NOW.after(minute))
        .unwrap_err()
        .to_string();
    assert!(failure.contains("has expired"), "{failure}");
    assert!(read(folder.path(), "no key").is_err());
    assert!(read_new(&[folder.path().join("none")], NOW).is_err());
}

/// One key in its states, made with gpg: expires on 2026-12-01, extended by a year, and revoked after that.
const ALICE: &str = include_str!("alice.asc");
const EXTENDED: &str = include_str!("alice-extended.asc");
const REVOKED: &str = include_str!("alice-revoked.asc");

#[test]
fn a_later_state_of_a_key_replaces_the_earlier_one() {
    let root = tempfile::tempdir().unwrap();
    let pinned = PinnedAdminKeys::of(root.path());
    fs::create_dir_all(pinned.path().parent().unwrap()).unwrap();
    let bob = admin("bob");
    let text = format!("# mine\n{ALICE}# between\n{bob}");
    fs::write(pinned.path(), &text).unwrap();
    let expires = || {
        let keys = pinned.read().unwrap().unwrap();
        keys.iter().map(PublicKey::expires).collect::<Vec<_>>()
    };
    let before = expires();
    let action = |text: &str| {
        let keys = read(root.path(), text).unwrap();
        let pinnings = pinned.pin(&keys).unwrap();
        pinnings[0].action
    };
    assert_eq!(action(EXTENDED), PinAction::Update);
    let after = expires();
    assert!(after[0] > before[0], "{after:?}");
    assert_eq!((after.len(), after[1]), (2, None));
    let now = fs::read_to_string(pinned.path()).unwrap();
    assert!(now.starts_with("# mine\n-----BEGIN"), "{now}");
    assert!(now.ends_with(&format!("# between\n{bob}")), "{now}");
    for known in [EXTENDED, ALICE] {
        assert_eq!(action(known), PinAction::Keep);
        assert_eq!(fs::read_to_string(pinned.path()).unwrap(), now);
    }
}

#[test]
fn the_latest_of_several_copies_counts() {
    let root = tempfile::tempdir().unwrap();
    for copies in [[ALICE, EXTENDED], [EXTENDED, ALICE]] {
        let keys = read(root.path(), &copies.concat()).unwrap();
        let extended = read(root.path(), EXTENDED).unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].expires(), extended[0].expires());
    }
}

#[test]
fn a_revoked_key_stays_revoked() {
    let root = tempfile::tempdir().unwrap();
    for copies in [[REVOKED, EXTENDED], [EXTENDED, REVOKED]] {
        let failure = read(root.path(), &copies.concat()).unwrap_err();
        assert!(failure.contains("is revoked"), "{failure}");
    }
    let pinned = PinnedAdminKeys::of(root.path());
    fs::create_dir_all(pinned.path().parent().unwrap()).unwrap();
    fs::write(pinned.path(), REVOKED).unwrap();
    let keys = read(root.path(), EXTENDED).unwrap();
    let failure = pinned.pin(&keys).unwrap_err().to_string();
    assert!(failure.contains("is revoked"), "{failure}");
    assert_eq!(fs::read_to_string(pinned.path()).unwrap(), REVOKED);
}
