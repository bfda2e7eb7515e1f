//! A neighbour that announces servers that are none, for tests that need it on a host of its own.
//!
//! usage: `rogue INTERFACE NAMES SOURCES REFUSE|SILENT|CLAIM=NAME:PORT`
//!
//! Announces NAMES servers over and over, from its own address or from as many others as SOURCES says, which it
//! gives itself. Their ports refuse connections, or accept them and never say a word, or all of them claim to be
//! the host and port NAME:PORT at addresses of this host, where nobody says a word. Says `announced NAMES` on
//! standard error after the first round. Ends when killed.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nightlatch_proto::discovery::{GROUP_V6, MDNS_PORT};
use nightlatch_sys::netif::{self, NetworkChanges};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

/// As fast as case 08 of the review: fifty messages a second.
const PAUSE: Duration = Duration::from_millis(20);

/// Names in one message: it must fit into [`nightlatch_proto::discovery::MAX_MESSAGE`] bytes.
const IN_ONE: usize = 16;

const FIRST_PORT: u16 = 20_000;

/// A name that is announced: its instance, its host, its port, its address.
type Name = (String, String, u16, Ipv6Addr);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, names, sources, mode] = &arguments[..] else {
        eprintln!("usage: rogue INTERFACE NAMES SOURCES REFUSE|SILENT|CLAIM=NAME:PORT");
        return ExitCode::from(64);
    };
    let count = |text: &str| text.parse::<u16>().unwrap_or(1);
    match announce(interface, count(names), count(sources), mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rogue: {error}");
            ExitCode::FAILURE
        }
    }
}

fn announce(interface: &str, names: u16, sources: u16, mode: &str) -> io::Result<()> {
    let (index, own) = link_local(interface)?;
    let claimed = mode.strip_prefix("CLAIM=");
    let addresses = add_addresses(interface, names.max(sources))?;
    let mut listening = Vec::new();
    let names: Vec<Name> = (0..names)
        .map(|n| match claimed.and_then(|it| it.rsplit_once(':')) {
            Some((host, port)) => {
                let port = port.parse().unwrap_or(FIRST_PORT);
                let address = addresses[usize::from(n)];
                let place = SocketAddrV6::new(address, port, 0, index);
                listening.push(TcpListener::bind(place)?);
                Ok((format!("x{n}"), host.to_owned(), port, address))
            }
            None => {
                let port = FIRST_PORT + n;
                if mode == "SILENT" {
                    listening.push(TcpListener::bind(SocketAddrV6::new(own, port, 0, index))?);
                }
                Ok((format!("x{n}"), format!("h{n}"), port, own))
            }
        })
        .collect::<io::Result<_>>()?;
    let messages: Vec<Vec<u8>> = match sources {
        1 => names.chunks(IN_ONE).map(message).collect(),
        _ => names.chunks(1).map(message).collect(),
    };
    let sockets: Vec<UdpSocket> = match sources {
        1 => vec![sender(own, index)?],
        _ => addresses
            .iter()
            .take(usize::from(sources))
            .map(|address| sender(*address, index))
            .collect::<io::Result<_>>()?,
    };
    let group = SocketAddrV6::new(GROUP_V6, MDNS_PORT, 0, index);
    // The same names a second, in however many messages.
    let at_once = if sources == 1 { 1 } else { IN_ONE };
    let mut rounds = 0_u64;
    loop {
        for (n, message) in messages.iter().enumerate() {
            // One that is lost comes again.
            let _ = sockets[n % sockets.len()].send_to(message, group);
            if rounds > 0 && n % at_once == at_once - 1 {
                std::thread::sleep(PAUSE);
            }
        }
        rounds += 1;
        if rounds == 1 {
            eprintln!("announced {}", names.len());
        }
    }
}

fn sender(from: Ipv6Addr, index: u32) -> io::Result<UdpSocket> {
    let socket = socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &SocketAddrV6::new(from, MDNS_PORT, 0, index))?;
    sockopt::set_ipv6_multicast_if(&socket, index)?;
    sockopt::set_ipv6_multicast_hops(&socket, 255)?;
    Ok(socket.into())
}

/// Gives itself link-local addresses.
fn add_addresses(interface: &str, count: u16) -> io::Result<Vec<Ipv6Addr>> {
    let addresses: Vec<Ipv6Addr> = (0..count)
        .map(|n| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, n + 1))
        .collect();
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(input) = &mut ip.stdin {
        for address in &addresses {
            writeln!(input, "addr add {address}/64 dev {interface} nodad")?;
        }
    }
    match ip.wait()?.success() {
        true => Ok(addresses),
        false => Err(io::Error::other("cannot add addresses")),
    }
}

/// Waits for the interface's own link-local address.
fn link_local(name: &str) -> io::Result<(u32, Ipv6Addr)> {
    let changes = NetworkChanges::listen()?;
    loop {
        let interfaces = netif::interfaces()?;
        let index = interfaces
            .iter()
            .find(|it| it.name == name)
            .map(|it| it.index);
        let own = netif::addresses()?.into_iter().find_map(|it| match it.ip {
            std::net::IpAddr::V6(v6) if Some(it.index) == index => {
                v6.is_unicast_link_local().then_some((it.index, v6))
            }
            _ => None,
        });
        if let Some(own) = own {
            return Ok(own);
        }
        poll(&mut [PollFd::new(&changes.as_fd(), PollFlags::IN)], None)?;
        changes.drain()?;
    }
}

/// An answer of multicast DNS with all three records of each name.
fn message(names: &[Name]) -> Vec<u8> {
    let count = (names.len() * 3) as u16;
    let mut message = vec![0, 0, 0x84, 0, 0, 0];
    message.extend(count.to_be_bytes());
    message.extend([0; 4]);
    for (instance, host, port, address) in names {
        let service = name(&["_mandos", "_tcp", "local"]);
        let instance = name(&[instance, "_mandos", "_tcp", "local"]);
        let host = name(&[host.trim_end_matches(".local"), "local"]);
        let target = [&[0; 4][..], &port.to_be_bytes(), &host].concat();
        for (owner, kind, class, data) in [
            (&service, 12_u16, 1_u16, &instance),
            (&instance, 33, 0x8001, &target),
            (&host, 28, 0x8001, &address.octets().to_vec()),
        ] {
            message.extend(owner);
            message.extend(kind.to_be_bytes());
            message.extend(class.to_be_bytes());
            message.extend(4500_u32.to_be_bytes());
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
        }
    }
    message
}

fn name(labels: &[&str]) -> Vec<u8> {
    let mut name = Vec::new();
    for label in labels {
        name.push(label.len() as u8);
        name.extend(label.as_bytes());
    }
    name.push(0);
    name
}
