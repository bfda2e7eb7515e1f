//! `nightlatch network`: the links, addresses and routes of the boot, learned from the running kernel and kept in
//! `/etc/nightlatch/network.conf` (docs/decisions/0117).
//!
//! What is learned is decided in `core::network::learn`; here the kernel is asked, the file is written and shown.

mod addresses;
mod chroot;
pub(crate) mod drift;
pub(crate) mod file;
mod learn;
mod options;
mod search;
mod server_routes;
mod show;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nightlatch_console::failure::{EX_OSERR, Failure, warn};
use nightlatch_core::connect::{Scope, TargetHost};
use nightlatch_core::network::learn::{ReachMethod, ServerRoute, learn as learn_from};
use nightlatch_core::network::snapshot::Snapshot;
use nightlatch_core::network::{Definition, Link, LinkKind};
use nightlatch_core::settings::machine::MachineSettings;

use crate::boot_files;
pub(crate) use file::ConfFile;
pub(crate) use learn::for_the_next_image;
pub use options::NetworkOptions;
pub(crate) use search::is_searched;
pub(crate) use server_routes::ServerRoutes;

/// Carries the verb out.
pub fn run(options: &NetworkOptions) -> Result<(), Failure> {
    if options.learn {
        return learn::run(options);
    }
    let mut remarks = Vec::new();
    let settings = boot_files::settings(&options.root, &mut remarks)?;
    remarks.iter().for_each(warn);
    show::run(&settings, options)
}

/// The network of this machine now.
pub(crate) fn snapshot() -> Result<Snapshot, Failure> {
    nightlatch_sys::observe::snapshot().map_err(|error| {
        Failure::new(EX_OSERR, "cannot list this machine's interfaces").because(error)
    })
}

/// True when the kernel shows the network of the machine whose root is `root`.
pub(crate) fn is_own(root: &Path) -> bool {
    root == Path::new("/") && !chroot::is_chroot()
}

/// The names of all links that a boot has: interfaces of the machine, and what the file makes.
pub(crate) fn boot_links(definition: &Definition, snapshot: &Snapshot) -> Vec<String> {
    let links = definition.links().iter();
    let mut names: Vec<String> = links.map(|link| link.name.to_string()).collect();
    for link in &snapshot.links {
        let way = ServerRoute {
            link: link.present.index,
            reach: ReachMethod::Neighbour,
        };
        let alone = learn_from(snapshot, &[way]).definition;
        let is_device =
            |it: &Link| it.name.as_str() == link.name() && matches!(it.kind, LinkKind::Device(_));
        if alone.links().iter().any(is_device) && !names.iter().any(|it| it == link.name()) {
            names.push(link.name().to_owned());
        }
    }
    names
}

/// The settings with the names that links have at boot, where others stand for them.
pub(crate) fn at_boot(settings: &MachineSettings, definition: &Definition) -> MachineSettings {
    let mut settings = settings.clone();
    let name_of = |name: &str| {
        let link = definition.used_for(name);
        link.map_or_else(|| name.to_owned(), |link| link.name.to_string())
    };
    let mut interfaces: Vec<String> = Vec::new();
    for name in &settings.interfaces {
        let name = name_of(name);
        if !interfaces.contains(&name) {
            interfaces.push(name);
        }
    }
    settings.interfaces = interfaces;
    for target in settings.connect.iter_mut() {
        if let TargetHost::LinkLocal(_, Some(Scope::Name(name))) = &mut target.host {
            *name = name_of(name);
        }
    }
    settings
}

/// The kernel modules that links need: of their kinds, and where `snapshot` is that of the machine, of the drivers
/// of its interfaces.
pub(crate) fn modules(definition: &Definition, snapshot: Option<&Snapshot>) -> Vec<String> {
    let mut modules = BTreeSet::new();
    for link in definition.links() {
        let kind = match &link.kind {
            LinkKind::Vlan { .. } => Some("8021q"),
            LinkKind::Bond(_) => Some("bonding"),
            LinkKind::Bridge { .. } => Some("bridge"),
            LinkKind::Device(_) => None,
        };
        modules.extend(kind.map(str::to_owned));
        let Some(snapshot) = snapshot else { continue };
        for name in link.parts().iter().chain([&link.name]) {
            let seen = drift::counterpart(definition, name.as_str(), snapshot);
            modules.extend(seen.and_then(|seen| driver_module(seen.name())));
        }
    }
    modules.into_iter().collect()
}

/// The module of an interface's driver; none where it is built in.
fn driver_module(interface: &str) -> Option<String> {
    let link = Path::new("/sys/class/net")
        .join(interface)
        .join("device/driver/module");
    let target = fs::read_link(link).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}
