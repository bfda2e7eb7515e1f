//! Network interfaces over rtnetlink: list them, watch them, take them up and down, and add a route to a neighbour.
//!
//! Changes need `CAP_NET_ADMIN` effective during the call: the kernel checks both the opener of the socket and the
//! sender, so each change opens a socket of its own. Contains no policy.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use nightlatch_core::network::{Cidr, Route};

use crate::netlink::{self as messages, NetlinkMessage, RTM_DELLINK, RTM_NEWLINK};

/// The largest datagram of a dump (`NLMSG_GOODSIZE` is 8 kB or a page; dumps grow to 32 kB when the reader's buffer
/// allows it).
const DATAGRAM: usize = 32 * 1024;

// Multicast groups of rtnetlink(7): links, and addresses of both families.
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// One network interface as the kernel last described it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The interface's index: its scope id.
    pub index: u32,
    /// The kernel's name.
    pub name: String,
    /// As last read.
    pub flags: Flags,
}

/// The flags of an interface (netdevice(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u32);

impl Flags {
    /// The flags with these bits, as netdevice(7) numbers them.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// `IFF_UP`: taken up by the administrator.
    pub const fn up(self) -> bool {
        self.has(libc::IFF_UP)
    }

    /// `IFF_RUNNING`: ready to carry packets.
    pub const fn running(self) -> bool {
        self.has(libc::IFF_RUNNING)
    }

    /// `IFF_LOOPBACK`: reaches this machine only.
    pub const fn loopback(self) -> bool {
        self.has(libc::IFF_LOOPBACK)
    }

    /// `IFF_POINTOPOINT`: a line to one peer.
    pub const fn point_to_point(self) -> bool {
        self.has(libc::IFF_POINTOPOINT)
    }

    /// `IFF_BROADCAST`: can reach all neighbours at once.
    pub const fn broadcast(self) -> bool {
        self.has(libc::IFF_BROADCAST)
    }

    /// `IFF_NOARP`: resolves no neighbour addresses.
    pub const fn no_arp(self) -> bool {
        self.has(libc::IFF_NOARP)
    }

    const fn has(self, flag: libc::c_int) -> bool {
        self.0 & flag as u32 != 0
    }
}

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterfaceAddress {
    /// The interface's index.
    pub index: u32,
    /// IPv4 or IPv6.
    pub ip: IpAddr,
}

/// Every interface of this network namespace, in the kernel's order.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let described = dump(&messages::dump_links())?.into_iter();
    Ok(described
        .filter_map(|message| match message {
            NetlinkMessage::Link(link) => Some(Interface {
                index: link.index,
                name: link.name,
                flags: Flags(link.flags),
            }),
            _ => None,
        })
        .collect())
}

/// The name of the interface with this index, in this network namespace.
pub fn name_of(index: u32) -> io::Result<String> {
    let any = socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok(rustix::net::netdevice::index_to_name(&any, index)?)
}

/// Every address of this network namespace that may be announced to other hosts: not tentative, deprecated, or
/// temporary for privacy.
pub fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    let described = dump(&messages::dump_addresses())?.into_iter();
    Ok(described
        .filter_map(|message| match message {
            NetlinkMessage::Address {
                index, flags, ip, ..
            } => may_be_announced(ip, flags).then_some(InterfaceAddress { index, ip }),
            _ => None,
        })
        .collect())
}

fn may_be_announced(ip: IpAddr, flags: u32) -> bool {
    let unfit = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED | libc::IFA_F_DEPRECATED;
    // The same bit says of an IPv4 address that another of its network came first.
    let temporary = ip.is_ipv6() && flags & libc::IFA_F_TEMPORARY != 0;
    flags & unfit == 0 && !temporary
}

/// Asks for a table, and reads it to its end.
pub(crate) fn dump(request: &[u8]) -> io::Result<Vec<NetlinkMessage>> {
    let socket = open(0)?;
    send(&socket, request)?;
    let mut table = Vec::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        for message in receive(&socket, &mut buffer)? {
            match message {
                NetlinkMessage::Done | NetlinkMessage::Ack(None) => return Ok(table),
                NetlinkMessage::Ack(Some(errno)) => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                other => table.push(other),
            }
        }
    }
}

/// Asks for a table, and shows each datagram of it.
pub(crate) fn dump_raw(request: &[u8], mut show: impl FnMut(&[u8])) -> io::Result<()> {
    converse(request, |datagram| {
        show(datagram);
        ended(datagram)
    })
}

/// Asks for one thing, and shows the datagram of the answer.
pub(crate) fn ask_raw(request: &[u8], mut show: impl FnMut(&[u8])) -> io::Result<()> {
    converse(request, |datagram| {
        show(datagram);
        ended(datagram).map(|_| true)
    })
}

