//! The right server among two hundred that are none, on a network with a neighbour who announces them without
//! end. How soon it is found is measured by `make bench TABLES=discovery`, and held by the tests of the boot client's
//! schedule, which have a clock of their own; here it must be found at all, on a machine that is busy.
//!
//! Each test has hosts and a switch of its own. Where namespaces cannot be made it says so.

use std::process::Command;

use nightlatch_interop::client;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::netns::{NetnsHost, Switch};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::Project;
use nightlatch_interop::site::SiteKind;

/// No test waits longer for a client, in seconds.
const DEADLINE: &str = "90";

const UP: &str = "checker = true";

fn machine() -> TestMachine {
    TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password")
}

/// Starts a neighbour and waits until it has announced all once.
fn rogue(host: &NetnsHost, names: u16, sources: u16, mode: &str) -> RunningProgram {
    let mut command = host.command(env!("CARGO_BIN_EXE_rogue"));
    command.args([
        Switch::INTERFACE,
        &names.to_string(),
        &sources.to_string(),
        mode,
    ]);
    let running = RunningProgram::start("rogue", &mut command);
    running.wait_for("that it has announced", |line| {
        line.starts_with("announced").then_some(())
    });
    running
}

/// A client with an absolute deadline; what it said.
fn assert_gets(machine: &TestMachine, host: &NetnsHost, options: &[&str]) -> String {
    let plain = client::command(Project::Ours, machine);
    let mut limited = Command::new("timeout");
    limited
        .arg(DEADLINE)
        .arg(plain.get_program())
        .args(plain.get_args())
        .args(["--debug", "--interface", Switch::INTERFACE])
        .args(options);
    let output = RunningProgram::start("client", &mut host.inside(&limited)).finish();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.stdout, machine.password,
        "{:?}\n{said}",
        output.status
    );
    said
}

fn the_right_server_is_found_beside(names: u16, sources: u16, mode: &str) {
    let Some(switch) = Switch::new("many") else {
        return;
    };
    let machine = machine();
    let (server, client, neighbour) = (switch.host(), switch.host(), switch.host());
    // The neighbour is there first.
    let _rogue = rogue(&neighbour, names, sources, mode);
    let _site = SiteKind::OursAlone.serve(&server, &machine.section(UP));
    assert_gets(&machine, &client, &[]);
}

#[test]
fn sixteen_names_in_one_message_hide_nothing() {
    the_right_server_is_found_beside(16, 1, "REFUSE");
}

#[test]
fn two_hundred_names_of_one_source_hide_nothing() {
    the_right_server_is_found_beside(200, 1, "REFUSE");
}

#[test]
fn two_hundred_names_of_two_hundred_sources_hide_nothing() {
    the_right_server_is_found_beside(200, 200, "REFUSE");
}

#[test]
fn two_hundred_servers_that_say_nothing_hide_nothing() {
    the_right_server_is_found_beside(200, 1, "SILENT");
}

/// More than are kept at all.
#[test]
fn a_thousand_names_of_many_sources_hide_nothing() {
    the_right_server_is_found_beside(1000, 200, "REFUSE");
}

/// An attacker who announces the host and port of the server at other addresses gains nothing: the key identifies the
/// addresses of one server.
#[test]
fn who_claims_to_be_the_server_does_not_hide_it() {
    let Some(switch) = Switch::new("many") else {
        return;
    };
    let machine = machine();
    let (server, client, neighbour) = (switch.host(), switch.host(), switch.host());
    let site = SiteKind::OursAlone.serve(&server, &machine.section(UP));
    let claim = format!("CLAIM={}:{}", host_name(), site.server.port());
    let _rogue = rogue(&neighbour, 200, 1, &claim);
    let said = assert_gets(&machine, &client, &[]);
    assert!(said.contains("found \"x"), "{said}");
}

/// As our own responder announces it.
fn host_name() -> String {
    let system = rustix::system::uname();
    let node = system.nodename().to_string_lossy();
    let label = node.split('.').next().unwrap_or_default();
    format!("{label}-nightlatch")
}
