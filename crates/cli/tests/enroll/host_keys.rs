//! Host keys: beside an enrolment, alone, anew, removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::support::*;
use super::{Machine, SERVER, header};

const FILES: [&str; 4] = [
    "pubkey.txt",
    "seckey.txt",
    "tls-pubkey.pem",
    "tls-privkey.pem",
];

/// A folder for host keys in memory, which is no encrypted file system on any machine.
fn memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// A verb about host keys in `place`, with the machine's boot keys.
fn verb(machine: &Machine, verb: &str, place: &Path, more: &[&str]) -> Output {
    let mut command = nightlatch(&[verb, "--dir"]);
    command.arg(machine.at("keys"));
    command.arg("--host-key-dir").arg(place);
    run(command.args(more), b"")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The key id that a command printed, with the OpenPGP public key alone beside it.
fn printed_id(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    let section = format!("[x]\n{}", stdout(output));
    assert_eq!(section.matches(" =").count(), 2, "{section}");
    assert!(value(&section, "host_openpgp").len() > 300, "{section}");
    let id = value(&section, "host_key_id");
    assert_eq!(id.len(), 64, "{section}");
    id
}

/// Enrols a disk with host keys; the section, and where they are.
fn enrolled(machine: &Machine, disk: &Path) -> (String, PathBuf) {
    let place = machine.at("agent/keys");
    let more = ["--host-key-dir", path(&place), "--force"];
    (machine.enroll(&[disk], &more), place)
}

#[test]
fn an_enrolment_makes_them_and_names_them_after_the_key_id() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let (section, place) = enrolled(&machine, &disk);
    let lines: Vec<&str> = section.lines().collect();
    assert!(lines[2].starts_with("key_id = "), "{section}");
    assert!(lines[3].starts_with("host_key_id = "), "{section}");
    assert_ne!(value(&section, "host_key_id"), value(&section, "key_id"));
    assert_eq!(mode(&place), 0o700);
    for file in FILES {
        assert_eq!(mode(&place.join(file)), 0o600, "{file}");
        let boot = fs::read(machine.at("keys").join(file)).unwrap();
        assert!(fs::read(place.join(file)).unwrap() != boot, "{file}");
    }
    // They are used again, and a rotation keeps them in its section.
    let (again, _) = enrolled(&machine, &disk);
    let host_key_id = value(&section, "host_key_id");
    assert_eq!(value(&again, "host_key_id"), host_key_id);
    let key_file = machine.at("old");
    let more = ["--no-ssh", "--key-file", path(&key_file), path(&disk)];
    let rotated = verb(&machine, "rotate", &place, &more);
    assert!(rotated.status.success(), "{}", stderr(&rotated));
    assert_eq!(value(&stdout(&rotated), "host_key_id"), host_key_id);
}

#[test]
fn an_enrolment_without_them_says_so_and_goes_on() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let memory = memory();
    let place = memory.path().join("keys");
    let output = run(
        &mut machine.command(&[&disk], &["--host-key-dir", path(&place)]),
        b"",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("warning: no host keys: "), "{said}");
    assert!(said.contains("not encrypted (tmpfs of "), "{said}");
    assert!(
        said.contains("nightlatch enroll --host-key --force"),
        "{said}"
    );
    assert!(
        said.contains("proof of life: the server's default checker"),
        "{said}"
    );
    assert_eq!(value(&stdout(&output), "host_key_id"), "");
    assert!(!place.exists());
    // With keys in a directory of their own, and when they are not wanted.
    for more in [
        &[][..],
        &["--host-key-dir", path(&place), "--force", "--no-host-key"],
    ] {
        assert_eq!(value(&machine.enroll(&[&disk], more), "host_key_id"), "");
        assert!(!place.exists());
    }
}

#[test]
fn a_machine_that_is_enrolled_gets_them_alone() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let place = machine.at("agent/keys");
    let host = |more: &[&str]| {
        verb(
            &machine,
            "enroll",
            &place,
            &[&["--host-key"], more].concat(),
        )
    };
    let refused = host(&["--force"]);
    assert_eq!(refused.status.code(), Some(69));
    assert!(stderr(&refused).contains("this machine is not enrolled: expected boot keys in "));
    machine.enroll(&[&disk], &[]);
    let before = header(&disk);
    let name = ["--force", "--name", "web 1"];
    let dry = host(&[&name[..], &["--dry-run"]].concat());
    assert!(dry.status.success(), "{}", stderr(&dry));
    assert!(dry.stdout.is_empty() && !place.exists());
    assert!(
        stderr(&dry).contains("dry run: make host keys in "),
        "{}",
        stderr(&dry)
    );
    let made = host(&name);
    let id = printed_id(&made);
    let hint = "put these lines into [web 1] of clients.conf on the server, then run there: nightlatch reload";
    assert!(stderr(&made).contains(hint), "{}", stderr(&made));
    // Once: the next time it says the same, and --force does not replace them.
    let secret = fs::read(place.join("tls-privkey.pem")).unwrap();
    assert_eq!(printed_id(&host(&name)), id);
    assert!(fs::read(place.join("tls-privkey.pem")).unwrap() == secret);
    assert!(header(&disk) == before, "no disk is changed");
    let trusted = machine.at("keys/trusted-servers");
    assert!(!trusted.exists());
    host(&["--force", "--server-key-id", SERVER]);
    assert!(!trusted.exists(), "the boot client's list is as it was");
}

