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
        Err(Errno::ACCESS) => return Err(refused(getegid().as_raw(), &group_range())),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    bind(&socket, &SocketAddr::new(any, 0)).map_err(io::Error::from)?;
    Ok(socket.into())
}

fn group_range() -> String {
    let range = std::fs::read_to_string(GROUP_RANGE).unwrap_or_default();
    range.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The reason for EACCES: the setting where it leaves `group` out, otherwise another rule of the system.
fn refused(group: u32, range: &str) -> PingSocketError {
    let mut ends = range.split(' ').map(str::parse::<u32>);
    match (ends.next(), ends.next()) {
        (Some(Ok(low)), Some(Ok(high))) if (low..=high).contains(&group) => {
            io::Error::from(Errno::ACCESS).into()
        }
        _ => PingSocketError::NotAllowed {
            group,
            range: range.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_blamed_only_if_it_leaves_the_group_out() {
        for (range, blamed) in [
            ("1 0", true),
            ("0 989", true),
            ("", true),
            ("0 2147483647", false),
        ] {
            let error = refused(990, range);
            let is_setting = matches!(error, PingSocketError::NotAllowed { .. });
            assert_eq!(is_setting, blamed, "{range:?}: {error}");
        }
    }

    /// A host may allow it or not; the error names the reason in any case.
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
