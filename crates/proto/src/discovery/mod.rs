//! Servers on the local link: a browser of `_mandos._tcp` and a responder that announces one, without sockets and
//! without a clock.
//!
//! Multicast DNS is RFC 6762, service discovery RFC 6763. Every message may come from an attacker on the link: every
//! table is bounded and evicts fairly, every time to live has a ceiling, and a found server counts as one only after
//! TLS and the payload's signature.

mod browser;
mod cache;
mod message;
mod name;
mod responder;
mod schedule;
mod source;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

pub use browser::Browser;
pub use cache::MAX_INSTANCES;
pub use message::IgnoreReason;
pub use responder::{AnnouncedService, Responder, ResponderMessage};

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

/// Shortest wait before the first question on an interface; the longest is 120 ms (RFC 6762 section 5.2).
pub const FIRST_QUESTION: Duration = Duration::from_millis(20);

/// Most messages to read from one socket at once, so that a flood on one interface does not starve the others.
pub const BATCH: usize = 64;

/// An interface by its kernel index, which is also the scope of link-local addresses on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterfaceIndex(pub u32);

/// Metadata of a received message, from its socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// The interface that received it.
    pub interface: InterfaceIndex,
    /// The sender's address and port.
    pub source: SocketAddr,
    /// True when it was sent to a multicast group; `false` also where the socket does not report it.
    pub multicast: bool,
    /// The hop limit (TTL in IPv4) on arrival, where the socket reports it.
    pub hop_limit: Option<u8>,
}

impl Arrival {
    /// True when the message is proven to come from the local link (RFC 6762 section 11): it was sent to a group, since
    /// such groups are not routed, or has a link-local source, or still has the full hop limit. The RFC's other way,
    /// comparing the source with the interface's prefixes, would accept a forged source from anywhere.
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
pub struct FoundServer {
    /// The interface on which it was found.
    pub interface: InterfaceIndex,
    /// The address from which it was announced. On the link anyone can forge it.
    pub source: IpAddr,
    /// The service's name, such as `Mandos`. Chosen by the sender: for logs only, free of control
    /// characters.
    pub instance: String,
    /// The name of its host, in small letters. Chosen by the sender: servers of the same host and port claim to be one
    /// server with several addresses.
    pub host: String,
    /// Address and port of the server. An IPv6 link-local address has its interface as scope.
    pub addr: SocketAddr,
}

/// A change of the servers that are announced. A server with several addresses has one event for each: IPv6 link-local
/// first, then other IPv6, then IPv4.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BrowserEvent {
    /// This address of a server is announced.
    Found(FoundServer),
    /// The address is no longer announced: goodbye, expiry, a change, or its interface was removed.
    Lost(FoundServer),
}

/// A query to send: to `[ff02::fb]:5353` and, where the interface has IPv4, to `224.0.0.251:5353`,
/// through `interface`, from port 5353, with hop limit 255 (RFC 6762 section 11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The interface to send it from.
    pub interface: InterfaceIndex,
    /// The encoded message.
    pub payload: Vec<u8>,
}
