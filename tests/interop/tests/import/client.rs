//! A stock client's keys, hooks and options.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::Project;

use crate::fixture::{Move, listing};

const FILES: [&str; 4] = [
    "pubkey.txt",
    "seckey.txt",
    "tls-pubkey.pem",
    "tls-privkey.pem",
];

/// A client with the keys of `machine`.
pub(crate) fn client(machine: &TestMachine) -> Move {
    let fixture = Move::new();
    let keys = fixture.from("etc/keys/mandos");
    fs::create_dir_all(&keys).unwrap();
    for name in FILES {
        fs::copy(machine.key_file(name), keys.join(name)).unwrap();
    }
    fixture
}

#[test]
fn keys_hooks_plugins_and_their_options_are_copied() {
    let machine = TestMachine::new("tower", Project::Stock, MachineKeys::Rsa4096, b"password");
    let fixture = client(&machine);
    fs::write(fixture.from("etc/keys/mandos/dhparams.pem"), "").unwrap();
    let mandos = fixture.from("etc/mandos");
    for folder in ["network-hooks.d", "plugins.d"] {
        fs::create_dir_all(mandos.join(folder)).unwrap();
    }
    let programs = ["network-hooks.d/bridge", "plugins.d/mine"];
    for program in programs {
        let file = mandos.join(program);
        fs::write(&file, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let options =
        "# none\n--options-for=mandos-client:--connect=[::1]:4711 # here\n--disable=plymouth\n";
    fs::write(mandos.join("plugin-runner.conf"), options).unwrap();
    let originals = listing(&fixture.from(""));

    let told = fixture.succeed(&[]);
    assert!(
        told.contains(&format!("key id {}", machine.key_id())),
        "{told}"
    );
    assert!(told.contains("dhparams.pem: "), "{told}");
    for name in FILES {
        let copy = fixture.to("etc/nightlatch/keys").join(name);
        assert_eq!(
            fs::read(&copy).unwrap(),
            fs::read(machine.key_file(name)).unwrap()
        );
        assert_eq!(
            fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let ours = fixture.to("etc/nightlatch");
    let mode = |path: &str| fs::metadata(ours.join(path)).unwrap().permissions().mode() & 0o777;
    for program in programs {
        assert!(told.contains(program), "{told}");
        assert_eq!(mode(program), 0o755);
    }
    assert_eq!(mode("plugins.d"), 0o700, "plugins see the password");
    assert_eq!(
        fs::read_to_string(ours.join("plugin-runner.conf")).unwrap(),
        options
    );
    assert_eq!(
        listing(&fixture.from("")),
        originals,
        "originals are as they were"
    );
}

#[test]
fn keys_that_are_there_are_kept() {
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password");
    let fixture = client(&machine);
    fixture.succeed(&[]);
    assert!(fixture.refuse(73, &[]).contains("etc/nightlatch/keys"));
    fixture.succeed(&["--force"]);
}

#[test]
fn half_a_set_of_keys_is_refused() {
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password");
    let fixture = client(&machine);
    fs::remove_file(fixture.from("etc/keys/mandos/tls-pubkey.pem")).unwrap();
    fixture.refuse(66, &[]);
}
