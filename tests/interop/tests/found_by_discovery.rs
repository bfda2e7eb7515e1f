//! The real programs find each other over a cable, without any IPv4: {nightlatchd announced by itself,
//! nightlatchd through Avahi, mandos through Avahi} x {nightlatch-boot client, mandos-client}.
//!
//! Each test has hosts and cables of its own. Where namespaces cannot be made it says so.

use nightlatch_interop::avahi::Avahi;
use nightlatch_interop::client;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::netns::{Lan, NetnsHost, cable};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::{ExpectedRefusal, Home, TestServer};
use nightlatch_interop::site::SiteKind;

/// White space at both ends, a zero byte, bytes that are no text.
const PASSWORD: &[u8] = b" correct horse\0staple\xff\n";

const UP: &str = "checker = true";

/// The client's end of the first cable.
const CLI0: &[&str] = &["--interface", "cli0"];

fn machine(name: &str) -> TestMachine {
    TestMachine::new(name, Project::Ours, MachineKeys::Curve25519, PASSWORD)
}

/// Starts a client on the LAN's client side that logs its steps.
fn search(client: Project, machine: &TestMachine, lan: &Lan, options: &[&str]) -> RunningProgram {
    client::search(
        client,
        machine,
        &lan.client,
        &[&["--debug"], options].concat(),
    )
}

/// Waits until `text` stands in the log.
fn wait(running: &RunningProgram, text: &str) {
    running.wait_for(text, |line| line.contains(text).then_some(()));
}

/// Waits for the client's end, which must bring `machine`'s password; what it said.
fn assert_gets(client: RunningProgram, machine: &TestMachine) -> String {
    let output = client.finish();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}\n{said}", output.status);
    assert_eq!(output.stdout, machine.password, "{said}");
    said
}

/// Waits until the client says `reason`, and that it has printed nothing by then.
fn assert_refuses(client: RunningProgram, reason: &str) {
    wait(&client, reason);
    assert_eq!(client.terminate().stdout, b"");
}

fn a_client_finds_its_server(kind: SiteKind, client: Project) {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    let _site = kind.serve(&lan.server, &machine.section(UP));
    lan.client.wait_for_link_local("cli0");
    let before = lan.client.network();
    assert_gets(search(client, &machine, &lan, CLI0), &machine);
    assert_eq!(lan.client.network(), before);
    lan.assert_no_ipv4();
}

fn a_client_finds_its_server_beside_an_avahi_of_its_own(kind: SiteKind, client: Project) {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    let _site = kind.serve(&lan.server, &machine.section(UP));
    let bus = Bus::start();
    let _avahi = Avahi::start(&lan.client, &bus);
    assert_gets(search(client, &machine, &lan, CLI0), &machine);
    lan.assert_no_ipv4();
}

fn a_server_that_starts_after_the_client_is_found(kind: SiteKind, client: Project) {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    let searching = search(client, &machine, &lan, CLI0);
    wait(
        &searching,
        match client {
            Project::Ours => "searching for servers on cli0",
            Project::Stock => "Starting Avahi loop search",
        },
    );
    let _site = kind.serve(&lan.server, &machine.section(UP));
    assert_gets(searching, &machine);
}

fn a_server_on_the_second_interface_is_found(kind: SiteKind, client: Project) {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    let other = NetnsHost::new("find");
    second_cable(&lan, &other);
    let _site = kind.serve(&other, &machine.section(UP));
    assert_gets(search(client, &machine, &lan, &[]), &machine);
}

fn where_one_server_refused_another_serves(kind: SiteKind, client: Project) {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    let other = NetnsHost::new("find");
    second_cable(&lan, &other);
    let disabled = format!("{UP}\nenabled = False");
    let refuses = kind.serve(&lan.server, &machine.section(&disabled));
    let client = search(client, &machine, &lan, &[]);
    refuses.server.wait_for_refusal(ExpectedRefusal::Disabled);
    let _serves = kind.serve(&other, &machine.section(UP));
    assert_gets(client, &machine);
}

/// A server that nobody announces, and one that is announced too: each releases once.
#[test]
fn a_remembered_server_is_tried_beside_the_search() {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    lan.server.wait_for_link_local("srv0");
    lan.client.wait_for_link_local("cli0");
    let home = Home::new(&machine.section(UP), None);
    let server = TestServer::at_port(Project::Ours, home, &lan.server, 4711);
    let file = machine.key_file("remembered");
    let address = lan.server.link_local("srv0");
    // The first leads nowhere: nobody listens there.
    std::fs::write(&file, format!("[{address}]:4712\n[{address}]:4711\n")).unwrap();
    let options = [
        "--interface",
        "cli0",
        "--remembered-servers",
        file.to_str().unwrap(),
    ];
    let said = assert_gets(search(Project::Ours, &machine, &lan, &options), &machine);
    assert!(said.contains("trying 2 remembered servers"), "{said}");
    drop(server);
    let home = Home::new(&machine.section(UP), None);
    let server = TestServer::announced(Project::Ours, home, &lan.server);
    std::fs::write(&file, format!("[{address}]:{}\n", server.port())).unwrap();
    assert_gets(search(Project::Ours, &machine, &lan, &options), &machine);
    server.running().wait_for("the delivery", |line| {
        line.contains("delivered").then_some(())
    });
    let releases = server.running().log();
    let releases = releases
        .iter()
        .filter(|line| line.contains("granted client="));
    assert_eq!(releases.count(), 1);
}

