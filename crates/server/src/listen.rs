//! The listening sockets: created here, inherited by number, or from systemd.
//!
//! Needs no runtime, so that it can be done before root is dropped. Accepts nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::Duration;

use nightlatch_sys::inherited;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, netdevice, sockopt};
use tokio::net::TcpSocket;

/// Connections that the kernel queues while we are busy or full (listen(2)). The kernel limits it to
/// `net.core.somaxconn`; Mandos's 5 let a burst of machines that boot together run into time-outs.
const BACKLOG: i32 = 4096;

/// TCP keep-alive: a peer that lost its power while it waits for an approval is noticed after this time in
/// silence, and [`PROBES`] probes, [`PROBE_INTERVAL`] apart.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// The settings for listening: keys and options of mandos.conf(5) and mandos(8) by their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListenOptions {
    /// `interface`: on this one only.
    pub interface: Option<String>,
    /// `address`: on this one only.
    pub address: Option<String>,
    /// `port`; the kernel chooses one without it.
    pub port: Option<u16>,
    /// `use_ipv6`: both protocols on one socket, otherwise IPv4 only.
    pub ipv6: bool,
    /// `socket`: the number of an inherited descriptor. Goes before sockets from systemd.
    pub socket: Option<RawFd>,
}

/// Creates or takes over sockets; returns at least one, each of them listening and non-blocking.
pub fn bind(options: &ListenOptions) -> Result<Vec<TcpListener>, ListenError> {
    if let Some(number) = options.socket {
        let socket = inherited::duplicate(number)
            .map_err(|error| ListenError::Inherited { number, error })?;
        return Ok(vec![take_over(socket, number, options)?]);
    }
    let activated = activated()?;
    if activated.is_empty() {
        return Ok(vec![make(options)?]);
    }
    Ok(activated)
}

/// There is nothing to listen on; in each case for the administrator to mend.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The descriptor of `--socket` cannot be used.
    #[error("cannot use the inherited descriptor {number} as a listening TCP socket")]
    Inherited {
        number: RawFd,
        /// The error of the operating system.
        #[source]
        error: io::Error,
    },
    /// The variables of sd_listen_fds(3) are malformed.
    #[error("cannot take over the sockets that LISTEN_FDS announces")]
    Activation(#[source] io::Error),
    /// `address` is malformed.
    #[error("address is {0:?}, expected an IPv6 address (::ffff:192.0.2.1 for an IPv4 one)")]
    Address(String),
    /// `address` is not an IPv4 address, with IPv6 switched off.
    #[error("address is {0:?}, expected an IPv4 address since IPv6 is switched off")]
    AddressV4(String),
    /// The zone of a link-local address is not an interface.
    #[error("address is {0:?}, expected the name or number of an interface after the %")]
    Zone(String),
    /// The system has no IPv6.
    #[error("this system has no IPv6, expected use_ipv6 = False or --no-ipv6")]
    NoIpv6,
    /// The kernel refuses to bind or listen.
    #[error("cannot listen on address {address}")]
    Listen {
        address: SocketAddr,
        /// The error of the operating system.
        #[source]
        error: io::Error,
    },
}

fn make(options: &ListenOptions) -> Result<TcpListener, ListenError> {
    let address = address(options)?;
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = Some(ipproto::TCP);
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, protocol);
    let socket = socket.map_err(|error| match error {
        Errno::AFNOSUPPORT if address.is_ipv6() => ListenError::NoIpv6,
        error => ListenError::Listen {
            address,
            error: error.into(),
        },
    })?;
    configure(&socket, options);
    let listening = set_up(&socket, Some(address), options);
    listening.map_err(|error| ListenError::Listen { address, error })?;
    Ok(socket.into())
}

/// Like Mandos: an inherited socket is bound only if there is an address or a port to bind it to.
fn take_over(
    socket: OwnedFd,
    number: RawFd,
    options: &ListenOptions,
) -> Result<TcpListener, ListenError> {
    let failed = |error| ListenError::Inherited { number, error };
    check_is_tcp(&socket).map_err(failed)?;
    configure(&socket, options);
    let wanted = match (&options.address, options.port) {
        (None, None) => None,
        _ => Some(address(options)?),
    };
    set_up(&socket, wanted, options).map_err(failed)?;
    Ok(socket.into())
}

