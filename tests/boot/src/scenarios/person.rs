//! A person at the console: asked at once, and able to open the disk whatever the servers say.

use nightlatch_interop::programs::Project;

use crate::guest::{Guest, GuestConfig};
use crate::images::{BootSystem, MachineKind, TYPED};
use crate::lan::GuestNetwork;
use crate::scenario::{Scenario, ScenarioContext};
use crate::server::ServerSite;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for system in [BootSystem::InitramfsTools, BootSystem::Dracut] {
        let named = |what: &str| format!("{}-{what}", system.name());
        let refused = Scenario::new(
            &named("refused-then-typed"),
            "a disabled client gets nothing; what a person types opens the disk",
            move |context| refused(context, system),
        );
        all.push(if system == BootSystem::InitramfsTools {
            refused.short()
        } else {
            refused
        });
        all.push(Scenario::new(
            &named("no-server"),
            "no server: a person is asked at once, and what is typed opens the disk",
            move |context| no_server(context, system),
        ));
        all.push(Scenario::new(
            &named("unknown-key"),
            "the server knows another key: nothing is released, what is typed opens the disk",
            move |context| unknown_key(context, system),
        ));
        all.push(Scenario::new(
            &named("wrong-password"),
            "a released password that the disk refuses is tried once, and the person is asked again",
            move |context| wrong_password(context, system),
        ));
        for word in ["mandos=off", "nightlatch=off"] {
            all.push(Scenario::new(
                &named(&word.replace('=', "-")),
                &format!("with {word} no server hears of the machine"),
                move |context| off(context, system, word),
            ));
        }
    }
    let system = BootSystem::DracutWithoutSystemd;
    all.push(Scenario::new(
        &format!("{}-refused-then-typed", system.name()),
        "a disabled client gets nothing; what a person types opens the disk",
        move |context| refused(context, system),
    ));
    all
}

/// Waits for the question, answers it, and waits for the root.
fn open_by_hand(guest: &Guest, system: BootSystem) {
    guest.wait_for(system.asks());
    guest.type_line(TYPED);
    guest.wait_for_root();
}

fn no_server(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let guest = context.start(
        "guest",
        GuestConfig::new(context.machine(MachineKind::Ours), system, lan.tap()),
    );
    open_by_hand(&guest, system);
}

fn refused(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let place = ServerSite::announced(
        Project::Ours,
        lan.host("server"),
        &machine.section("enabled = no"),
    );
    let guest = context.start("guest", GuestConfig::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    place.wait_until_refused(&guest, "client is disabled");
    guest.assert_locked();
    guest.type_line(TYPED);
    guest.wait_for_root();
    assert_eq!(place.releases(), 0);
}

fn unknown_key(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let other = nightlatch_interop::administered::section("other", "");
    let place = ServerSite::announced(Project::Ours, lan.host("server"), &other);
    let guest = context.start("guest", GuestConfig::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    place.wait_until_refused(&guest, "unknown key");
    guest.assert_locked();
    guest.type_line(TYPED);
    guest.wait_for_root();
}

fn wrong_password(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let place = ServerSite::announced(
        Project::Ours,
        lan.host("server"),
        &machine.section_of_wrong_password(""),
    );
    let guest = context.start("guest", GuestConfig::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    // The second question comes only when an answer to the first was refused.
    guest.wait_for(system.asks());
    guest.assert_locked();
    assert_eq!(place.releases(), 1);
    guest.type_line(TYPED);
    guest.wait_for_root();
    assert_eq!(place.releases(), 1);
}

fn off(context: &ScenarioContext<'_>, system: BootSystem, word: &str) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let place = ServerSite::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let guest = context.start(
        "guest",
        GuestConfig::new(machine, system, lan.tap()).with(word),
    );
    open_by_hand(&guest, system);
    assert_eq!(place.releases(), 0);
    let heard = place.connections();
    assert!(heard.is_empty(), "the server heard of it: {heard:?}");
}
