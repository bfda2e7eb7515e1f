//! The rtnetlink messages that show a network: links with all that they are made of, addresses with their
//! peers and lifetimes, and the kernel's choice of a route (rtnetlink(7), linux/if_link.h, linux/rtnetlink.h).
//!
//! Pure, as the rest of `netlink`; programs of the initramfs have no use for it.

use std::net::{IpAddr, SocketAddr};

use nightlatch_core::network::present::PresentLink;
use nightlatch_core::network::snapshot::{
    KernelAddress, KernelLink, KernelRoute, LinkDetails, RouteKind,
};
use nightlatch_core::network::{Cidr, Mac};

use super::{
    ADDRESS_HEADER, HEADER, IFA_ADDRESS, IFA_FLAGS, IFA_LOCAL, IFLA_BOND_AD_LACP_RATE,
    IFLA_BOND_MIIMON, IFLA_BOND_MODE, IFLA_BOND_PRIMARY, IFLA_BOND_XMIT_HASH_POLICY,
    IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO, IFLA_VLAN_ID, IFLA_VLAN_PROTOCOL,
    LINK_HEADER, NLA_TYPE_MASK, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTM_NEWADDR,
    RTM_NEWLINK, RTM_NEWROUTE, RTN_UNICAST, RTPROT_BOOT, aligned, attribute, attributes, octets,
    parse_link, read_address, read_u16, read_u32, request, text,
};

const RTM_GETROUTE: u16 = 26;

const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_BOND_SLAVE_PERM_HWADDR: u16 = 4;
const IFLA_BR_VLAN_FILTERING: u16 = 7;

const IFA_CACHEINFO: u16 = 6;

const RTA_SRC: u16 = 2;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const RTA_IP_PROTO: u16 = 27;
const RTA_DPORT: u16 = 29;
const RTN_LOCAL: u8 = 2;
const RTPROT_STATIC: u8 = 4;
const RTM_F_LOOKUP_TABLE: u32 = 0x1000;
const RTM_F_FIB_MATCH: u32 = 0x2000;

/// Size of `struct rtmsg` in bytes.
const ROUTE_HEADER: usize = 12;

// Types of hardware (linux/if_arp.h).
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_INFINIBAND: u16 = 32;

/// One thing that the kernel shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KernelObject {
    Link(Box<KernelLink>),
    Address(KernelAddress),
    Route(KernelRoute),
}

/// A request for a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup {
    /// The destination of a TCP connection.
    pub(crate) to: SocketAddr,
    /// Its source address.
    pub(crate) source: Option<IpAddr>,
    /// Over which link.
    pub(crate) link: Option<u32>,
    /// Ask for the entry of the routing table, with the prefix that matched, instead of the resulting route.
    pub(crate) entry: bool,
}

/// Asks for the kernel's choice.
pub(crate) fn get_route(lookup: &Lookup) -> Vec<u8> {
    let (family, to) = octets(lookup.to.ip());
    let bits = (to.len() * 8) as u8;
    let source = lookup.source.map(octets);
    let source_bits = source.as_ref().map_or(0, |_| bits);
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags (4).
    let mut body = vec![family, bits, source_bits, 0, 0, 0, 0, 0];
    let mut flags = RTM_F_LOOKUP_TABLE;
    if lookup.entry {
        flags |= RTM_F_FIB_MATCH;
    }
    body.extend_from_slice(&flags.to_ne_bytes());
    attribute(&mut body, RTA_DST, &to);
    if let Some((_, source)) = source {
        attribute(&mut body, RTA_SRC, &source);
    }
    if let Some(link) = lookup.link {
        attribute(&mut body, RTA_OIF, &link.to_ne_bytes());
    }
    // Rules may look at these.
    attribute(&mut body, RTA_IP_PROTO, &[libc::IPPROTO_TCP as u8]);
    attribute(&mut body, RTA_DPORT, &lookup.to.port().to_be_bytes());
    request(RTM_GETROUTE, 0, &body)
}

/// Reads every message of one datagram that shows something.
pub(crate) fn parse(datagram: &[u8]) -> Vec<KernelObject> {
    let mut seen = Vec::new();
    let mut rest = datagram;
    while let Some(length) = read_u32(rest, 0).map(|length| length as usize) {
        let (Some(kind), Some(body)) = (read_u16(rest, 4), rest.get(HEADER..length)) else {
            break;
        };
        seen.extend(match kind {
            RTM_NEWLINK => link(body),
            RTM_NEWADDR => address(body).map(KernelObject::Address),
            RTM_NEWROUTE => route(body).map(KernelObject::Route),
            _ => None,
        });
        rest = rest.get(aligned(length)..).unwrap_or(&[]);
    }
    seen
}

