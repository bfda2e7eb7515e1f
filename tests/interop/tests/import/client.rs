//! A stock client's keys, hooks and options.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nightlatch_interop::machine::{Keys, Machine};
use nightlatch_interop::programs::Whose;

use crate::house::{Move, listing};

const FILES: [&str; 4] = [
    "pubkey.txt",
    "seckey.txt",
    "tls-pubkey.pem",
    "tls-privkey.pem",
];

/// A client with the keys of `machine`.
fn client(machine: &Machine) -> Move {
    let house = Move::new();
    let keys = house.from("etc/keys/mandos");
    fs::create_dir_all(&keys).unwrap();
    for name in FILES {
        fs::copy(machine.key_file(name), keys.join(name)).unwrap();
    }
    house
}

#[test]
fn keys_and_hooks_are_copied_and_options_told() {
    let machine = Machine::new("tower", Whose::Stock, Keys::Rsa4096, b"password");
    let house = client(&machine);
    fs::write(house.from("etc/keys/mandos/dhparams.pem"), "").unwrap();
    let mandos = house.from("etc/mandos");
    for folder in ["network-hooks.d", "plugins.d"] {
        fs::create_dir_all(mandos.join(folder)).unwrap();
    }
    let hook = mandos.join("network-hooks.d/bridge");
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(mandos.join("plugins.d/mine"), "").unwrap();
    let options =
        "# none\n--options-for=mandos-client:--connect=[::1]:4711 # here\n--disable=plymouth\n";
    fs::write(mandos.join("plugin-runner.conf"), options).unwrap();
    let originals = listing(&house.from(""));

    let told = house.succeed(&[]);
    assert!(
        told.contains(&format!("key id {}", machine.key_id())),
        "{told}"
    );
    for line in [
        "dhparams.pem: ",
        "plugin-runner.conf:2: --options-for=mandos-client:--connect=[::1]:4711: start nightlatch-boot client with --connect=[::1]:4711\n",
        "plugin-runner.conf:3: --disable=plymouth: ",
        "plugins.d/mine: ",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    for name in FILES {
        let copy = house.to("etc/nightlatch/keys").join(name);
        assert_eq!(
            fs::read(&copy).unwrap(),
            fs::read(machine.key_file(name)).unwrap()
        );
        assert_eq!(
            fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let copy = house.to("etc/nightlatch/network-hooks.d/bridge");
    assert_eq!(
        fs::metadata(copy).unwrap().permissions().mode() & 0o777,
        0o755
    );
    assert_eq!(
        listing(&house.from("")),
        originals,
        "originals are as they were"
    );
}

#[test]
fn keys_that_are_there_are_kept() {
    let machine = Machine::new("tower", Whose::Ours, Keys::Curve25519, b"password");
    let house = client(&machine);
    house.succeed(&[]);
    assert!(house.refuse(73, &[]).contains("etc/nightlatch/keys"));
    house.succeed(&["--force"]);
}

#[test]
fn half_a_set_of_keys_is_refused() {
    let machine = Machine::new("tower", Whose::Ours, Keys::Curve25519, b"password");
    let house = client(&machine);
    fs::remove_file(house.from("etc/keys/mandos/tls-pubkey.pem")).unwrap();
    house.refuse(66, &[]);
}
