//! Servers are found on the link: through Avahi, through our own responder, by every kind of client.
//!
//! Each test has hosts and a cable of its own. Where namespaces cannot be made it says so.

use std::process::Command;

use nightlatch_interop::avahi::{self, Avahi};
use nightlatch_interop::client;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::netns::{Lan, NetnsHost, cable};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::Project;

const AVAHI: &str = "by=\"Avahi\"";
const OURS: &str = "by=\"our own responder\"";

/// Announces on `host`; without a bus, by our own responder.
fn announce(host: &NetnsHost, bus: Option<&Bus>, arguments: &[&str]) -> RunningProgram {
    let mut command = host.command(env!("CARGO_BIN_EXE_announce"));
    command.args(arguments);
    on_bus(&mut command, bus);
    let running = RunningProgram::start("announce", &mut command);
    running.wait_for("that it started", |line| (line == "started").then_some(()));
    running
}

fn on_bus(command: &mut Command, bus: Option<&Bus>) {
    let address = bus.map_or("unix:path=/nonexistent".to_owned(), Bus::address);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", address);
}

fn browse(host: &NetnsHost, interface: &str) -> RunningProgram {
    let mut command = host.command(env!("CARGO_BIN_EXE_browse"));
    RunningProgram::start("browse", command.arg(interface))
}

/// Waits for `text` in the log, from line `from` on; returns the number of the line after.
fn wait(running: &RunningProgram, from: usize, text: &str) -> usize {
    let find = |line: &str| line.contains(text).then(|| line.to_owned());
    let (next, line) = running.wait_from(from, text, find);
    eprintln!("{line}");
    next
}

/// The name that is announced first.
fn announced(running: &RunningProgram) -> String {
    running.wait_for("its name", |line| {
        line.strip_prefix("announced as ").map(str::to_owned)
    })
}

#[test]
fn what_avahi_announces_is_found_by_our_browser_and_by_avahi() {
    let Some(lan) = Lan::new("pub") else { return };
    let (bus, other) = (Bus::start(), Bus::start());
    let _avahi = Avahi::start(&lan.server, &bus);
    let _peer = Avahi::start(&lan.client, &other);
    let server = announce(&lan.server, Some(&bus), &["Mandos", "4711"]);
    wait(&server, 0, AVAHI);
    let found = avahi::resolve(&lan.client, &other, "Mandos");
    assert_eq!(found.port, "4711");
    assert!(found.address.starts_with("fe80:"), "{found:?}");
    wait(&browse(&lan.client, "cli0"), 0, "found Mandos [fe80:");
}

#[test]
fn what_we_announce_is_found_by_our_browser_and_by_avahi() {
    let Some(lan) = Lan::new("pub") else { return };
    let bus = Bus::start();
    let _peer = Avahi::start(&lan.client, &bus);
    let server = announce(&lan.server, None, &["Mandos", "4711"]);
    wait(&server, 0, OURS);
    let found = avahi::resolve(&lan.client, &bus, "Mandos");
    assert_eq!(found.port, "4711");
    assert!(found.address.starts_with("fe80:"), "{found:?}");
    wait(&browse(&lan.client, "cli0"), 0, "found Mandos [fe80:");
}

#[test]
fn without_ipv6_we_announce_over_ipv4() {
    let Some(lan) = Lan::new("pub") else { return };
    lan.server
        .ip(&["addr", "add", "192.0.2.1/24", "dev", "srv0"]);
    lan.client
        .ip(&["addr", "add", "192.0.2.2/24", "dev", "cli0"]);
    let bus = Bus::start();
    let _peer = Avahi::start(&lan.client, &bus);
    let mut command = lan.server.command(env!("CARGO_BIN_EXE_announce"));
    command.args(["Mandos", "4711"]).env("ANNOUNCE_IPV4", "1");
    on_bus(&mut command, None);
    let server = RunningProgram::start("announce", &mut command);
    wait(&server, 0, OURS);
    let found = avahi::resolve(&lan.client, &bus, "Mandos");
    assert_eq!((&*found.address, &*found.port), ("192.0.2.1", "4711"));
}

#[test]
fn what_we_announce_is_found_by_the_stock_client() {
    let Some(lan) = Lan::new("pub") else { return };
    let machine = TestMachine::new("guest", Project::Stock, MachineKeys::Rsa4096, b"password");
    let server = announce(&lan.server, None, &["Mandos", "4711"]);
    wait(&server, 0, OURS);
    let _client = client::search(
        Project::Stock,
        &machine,
        &lan.client,
        &["--interface", "cli0"],
    );
    wait(&server, 0, "connected from fe80:");
}

#[test]
fn a_server_that_starts_later_is_found_when_it_announces() {
    let Some(lan) = Lan::new("pub") else { return };
    let browser = browse(&lan.client, "cli0");
    wait(&browser, 0, "browsing");
    let _server = announce(&lan.server, None, &["Mandos", "4711"]);
    wait(&browser, 0, "found Mandos [fe80:");
}