#[test]
fn a_file_system_that_is_not_encrypted_is_refused() {
    let machine = Machine::new();
    machine.enroll(&[&machine.disk("disk")], &[]);
    let memory = memory();
    let place = memory.path().join("keys");
    let host = |more: &[&str]| {
        verb(
            &machine,
            "enroll",
            &place,
            &[&["--host-key"], more].concat(),
        )
    };
    for more in [&[][..], &["--dry-run"]] {
        let refused = host(more);
        assert_eq!(refused.status.code(), Some(69), "{}", stderr(&refused));
        assert!(refused.stdout.is_empty() && !place.exists());
        assert!(
            stderr(&refused).contains("not encrypted (tmpfs of "),
            "{}",
            stderr(&refused)
        );
        assert!(
            stderr(&refused).contains("\nhint: --force"),
            "{}",
            stderr(&refused)
        );
    }
    let id = printed_id(&host(&["--force"]));
    // A new key is as bad there.
    let refused = verb(&machine, "rotate", &place, &["--host-key"]);
    assert_eq!(refused.status.code(), Some(69), "{}", stderr(&refused));
    assert_eq!(printed_id(&host(&[])), id);
}

#[test]
fn a_rotation_replaces_them_and_nothing_else() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    machine.enroll(&[&disk], &[]);
    let place = machine.at("agent/keys");
    let rotate = |more: &[&str]| {
        verb(
            &machine,
            "rotate",
            &place,
            &[&["--host-key"], more].concat(),
        )
    };
    let refused = rotate(&["--force"]);
    assert_eq!(refused.status.code(), Some(69));
    assert!(stderr(&refused).contains("hint: make the first ones: nightlatch enroll --host-key"));
    let first = printed_id(&verb(
        &machine,
        "enroll",
        &place,
        &["--host-key", "--force"],
    ));
    let before = header(&disk);
    let secret = fs::read(place.join("tls-privkey.pem")).unwrap();
    let dry = rotate(&["--force", "--dry-run"]);
    assert!(dry.status.success() && dry.stdout.is_empty());
    assert!(fs::read(place.join("tls-privkey.pem")).unwrap() == secret);
    let second = printed_id(&rotate(&["--force"]));
    assert_ne!(first, second);
    assert!(header(&disk) == before);
    for entry in fs::read_dir(&place).unwrap() {
        let kept = fs::read(entry.unwrap().path()).unwrap();
        assert!(kept != secret, "the old private key is gone");
    }
    // Keys that cannot be read any more are replaced too.
    fs::write(place.join("tls-privkey.pem"), "broken").unwrap();
    let broken = verb(&machine, "enroll", &place, &["--host-key"]);
    assert!(stderr(&broken).contains("\nhint: make new ones: nightlatch rotate --host-key"));
    assert_ne!(printed_id(&rotate(&["--force"])), second);
}

#[test]
fn boot_keys_that_were_copied_are_refused() {
    let machine = Machine::new();
    machine.enroll(&[&machine.disk("disk")], &[]);
    let place = machine.at("keys");
    let refused = verb(&machine, "enroll", &place, &["--host-key"]);
    assert_eq!(refused.status.code(), Some(65), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("are the boot keys"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn an_unenrolment_removes_them_with_the_boot_keys() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let unenroll = |place: &Path, more: &[&str]| {
        let output = verb(
            &machine,
            "unenroll",
            place,
            &[more, &[path(&disk)]].concat(),
        );
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let (_, place) = enrolled(&machine, &disk);
    let said = unenroll(&place, &["--dry-run"]);
    assert!(
        said.contains("dry run: removed the host keys in "),
        "{said}"
    );
    assert!(place.join(FILES[0]).exists());
    let said = unenroll(&place, &["--keep-keys"]);
    assert!(!said.contains("host keys"), "{said}");
    assert!(place.join(FILES[0]).exists());
    // What a run that was ended after the boot keys has left is finished by the next.
    enrolled(&machine, &disk);
    let said = unenroll(&place, &[]);
    assert!(said.contains("removed the host keys in "), "{said}");
    assert!(FILES.iter().all(|file| !place.join(file).exists()));
    assert!(!machine.at("keys/seckey.txt").exists());
}

#[test]
fn they_are_asked_for_without_a_disk() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    for line in [
        &["enroll", "--host-key", path(&disk)][..],
        &["enroll", "--host-key", "--no-host-key"],
        &["enroll"],
        &["rotate", "--host-key", path(&disk)],
        &["rotate", "--force", path(&disk)],
        &["rotate"],
    ] {
        let output = run(&mut nightlatch(line), b"");
        assert_eq!(output.status.code(), Some(64), "{line:?}");
    }
}
