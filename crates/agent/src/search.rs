//! The search for servers on the local networks (RFC 6762), while one is missing: sockets around
//! `nightlatch_proto::discovery`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use nightlatch_proto::discovery::{
    Arrival, BATCH, Browser, FIRST_QUESTION, FoundServer, GROUP_V4, GROUP_V6, InterfaceIndex,
    MAX_MESSAGE, MDNS_PORT,
};
use nightlatch_sys::mdns::{MdnsGroups, MdnsSocket};
use nightlatch_sys::netif::{self, Interface};

use crate::jitter::Jitter;
use crate::log::Log;

const GROUPS: MdnsGroups = MdnsGroups {
    v6: GROUP_V6,
    v4: GROUP_V4,
    port: MDNS_PORT,
};

/// Added to [`FIRST_QUESTION`], so that machines that start together do not ask together (RFC 6762, 5.2).
const SPREAD: Duration = Duration::from_millis(100);

/// The greatest number of addresses that are tried: one of each link after the other, and of each link the first ones of each
/// source before the second ones. So nobody can push others out by announcing many of his own, and whoever forges many
/// sources pushes nobody out on another link.
const MAX_ADDRESSES: usize = 512;

/// The pause after a full batch: a flood of messages must not keep the program busy.
const PAUSE: Duration = Duration::from_millis(100);

/// Searches on all interfaces that are up.
pub(crate) struct Search {
    browser: Browser,
    links: BTreeMap<u32, SearchedLink>,
    paused_until: Option<Monotonic>,
    jitter: Jitter,
    log: Log,
}

struct SearchedLink {
    own: Option<Ipv6Addr>,
    v4: bool,
    sockets: Vec<MdnsSocket>,
}

impl Search {
    pub(crate) fn new(jitter: Jitter, now: Monotonic, log: Log) -> Self {
        let mut search = Self {
            browser: Browser::new(),
            links: BTreeMap::new(),
            paused_until: None,
            jitter,
            log,
        };
        search.refresh(now);
        search
    }

    /// Searches on the interfaces that are ready now, and no longer on others.
    pub(crate) fn refresh(&mut self, now: Monotonic) {
        let (mut v6, mut v4) = (BTreeMap::new(), BTreeSet::new());
        // What cannot be listed does not exist; the next change of the network lists it again.
        for address in netif::addresses().unwrap_or_default() {
            match address.ip {
                IpAddr::V4(_) => drop(v4.insert(address.index)),
                IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                    v6.insert(address.index, ip);
                }
                IpAddr::V6(_) => {}
            }
        }
        let interfaces = netif::interfaces().unwrap_or_default();
        let mut ready = BTreeSet::new();
        for interface in interfaces.iter().filter(|it| is_suitable(it)) {
            let index = interface.index;
            let (own, v4) = (v6.get(&index).copied(), v4.contains(&index));
            if own.is_some() || v4 {
                ready.insert(index);
                self.prepare(interface, own, v4, now);
            }
        }
        let lost: Vec<u32> = self.links.keys().copied().collect();
        for index in lost.into_iter().filter(|index| !ready.contains(index)) {
            self.links.remove(&index);
            self.browser.interface_removed(InterfaceIndex(index));
        }
    }

    /// Makes the sockets that the interface lacks.
    fn prepare(&mut self, interface: &Interface, own: Option<Ipv6Addr>, v4: bool, now: Monotonic) {
        let index = interface.index;
        let has = |link: &SearchedLink| link.own == own && link.v4 == v4;
        if self.links.get(&index).is_some_and(has) {
            return;
        }
        let mut sockets = Vec::new();
        for socket in GROUPS.sockets(index, own, v4) {
            match socket {
                Ok(socket) => sockets.push(socket),
                Err(error) => {
                    let name = &interface.name;
                    self.log
                        .info(&format!("cannot search for servers on {name}: {error}"));
                }
            }
        }
        self.log
            .debug(|| format!("searching for servers on {}", interface.name));
        self.links.insert(index, SearchedLink { own, v4, sockets });
        let first = FIRST_QUESTION + self.jitter.between(Duration::ZERO, SPREAD);
        self.browser
            .interface_added(InterfaceIndex(index), first, now);
    }

    /// The descriptors to wait for; none in a pause.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let links = self.links.values().filter(|_| self.paused_until.is_none());
        links.flat_map(|link| link.sockets.iter().map(|socket| socket.socket.as_fd()))
    }

    /// The time to call [`drive`](Self::drive) again without a message.
    pub(crate) fn poll_timeout(&self) -> Option<Monotonic> {
        self.paused_until.or_else(|| self.browser.poll_timeout())
    }

    /// Reads what came in and sends what is due. Returns the addresses of all servers that are announced now.
    pub(crate) fn drive(&mut self, now: Monotonic) -> Vec<SocketAddr> {
        if self.paused_until.is_none_or(|until| now >= until) {
            self.paused_until = self.receive(now).then(|| now.after(PAUSE));
        }
        self.browser.handle_timeout(now);
        // Events are not used: the whole list is compared by the schedule.
        while self.browser.poll_event().is_some() {}
        while self.browser.poll_evicted().is_some() {}
        while let Some(transmit) = self.browser.poll_transmit(now) {
            let link = self.links.get(&transmit.interface.0);
            for socket in link.into_iter().flat_map(|link| &link.sockets) {
                if let Some(group) = socket.asks {
                    // The browser asks again by itself.
                    let _ = socket.socket.send_to(&transmit.payload, group);
                }
            }
        }
        fair(self.browser.servers())
    }

    /// True when a socket had more than a batch.
    fn receive(&mut self, now: Monotonic) -> bool {
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut is_flooded = false;
        for (index, link) in &self.links {
            for socket in &link.sockets {
                let mut room = BATCH;
                while room > 0
                    && let Ok((length, source)) = socket.socket.recv_from(&mut buffer)
                {
                    room -= 1;
                    let arrival = Arrival {
                        interface: InterfaceIndex(*index),
                        source,
                        multicast: socket.multicast,
                        hop_limit: None,
                    };
                    // Most of what is ignored are queries of other hosts, and our own.
                    let _ = self.browser.handle_packet(arrival, &buffer[..length], now);
                }
                is_flooded |= room == 0;
            }
        }
        is_flooded
    }
}