#[test]
fn interfaces_may_come_later_go_and_come_back() {
    let Some(lan) = Lan::unplugged("pub") else {
        return;
    };
    let server = announce(&lan.server, None, &["Mandos", "4711"]);
    let browser = browse(&lan.client, "cli0");
    lan.plug_in();
    let next = wait(&server, 0, OURS);
    wait(&browser, 0, "found Mandos [fe80:");
    lan.server.ip(&["link", "set", "srv0", "down"]);
    let next = wait(&server, next, "withdrawn");
    lan.server.ip(&["link", "set", "srv0", "up"]);
    wait(&server, next, OURS);
}

#[test]
fn only_the_chosen_interface_is_announced_on() {
    let Some(lan) = Lan::new("pub") else { return };
    cable((&lan.server, "srv1"), (&lan.client, "cli1"));
    lan.server.ip(&["link", "set", "srv1", "up"]);
    lan.client.ip(&["link", "set", "cli1", "up"]);
    let bus = Bus::start();
    let _peer = Avahi::start(&lan.client, &bus);
    let server = announce(&lan.server, None, &["Mandos", "4711", "srv1"]);
    wait(&server, 0, OURS);
    avahi::resolve(&lan.client, &bus, "Mandos");
    let all = avahi::all(&lan.client, &bus);
    assert_eq!(all.len(), 1, "{all:?}");
    wait(&browse(&lan.client, "cli1"), 0, "found Mandos [fe80:");
}

#[test]
fn a_goodbye_is_said_at_the_end_by_us_and_by_avahi() {
    let Some(lan) = Lan::new("pub") else { return };
    let bus = Bus::start();
    let browser = browse(&lan.client, "cli0");
    let server = announce(&lan.server, None, &["Mandos", "4711"]);
    let next = wait(&browser, 0, "found Mandos");
    assert!(server.terminate().status.success());
    let next = wait(&browser, next, "lost Mandos");

    let _avahi = Avahi::start(&lan.server, &bus);
    let server = announce(&lan.server, Some(&bus), &["Mandos", "4711"]);
    let next = wait(&browser, next, "found Mandos");
    assert!(server.terminate().status.success());
    wait(&browser, next, "lost Mandos");
}

#[test]
fn a_taken_name_is_changed_as_avahi_does() {
    let Some(lan) = Lan::new("pub") else { return };
    let bus = Bus::start();
    let first = announce(&lan.client, None, &["Mandos", "4711"]);
    assert_eq!(announced(&first), "Mandos");
    // Ours against ours.
    let second = announce(&lan.server, None, &["Mandos", "4712"]);
    assert_eq!(announced(&second), "Mandos #2");
    second.terminate();
    // Avahi against ours.
    let _avahi = Avahi::start(&lan.server, &bus);
    let third = announce(&lan.server, Some(&bus), &["Mandos", "4712"]);
    assert_eq!(announced(&third), "Mandos #2");
    first.terminate();
    // Ours against Avahi.
    let fourth = announce(&lan.client, None, &["Mandos #2", "4711"]);
    assert_eq!(announced(&fourth), "Mandos #3");
    // A service of the same Avahi.
    let fifth = announce(&lan.server, Some(&bus), &["Mandos #2", "4713"]);
    assert_eq!(announced(&fifth), "Mandos #4");
}

#[test]
fn two_that_start_at_once_end_with_two_names() {
    let Some(lan) = Lan::new("pub") else { return };
    let one = announce(&lan.server, None, &["Mandos", "4711"]);
    let two = announce(&lan.client, None, &["Mandos", "4712"]);
    let mut names = [announced(&one), announced(&two)];
    names.sort();
    assert_eq!(names, ["Mandos", "Mandos #2"]);
}

#[test]
fn avahi_is_followed_as_it_comes_and_goes() {
    let Some(lan) = Lan::new("pub") else { return };
    let (bus, other) = (Bus::start(), Bus::start());
    let _peer = Avahi::start(&lan.client, &other);
    // The bus is there, Avahi is not.
    let server = announce(&lan.server, Some(&bus), &["Mandos", "4711"]);
    let next = wait(&server, 0, OURS);
    let avahi = Avahi::start(&lan.server, &bus);
    let next = wait(&server, next, AVAHI);
    // It leaves with its goodbyes, then by force; each time we take over until it is back.
    avahi.terminate();
    let next = wait(&server, next, OURS);
    let avahi = Avahi::start(&lan.server, &bus);
    let next = wait(&server, next, AVAHI);
    drop(avahi);
    let next = wait(&server, next, OURS);
    avahi::resolve(&lan.client, &other, "Mandos");
    // The bus itself goes, and comes back with an Avahi.
    let bus = bus.restart();
    let next = wait(&server, next, "the system bus has gone");
    let _avahi = Avahi::start(&lan.server, &bus);
    wait(&server, next, AVAHI);
    wait(&browse(&lan.client, "cli0"), 0, "found Mandos");
    let names = server.log();
    let renamed = names.iter().find(|line| line.contains("Mandos #"));
    assert_eq!(renamed, None, "changed its name without need");
}
