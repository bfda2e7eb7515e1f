//! The sockets of multicast DNS: one for each interface and protocol, which receives only the group there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use nightlatch_proto::discovery::{GROUP_V4, GROUP_V6, InterfaceIndex, MAX_MESSAGE, MDNS_PORT};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use socket2::Socket;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// IP TTL and hop limit (RFC 6762, 11).
const HOPS: u8 = 255;

/// A socket in the group, on one interface.
#[derive(Debug)]
pub(super) struct GroupSocket {
    socket: UdpSocket,
    group: SocketAddr,
}

impl GroupSocket {
    /// Joins the group on `interface`. Other programs of this host may have joined it too.
    pub(super) fn join(interface: InterfaceIndex, ipv6: bool) -> io::Result<Self> {
        let (socket, group) = if ipv6 {
            join_v6(interface)?
        } else {
            join_v4(interface)?
        };
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { socket, group })
    }

    /// The next message. It was sent to the group, to which the socket is bound.
    pub(super) fn poll_receive<'a>(
        &self,
        context: &mut Context<'_>,
        buffer: &'a mut [u8; MAX_MESSAGE],
    ) -> Poll<io::Result<(&'a [u8], SocketAddr)>> {
        let mut read = ReadBuf::new(buffer);
        let source = std::task::ready!(self.socket.poll_recv_from(context, &mut read))?;
        let length = read.filled().len();
        Poll::Ready(Ok((&buffer[..length], source)))
    }

    /// Sends to one host, or to the group. Never waits: a message is lost when the link is too busy.
    pub(super) fn send(&self, to: Option<SocketAddr>, payload: &[u8]) -> io::Result<()> {
        let sent = self.socket.try_send_to(payload, to.unwrap_or(self.group));
        match sent {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

fn join_v6(InterfaceIndex(index): InterfaceIndex) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = datagrams(AddressFamily::INET6)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    sockopt::set_ipv6_multicast_hops(&socket, HOPS.into())?;
    sockopt::set_ipv6_unicast_hops(&socket, Some(HOPS))?;
    // The scope binds the socket to the interface, for what it sends too.
    let group = SocketAddrV6::new(GROUP_V6, MDNS_PORT, 0, index);
    bind(&socket, &group)?;
    sockopt::set_ipv6_add_membership(&socket, &GROUP_V6, index)?;
    Ok((socket, group.into()))
}

fn join_v4(InterfaceIndex(index): InterfaceIndex) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = datagrams(AddressFamily::INET)?;
    sockopt::set_ip_multicast_ttl(&socket, HOPS.into())?;
    sockopt::set_ip_ttl(&socket, HOPS.into())?;
    // Else it would receive from groups that other programs joined on other interfaces.
    let socket = Socket::from(socket);
    socket.bind_device_by_index_v4(NonZeroU32::new(index))?;
    let group = SocketAddrV4::new(GROUP_V4, MDNS_PORT);
    bind(&socket, &group)?;
    let any = Ipv4Addr::UNSPECIFIED;
    sockopt::set_ip_add_membership_with_ifindex(&socket, &GROUP_V4, &any, index)?;
    Ok((socket.into(), group.into()))
}

fn datagrams(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    // Shared with every other program of this host that speaks multicast DNS.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}
