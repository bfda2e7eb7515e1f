//! Servers and cables that come late, do not answer or are elsewhere; and the network after the boot, which must be
//! unchanged.

use std::time::Duration;

use nightlatch_interop::programs::Project;

use crate::guest::GuestConfig;
use crate::images::{BootSystem, MachineKind, TYPED};
use crate::lan::{GuestNetwork, assert_same_network};
use crate::scenario::{Scenario, ScenarioContext};
use crate::server::{PORT, ServerSite};

/// Time until the late server starts.
const SERVER_LATE: Duration = Duration::from_secs(60);

/// Time until the cable is plugged in.
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
            move |context| server_late(context, system),
        ));
        all.push(Scenario::new(
            &named("first-server-dead"),
            "a server that hangs is found first, a living one opens the disk",
            move |context| first_dead(context, system),
        ));
        all.push(Scenario::new(
            &named("link-late"),
            "a cable that is plugged in 10 s after the question is used",
            move |context| link_late(context, system),
        ));
        all.push(Scenario::new(
            &named("wrong-interface-first"),
            "of two network cards the second leads to the server",
            move |context| wrong_interface_first(context, system),
        ));
        all.push(Scenario::new(
            &named("network-as-found"),
            "in the real root links, addresses and routes are as in a boot without us",
            move |context| as_found(context, system),
        ));
    }
    all
}

fn server_late(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let guest = context.start("guest", GuestConfig::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    context.sleep(SERVER_LATE);
    guest.assert_locked();
    let _place = ServerSite::announced(Project::Ours, lan.host("server"), &machine.section(""));
    guest.wait_for_root();
}

fn first_dead(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    // Avahi goes on announcing it, and the kernel goes on taking its connections: it just says nothing.
    let dead = ServerSite::announced(Project::Stock, lan.host("dead"), &machine.section(""));
    dead.server().running().signal("STOP");
    let guest = context.start("guest", GuestConfig::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    dead.wait_until_connected(&guest);
    guest.assert_locked();
    let alive = ServerSite::announced(Project::Ours, lan.host("alive"), &machine.section(""));
    guest.wait_for_root();
    assert_eq!(alive.releases(), 1);
}

fn link_late(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let _place = ServerSite::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let guest = context.start(
        "guest",
        GuestConfig::new(machine, system, lan.tap()).unplugged(),
    );
    guest.wait_for(system.asks());
    context.sleep(CABLE_LATE);
    guest.assert_locked();
    guest.set_link(true);
    guest.wait_for_root();
}

fn wrong_interface_first(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let place = ServerSite::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let plan = GuestConfig::new(machine, system, lan.tap()).with_first_card(lan.separate_tap());
    let guest = context.start("guest", plan);
    guest.wait_for_root();
    assert_eq!(place.releases(), 1);
}

fn as_found(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let plan = || GuestConfig::new(machine, system, lan.tap());
    let without = context.start("without", plan().with("nightlatch=off"));
    without.wait_for(system.asks());
    without.type_line(TYPED);
    without.wait_for_root();
    let expected = without.network();
    drop(without);

    let place = ServerSite::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let guest = context.start("mdns", plan());
    guest.wait_for_root();
    assert_same_network(&guest.network(), &expected);
    drop((guest, place));

    let host = lan.host("server");
    host.ip(&["addr", "add", "fe80::1/64", "dev", "srv0", "nodad"]);
    let _place = ServerSite::unannounced(Project::Ours, host, &machine.section(""));
    let connect = format!("nightlatch=connect:fe80::1:{PORT}");
    let guest = context.start("connect", plan().with(&connect));
    guest.wait_for_root();
    assert_same_network(&guest.network(), &expected);
}

/// The administrator asks for an address by `ip=`, and the boot system configures it: it stays (decision 0101).
fn by_ipv4(context: &ScenarioContext<'_>) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let host = lan.host("server");
    host.ip(&["addr", "add", "192.0.2.1/24", "dev", "srv0"]);
    let _place = ServerSite::unannounced(Project::Ours, host, &machine.section(""));
    let plan = GuestConfig::new(machine, BootSystem::InitramfsTools, lan.tap());
    let plan = plan.with(&format!("mandos=connect:192.0.2.1:{PORT}"));
    let plan = plan.with("ip=192.0.2.10::192.0.2.1:255.255.255.0:::off");
    context.start("guest", plan).wait_for_root();
}
