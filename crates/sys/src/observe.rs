//! The network of the running system as its kernel shows it: what a boot's network is learned from.
//!
//! Reads rtnetlink and sysfs, changes nothing, needs no privilege. Decides nothing about what it reads.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use nightlatch_core::network::snapshot::{KernelRoute, RouteKind, Snapshot};
use rustix::io::Errno;

use crate::links;
use crate::netif;
use crate::netlink::observe::{KernelObject, Lookup, get_route, parse};
use crate::netlink::{self as messages};

/// Every link and address of this network namespace.
///
/// # Errors
/// Those of asking the kernel.
pub fn snapshot() -> io::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    let mut take = |seen: Vec<KernelObject>| {
        for one in seen {
            match one {
                KernelObject::Link(link) => snapshot.links.push(*link),
                KernelObject::Address(address) => snapshot.addresses.push(address),
                KernelObject::Route(_) => {}
            }
        }
    };
    netif::dump_raw(&messages::dump_links(), |datagram| take(parse(datagram)))?;
    netif::dump_raw(&messages::dump_addresses(), |datagram| {
        take(parse(datagram))
    })?;
    for link in &mut snapshot.links {
        let name = &link.present.name;
        let folder = Path::new(links::CLASS).join(name);
        link.wireless = folder.join("phy80211").exists() || folder.join("wireless").exists();
        link.bus = links::bus(name);
        link.present.driver = links::driver(name);
        link.present.bus_address = links::bus_address(name);
        if link.present.bus_address.is_none() {
            let lasting = link.present.permanent_mac.or(link.mac_before_bond);
            link.present.permanent_mac = lasting;
        }
    }
    Ok(snapshot)
}

/// The kernel's route for a TCP connection to `to`; `None` without a route. `masters` are links whose tables are read
/// when the rules alone find nothing, such as VRFs; `sources` are this machine's addresses, of which one may have a
/// table of its own.
///
/// # Errors
/// Those of asking the kernel.
pub fn route(
    to: SocketAddr,
    masters: &[u32],
    sources: &[IpAddr],
) -> io::Result<Option<KernelRoute>> {
    let plain = Lookup {
        to,
        source: None,
        link: None,
        entry: false,
    };
    let by_master = masters.iter().map(|master| Lookup {
        link: Some(*master),
        ..plain
    });
    let of_family = sources.iter().filter(|it| it.is_ipv4() == to.is_ipv4());
    let by_source = of_family.map(|source| Lookup {
        source: Some(*source),
        ..plain
    });
    for lookup in std::iter::once(plain).chain(by_master).chain(by_source) {
        let Some(found) = ask(&lookup)? else { continue };
        let (lookup, mut found) = again(&lookup, found)?;
        found.source = found.source.or(lookup.source);
        let entry = Lookup {
            entry: true,
            ..lookup
        };
        // Without its entry, the route of a host is as good.
        let entry = ask(&entry)?;
        found.prefix = entry.as_ref().map_or(found.prefix, |entry| entry.prefix);
        found.is_static = entry.is_some_and(|entry| entry.is_static);
        return Ok(Some(found));
    }
    Ok(None)
}

/// With the source address that it chose the kernel looks a route of IPv4 up once more, and takes that one.
fn again(lookup: &Lookup, found: KernelRoute) -> io::Result<(Lookup, KernelRoute)> {
    let chosen = found.source.filter(|_| lookup.source.is_none());
    let (true, Some(source), RouteKind::Unicast) = (lookup.to.is_ipv4(), chosen, found.kind) else {
        return Ok((*lookup, found));
    };
    let with_source = Lookup {
        source: Some(source),
        ..*lookup
    };
    Ok(match ask(&with_source)? {
        Some(found) if found.kind == RouteKind::Unicast => (with_source, found),
        _ => (*lookup, found),
    })
}

/// The kernel's answer; none when there is no route, or when a route rejects the destination.
fn ask(lookup: &Lookup) -> io::Result<Option<KernelRoute>> {
    let mut found = None;
    let answered = netif::ask_raw(&get_route(lookup), |datagram| {
        let mut seen = parse(datagram).into_iter();
        found = seen.find_map(|seen| match seen {
            KernelObject::Route(route) => Some(route),
            _ => None,
        });
    });
    match answered {
        Ok(()) => Ok(found.filter(|route| route.kind != RouteKind::Other)),
        Err(error) => match Errno::from_io_error(&error) {
            // A rule or route that refuses says so by one of these.
            Some(
                Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::ACCESS
                | Errno::INVAL
                | Errno::NODEV
                | Errno::AGAIN,
            ) => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_seen() {
        let snapshot = snapshot().unwrap();
        let lo = snapshot.named("lo").unwrap();
        assert!(lo.loopback && !lo.ethernet && lo.parent.is_none());
    }

    #[test]
    fn an_address_of_this_machine_is_known_as_such() {
        let snapshot = snapshot().unwrap();
        if !snapshot.named("lo").unwrap().present.up {
            eprintln!("the loopback interface is down: nothing to see");
            return;
        }
        let found = route("127.0.0.1:9".parse().unwrap(), &[], &[]).unwrap();
        assert_eq!(found.unwrap().kind, RouteKind::Local);
    }
}
