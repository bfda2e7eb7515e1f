//! The route of a boot to an address, with the links of a `network.conf` only.

use core::net::IpAddr;

use crate::connect::{Target, TargetHost};

use super::{Cidr, Definition, Link, LinkName};

/// The route to an address at boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootRoute {
    /// Link that packets leave by.
    pub link: LinkName,
    /// Gateway to the address.
    pub via: Option<IpAddr>,
    /// True when the address of the link, and with it the route, comes by DHCP.
    pub by_dhcp: bool,
}

/// The reason for which an address is not reached at boot.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreachable {
    /// No link has a source address of the family.
    #[error("no link of network.conf has an {} address", family(*.0))]
    NoAddress(IpAddr),
    /// No network and no route covers the address.
    #[error("no address and no route of network.conf leads to {0}")]
    NoRoute(IpAddr),
    /// The kernel would refuse the route's gateway.
    #[error(
        "the gateway {via} of {link} is in no network of its addresses; expected \"onlink\" at the end of \
         the route"
    )]
    Gateway {
        /// Link that packets leave by.
        link: LinkName,
        /// Gateway to the address.
        via: IpAddr,
    },
}

fn family(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

/// The route that the kernel would take to an address at boot: that of the longest prefix.
///
/// # Errors
/// When no route leads to the address.
pub fn boot_route(definition: &Definition, to: IpAddr) -> Result<BootRoute, Unreachable> {
    let of_family = |cidr: &&Cidr| cidr.ip.is_ipv4() == to.is_ipv4();
    let addressed = |link: &&Link| link.addresses.iter().any(|it| of_family(&it));
    let by_dhcp = |link: &&Link| link.dhcp && to.is_ipv4();
    let mut tops = definition.tops().filter(|it| addressed(it) || by_dhcp(it));
    let mut best: Option<(u8, &Link, Option<IpAddr>)> = None;
    let mut lease = None;
    let mut take = |bits: u8, link, via| {
        if best.is_none_or(|(known, ..)| bits > known) {
            best = Some((bits, link, via));
        }
    };
    let mut any = false;
    for link in tops.by_ref() {
        any = true;
        if by_dhcp(&link) {
            lease.get_or_insert(link);
        }
        for address in link.addresses.iter().filter(|it| it.covers(to)) {
            take(address.bits, link, None);
        }
        for route in link.routes.iter().filter(|it| it.is_ipv4() == to.is_ipv4()) {
            match route.to {
                Some(network) if !network.covers(to) => {}
                network => take(network.map_or(0, |it| it.bits), link, route.via),
            }
        }
    }
    match (best, lease) {
        (Some((_, link, via)), _) => {
            if let Some(via) = via.filter(|via| !is_on_link(link, *via)) {
                let link = link.name.clone();
                return Err(Unreachable::Gateway { link, via });
            }
            Ok(BootRoute {
                link: link.name.clone(),
                via,
                by_dhcp: false,
            })
        }
        (None, Some(link)) => Ok(BootRoute {
            link: link.name.clone(),
            via: None,
            by_dhcp: true,
        }),
        (None, None) if any => Err(Unreachable::NoRoute(to)),
        (None, None) => Err(Unreachable::NoAddress(to)),
    }
}

/// True when the boot system has to configure an address before a boot reaches `target`: the links of `definition` do not
/// lead to it. A name needs a resolver, which comes with an address; the kernel configures IPv6 itself.
pub fn needs_address(definition: &Definition, target: &Target) -> bool {
    match &target.host {
        TargetHost::LinkLocal(..) | TargetHost::Address(IpAddr::V6(_)) => false,
        TargetHost::Address(to) => !boot_route(definition, *to).is_ok_and(|route| !route.by_dhcp),
        TargetHost::Name(_) => true,
    }
}

fn is_on_link(link: &Link, gateway: IpAddr) -> bool {
    let link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let by_route = |route: &super::Route| match route.via {
        Some(via) => via == gateway && route.onlink,
        None => route.to.is_some_and(|to| to.covers(gateway)),
    };
    link_local
        || link.addresses.iter().any(|it| it.covers(gateway))
        || link.routes.iter().any(by_route)
}