/// Sends a request and reads until `is_last` says so.
fn converse(request: &[u8], mut is_last: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
    let socket = open(0)?;
    send(&socket, request)?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received =
            rustix::io::retry_on_intr(|| recv(&socket, &mut buffer[..], RecvFlags::empty()));
        let (length, _) = received?;
        if is_last(&buffer[..length])? {
            return Ok(());
        }
    }
}

/// True when a datagram ends an answer. Its error code is returned as an error.
fn ended(datagram: &[u8]) -> io::Result<bool> {
    for message in messages::parse(datagram) {
        match message {
            NetlinkMessage::Done | NetlinkMessage::Ack(None) => return Ok(true),
            NetlinkMessage::Ack(Some(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            _ => {}
        }
    }
    Ok(false)
}

/// Takes the interface `index` up or down; touches no other flag. Needs `CAP_NET_ADMIN`.
pub fn set_up(index: u32, up: bool) -> io::Result<()> {
    let flag = libc::IFF_UP as u32;
    change(&messages::set_flags(index, if up { flag } else { 0 }, flag))
}

/// Adds a route that says "this host is a neighbour on that interface". Needs `CAP_NET_ADMIN`.
///
/// Fails with [`io::ErrorKind::AlreadyExists`] when there is such a route already.
pub fn add_host_route(to: IpAddr, index: u32) -> io::Result<()> {
    change(&host_route(to, index, true))
}

/// Removes a route added by [`add_host_route`]. Needs `CAP_NET_ADMIN`.
pub fn remove_host_route(to: IpAddr, index: u32) -> io::Result<()> {
    change(&host_route(to, index, false))
}

fn host_route(to: IpAddr, index: u32, add: bool) -> Vec<u8> {
    let bits = if to.is_ipv4() { 32 } else { 128 };
    let route = Route {
        to: Some(Cidr { ip: to, bits }),
        via: None,
        onlink: false,
        source: None,
    };
    messages::changes::route(index, &route, add)
}

/// Tells when a link or an address changes, comes or goes. Needs no privilege.
///
/// Open it before listing the interfaces, so that nothing falls in between.
#[derive(Debug)]
pub struct NetworkChanges(OwnedFd);

impl NetworkChanges {
    /// Starts to listen.
    pub fn listen() -> io::Result<Self> {
        open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR).map(Self)
    }

    /// Reads what has happened without waiting; `None` when nothing has.
    ///
    /// When the kernel had to drop messages, everything counts as changed.
    pub fn drain(&self) -> io::Result<Option<NetworkChange>> {
        let mut buffer = vec![0; DATAGRAM];
        let mut change = None;
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    for message in messages::parse(&buffer[..length]) {
                        change = change.max(Some(kind_of(&message)));
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(change),
                Err(rustix::io::Errno::NOBUFS) => change = Some(NetworkChange::Links),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for NetworkChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The kind of a change; the greater includes the lesser.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NetworkChange {
    /// Only addresses: one came, went, or is now known to be unique.
    Addresses,
    /// Links, and perhaps addresses too: list the interfaces again.
    Links,
}

fn kind_of(message: &NetlinkMessage) -> NetworkChange {
    match message {
        NetlinkMessage::Link(_) | NetlinkMessage::Other(RTM_NEWLINK | RTM_DELLINK) => {
            NetworkChange::Links
        }
        _ => NetworkChange::Addresses,
    }
}

pub(crate) fn change(request: &[u8]) -> io::Result<()> {
    let socket = open(0)?;
    send(&socket, request)?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        for message in receive(&socket, &mut buffer)? {
            match message {
                NetlinkMessage::Ack(None) => return Ok(()),
                NetlinkMessage::Ack(Some(errno)) => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                _ => {}
            }
        }
    }
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0 is NETLINK_ROUTE.
        None,
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

fn send(socket: &OwnedFd, request: &[u8]) -> io::Result<()> {
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(socket, request, SendFlags::empty(), &kernel)?;
    Ok(())
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Vec<NetlinkMessage>> {
    let (length, _) = rustix::io::retry_on_intr(|| recv(socket, &mut *buffer, RecvFlags::empty()))?;
    Ok(messages::parse(&buffer[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_listed() {
        let all = interfaces().unwrap();
        let lo = all.iter().find(|i| i.name == "lo").unwrap();
        assert!(lo.flags.loopback() && !lo.flags.broadcast());
    }

    #[test]
    fn the_loopback_address_is_listed_with_its_interface() {
        let lo = interfaces().unwrap();
        let lo = lo.iter().find(|i| i.name == "lo").unwrap();
        if !lo.flags.up() {
            nightlatch_test_support::skipped("needs a loopback interface that is up");
            return;
        }
        let local = InterfaceAddress {
            index: lo.index,
            ip: IpAddr::from([127, 0, 0, 1]),
        };
        assert!(addresses().unwrap().contains(&local));
    }

    #[test]
    fn a_change_that_cannot_be_made_says_why() {
        let error = set_up(0x7fff_fff0, true).unwrap_err();
        assert!(
            matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EPERM)),
            "{error}"
        );
    }
}