fn link(body: &[u8]) -> Option<KernelObject> {
    let super::NetlinkMessage::Link(known) = parse_link(body)? else {
        return None;
    };
    let flags = known.flags;
    let is = |flag: libc::c_int| flags & flag as u32 != 0;
    let hardware = read_u16(body, 2)?;
    let mut link = KernelLink {
        present: PresentLink {
            index: known.index,
            name: known.name,
            up: is(libc::IFF_UP),
            mac: known.mac,
            permanent_mac: known.permanent_mac.filter(is_somebody),
            mtu: known.mtu,
            master: known.master,
            kind: known.kind,
            ..PresentLink::default()
        },
        ethernet: matches!(hardware, ARPHRD_ETHER | ARPHRD_INFINIBAND),
        loopback: is(libc::IFF_LOOPBACK),
        running: is(libc::IFF_RUNNING),
        ..KernelLink::default()
    };
    for (kind, data) in attributes(body.get(LINK_HEADER..)?) {
        match kind & NLA_TYPE_MASK {
            IFLA_LINK => link.parent = read_u32(data, 0).filter(|index| *index != 0),
            IFLA_LINK_NETNSID => link.parent_elsewhere = true,
            IFLA_LINKINFO => take_info(&mut link, data),
            _ => {}
        }
    }
    Some(KernelObject::Link(Box::new(link)))
}

fn is_somebody(mac: &Mac) -> bool {
    mac.0 != [0; 6]
}

fn take_info(link: &mut KernelLink, info: &[u8]) {
    let find = |wanted: u16| {
        let mut all = attributes(info);
        all.find(|(kind, _)| kind & NLA_TYPE_MASK == wanted)
            .map_or(&[][..], |(_, data)| data)
    };
    let data = find(IFLA_INFO_DATA);
    let value = |wanted: u16| {
        let mut all = attributes(data);
        all.find(|(kind, _)| kind & NLA_TYPE_MASK == wanted)
            .map_or(&[][..], |(_, data)| data)
    };
    let byte = |wanted| value(wanted).first().copied().unwrap_or_default();
    link.details = match text(find(IFLA_INFO_KIND)).as_deref() {
        Some("vlan") => LinkDetails::Vlan {
            id: read_u16(value(IFLA_VLAN_ID), 0).unwrap_or_default(),
            protocol: read_u16(value(IFLA_VLAN_PROTOCOL), 0).map_or(0, u16::from_be),
        },
        Some("bond") => LinkDetails::Bond {
            mode: byte(IFLA_BOND_MODE).into(),
            miimon: read_u32(value(IFLA_BOND_MIIMON), 0).unwrap_or_default(),
            lacp_rate: byte(IFLA_BOND_AD_LACP_RATE).into(),
            hash_policy: byte(IFLA_BOND_XMIT_HASH_POLICY).into(),
            primary: read_u32(value(IFLA_BOND_PRIMARY), 0).filter(|index| *index != 0),
        },
        Some("bridge") => LinkDetails::Bridge {
            filters_vlans: byte(IFLA_BR_VLAN_FILTERING) != 0,
        },
        _ => LinkDetails::None,
    };
    let of_bond = attributes(find(IFLA_INFO_SLAVE_DATA));
    for (kind, data) in of_bond {
        if kind & NLA_TYPE_MASK == IFLA_BOND_SLAVE_PERM_HWADDR {
            let mac = data.get(..6).and_then(|data| data.try_into().ok());
            link.mac_before_bond = mac.map(Mac).filter(is_somebody);
        }
    }
}

fn address(body: &[u8]) -> Option<KernelAddress> {
    let bits = *body.get(1)?;
    let mut flags = u32::from(*body.get(2)?);
    let link = read_u32(body, 4)?;
    let (mut own, mut network, mut valid) = (None, None, u32::MAX);
    for (kind, data) in attributes(body.get(ADDRESS_HEADER..)?) {
        match kind {
            IFA_FLAGS => flags = read_u32(data, 0)?,
            IFA_LOCAL => own = read_address(data),
            IFA_ADDRESS => network = read_address(data),
            // struct ifa_cacheinfo: seconds preferred, seconds valid.
            IFA_CACHEINFO => valid = read_u32(data, 4)?,
            _ => {}
        }
    }
    let ip = own.or(network)?;
    let peer = network.filter(|it| *it != ip);
    Some(KernelAddress {
        link,
        cidr: Cidr { ip, bits },
        peer: peer.map(|ip| Cidr { ip, bits }),
        dynamic: flags & libc::IFA_F_PERMANENT == 0 && valid != u32::MAX,
        no_prefix_route: flags & libc::IFA_F_NOPREFIXROUTE != 0,
    })
}

