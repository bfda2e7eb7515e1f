//! Differences between the file and the running system.

use nightlatch_core::network::compare::{LinkDifference, differences};
use nightlatch_core::network::learn::{Learned, ReachMethod, ServerRoute, learn};
use nightlatch_core::network::snapshot::{KernelLink, Snapshot};
use nightlatch_core::network::{Definition, Link, LinkKind, NetworkConfError};

use super::server_routes::ServerRoutes;

/// The link of the running system that a link of the file is: by what recognises it, or by its name.
pub(crate) fn counterpart<'s>(
    definition: &Definition,
    name: &str,
    snapshot: &'s Snapshot,
) -> Option<&'s KernelLink> {
    match definition.link(name).map(|link| &link.kind) {
        Some(LinkKind::Device(wanted)) if !wanted.is_by_name() => {
            let mut links = snapshot.links.iter();
            links.find(|link| !link.loopback && wanted.fits(&link.present))
        }
        _ => snapshot.named(name),
    }
}

/// The link of the running system on which the server is reached that a boot reaches on `link`: the bridge, where that
/// is its port.
pub(crate) fn in_use<'s>(
    definition: &Definition,
    link: &Link,
    snapshot: &'s Snapshot,
) -> Option<&'s KernelLink> {
    let mut bridges = link.stands_for.iter();
    bridges
        .find_map(|name| snapshot.named(name.as_str()))
        .or_else(|| counterpart(definition, link.name.as_str(), snapshot))
}

/// Compares a file, which has these `faults`, with the running system. `routes` lead to the server that is connected to;
/// without one, or with a neighbour, addresses are not needed.
pub(crate) fn drift(
    definition: &Definition,
    faults: &[NetworkConfError],
    snapshot: &Snapshot,
    routes: Option<&ServerRoutes>,
) -> (Learned, Vec<LinkDifference>) {
    let connects = routes.is_some_and(|routes| routes.is_routed);
    let tops = definition.tops();
    let present = tops.filter_map(|link| in_use(definition, link, snapshot));
    let mut all: Vec<ServerRoute> = present
        .map(|seen| ServerRoute {
            link: seen.present.index,
            reach: ReachMethod::Neighbour,
        })
        .collect();
    all.extend(
        routes
            .iter()
            .flat_map(|routes| routes.routes.iter().cloned()),
    );
    let learned = learn(snapshot, &all);
    let file = match connects {
        true => definition.clone(),
        false => without_addresses(definition),
    };
    let found = differences(&file, faults, &learned, snapshot);
    (learned, found)
}

fn without_addresses(definition: &Definition) -> Definition {
    let links = definition.links().iter().cloned();
    let links = links.map(|link| Link {
        addresses: Vec::new(),
        routes: Vec::new(),
        dhcp: false,
        ..link
    });
    // What fitted together still does.
    Definition::new(links.collect()).unwrap_or_default()
}
