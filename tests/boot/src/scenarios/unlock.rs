//! A machine comes up by itself: every boot system, every way to the server, whoever's programs.

use nightlatch_interop::programs::Project;

use crate::figures::Unlock;
use crate::guest::Plan;
use crate::images::{BootSystem, Who};
use crate::lan::Lan;
use crate::scenario::{Scenario, Stage};
use crate::server::{PORT, Place};

/// How a client finds its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Multicast DNS over IPv6 link-local addresses.
    Mdns,
    /// `nightlatch=connect:ADDRESS:PORT`.
    Connect,
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for system in [BootSystem::InitramfsTools, BootSystem::Dracut] {
        for way in [Way::Mdns, Way::Connect] {
            for server in [Project::Ours, Project::Stock] {
                let name = format!("{}-{}-{}", system.name(), way.name(), label(server));
                let shows = format!(
                    "{} opens the disk; server {}, by {}",
                    system.name(),
                    label(server),
                    way.name()
                );
                let scenario = Scenario::new(&name, &shows, move |stage| {
                    unlock(stage, system, Who::Ours, way, server);
                });
                let short = way == Way::Mdns && server == Project::Ours;
                all.push(if short { scenario.short() } else { scenario });
            }
        }
    }
    for way in [Way::Mdns, Way::Connect] {
        let system = BootSystem::DracutWithoutSystemd;
        all.push(Scenario::new(
            &format!("{}-{}-ours", system.name(), way.name()),
            &format!("dracut's shell scripts open the disk, by {}", way.name()),
            move |stage| unlock(stage, system, Who::Ours, way, Project::Ours),
        ));
    }
    for (system, server) in [
        (BootSystem::InitramfsTools, Project::Ours),
        (BootSystem::Dracut, Project::Ours),
        (BootSystem::InitramfsTools, Project::Stock),
    ] {
        let name = format!("stock-client-{}-{}", system.name(), label(server));
        let shows = format!(
            "the stock client is served as before, under {}; server {}",
            system.name(),
            label(server)
        );
        let scenario = Scenario::new(&name, &shows, move |stage| {
            unlock(stage, system, Who::Stock, Way::Mdns, server);
        });
        all.push(scenario.with(&[Who::Stock], 1));
    }
    all
}

fn label(project: Project) -> &'static str {
    match project {
        Project::Ours => "ours",
        Project::Stock => "stock",
    }
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Mdns => "mdns",
            Self::Connect => "connect",
        }
    }
}

fn unlock(stage: &Stage<'_>, system: BootSystem, who: Who, way: Way, server: Project) {
    let lan = Lan::new();
    let machine = stage.machine(who);
    let host = lan.host("server");
    let section = machine.section("");
    let plan = Plan::new(machine, system, lan.tap());
    let (plan, _place) = match way {
        Way::Mdns => (plan, Place::announced(server, host, &section)),
        Way::Connect => {
            host.ip(&["addr", "add", "fe80::1/64", "dev", "srv0", "nodad"]);
            let place = Place::unannounced(server, host, &section);
            (
                plan.with(&format!("nightlatch=connect:fe80::1:{PORT}")),
                place,
            )
        }
    };
    let guest = stage.start("guest", plan);
    let began = guest.wait_for(system.begins());
    let before = guest.cpu();
    let opened = guest.wait_for(system.opened());
    let cpu = guest.cpu() - before;
    guest.wait_for_root();
    stage.figures.add(Unlock {
        system,
        way: way.name(),
        client: who.project(),
        server,
        began,
        opened,
        cpu,
    });
}
