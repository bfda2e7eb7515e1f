//! The rtnetlink messages that make, change and remove links, addresses and routes (rtnetlink(7);
//! the attributes of VLANs, bonds and bridges are those of linux/if_link.h).

use nightlatch_core::network::change::{LinkChange, NewLink};
use nightlatch_core::network::{Cidr, Route};

use super::{
    IFA_ADDRESS, IFA_FLAGS, IFA_LOCAL, IFLA_ADDRESS, IFLA_BOND_AD_LACP_RATE, IFLA_BOND_MIIMON,
    IFLA_BOND_MODE, IFLA_BOND_PRIMARY, IFLA_BOND_XMIT_HASH_POLICY, IFLA_GROUP, IFLA_IFNAME,
    IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_VLAN_ID,
    IFLA_VLAN_PROTOCOL, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, RT_SCOPE_LINK, RT_TABLE_MAIN, RTA_DST,
    RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTM_DELLINK, RTM_DELROUTE, RTM_NEWADDR, RTM_NEWLINK,
    RTM_NEWROUTE, RTN_UNICAST, RTPROT_BOOT, attribute, link_header, octets, request, set_flags,
};

const RTM_DELADDR: u16 = 21;

const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_STP_STATE: u16 = 5;

const RT_SCOPE_UNIVERSE: u8 = 0;
const RTNH_F_ONLINK: u32 = 4;

/// Units of a bridge's times in each second (`USER_HZ`).
const CLOCK_TICKS: u32 = 100;

/// The message for a change. A link that is made is put into the `group`, which is our mark: it is
/// there from the first moment, as an alias would not be.
pub(crate) fn message(change: &LinkChange, group: u32) -> Vec<u8> {
    let number = |index: u32, kind: u16, value: u32| {
        let mut body = link_header(index, 0, 0).to_vec();
        attribute(&mut body, kind, &value.to_ne_bytes());
        request(RTM_NEWLINK, NLM_F_ACK, &body)
    };
    match change {
        LinkChange::Create {
            name,
            new,
            mac,
            mtu,
        } => {
            let mut body = link_header(0, 0, 0).to_vec();
            attribute(&mut body, IFLA_IFNAME, name.as_str().as_bytes());
            attribute(&mut body, IFLA_GROUP, &group.to_ne_bytes());
            if let Some(mac) = mac {
                attribute(&mut body, IFLA_ADDRESS, &mac.0);
            }
            if let Some(mtu) = mtu {
                attribute(&mut body, IFLA_MTU, &mtu.to_ne_bytes());
            }
            describe(&mut body, new);
            create(RTM_NEWLINK, &body)
        }
        LinkChange::CreateRawBond(name) => {
            let mut body = link_header(0, 0, 0).to_vec();
            attribute(&mut body, IFLA_IFNAME, name.as_str().as_bytes());
            info(&mut body, "bond", &[]);
            create(RTM_NEWLINK, &body)
        }
        LinkChange::Remove(index) => request(RTM_DELLINK, NLM_F_ACK, &link_header(*index, 0, 0)),
        LinkChange::HandOver(index) => number(*index, IFLA_GROUP, 0),
        LinkChange::SetMaster(index, master) => number(*index, IFLA_MASTER, master.unwrap_or(0)),
        LinkChange::SetUp(index, up) => {
            let flag = libc::IFF_UP as u32;
            set_flags(*index, if *up { flag } else { 0 }, flag)
        }
        LinkChange::SetMtu(index, mtu) => number(*index, IFLA_MTU, *mtu),
        LinkChange::SetMac(index, mac) => {
            let mut body = link_header(*index, 0, 0).to_vec();
            attribute(&mut body, IFLA_ADDRESS, &mac.0);
            request(RTM_NEWLINK, NLM_F_ACK, &body)
        }
        LinkChange::SetPrimary(bond, member) => {
            let mut data = Vec::new();
            attribute(&mut data, IFLA_BOND_PRIMARY, &member.to_ne_bytes());
            let mut body = link_header(*bond, 0, 0).to_vec();
            info(&mut body, "bond", &data);
            request(RTM_NEWLINK, NLM_F_ACK, &body)
        }
        LinkChange::AddAddress(index, cidr) => create(RTM_NEWADDR, &address(*index, cidr)),
        LinkChange::RemoveAddress(index, cidr) => {
            request(RTM_DELADDR, NLM_F_ACK, &address(*index, cidr))
        }
        LinkChange::AddRoute(index, to) => route(*index, to, true),
        LinkChange::RemoveRoute(index, to) => route(*index, to, false),
    }
}

