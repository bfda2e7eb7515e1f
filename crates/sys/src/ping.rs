//! Sockets for ICMP and ICMPv6 echo that need no privilege (icmp(7)). Never sends or receives by itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with};
use rustix::process::getegid;

/// The groups whose processes may open such a socket, as the lowest and the highest group id.
const GROUP_RANGE: &str = "/proc/sys/net/ipv4/ping_group_range";

/// There is no socket to ping with.
#[derive(Debug, thiserror::Error)]
pub enum PingSocketError {
    /// The kernel's setting includes no group of this process.
    #[error("group {group} of this process may not ping: net.ipv4.ping_group_range is \"{range}\"")]
    NotAllowed {
        /// The effective group id of this process.
        group: u32,
        /// The setting, as the kernel shows it.
        range: String,
    },
    /// The system has no such socket, or a sandbox forbids it.
    #[error("cannot open a socket to ping with: {0}")]
    Socket(#[from] io::Error),
}

/// Opens a socket that pings addresses of the version of `address`, and does not block. Its local port is the identifier
/// in the messages. It also receives replies from other addresses.
pub fn socket(address: IpAddr) -> Result<UdpSocket, PingSocketError> {
    let (family, protocol, any) = match address {
        IpAddr::V4(_) => (
            AddressFamily::INET,
            ipproto::ICMP,
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ),
        IpAddr::V6(_) => (
            AddressFamily::INET6,
            ipproto::ICMPV6,
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match socket_with(family, SocketType::DGRAM, flags, Some(protocol)) {
        Ok(socket) => socket,
        Err(Errno::ACCESS) => return Err(not_allowed()),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    bind(&socket, &SocketAddr::new(any, 0)).map_err(io::Error::from)?;
    Ok(socket.into())
}

fn not_allowed() -> PingSocketError {
    let range = std::fs::read_to_string(GROUP_RANGE).unwrap_or_default();
    PingSocketError::NotAllowed {
        group: getegid().as_raw(),
        range: range.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is allowed depends on the host; an answer that names the reason does not.
    #[test]
    fn a_socket_has_an_identifier_or_the_error_names_the_setting() {
        match socket(Ipv4Addr::LOCALHOST.into()) {
            Ok(socket) => assert_ne!(socket.local_addr().unwrap().port(), 0),
            Err(error) => {
                assert!(
                    matches!(error, PingSocketError::NotAllowed { .. }),
                    "{error}"
                );
                assert!(error.to_string().contains("ping_group_range is \""));
            }
        }
    }
}