#[test]
fn a_remembered_server_is_tried_after_a_goodbye_in_its_name() {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    lan.server.wait_for_link_local("srv0");
    lan.client.wait_for_link_local("cli0");
    let disabled = format!("{UP}\nenabled = False");
    let home = Home::new(&machine.section(&disabled), None);
    // A port that is named can be taken again at once.
    home.set("port", "4711");
    let server = TestServer::announced(Project::Ours, home, &lan.server);
    let (address, port) = (lan.server.link_local("srv0"), server.port());
    let file = machine.key_file("remembered");
    std::fs::write(&file, format!("[{address}]:{port}\n")).unwrap();
    let file = file.to_str().unwrap();
    let options = [CLI0, &["--remembered-servers", file]].concat();
    let searching = search(Project::Ours, &machine, &lan, &options);
    wait(&searching, "found ");
    server.wait_for_refusal(ExpectedRefusal::Disabled);
    server.stop();
    wait(&searching, "lost ");
    // Nobody announces it now.
    let home = Home::new(&machine.section(UP), None);
    let _server = TestServer::at_port(Project::Ours, home, &lan.server, port);
    assert_gets(searching, &machine);
}

/// From the client's `cli1` to `srv1` of `other`.
fn second_cable(lan: &Lan, other: &NetnsHost) {
    cable((other, "srv1"), (&lan.client, "cli1"));
    other.ip(&["link", "set", "srv1", "up"]);
    lan.client.ip(&["link", "set", "cli1", "up"]);
}

/// One module for each server and client, so that they run in parallel with different names.
macro_rules! matrix {
    ($($name:ident: $client:ident finds $kind:ident;)*) => {$(
        mod $name {
            use super::*;

            matrix!(@tests SiteKind::$kind, Project::$client;
                a_client_finds_its_server
                a_client_finds_its_server_beside_an_avahi_of_its_own
                a_server_that_starts_after_the_client_is_found
                a_server_on_the_second_interface_is_found
                where_one_server_refused_another_serves);
        }
    )*};
    (@tests $kind:expr, $client:expr; $($test:ident)*) => {$(
        #[test]
        fn $test() {
            super::$test($kind, $client);
        }
    )*};
}

matrix! {
    ours_finds_ours: Ours finds OursAlone;
    ours_finds_ours_through_avahi: Ours finds OursByAvahi;
    ours_finds_stock: Ours finds StockByAvahi;
    stock_finds_ours: Stock finds OursAlone;
    stock_finds_ours_through_avahi: Stock finds OursByAvahi;
    stock_finds_stock: Stock finds StockByAvahi;
}

#[test]
fn an_interface_that_appears_after_the_client_started_is_used() {
    let Some(lan) = Lan::without_cable("find") else {
        return;
    };
    let machine = machine("tower");
    let client = search(Project::Ours, &machine, &lan, &[]);
    wait(&client, "waiting for a network interface");
    lan.lay_cable();
    lan.server.ip(&["link", "set", "srv0", "up"]);
    let _site = SiteKind::OursAlone.serve(&lan.server, &machine.section(UP));
    assert_gets(client, &machine);
}

/// IPv6 is switched off on the interface of `host`; both sides have IPv4.
fn over_ipv4_alone(lan: &Lan, host: &NetnsHost, interface: &str) {
    lan.server
        .ip(&["addr", "add", "192.0.2.1/24", "dev", "srv0"]);
    lan.client
        .ip(&["addr", "add", "192.0.2.2/24", "dev", "cli0"]);
    let setting = format!("net.ipv6.conf.{interface}.disable_ipv6=1");
    let set = host.command("sysctl").args(["-qw", &setting]).status();
    assert!(set.unwrap().success());
}

