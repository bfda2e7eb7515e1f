//! The few rtnetlink messages the boot client speaks (netlink(7), rtnetlink(7)), as bytes.
//!
//! Pure: builds requests and reads replies; sockets are in `netif`. The kernel is trusted, yet a
//! length that does not fit ends the reading instead of the program.

use std::net::IpAddr;

use nightlatch_core::network::Mac;

pub(crate) mod changes;
pub(crate) mod observe;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
const IFLA_BOND_MODE: u16 = 1;
const IFLA_BOND_MIIMON: u16 = 3;
const IFLA_BOND_PRIMARY: u16 = 11;
const IFLA_BOND_XMIT_HASH_POLICY: u16 = 14;
const IFLA_BOND_AD_LACP_RATE: u16 = 21;
const IFLA_GROUP: u16 = 27;
const IFLA_PERM_ADDRESS: u16 = 54;
/// The flag of an attribute that holds attributes; not part of its type.
const NLA_TYPE_MASK: u16 = 0x3fff;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;

const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// Size of `struct nlmsghdr` in bytes.
const HEADER: usize = 16;
/// Size of `struct ifinfomsg` in bytes.
const LINK_HEADER: usize = 16;
/// Size of `struct ifaddrmsg` in bytes.
const ADDRESS_HEADER: usize = 8;

/// Asks for every link of the network namespace.
pub(crate) fn dump_links() -> Vec<u8> {
    request(RTM_GETLINK, NLM_F_DUMP, &link_header(0, 0, 0))
}

/// Asks for every address of the network namespace.
pub(crate) fn dump_addresses() -> Vec<u8> {
    request(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS_HEADER])
}

/// Changes the flags in `mask` of the link `index` to those in `flags`, and no others.
pub(crate) fn set_flags(index: u32, flags: u32, mask: u32) -> Vec<u8> {
    request(RTM_NEWLINK, NLM_F_ACK, &link_header(index, flags, mask))
}

fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = (HEADER + body.len()) as u32;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence number and port stay zero: each request has a socket of its own.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    message
}

fn link_header(index: u32, flags: u32, mask: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&mask.to_ne_bytes());
    header
}

/// Appends one `struct rtattr`. Only called with less than 64 kB.
fn attribute(body: &mut Vec<u8>, kind: u16, data: &[u8]) {
    body.extend_from_slice(&((4 + data.len()) as u16).to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(data);
    body.resize(aligned(body.len()), 0);
}

fn octets(ip: IpAddr) -> (u8, Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => (libc::AF_INET as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, v6.octets().to_vec()),
    }
}

/// A link, as far as it matters here.
#[derive(PartialEq, Eq, Default, Debug)]
pub(crate) struct LinkMessage {
    pub(crate) index: u32,
    pub(crate) flags: u32,
    pub(crate) name: String,
    pub(crate) mac: Option<Mac>,
    pub(crate) permanent_mac: Option<Mac>,
    pub(crate) mtu: u32,
    pub(crate) master: Option<u32>,
    pub(crate) kind: Option<String>,
    /// The link below it; of a virtual cable its other end.
    pub(crate) lower: Option<u32>,
    pub(crate) group: u32,
}

/// One message read.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum NetlinkMessage {
    /// A link as it is now (`RTM_NEWLINK`).
    Link(LinkMessage),
    /// An address as it is now (`RTM_NEWADDR`).
    Address {
        index: u32,
        flags: u32,
        ip: IpAddr,
        /// Its origin (`IFAPROT_*`), where the kernel reports it (since Linux 5.18).
        origin: Option<u8>,
    },
    /// The end of a dump.
    Done,
    /// The answer to a request: `None` is success, else the errno.
    Ack(Option<i32>),
    /// Anything else, by its type.
    Other(u16),
}

/// Reads every whole message of one datagram.
pub(crate) fn parse(datagram: &[u8]) -> Vec<NetlinkMessage> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while let Some((message, after)) = split_message(rest) {
        messages.push(message);
        rest = after;
    }
    messages
}

fn split_message(bytes: &[u8]) -> Option<(NetlinkMessage, &[u8])> {
    let length = read_u32(bytes, 0)? as usize;
    let kind = read_u16(bytes, 4)?;
    let body = bytes.get(HEADER..length)?;
    let message = match kind {
        RTM_NEWLINK => parse_link(body).unwrap_or(NetlinkMessage::Other(kind)),
        RTM_NEWADDR => parse_address(body).unwrap_or(NetlinkMessage::Other(kind)),
        NLMSG_DONE => NetlinkMessage::Done,
        NLMSG_ERROR => NetlinkMessage::Ack(parse_ack(body)),
        other => NetlinkMessage::Other(other),
    };
    Some((message, bytes.get(aligned(length)..).unwrap_or(&[])))
}