fn route(body: &[u8]) -> Option<KernelRoute> {
    let header = body.get(..ROUTE_HEADER)?;
    let (prefix, protocol, kind) = (header[1], header[5], header[7]);
    let mut route = KernelRoute {
        kind: match kind {
            RTN_UNICAST => RouteKind::Unicast,
            RTN_LOCAL => RouteKind::Local,
            _ => RouteKind::Other,
        },
        link: 0,
        prefix,
        via: None,
        source: None,
        is_static: matches!(protocol, RTPROT_BOOT | RTPROT_STATIC),
    };
    for (kind, data) in attributes(body.get(ROUTE_HEADER..)?) {
        match kind & NLA_TYPE_MASK {
            RTA_OIF => route.link = read_u32(data, 0)?,
            RTA_GATEWAY => route.via = read_address(data),
            // struct rtvia: family (2), address.
            RTA_VIA => route.via = data.get(2..).and_then(read_address),
            RTA_PREFSRC => route.source = read_address(data),
            RTA_MULTIPATH => {}
            _ => {}
        }
    }
    Some(route)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(parts: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, data) in parts {
            attribute(&mut body, *kind, data);
        }
        body
    }

    fn seen_link(parts: &[(u16, &[u8])]) -> KernelLink {
        // struct ifinfomsg: family, padding, type (2), index (4), flags (4), change (4).
        let mut body = vec![0, 0, 1, 0];
        body.extend_from_slice(&7_u32.to_ne_bytes());
        body.extend_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        body.extend_from_slice(&[0; 4]);
        attribute(&mut body, super::super::IFLA_IFNAME, b"x0\0");
        for (kind, data) in parts {
            attribute(&mut body, *kind, data);
        }
        match parse(&request(RTM_NEWLINK, 0, &body)).pop() {
            Some(KernelObject::Link(link)) => *link,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_link_is_made_of_is_read() {
        let vlan = nested(&[(1, &5_u16.to_ne_bytes()), (5, &0x88a8_u16.to_be_bytes())]);
        let info = nested(&[(1, b"vlan\0"), (2, &vlan)]);
        let link = seen_link(&[(5, &3_u32.to_ne_bytes()), (18, &info)]);
        assert_eq!((link.parent, link.ethernet), (Some(3), true));
        let expected = LinkDetails::Vlan {
            id: 5,
            protocol: 0x88a8,
        };
        assert_eq!(link.details, expected);
        assert!(!link.parent_elsewhere && link.present.up && !link.running);

        let bond = nested(&[
            (1, &[4]),
            (3, &100_u32.to_ne_bytes()),
            (14, &[1]),
            (21, &[1]),
        ]);
        let link = seen_link(&[(18, &nested(&[(1, b"bond\0"), (2, &bond)]))]);
        let expected = LinkDetails::Bond {
            mode: 4,
            miimon: 100,
            lacp_rate: 1,
            hash_policy: 1,
            primary: None,
        };
        assert_eq!(link.details, expected);

        let of_bond = nested(&[(4, &[2, 0, 0, 0, 0, 9])]);
        let info = nested(&[(4, b"bond\0"), (5, &of_bond)]);
        let link = seen_link(&[(18, &info), (37, &[0; 4])]);
        assert_eq!(link.mac_before_bond, Some(Mac([2, 0, 0, 0, 0, 9])));
        assert!(link.parent_elsewhere);
    }

    #[test]
    fn an_address_is_read_with_its_peer_and_its_lifetime() {
        let mut body = vec![libc::AF_INET as u8, 32, 0, 0];
        body.extend_from_slice(&4_u32.to_ne_bytes());
        attribute(&mut body, IFA_ADDRESS, &[10, 0, 0, 2]);
        attribute(&mut body, IFA_LOCAL, &[10, 0, 0, 1]);
        attribute(
            &mut body,
            IFA_CACHEINFO,
            &[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        let expected = KernelAddress {
            link: 4,
            cidr: "10.0.0.1/32".parse().unwrap(),
            peer: Some("10.0.0.2/32".parse().unwrap()),
            dynamic: true,
            no_prefix_route: false,
        };
        let read = parse(&request(RTM_NEWADDR, 0, &body));
        assert_eq!(read, [KernelObject::Address(expected)]);
    }

    #[test]
    fn a_route_is_read_with_its_gateway_of_either_family() {
        let mut body = vec![libc::AF_INET as u8, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        attribute(&mut body, RTA_OIF, &3_u32.to_ne_bytes());
        attribute(&mut body, RTA_PREFSRC, &[192, 0, 2, 7]);
        let v6 = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let via = [&(libc::AF_INET6 as u16).to_ne_bytes()[..], &v6].concat();
        attribute(&mut body, RTA_VIA, &via);
        let expected = KernelRoute {
            kind: RouteKind::Unicast,
            link: 3,
            prefix: 24,
            via: Some("fe80::1".parse().unwrap()),
            source: Some("192.0.2.7".parse().unwrap()),
            is_static: true,
        };
        let read = parse(&request(RTM_NEWROUTE, 0, &body));
        assert_eq!(read, [KernelObject::Route(expected)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_fault(bytes: Vec<u8>, kind in 16_u16..26) {
            let _ = parse(&bytes);
            let _ = parse(&request(kind, 0, &bytes));
        }
    }
}