#[test]
fn a_machine_without_ipv6_finds_its_server_over_ipv4() {
    let Some(lan) = Lan::new("find") else { return };
    over_ipv4_alone(&lan, &lan.client, "cli0");
    let machine = machine("tower");
    let _site = SiteKind::OursAlone.serve(&lan.server, &machine.section(UP));
    let said = assert_gets(search(Project::Ours, &machine, &lan, CLI0), &machine);
    let told = "interface cli0 has no IPv6 link-local address (IPv6 is disabled there: disable_ipv6=1), \
                searching there over IPv4 only";
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_server_without_ipv6_is_found_over_ipv4_and_says_why() {
    let Some(lan) = Lan::new("find") else { return };
    over_ipv4_alone(&lan, &lan.server, "srv0");
    let machine = machine("tower");
    let site = SiteKind::OursAlone.serve(&lan.server, &machine.section(UP));
    assert_gets(search(Project::Ours, &machine, &lan, CLI0), &machine);
    let log = site.server.running().log().join("\n");
    for told in [
        "no IPv6 link-local address: the server is announced there over IPv4 only",
        "disable_ipv6=1",
    ] {
        assert!(log.contains(told), "{log}");
    }
}

#[test]
fn a_link_without_carrier_is_taken_up_waited_for_and_left_as_found() {
    let Some(lan) = Lan::unplugged("find") else {
        return;
    };
    let machine = machine("tower");
    let before = lan.client.network();
    let client = search(Project::Ours, &machine, &lan, &[]);
    wait(&client, "taking interface cli0 up");
    lan.server.ip(&["link", "set", "srv0", "up"]);
    let _site = SiteKind::OursAlone.serve(&lan.server, &machine.section(UP));
    assert_gets(client, &machine);
    lan.server.ip(&["link", "set", "srv0", "down"]);
    assert_eq!(lan.client.network(), before);
}

#[test]
fn a_server_that_hangs_does_not_delay_another() {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    let mut announce = lan.server.command(env!("CARGO_BIN_EXE_announce"));
    announce.args(["Mandos", "1"]);
    announce.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
    let hangs = RunningProgram::start("announce", &mut announce);
    let client = search(Project::Ours, &machine, &lan, &[]);
    wait(&hangs, "connected from fe80:");
    let site = SiteKind::OursAlone.serve(&lan.server, &machine.section(UP));
    let said = assert_gets(client, &machine);
    // The one that was found first has not even been given up.
    let given = format!("]:{} gave the password", site.server.port());
    assert!(said.contains(&given), "{said}");
    assert!(!said.contains("]:1: "), "{said}");
}

#[test]
fn a_payload_that_nobody_signed_is_refused_unless_allowed() {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    let payload = machine.payload_of_gnupg(None);
    let section = machine.section_serving(&payload, UP);
    let _site = SiteKind::OursAlone.serve(&lan.server, &section);
    let ours = |options: &[&str]| search(Project::Ours, &machine, &lan, options);
    assert_refuses(ours(&[]), "not signed");
    assert_gets(ours(&["--allow-unsigned"]), &machine);
}

#[test]
fn a_payload_that_another_signed_is_refused() {
    let Some(lan) = Lan::new("find") else { return };
    let (tower, other) = (machine("tower"), machine("other"));
    let payload = tower.payload_of_gnupg(Some(&other));
    let section = tower.section_serving(&payload, UP);
    let _site = SiteKind::OursAlone.serve(&lan.server, &section);
    let ours = |options: &[&str]| search(Project::Ours, &tower, &lan, options);
    assert_refuses(ours(&[]), "signed by another key");
}

#[test]
fn only_a_server_with_the_named_key_is_believed() {
    let Some(lan) = Lan::new("find") else { return };
    let machine = machine("tower");
    let site = SiteKind::OursAlone.serve(&lan.server, &machine.section(UP));
    let ours = |id: &str| {
        let options = ["--server-key-id", id];
        search(Project::Ours, &machine, &lan, &options)
    };
    assert_refuses(ours(&"ab".repeat(32)), "is not among the trusted ones");
    assert_gets(ours(&site.server.key_id()), &machine);
}

/// Otherwise it would release twice, and raise an alarm over the second. It waits before it releases, so
/// that there is time to find all of them, and to ask twice.
fn one_server_with_several_addresses_is_asked_once(kind: SiteKind, lan: &Lan) {
    let machine = machine("tower");
    let settings = format!("{UP}\napproval_delay = PT1S");
    let site = kind.serve(&lan.server, &machine.section(&settings));
    let said = assert_gets(search(Project::Ours, &machine, lan, &[]), &machine);
    let told = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    assert!(told("found ") >= 2, "{said}");
    // It connects to all of them, and asks at one.
    assert_eq!(told("client: asked "), 1, "{said}");
    let log = site.server.running().log().join("\n");
    assert!(!log.contains("released before"), "{log}");
}

#[test]
fn a_server_on_two_cables_is_asked_once() {
    let Some(lan) = Lan::new("find") else { return };
    second_cable(&lan, &lan.server);
    for cable in ["cli0", "cli1"] {
        lan.client.wait_for_link_local(cable);
    }
    one_server_with_several_addresses_is_asked_once(SiteKind::OursAlone, &lan);
}

#[test]
fn a_server_with_two_addresses_on_one_cable_is_asked_once() {
    let Some(lan) = Lan::new("find") else { return };
    for address in ["2001:db8::1/64", "2001:db8::2/64"] {
        lan.server
            .ip(&["addr", "add", address, "dev", "srv0", "nodad"]);
    }
    one_server_with_several_addresses_is_asked_once(SiteKind::OursByAvahi, &lan);
}