fn parse_link(body: &[u8]) -> Option<NetlinkMessage> {
    let mut link = LinkMessage {
        index: read_u32(body, 4)?,
        flags: read_u32(body, 8)?,
        ..LinkMessage::default()
    };
    let mac = |data: &[u8]| data.try_into().ok().map(Mac);
    for (kind, data) in attributes(body.get(LINK_HEADER..)?) {
        match kind & NLA_TYPE_MASK {
            IFLA_IFNAME => link.name = text(data)?,
            IFLA_ADDRESS => link.mac = mac(data),
            IFLA_PERM_ADDRESS => link.permanent_mac = mac(data),
            IFLA_MTU => link.mtu = read_u32(data, 0)?,
            IFLA_MASTER => link.master = read_u32(data, 0),
            IFLA_LINK => link.lower = read_u32(data, 0),
            IFLA_GROUP => link.group = read_u32(data, 0)?,
            IFLA_LINKINFO => {
                let named = attributes(data).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = named.and_then(|(_, data)| text(data));
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(NetlinkMessage::Link(link))
}

/// A text that ends with a zero byte.
fn text(data: &[u8]) -> Option<String> {
    let text = data.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

fn parse_address(body: &[u8]) -> Option<NetlinkMessage> {
    let index = read_u32(body, 4)?;
    // The header's flags are a byte; IFA_FLAGS has all of them.
    let mut flags = u32::from(*body.get(2)?);
    let (mut own, mut other, mut origin) = (None, None, None);
    for (kind, data) in attributes(body.get(ADDRESS_HEADER..)?) {
        match kind {
            IFA_FLAGS => flags = read_u32(data, 0)?,
            IFA_PROTO => origin = data.first().copied(),
            IFA_LOCAL => own = read_address(data),
            IFA_ADDRESS => other = read_address(data),
            _ => {}
        }
    }
    // On a line to one peer IFA_ADDRESS is the peer's; IPv6 elsewhere has no IFA_LOCAL.
    let ip = own.or(other)?;
    Some(NetlinkMessage::Address {
        index,
        flags,
        ip,
        origin,
    })
}

fn read_address(data: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(data).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(data).map(IpAddr::from))
        .ok()
}

/// The attributes (`struct rtattr`) that follow a header, up to the first that is malformed.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(rest, 0)?);
        let kind = read_u16(rest, 2)?;
        let data = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or(&[]);
        Some((kind, data))
    })
}

/// `struct nlmsgerr` starts with the negated errno; a body too short for it counts as `EIO`.
fn parse_ack(body: &[u8]) -> Option<i32> {
    let code = read_u32(body, 0).map_or(-libc::EIO, |code| code as i32);
    (code != 0).then_some(code.saturating_neg())
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link_message(index: u32, flags: u32, name: &[u8]) -> Vec<u8> {
        let mut body = link_header(index, flags, 0).to_vec();
        // An attribute of an odd length before the name: the reader has to skip its padding.
        body.extend_from_slice(&5_u16.to_ne_bytes());
        body.extend_from_slice(&99_u16.to_ne_bytes());
        body.extend_from_slice(&[1, 0, 0, 0]);
        body.extend_from_slice(&((4 + name.len()) as u16).to_ne_bytes());
        body.extend_from_slice(&IFLA_IFNAME.to_ne_bytes());
        body.extend_from_slice(name);
        body.resize(aligned(body.len()), 0);
        request(RTM_NEWLINK, 0, &body)
    }

    #[test]
    fn links_are_read_from_one_datagram() {
        let mut datagram = link_message(1, 0x49, b"lo\0");
        datagram.extend(link_message(7, 0x1043, b"enp0s31f6\0"));
        datagram.extend(request(NLMSG_DONE, 0, &[0; 4]));
        let link = |index, flags, name: &str| {
            NetlinkMessage::Link(LinkMessage {
                index,
                flags,
                name: name.to_owned(),
                ..LinkMessage::default()
            })
        };
        assert_eq!(
            parse(&datagram),
            [
                link(1, 0x49, "lo"),
                link(7, 0x1043, "enp0s31f6"),
                NetlinkMessage::Done
            ]
        );
    }

    #[test]
    fn an_address_is_read_with_its_long_flags() {
        let v6 = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap();
        let mut body = vec![libc::AF_INET6 as u8, 64, 0x80, 253, 3, 0, 0, 0];
        attribute(&mut body, IFA_ADDRESS, &v6.octets());
        attribute(&mut body, IFA_FLAGS, &0x240_u32.to_ne_bytes());
        attribute(&mut body, IFA_PROTO, &[3]);
        let read = parse(&request(RTM_NEWADDR, 0, &body));
        let expected = NetlinkMessage::Address {
            index: u32::from_ne_bytes([3, 0, 0, 0]),
            flags: 0x240,
            ip: v6.into(),
            origin: Some(3),
        };
        assert_eq!(read, [expected]);
    }

    #[test]
    fn the_own_end_of_a_line_is_read_not_the_peers() {
        let mut body = vec![libc::AF_INET as u8, 32, 0x80, 0, 4, 0, 0, 0];
        attribute(&mut body, IFA_ADDRESS, &[10, 0, 0, 2]);
        attribute(&mut body, IFA_LOCAL, &[10, 0, 0, 1]);
        let read = parse(&request(RTM_NEWADDR, 0, &body));
        assert!(
            matches!(&read[..], [NetlinkMessage::Address { ip, flags: 0x80, .. }]
            if *ip == IpAddr::from([10, 0, 0, 1]))
        );
    }

    #[test]
    fn an_answer_carries_its_errno() {
        let refused = request(NLMSG_ERROR, 0, &(-libc::EPERM).to_ne_bytes());
        assert_eq!(parse(&refused), [NetlinkMessage::Ack(Some(libc::EPERM))]);
        let done = request(NLMSG_ERROR, 0, &0_i32.to_ne_bytes());
        assert_eq!(parse(&done), [NetlinkMessage::Ack(None)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_fault(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_cut_datagram_gives_only_whole_messages(cut in 0_usize..60) {
            let whole = link_message(3, 1, b"eth0\0");
            let messages = parse(&whole[..cut.min(whole.len())]);
            prop_assert!(messages.is_empty() || cut >= whole.len());
        }
    }
}