fn activated() -> Result<Vec<TcpListener>, ListenError> {
    let numbers = sd_notify::listen_fds().map_err(ListenError::Activation)?;
    let take = |number| {
        let socket = inherited::duplicate(number)?;
        check_is_tcp(&socket)?;
        // The unit file sets the address; our own settings of it have no effect.
        set_up(&socket, None, &ListenOptions::default())?;
        Ok(socket.into())
    };
    numbers
        .map(|number| take(number).map_err(|error| ListenError::Inherited { number, error }))
        .collect()
}

fn check_is_tcp(socket: &OwnedFd) -> io::Result<()> {
    let stream = sockopt::socket_type(socket)? == SocketType::STREAM;
    let family = sockopt::socket_domain(socket)?;
    if stream && [AddressFamily::INET, AddressFamily::INET6].contains(&family) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is a socket of another kind",
    ))
}

/// Sets optional options: a failure is logged and ignored, as by Mandos.
fn configure(socket: &OwnedFd, options: &ListenOptions) {
    if let Some(interface) = &options.interface
        && let Err(error) = bind_to_interface(socket, interface)
    {
        tracing::error!(%interface, %error, "cannot listen on this interface only");
    }
}

fn bind_to_interface(socket: &OwnedFd, interface: &str) -> io::Result<()> {
    // tokio has the only safe call of SO_BINDTODEVICE here. It needs a socket that it owns; the option
    // applies to all descriptors of the socket.
    let copy = TcpSocket::from_std_stream(TcpStream::from(socket.try_clone()?));
    copy.bind_device(Some(interface.as_bytes()))
}

fn set_up(
    socket: &OwnedFd,
    address: Option<SocketAddr>,
    options: &ListenOptions,
) -> io::Result<()> {
    if let Some(address) = address {
        if address.is_ipv6() {
            // The default is the administrator's net.ipv6.bindv6only; machines use both protocols.
            sockopt::set_ipv6_v6only(socket, false)?;
        }
        if options.port.is_some() {
            // Else a restart would have to wait until the old connections time out.
            sockopt::set_socket_reuseaddr(socket, true)?;
        }
        rustix::net::bind(socket, &address)?;
    }
    set_inherited(socket)?;
    rustix::net::listen(socket, BACKLOG)?;
    rustix::io::ioctl_fionbio(socket, true)?;
    Ok(())
}

/// Sets options that each accepted connection inherits (tcp(7), socket(7)).
fn set_inherited(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(socket, PROBE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, PROBES)?;
    Ok(())
}

/// The address to bind to.
fn address(options: &ListenOptions) -> Result<SocketAddr, ListenError> {
    let port = options.port.unwrap_or(0);
    let Some(text) = options.address.as_deref() else {
        return Ok(if options.ipv6 {
            (Ipv6Addr::UNSPECIFIED, port).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, port).into()
        });
    };
    if !options.ipv6 {
        let address: Ipv4Addr = text
            .parse()
            .map_err(|_| ListenError::AddressV4(text.to_owned()))?;
        return Ok((address, port).into());
    }
    let (host, zone) = match text.split_once('%') {
        Some((host, zone)) => (host, Some(zone)),
        None => (text, None),
    };
    let address = match host.parse() {
        Ok(IpAddr::V6(address)) => address,
        // Clearer than Mandos, which wants the mapped notation here.
        Ok(IpAddr::V4(address)) => address.to_ipv6_mapped(),
        Err(_) => return Err(ListenError::Address(text.to_owned())),
    };
    let zone = match (zone, &options.interface) {
        (Some(zone), _) => {
            interface_number(zone).ok_or_else(|| ListenError::Zone(text.to_owned()))?
        }
        (None, Some(interface)) if address.is_unicast_link_local() => {
            interface_number(interface).unwrap_or(0)
        }
        (None, _) => 0,
    };
    Ok(SocketAddrV6::new(address, port, 0, zone).into())
}

