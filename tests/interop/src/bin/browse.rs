//! Looks for servers with our browser on one interface, for tests that need it on a host of its own.
//!
//! usage: browse INTERFACE
//!
//! Waits for the interface's link-local address, then says on standard error what it finds:
//! `found NAME ADDRESS after N ms, S sent, R received`, `lost NAME ADDRESS`. Ends when killed.
#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use nightlatch_proto::discovery::{
    Arrival, Browser, BrowserEvent, GROUP_V6, InterfaceIndex, MAX_MESSAGE, MDNS_PORT,
};
use nightlatch_sys::netif::{self, NetworkChanges};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

/// The least of the random wait before the first question (RFC 6762 section 5.2).
const JITTER: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let Some(interface) = std::env::args().nth(1) else {
        eprintln!("usage: browse INTERFACE");
        return ExitCode::from(64);
    };
    match browse(&interface) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("browse: {error}");
            ExitCode::FAILURE
        }
    }
}

fn browse(name: &str) -> io::Result<()> {
    let index = link_local(name)?;
    let started = now();
    let socket = join(index)?;
    let interface = InterfaceIndex(index);
    let mut browser = Browser::new();
    browser.interface_added(interface, JITTER, started);
    eprintln!("browsing");
    let (mut sent, mut received) = (0, 0);
    let mut buffer = [0; MAX_MESSAGE];
    loop {
        while let Some(transmit) = browser.poll_transmit(now()) {
            let group = SocketAddrV6::new(GROUP_V6, MDNS_PORT, 0, index);
            socket.send_to(&transmit.payload, group)?;
            sent += 1;
        }
        while let Some(event) = browser.poll_event() {
            let millis = now().since(started).as_millis();
            match event {
                BrowserEvent::Found(it) => eprintln!(
                    "found {} {} after {millis} ms, {sent} sent, {received} received",
                    it.instance, it.addr
                ),
                BrowserEvent::Lost(it) => eprintln!("lost {} {}", it.instance, it.addr),
            }
        }
        let wait = browser.poll_timeout().map(|at| at.since(now()));
        socket.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
        match socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                received += 1;
                let arrival = Arrival {
                    interface,
                    source,
                    multicast: false,
                    hop_limit: None,
                };
                // Most of what is refused is our own question coming back.
                let _ = browser.handle_packet(arrival, &buffer[..length], now());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                browser.handle_timeout(now());
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the interface and its link-local address, and returns its index.
fn link_local(name: &str) -> io::Result<u32> {
    let changes = NetworkChanges::listen()?;
    loop {
        let interfaces = netif::interfaces()?;
        let addresses = netif::addresses()?;
        let found = interfaces.iter().find(|interface| {
            let mut own = addresses.iter().filter(|it| it.index == interface.index);
            let near = |ip: IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
            interface.name == name && own.any(|address| near(address.ip))
        });
        if let Some(interface) = found {
            return Ok(interface.index);
        }
        poll(&mut [PollFd::new(&changes.as_fd(), PollFlags::IN)], None)?;
        changes.drain()?;
    }
}

/// Receives messages to the group and unicast ones.
fn join(index: u32) -> io::Result<UdpSocket> {
    let socket = socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_ipv6_multicast_hops(&socket, 255)?;
    bind(
        &socket,
        &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, MDNS_PORT, 0, 0),
    )?;
    sockopt::set_ipv6_add_membership(&socket, &GROUP_V6, index)?;
    Ok(socket.into())
}

#[allow(clippy::disallowed_methods, reason = "a program's own clock")]
fn now() -> Monotonic {
    nightlatch_sys::clock::now().mono
}
