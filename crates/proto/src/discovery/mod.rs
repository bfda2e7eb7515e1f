//! Servers on the local link: a browser of `_mandos._tcp` and a responder that announces one, without
//! sockets and without a clock.
//!
//! Multicast DNS is RFC 6762, service discovery RFC 6763. What comes in here was sent by anyone on
//! the link: every table has a bound, no table is for who comes first, every time to live has a ceiling, and
//! nothing found is believed to be a server before TLS and the payload's signature say so.

mod browser;
mod cache;
mod message;
mod name;
mod responder;
mod schedule;
#[cfg(test)]
mod tests;
mod view;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use browser::Browser;
pub use cache::MAX_INSTANCES;
pub use message::Ignored;
pub use responder::{Reply, Responder, Service};

/// The service type that Mandos servers announce.
pub const SERVICE_TYPE: &str = "_mandos._tcp.local";

/// UDP port of multicast DNS (RFC 6762 section 3). Answers from any other port are ignored.
pub const MDNS_PORT: u16 = 5353;

/// The IPv6 group of multicast DNS; it has the interface as its scope (RFC 6762 section 3).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// The IPv4 group of multicast DNS (RFC 6762 section 3).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

/// Longest message of multicast DNS, in bytes (RFC 6762 section 17); a receive buffer's size.
pub const MAX_MESSAGE: usize = 9000;

/// An interface by its kernel index, which is also the scope of link-local addresses on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterfaceIndex(pub u32);

/// How a message came in: what its socket tells beside the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// The interface that received it.
    pub interface: InterfaceIndex,
    /// Who sent it, with the port.
    pub source: SocketAddr,
    /// Whether it was sent to a multicast group; `false` also where the socket cannot tell.
    pub multicast: bool,
    /// The hop limit (TTL in IPv4) that it came with, where the socket tells.
    pub hop_limit: Option<u8>,
}

impl Arrival {
    /// RFC 6762 section 11: whether it is proven to be from the local link. What was sent to a group
    /// is, since such groups are not routed; so is what has a link-local source, and what still has
    /// the full hop limit. Comparing the source with the interface's prefixes, the RFC's own way for
    /// the rest, would believe a forged source from anywhere.
    fn is_from_link(&self) -> bool {
        let link_local = match self.source {
            SocketAddr::V6(source) => source.ip().is_unicast_link_local(),
            SocketAddr::V4(source) => source.ip().is_link_local(),
        };
        self.multicast || link_local || self.hop_limit == Some(HOP_LIMIT_ON_LINK)
    }
}

/// The hop limit that proves that no router passed the message on (RFC 6762 section 11, RFC 5082).
const HOP_LIMIT_ON_LINK: u8 = 255;

/// One address of one server, as seen on one interface.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Server {
    /// The interface on which it was found.
    pub interface: InterfaceIndex,
    /// Who told of it. On the link anyone can send from any address.
    pub source: IpAddr,
    /// The service's name, such as `Mandos`. Chosen by the sender: for logs only, free of control
    /// characters.
    pub instance: String,
    /// The name of its host, in small letters. Chosen by the sender, as the instance's: what has the same host
    /// and port claims to be one server with several addresses.
    pub host: String,
    /// Where to connect. An IPv6 link-local address has its interface as scope.
    pub addr: SocketAddr,
}

/// What the browser has to tell. A server with several addresses is told of once for each,
/// IPv6 link-local first, then other IPv6, then IPv4.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// This address of a server is announced.
    Found(Server),
    /// It is no longer: said goodbye, ran out, changed, or its interface went away.
    Lost(Server),
}

/// A query to send: to `[ff02::fb]:5353` and, where the interface has IPv4, to `224.0.0.251:5353`,
/// through `interface`, from port 5353, with hop limit 255 (RFC 6762 section 11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Where to send it out.
    pub interface: InterfaceIndex,
    /// The message.
    pub payload: Vec<u8>,
}