/// The index of an interface by its name or its number.
fn interface_number(zone: &str) -> Option<u32> {
    if let Ok(number) = zone.parse() {
        return Some(number).filter(|number| *number != 0);
    }
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::name_to_index(socket.as_fd(), zone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn on(address: &str) -> ListenOptions {
        ListenOptions {
            address: Some(address.to_owned()),
            ipv6: true,
            ..ListenOptions::default()
        }
    }

    fn connects(listener: &TcpListener, to: IpAddr) {
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((to, port)).unwrap();
    }

    #[test]
    fn both_protocols_are_served_on_one_socket() {
        let options = ListenOptions {
            ipv6: true,
            ..ListenOptions::default()
        };
        let listeners = bind(&options).unwrap();
        assert_eq!(listeners.len(), 1);
        connects(&listeners[0], Ipv6Addr::LOCALHOST.into());
        connects(&listeners[0], Ipv4Addr::LOCALHOST.into());
    }

    #[test]
    fn without_ipv6_only_ipv4_is_served() {
        let listeners = bind(&ListenOptions::default()).unwrap();
        assert!(listeners[0].local_addr().unwrap().is_ipv4());
        connects(&listeners[0], Ipv4Addr::LOCALHOST.into());
    }

    #[test]
    fn an_address_is_read_as_mandos_reads_it() {
        let read = |text| address(&on(text)).map(|address| address.to_string());
        assert_eq!(read("::1").unwrap(), "[::1]:0");
        assert_eq!(read("::ffff:127.0.0.1").unwrap(), "[::ffff:127.0.0.1]:0");
        assert_eq!(read("127.0.0.1").unwrap(), "[::ffff:127.0.0.1]:0");
        assert_eq!(read("fe80::1%7").unwrap(), "[fe80::1%7]:0");
        assert_eq!(read("fe80::1%lo").unwrap(), "[fe80::1%1]:0");
        assert!(matches!(read("localhost"), Err(ListenError::Address(_))));
        assert!(matches!(read("fe80::1%0"), Err(ListenError::Zone(_))));
        assert!(matches!(read("fe80::1%nowhere"), Err(ListenError::Zone(_))));
        let v4 = ListenOptions {
            ipv6: false,
            ..on("::1")
        };
        assert!(matches!(address(&v4), Err(ListenError::AddressV4(_))));
    }

    #[test]
    fn a_link_local_address_belongs_to_the_interface_that_is_set() {
        let options = ListenOptions {
            interface: Some("lo".to_owned()),
            ..on("fe80::1")
        };
        assert_eq!(address(&options).unwrap().to_string(), "[fe80::1%1]:0");
    }

    #[test]
    fn an_interface_that_does_not_exist_is_no_reason_to_stop() {
        let options = ListenOptions {
            interface: Some("nl-nowhere".to_owned()),
            ..on("::1")
        };
        connects(&bind(&options).unwrap()[0], Ipv6Addr::LOCALHOST.into());
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_that_names_it() {
        let taken = &bind(&on("::1")).unwrap()[0];
        let options = ListenOptions {
            port: Some(taken.local_addr().unwrap().port()),
            ..on("::1")
        };
        let error = bind(&options).unwrap_err();
        let port = options.port.unwrap();
        let expected = format!("cannot listen on address [::1]:{port}");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_inherited_socket_is_used_whether_it_listens_already_or_not() {
        let listening = TcpListener::bind("[::1]:0").unwrap();
        let address = listening.local_addr().unwrap();
        let options = |socket: &dyn AsRawFd| ListenOptions {
            ipv6: true,
            socket: Some(socket.as_raw_fd()),
            ..ListenOptions::default()
        };
        let taken = bind(&options(&listening)).unwrap();
        assert_eq!(taken[0].local_addr().unwrap(), address);
        connects(&taken[0], address.ip());

        let fresh =
            rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, Some(ipproto::TCP));
        let fresh = fresh.unwrap();
        let bound = ListenOptions {
            address: Some("::1".to_owned()),
            ..options(&fresh)
        };
        let taken = bind(&bound).unwrap();
        assert_eq!(taken[0].local_addr().unwrap().ip(), address.ip());
    }

    #[test]
    fn what_is_no_tcp_socket_is_refused() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for number in [udp.as_raw_fd(), file.as_raw_fd(), RawFd::MAX] {
            let options = ListenOptions {
                socket: Some(number),
                ..ListenOptions::default()
            };
            let error = bind(&options).unwrap_err();
            assert!(matches!(error, ListenError::Inherited { .. }), "{error:?}");
        }
    }
}
