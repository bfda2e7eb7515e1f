//! The boot client tries whether a boot would get the password, at our server and a stock one.

use std::process::Output;

use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::client;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::{Home, TestServer};

/// The first check counts as a proof of life; the server lets it wait for at most one interval.
const UP: &str = "checker = true\ntimeout = PT5M\ninterval = PT2S";

fn rehearse(machine: &TestMachine, address: &str) -> RunningProgram {
    let mut command = client::command(Project::Ours, machine);
    command.args(["--connect", address, "--rehearsal", "--retry", "0.2"]);
    RunningProgram::start("client", &mut command)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_machine_that_is_up_gets_its_password_and_its_time_and_nothing_changes() {
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password");
    let home = Home::new(&machine.section(UP), None);
    home.set("allow_rehearsals", "yes");
    let server = TestServer::start(Project::Ours, home);
    let output = rehearse(&machine, &server.address()).finish();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(output.stdout, b"password");
    let line = said.lines().find(|line| line.contains("rehearsed: "));
    let line = line.expect("a line about the rehearsal");
    assert!(
        line.contains(&format!("server={} ", server.key_id())),
        "{line}"
    );
    assert!(line.ends_with("timeout=300 interval=2 alarm=no"), "{line}");
    // Another one at once: the first was no release that a second one would be suspicious after.
    let again = rehearse(&machine, &server.address()).finish();
    assert_eq!(again.stdout, b"password");
    let log = server.running().log().join("\n");
    assert!(!log.contains("alarm"), "{log}");
    assert!(!log.contains("secret delivered"), "{log}");
}

#[test]
fn a_rehearsal_raises_an_alarm_unless_an_administrator_allowed_it() {
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password");
    let site = Administered::start(Project::Ours, &machine.section(UP));
    let address = site.server.address();
    let alarms = || {
        let output = site.nightlatch(&["log", "--alarms"]);
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    let rehearsed = |alarm: &str| {
        let output = rehearse(&machine, &address).finish();
        let said = said(&output);
        assert_eq!(output.stdout, b"password", "{said}");
        assert!(said.contains(&format!(" alarm={alarm}")), "{said}");
    };
    rehearsed("yes");
    assert_eq!(alarms(), 1);
    let allowed = site.nightlatch(&["rehearsal", "tower", "--for", "10m"]);
    assert!(allowed.status.success(), "{allowed:?}");
    rehearsed("no");
    assert_eq!(alarms(), 1);
    let ended = site.nightlatch(&["rehearsal", "tower", "--for", "0"]);
    assert!(ended.status.success(), "{ended:?}");
    rehearsed("yes");
    assert_eq!(alarms(), 2);
    let log = site.nightlatch(&["log"]);
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    for kind in ["rehearsed", "rehearsals-allowed"] {
        assert!(log.contains(kind), "{log}");
    }
    assert!(!log.contains("released"), "{log}");
    let refused = site.nightlatch(&["rehearsal", "tower", "--for", "25h"]);
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
}

#[test]
fn the_reason_of_a_refusal_is_told() {
    for (settings, reason) in [
        ("checker = true\nenabled = no", "disabled"),
        ("checker = false", "rehearsal-unproved"),
        (
            "checker = true\napproved_by_default = no\napproval_delay = PT1M",
            "rehearsal-needs-approval",
        ),
    ] {
        let machine =
            TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password");
        let server = TestServer::start(Project::Ours, Home::new(&machine.section(settings), None));
        let client = rehearse(&machine, &server.address());
        let told = format!("the server refuses: {reason}");
        client.wait_for(&told, |line| line.contains(&told).then_some(()));
        assert_eq!(client.terminate().stdout, b"");
    }
}

#[test]
fn a_stock_server_is_left_before_it_releases_anything() {
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password");
    let bus = Bus::start();
    let home = Home::new(&machine.section(UP), Some(bus.address()));
    let server = TestServer::start(Project::Stock, home);
    let client = rehearse(&machine, &server.address());
    let told = "it does not support rehearsals";
    client.wait_for(told, |line| line.contains(told).then_some(()));
    assert_eq!(client.terminate().stdout, b"");
    let log = server.running().log().join("\n");
    assert!(!log.contains("Sending secret"), "{log}");
}

/// `nightlatch check --all` judges the whole fleet by the server's audit log.
#[test]
fn the_server_knows_who_rehearsed_and_who_did_not() {
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password");
    let refused = TestMachine::new("waits", Project::Ours, MachineKeys::Curve25519, b"password");
    let sections = [
        machine.section("checker = true\ntimeout = PT5M\ninterval = PT1S"),
        refused.section("checker = true\napproved_by_default = no\napproval_delay = PT1M"),
        section("absent", ""),
        section("gone", "enabled = no"),
    ];
    let site = Administered::start(Project::Ours, &sections.join("\n"));
    assert_eq!(fleet(&site, &[]).0, Some(1), "nobody has rehearsed yet");

    let address = site.server.address();
    assert!(rehearse(&machine, &address).finish().status.success());
    let client = rehearse(&refused, &address);
    let told = "rehearsal-needs-approval";
    client.wait_for(told, |line| line.contains(told).then_some(()));
    client.terminate();

    let (status, said) = fleet(&site, &[]);
    assert_eq!(status, Some(1), "{said}");
    for (name, what) in [
        ("tower", "rehearsed"),
        ("waits", "was refused"),
        ("absent", "never rehearsed"),
        ("gone", "is disabled"),
    ] {
        let line = said.lines().find(|line| line.contains(name)).expect(name);
        assert!(line.contains(what), "{line}");
        assert_eq!(line.contains("ok "), name == "tower", "{line}");
    }
    // Without the others the fleet is in order.
    for name in ["waits", "absent", "gone"] {
        let removed = site.nightlatch(&["remove", "--yes", name]);
        assert!(removed.status.success(), "{removed:?}");
    }
    let (status, said) = fleet(&site, &[]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = fleet(&site, &["--json"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("\"tower\""), "{said}");
}

fn fleet(site: &Administered, options: &[&str]) -> (Option<i32>, String) {
    let output = site.nightlatch(&[&["check", "--all"], options].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &said(&output);
    (output.status.code(), said)
}