/// The addresses to try: of each link in turn the best one of each source, then the second of each, and so on.
fn fair(servers: Vec<FoundServer>) -> Vec<SocketAddr> {
    let mut seen: BTreeMap<(InterfaceIndex, IpAddr), usize> = BTreeMap::new();
    let mut links: BTreeMap<InterfaceIndex, Vec<(usize, SocketAddr)>> = BTreeMap::new();
    for server in servers {
        let count = seen.entry((server.interface, server.source)).or_default();
        *count += 1;
        let link = links.entry(server.interface).or_default();
        link.push((*count, server.addr));
    }
    let mut ranked: Vec<(usize, SocketAddr)> = Vec::new();
    for mut link in links.into_values() {
        link.sort();
        let places = link.into_iter().enumerate();
        ranked.extend(places.map(|(place, (_, address))| (place, address)));
    }
    ranked.sort();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut known = BTreeSet::new();
    for (_, address) in ranked {
        if addresses.len() < MAX_ADDRESSES && known.insert(address) {
            addresses.push(address);
        }
    }
    addresses
}

/// True for an interface that the boot client would search on too: up, with broadcast, no loopback.
fn is_suitable(interface: &Interface) -> bool {
    let flags = interface.flags;
    let reaches = flags.broadcast() && !flags.point_to_point();
    flags.up() && flags.running() && reaches && !flags.loopback() && !flags.no_arp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_with_many_addresses_does_not_push_out_another() {
        let server = |source: [u8; 4], port: u16| FoundServer {
            interface: InterfaceIndex(1),
            source: source.into(),
            instance: String::new(),
            host: String::new(),
            addr: (source, port).into(),
        };
        let forger = (1..=1000).map(|port| server([10, 0, 0, 1], port));
        let honest = server([10, 0, 0, 2], 4711);
        let addresses = fair(forger.chain([honest.clone()]).collect());
        assert_eq!(addresses.len(), MAX_ADDRESSES);
        assert_eq!(addresses[..2], [([10, 0, 0, 1], 1).into(), honest.addr]);
    }

    #[test]
    fn many_sources_on_one_link_do_not_push_out_a_server_on_another() {
        let server = |index: u32, source: [u8; 4]| FoundServer {
            interface: InterfaceIndex(index),
            source: source.into(),
            instance: String::new(),
            host: String::new(),
            addr: (source, 4711).into(),
        };
        let forged = (0..1000u16).map(|number| {
            let [high, low] = number.to_be_bytes();
            server(1, [10, 0, high, low])
        });
        let honest = server(2, [192, 0, 2, 1]);
        let addresses = fair(forged.chain([honest.clone()]).collect());
        assert_eq!(addresses.len(), MAX_ADDRESSES);
        assert_eq!(addresses[1], honest.addr);
    }
}
