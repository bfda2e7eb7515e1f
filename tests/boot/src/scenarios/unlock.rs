//! A machine boots unattended: every boot system, every way to find a server, our programs and the stock ones.

use nightlatch_interop::programs::Project;

use crate::guest::GuestConfig;
use crate::images::{BootSystem, MachineKind};
use crate::lan::GuestNetwork;
use crate::measurements::UnlockMeasurement;
use crate::scenario::{Scenario, ScenarioContext};
use crate::server::{PORT, ServerSite};

/// The way in which a client finds its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ServerLookup {
    /// Multicast DNS over IPv6 link-local addresses.
    Mdns,
    Connect,
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for system in [BootSystem::InitramfsTools, BootSystem::Dracut] {
        for lookup in [ServerLookup::Mdns, ServerLookup::Connect] {
            for server in [Project::Ours, Project::Stock] {
                let name = format!("{}-{}-{}", system.name(), lookup.name(), label(server));
                let description = format!(
                    "{} opens the disk; server {}, by {}",
                    system.name(),
                    label(server),
                    lookup.name()
                );
                let scenario = Scenario::new(&name, &description, move |context| {
                    unlock(context, system, MachineKind::Ours, lookup, server);
                });
                let short = lookup == ServerLookup::Mdns && server == Project::Ours;
                all.push(if short { scenario.short() } else { scenario });
            }
        }
    }
    for lookup in [ServerLookup::Mdns, ServerLookup::Connect] {
        let system = BootSystem::DracutWithoutSystemd;
        all.push(Scenario::new(
            &format!("{}-{}-ours", system.name(), lookup.name()),
            &format!("dracut's shell scripts open the disk, by {}", lookup.name()),
            move |context| unlock(context, system, MachineKind::Ours, lookup, Project::Ours),
        ));
    }
    for (system, server) in [
        (BootSystem::InitramfsTools, Project::Ours),
        (BootSystem::Dracut, Project::Ours),
        (BootSystem::InitramfsTools, Project::Stock),
    ] {
        let name = format!("stock-client-{}-{}", system.name(), label(server));
        let description = format!(
            "the stock client is served as before, under {}; server {}",
            system.name(),
            label(server)
        );
        let scenario = Scenario::new(&name, &description, move |context| {
            unlock(
                context,
                system,
                MachineKind::Stock,
                ServerLookup::Mdns,
                server,
            );
        });
        all.push(scenario.with(&[MachineKind::Stock], 1));
    }
    all
}

fn label(project: Project) -> &'static str {
    match project {
        Project::Ours => "ours",
        Project::Stock => "stock",
    }
}

impl ServerLookup {
    fn name(self) -> &'static str {
        match self {
            Self::Mdns => "mdns",
            Self::Connect => "connect",
        }
    }
}

fn unlock(
    context: &ScenarioContext<'_>,
    system: BootSystem,
    kind: MachineKind,
    lookup: ServerLookup,
    server: Project,
) {
    let lan = GuestNetwork::new();
    let machine = context.machine(kind);
    let host = lan.host("server");
    let section = machine.section("");
    let plan = GuestConfig::new(machine, system, lan.tap());
    let (plan, _place) = match lookup {
        ServerLookup::Mdns => (plan, ServerSite::announced(server, host, &section)),
        ServerLookup::Connect => {
            host.ip(&["addr", "add", "fe80::1/64", "dev", "srv0", "nodad"]);
            let place = ServerSite::unannounced(server, host, &section);
            (
                plan.with(&format!("nightlatch=connect:fe80::1:{PORT}")),
                place,
            )
        }
    };
    let guest = context.start("guest", plan);
    let began = guest.wait_for(system.begins());
    let before = guest.cpu();
    let opened = guest.wait_for(system.opened());
    let cpu = guest.cpu() - before;
    guest.wait_for_root();
    context.measurements.add(UnlockMeasurement {
        system,
        lookup: lookup.name(),
        client: kind.whose(),
        server,
        began,
        opened,
        cpu,
    });
}
