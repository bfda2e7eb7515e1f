//! A person at the console: asked at once, and able to open the disk whatever the servers say.

use nightlatch_interop::programs::Project;

use crate::guest::{Guest, Plan};
use crate::images::{BootSystem, TYPED, Who};
use crate::lan::Lan;
use crate::scenario::{Scenario, Stage};
use crate::server::Place;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for system in [BootSystem::InitramfsTools, BootSystem::Dracut] {
        let named = |what: &str| format!("{}-{what}", system.name());
        let refused = Scenario::new(
            &named("refused-then-typed"),
            "a disabled client gets nothing; what a person types opens the disk",
            move |stage| refused(stage, system),
        );
        all.push(if system == BootSystem::InitramfsTools {
            refused.short()
        } else {
            refused
        });
        all.push(Scenario::new(
            &named("no-server"),
            "no server: a person is asked at once, and what is typed opens the disk",
            move |stage| no_server(stage, system),
        ));
        all.push(Scenario::new(
            &named("unknown-key"),
            "the server knows another key: nothing is released, what is typed opens the disk",
            move |stage| unknown_key(stage, system),
        ));
        all.push(Scenario::new(
            &named("wrong-password"),
            "a released password that the disk refuses is tried once, and the person is asked again",
            move |stage| wrong_password(stage, system),
        ));
        for word in ["mandos=off", "nightlatch=off"] {
            all.push(Scenario::new(
                &named(&word.replace('=', "-")),
                &format!("with {word} no server hears of the machine"),
                move |stage| off(stage, system, word),
            ));
        }
    }
    let system = BootSystem::DracutWithoutSystemd;
    all.push(Scenario::new(
        &format!("{}-refused-then-typed", system.name()),
        "a disabled client gets nothing; what a person types opens the disk",
        move |stage| refused(stage, system),
    ));
    all
}

/// Waits for the question, answers it, and waits for the root.
fn open_by_hand(guest: &Guest, system: BootSystem) {
    guest.wait_for(system.asks());
    guest.type_line(TYPED);
    guest.wait_for_root();
}

fn no_server(stage: &Stage<'_>, system: BootSystem) {
    let lan = Lan::new();
    let guest = stage.start(
        "guest",
        Plan::new(stage.machine(Who::Ours), system, lan.tap()),
    );
    open_by_hand(&guest, system);
}

fn refused(stage: &Stage<'_>, system: BootSystem) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let place = Place::announced(
        Project::Ours,
        lan.host("server"),
        &machine.section("enabled = no"),
    );
    let guest = stage.start("guest", Plan::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    place.wait_until_refused(&guest, "client is disabled");
    guest.assert_locked();
    guest.type_line(TYPED);
    guest.wait_for_root();
    assert_eq!(place.releases(), 0);
}

fn unknown_key(stage: &Stage<'_>, system: BootSystem) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let other = nightlatch_interop::administered::section("other", "");
    let place = Place::announced(Project::Ours, lan.host("server"), &other);
    let guest = stage.start("guest", Plan::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    place.wait_until_refused(&guest, "unknown key");
    guest.assert_locked();
    guest.type_line(TYPED);
    guest.wait_for_root();
}

fn wrong_password(stage: &Stage<'_>, system: BootSystem) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let place = Place::announced(
        Project::Ours,
        lan.host("server"),
        &machine.section_of_wrong_password(""),
    );
    let guest = stage.start("guest", Plan::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    // The second question comes only when an answer to the first was refused.
    guest.wait_for(system.asks());
    guest.assert_locked();
    assert_eq!(place.releases(), 1);
    guest.type_line(TYPED);
    guest.wait_for_root();
    assert_eq!(place.releases(), 1);
}

fn off(stage: &Stage<'_>, system: BootSystem, word: &str) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let place = Place::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let guest = stage.start("guest", Plan::new(machine, system, lan.tap()).with(word));
    open_by_hand(&guest, system);
    assert_eq!(place.releases(), 0);
    let heard = place.connections();
    assert!(heard.is_empty(), "the server heard of it: {heard:?}");
}
