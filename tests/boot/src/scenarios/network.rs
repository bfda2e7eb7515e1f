//! What servers and cables may do: come late, be dead, be elsewhere. And what stays of it: nothing.

use std::time::Duration;

use nightlatch_interop::programs::Project;

use crate::guest::Plan;
use crate::images::{BootSystem, TYPED, Who};
use crate::lan::{Lan, assert_same_network};
use crate::scenario::{Scenario, Stage};
use crate::server::{PORT, Place};

/// How late the server of the issue is.
const SERVER_LATE: Duration = Duration::from_secs(60);

/// How late the cable is.
const CABLE_LATE: Duration = Duration::from_secs(10);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![Scenario::new(
        "initramfs-tools-connect-ipv4",
        "a server at an IPv4 address is reached, by mandos=connect:ADDRESS:PORT and ip=",
        by_ipv4,
    )];
    for system in [BootSystem::InitramfsTools, BootSystem::Dracut] {
        let named = |what: &str| format!("{}-{what}", system.name());
        all.push(Scenario::new(
            &named("server-late"),
            "a server that arrives 60 s after the question opens the disk",
            move |stage| server_late(stage, system),
        ));
        all.push(Scenario::new(
            &named("first-server-dead"),
            "a server that hangs is found first, a living one opens the disk",
            move |stage| first_dead(stage, system),
        ));
        all.push(Scenario::new(
            &named("link-late"),
            "a cable that is plugged in 10 s after the question is used",
            move |stage| link_late(stage, system),
        ));
        all.push(Scenario::new(
            &named("wrong-interface-first"),
            "of two network cards the second leads to the server",
            move |stage| wrong_interface_first(stage, system),
        ));
        all.push(Scenario::new(
            &named("network-as-found"),
            "in the real root links, addresses and routes are as in a boot without us",
            move |stage| as_found(stage, system),
        ));
    }
    all
}

fn server_late(stage: &Stage<'_>, system: BootSystem) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let guest = stage.start("guest", Plan::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    stage.let_pass(SERVER_LATE);
    guest.assert_locked();
    let _place = Place::announced(Project::Ours, lan.host("server"), &machine.section(""));
    guest.wait_for_root();
}

fn first_dead(stage: &Stage<'_>, system: BootSystem) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    // Avahi goes on announcing it, and the kernel goes on taking its connections: it just says nothing.
    let dead = Place::announced(Project::Stock, lan.host("dead"), &machine.section(""));
    dead.server.running().signal("STOP");
    let guest = stage.start("guest", Plan::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    dead.wait_until_connected(&guest);
    guest.assert_locked();
    let alive = Place::announced(Project::Ours, lan.host("alive"), &machine.section(""));
    guest.wait_for_root();
    assert_eq!(alive.releases(), 1);
}

fn link_late(stage: &Stage<'_>, system: BootSystem) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let _place = Place::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let guest = stage.start("guest", Plan::new(machine, system, lan.tap()).unplugged());
    guest.wait_for(system.asks());
    stage.let_pass(CABLE_LATE);
    guest.assert_locked();
    guest.plug_in(true);
    guest.wait_for_root();
}

fn wrong_interface_first(stage: &Stage<'_>, system: BootSystem) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let place = Place::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let plan = Plan::new(machine, system, lan.tap()).with_first_card(lan.lonely_tap());
    let guest = stage.start("guest", plan);
    guest.wait_for_root();
    assert_eq!(place.releases(), 1);
}

fn as_found(stage: &Stage<'_>, system: BootSystem) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let plan = || Plan::new(machine, system, lan.tap());
    let without = stage.start("without", plan().with("nightlatch=off"));
    without.wait_for(system.asks());
    without.type_line(TYPED);
    without.wait_for_root();
    let expected = without.network();
    drop(without);

    let place = Place::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let guest = stage.start("mdns", plan());
    guest.wait_for_root();
    assert_same_network(&guest.network(), &expected);
    drop((guest, place));

    let host = lan.host("server");
    host.ip(&["addr", "add", "fe80::1/64", "dev", "srv0", "nodad"]);
    let _place = Place::unannounced(Project::Ours, host, &machine.section(""));
    let connect = format!("nightlatch=connect:fe80::1:{PORT}");
    let guest = stage.start("connect", plan().with(&connect));
    guest.wait_for_root();
    assert_same_network(&guest.network(), &expected);
}

/// The administrator asks for an address by `ip=`, and the boot system configures it: it stays (decision 0101).
fn by_ipv4(stage: &Stage<'_>) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let host = lan.host("server");
    host.ip(&["addr", "add", "192.0.2.1/24", "dev", "srv0"]);
    let _place = Place::unannounced(Project::Ours, host, &machine.section(""));
    let plan = Plan::new(machine, BootSystem::InitramfsTools, lan.tap());
    let plan = plan.with(&format!("mandos=connect:192.0.2.1:{PORT}"));
    let plan = plan.with("ip=192.0.2.10::192.0.2.1:255.255.255.0:::off");
    stage.start("guest", plan).wait_for_root();
}