/// Adds a route, which fails when there is one; or removes it.
pub(crate) fn route(index: u32, route: &Route, add: bool) -> Vec<u8> {
    let family = match route.is_ipv4() {
        true => libc::AF_INET as u8,
        false => libc::AF_INET6 as u8,
    };
    let scope = match route.via {
        Some(_) => RT_SCOPE_UNIVERSE,
        None => RT_SCOPE_LINK,
    };
    let bits = route.to.map_or(0, |to| to.bits);
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags (4).
    let mut body = vec![
        family,
        bits,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_BOOT,
        scope,
        RTN_UNICAST,
    ];
    let flags = if route.onlink { RTNH_F_ONLINK } else { 0 };
    body.extend_from_slice(&flags.to_ne_bytes());
    if let Some(to) = route.to {
        attribute(&mut body, RTA_DST, &octets(to.ip).1);
    }
    if let Some(via) = route.via {
        attribute(&mut body, RTA_GATEWAY, &octets(via).1);
    }
    if let Some(source) = route.source {
        attribute(&mut body, RTA_PREFSRC, &octets(source).1);
    }
    attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
    match add {
        true => create(RTM_NEWROUTE, &body),
        false => request(RTM_DELROUTE, NLM_F_ACK, &body),
    }
}

fn create(kind: u16, body: &[u8]) -> Vec<u8> {
    request(kind, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body)
}

fn describe(body: &mut Vec<u8>, new: &NewLink) {
    let mut data = Vec::new();
    let byte = |data: &mut Vec<u8>, kind, value: u16| {
        attribute(data, kind, &[u8::try_from(value).unwrap_or_default()]);
    };
    let kind = match new {
        NewLink::Vlan {
            parent,
            id,
            protocol,
        } => {
            attribute(body, IFLA_LINK, &parent.to_ne_bytes());
            attribute(&mut data, IFLA_VLAN_ID, &id.to_ne_bytes());
            attribute(&mut data, IFLA_VLAN_PROTOCOL, &protocol.to_be_bytes());
            "vlan"
        }
        NewLink::Bond {
            mode,
            miimon,
            lacp_rate,
            hash_policy,
        } => {
            byte(&mut data, IFLA_BOND_MODE, *mode);
            attribute(&mut data, IFLA_BOND_MIIMON, &miimon.to_ne_bytes());
            if let Some(policy) = hash_policy {
                byte(&mut data, IFLA_BOND_XMIT_HASH_POLICY, *policy);
            }
            if let Some(rate) = lacp_rate {
                byte(&mut data, IFLA_BOND_AD_LACP_RATE, *rate);
            }
            "bond"
        }
        NewLink::Bridge { stp, forward_delay } => {
            if let Some(seconds) = forward_delay {
                let ticks = seconds.saturating_mul(CLOCK_TICKS);
                attribute(&mut data, IFLA_BR_FORWARD_DELAY, &ticks.to_ne_bytes());
            }
            let stp = u32::from(*stp);
            attribute(&mut data, IFLA_BR_STP_STATE, &stp.to_ne_bytes());
            "bridge"
        }
    };
    info(body, kind, &data);
}

/// Adds the kind of a link and the settings of that kind.
fn info(body: &mut Vec<u8>, kind: &str, data: &[u8]) {
    let mut info = Vec::new();
    attribute(&mut info, IFLA_INFO_KIND, kind.as_bytes());
    if !data.is_empty() {
        attribute(&mut info, IFLA_INFO_DATA, data);
    }
    attribute(body, IFLA_LINKINFO, &info);
}

/// An address that is used at once, without detection of duplicates: it is configured for this machine.
fn address(index: u32, cidr: &Cidr) -> Vec<u8> {
    let (family, octets) = octets(cidr.ip);
    // struct ifaddrmsg: family, prefixlen, flags, scope, index (4).
    let mut body = vec![family, cidr.bits, 0, RT_SCOPE_UNIVERSE];
    body.extend_from_slice(&index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &octets);
    attribute(&mut body, IFA_ADDRESS, &octets);
    if cidr.ip.is_ipv6() {
        attribute(&mut body, IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes());
    }
    body
}
