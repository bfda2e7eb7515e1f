//! The addresses and routes that connections to servers need.

use core::net::IpAddr;

use super::super::snapshot::{KernelAddress, Snapshot};
use super::super::{Cidr, Link, LinkName, Route};
use super::{RemarkKind, Routed};

/// Plans for all servers that are connected to.
pub(super) struct RoutePlans<'s> {
    snapshot: &'s Snapshot,
    entries: Vec<(LinkName, AddressPlan)>,
}

/// Address and route that one server needs.
#[derive(Clone, Default)]
pub(super) struct AddressPlan {
    /// Address of the server.
    to: Option<IpAddr>,
    address: Option<Cidr>,
    dhcp: bool,
    route: Option<Route>,
    /// A remark for the administrator.
    pub(super) note: Option<RemarkKind>,
}

impl<'s> RoutePlans<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        Self {
            snapshot,
            entries: Vec::new(),
        }
    }

    /// The plan for a server that is reached over the link `link`.
    pub(super) fn plan(&self, routed: &Routed, link: u32) -> Result<AddressPlan, RemarkKind> {
        let to = routed.to;
        let via = routed.via;
        if let Some(via) = via.filter(|via| via.is_ipv4() != to.is_ipv4()) {
            return Err(RemarkKind::OtherFamily { to, via });
        }
        let source = routed.source.ok_or(RemarkKind::NoSource(to))?;
        let all = || self.snapshot.addresses.iter();
        let is_source = |seen: &&KernelAddress| seen.cidr.ip == source;
        let here = all().find(|seen| is_source(seen) && seen.link == link);
        // An address of another link, such as the loopback interface, moves to the link that carries the packets.
        let seen = here.or_else(|| all().find(is_source));
        let seen = seen.ok_or(RemarkKind::NoSource(to))?;
        let plan = AddressPlan {
            to: Some(to),
            ..AddressPlan::default()
        };
        match seen.dynamic {
            true => by_lease(plan, routed, seen),
            false => Ok(AddressPlan {
                address: Some(written(seen)),
                route: route(routed, written(seen)),
                ..plan
            }),
        }
    }

    /// Adds a plan for the link `top` of the boot.
    pub(super) fn add(&mut self, top: LinkName, plan: AddressPlan) {
        self.entries.push((top, plan));
    }

    /// Sets the addresses and routes that are planned for a link.
    pub(super) fn apply(&self, link: &mut Link) {
        let own = || self.entries.iter().filter(|(top, _)| *top == link.name);
        let mut addresses: Vec<Cidr> = Vec::new();
        for address in own().filter_map(|(_, plan)| plan.address) {
            match addresses.iter_mut().find(|known| known.ip == address.ip) {
                Some(known) => known.bits = known.bits.min(address.bits),
                None => addresses.push(address),
            }
        }
        let mut routes: Vec<Route> = Vec::new();
        for (top, plan) in own() {
            let Some(mut route) = plan.route else {
                continue;
            };
            if self.is_contested(top, &route) {
                route.to = plan.to.map(host);
            }
            let of_family = |other: &&Cidr| other.ip.is_ipv4() == route.is_ipv4();
            let several = addresses.iter().filter(of_family).count() > 1;
            route.source = plan.address.map(|it| it.ip).filter(|_| several);
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        link.dhcp = own().any(|(_, plan)| plan.dhcp);
        link.addresses = addresses;
        link.routes = routes;
    }

    /// True when another server needs a different route to the same network.
    fn is_contested(&self, top: &LinkName, route: &Route) -> bool {
        let mut all = self.entries.iter();
        all.any(|(other, plan)| {
            let theirs = plan.route.filter(|theirs| theirs.to == route.to);
            let same_family = theirs.filter(|theirs| theirs.is_ipv4() == route.is_ipv4());
            same_family.is_some_and(|theirs| (other, theirs.via) != (top, route.via))
        })
    }
}

/// A leased address: the same source gives it at boot, with its routes.
fn by_lease(
    plan: AddressPlan,
    routed: &Routed,
    seen: &KernelAddress,
) -> Result<AddressPlan, RemarkKind> {
    let ip = seen.cidr.ip;
    if ip.is_ipv4() {
        // The default route comes with the lease.
        let own = routed.is_static && routed.prefix > 0;
        let route = own.then_some(()).and(routed.via).map(|via| Route {
            to: Some(network(routed.to, routed.prefix)),
            via: Some(via),
            onlink: true,
            source: None,
        });
        return Ok(AddressPlan {
            dhcp: true,
            route,
            ..plan
        });
    }
    if seen.cidr.bits == 128 {
        return Err(RemarkKind::Dhcpv6(ip));
    }
    Ok(AddressPlan {
        note: Some(RemarkKind::Router(ip)),
        ..plan
    })
}

/// The address to write. With a peer it covers no network by itself; a route does.
fn written(seen: &KernelAddress) -> Cidr {
    match seen.peer {
        Some(_) => host(seen.cidr.ip),
        None => seen.cidr,
    }
}

/// The route that a connection needs in addition to the address.
fn route(routed: &Routed, address: Cidr) -> Option<Route> {
    let to = routed.to;
    let is_covered = address.covers(to);
    let Some(via) = routed.via else {
        let network = network(to, routed.prefix);
        return (!is_covered).then_some(Route {
            to: Some(network),
            via: None,
            onlink: false,
            source: None,
        });
    };
    let link_local = matches!(via, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Some(Route {
        // The address's own network would take precedence over a shorter prefix.
        to: match (is_covered, routed.prefix) {
            (true, _) => Some(host(to)),
            (false, 0) => None,
            (false, bits) => Some(network(to, bits)),
        },
        via: Some(via),
        onlink: !link_local && !address.covers(via),
        source: None,
    })
}

fn host(ip: IpAddr) -> Cidr {
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    Cidr { ip, bits }
}

fn network(ip: IpAddr, bits: u8) -> Cidr {
    Cidr { ip, bits }.network()
}
