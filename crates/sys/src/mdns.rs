//! The sockets of a search for servers on one interface (RFC 6762). Never sends or receives by itself.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

/// RFC 6762, 11: messages are sent with the largest hop limit.
const HOPS: u8 = 255;

/// A socket of one interface that does not block.
#[derive(Debug)]
pub struct MdnsSocket {
    /// The index of the interface.
    pub interface: u32,
    /// Bound to the port that the messages are sent from and to.
    pub socket: UdpSocket,
    /// The group to which queries go through this socket, if any do.
    pub asks: Option<SocketAddr>,
    /// True when it receives multicast only.
    pub multicast: bool,
}

/// The groups to search in, and their port.
#[derive(Clone, Copy, Debug)]
pub struct MdnsGroups {
    /// The group of IPv6.
    pub v6: Ipv6Addr,
    /// The group of IPv4.
    pub v4: Ipv4Addr,
    /// The port of both.
    pub port: u16,
}

impl MdnsGroups {
    /// The sockets of the interface `index`. `own` is its link-local address, `v4` true when it has IPv4.
    ///
    /// IPv6 has two, which tell multicast and unicast messages apart: one bound to the group, one to `own`. IPv4 has
    /// one for both: answers to us alone are missed, and asked for again in the group.
    pub fn sockets(
        self,
        index: u32,
        own: Option<Ipv6Addr>,
        v4: bool,
    ) -> impl Iterator<Item = io::Result<MdnsSocket>> {
        own.into_iter()
            .flat_map(move |own| [self.group_v6(index), self.own_v6(own, index)])
            .chain(v4.then(|| self.group_v4(index)))
    }

    fn group_v6(self, index: u32) -> io::Result<MdnsSocket> {
        let socket = open(AddressFamily::INET6)?;
        bind(&socket, &SocketAddrV6::new(self.v6, self.port, 0, index))?;
        sockopt::set_ipv6_add_membership(&socket, &self.v6, index)?;
        Ok(MdnsSocket {
            interface: index,
            socket: socket.into(),
            asks: None,
            multicast: true,
        })
    }

    fn own_v6(self, own: Ipv6Addr, index: u32) -> io::Result<MdnsSocket> {
        let socket = open(AddressFamily::INET6)?;
        bind(&socket, &SocketAddrV6::new(own, self.port, 0, index))?;
        sockopt::set_ipv6_multicast_if(&socket, index)?;
        sockopt::set_ipv6_multicast_hops(&socket, HOPS.into())?;
        Ok(MdnsSocket {
            interface: index,
            socket: socket.into(),
            asks: Some(SocketAddrV6::new(self.v6, self.port, 0, index).into()),
            multicast: false,
        })
    }

    fn group_v4(self, index: u32) -> io::Result<MdnsSocket> {
        let any = Ipv4Addr::UNSPECIFIED;
        let group = SocketAddrV4::new(self.v4, self.port);
        let socket = open(AddressFamily::INET)?;
        bind(&socket, &group)?;
        sockopt::set_ip_add_membership_with_ifindex(&socket, &self.v4, &any, index)?;
        sockopt::set_ip_multicast_if_with_ifindex(&socket, &self.v4, &any, index)?;
        sockopt::set_ip_multicast_ttl(&socket, HOPS.into())?;
        Ok(MdnsSocket {
            interface: index,
            socket: socket.into(),
            asks: Some(group.into()),
            multicast: true,
        })
    }
}

fn open(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    // RFC 6762, 15.1: other programs of this machine may listen too.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    Ok(socket)
}
