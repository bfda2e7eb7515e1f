//! The nonce by which a server tells two boots of a machine apart, from the seed in `/run`.
#![forbid(unsafe_code)]

use std::process::{Command, Stdio};

use nightlatch_interop::administered::Administered;
use nightlatch_interop::client;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::Project;

/// Two boot clients, one after the other, in a system whose `/run` is mounted with `options`. Returns the boot nonces
/// that the server recorded of their releases, and what the clients said.
fn two_requests(options: &str) -> ([String; 2], String) {
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password");
    let settings = [("check_on_release", "no")];
    let section = machine.section("checker = true\ninterval = PT1H\ntimeout = PT2H");
    let site = Administered::start_with(Project::Ours, &section, &settings);
    let boot = client::command(Project::Ours, &machine);
    let script = "mount -t tmpfs -o \"$0\" none /run && \"$@\" && \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(options)
        .arg(boot.get_program())
        .args(boot.get_args())
        .args(["--interface", "none", "--connect", &site.server.address()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(output.stdout, b"passwordpassword", "{said}");
    let log = site.nightlatch(&["log", "--json", "--kind", "released"]);
    let log = String::from_utf8(log.stdout).unwrap();
    let boots: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| record["record"]["boot"].as_str().expect(&log).to_owned())
        .collect();
    (boots.try_into().expect(&log), said)
}

#[test]
fn two_requests_of_one_boot_have_one_nonce() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let ([first, second], said) = two_requests("mode=755");
    assert_eq!(first, second);
    assert!(!said.contains("boot-seed"), "{said}");
}

#[test]
fn a_machine_without_a_place_for_the_seed_says_so_and_is_served() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let ([first, second], said) = two_requests("ro");
    assert_ne!(first, second);
    let line = "cannot use /run/nightlatch/boot-seed: Read-only file system";
    assert_eq!(said.matches(line).count(), 2, "{said}");
}
