//! The browser: takes messages and time, gives queries and found servers.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nightlatch_core::time::Monotonic;

use super::cache::LinkCache;
use super::message::{self, IgnoreReason};
use super::name::DomainName;
use super::source::ServiceAddress;
use super::{
    Arrival, BrowserEvent, FoundServer, InterfaceIndex, MDNS_PORT, SERVICE_TYPE, Transmit,
};

/// Orders the servers of one source: lower is reported first.
type Rank = (u8, SocketAddr);

/// Browses `_mandos._tcp.local` on any number of interfaces.
///
/// After each `handle_*` or `interface_*` call, send what [`poll_transmit`](Self::poll_transmit)
/// gives until it gives nothing, take what [`poll_event`](Self::poll_event) gives likewise, then
/// wait for a message or for [`poll_timeout`](Self::poll_timeout), whichever comes first.
#[derive(Debug)]
pub struct Browser {
    service_type: DomainName,
    links: BTreeMap<InterfaceIndex, LinkCache>,
    /// Servers that were reported to the caller as found and not yet as lost.
    reported: BTreeMap<(InterfaceIndex, IpAddr), BTreeMap<Rank, FoundServer>>,
    events: VecDeque<BrowserEvent>,
}

impl Default for Browser {
    fn default() -> Self {
        Self::new()
    }
}

impl Browser {
    /// A browser of no interface yet.
    pub fn new() -> Self {
        let labels = SERVICE_TYPE.split('.').map(str::as_bytes);
        Self {
            service_type: DomainName::from_wire_labels(labels),
            links: BTreeMap::new(),
            reported: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// Starts to browse on an interface, once it can send (for IPv6: its link-local address is no longer tentative).
    ///
    /// The first question is due `jitter` from now; RFC 6762 section 5.2 wants a random delay of 20 to 120 ms where
    /// many hosts may start at one moment. For an interface that was added before, for example because its carrier came
    /// back, the questions start again and the cache stays.
    pub fn interface_added(&mut self, interface: InterfaceIndex, jitter: Duration, now: Monotonic) {
        let first = now.after(jitter);
        let service_type = &self.service_type;
        self.links
            .entry(interface)
            .and_modify(|link| link.restart(first))
            .or_insert_with(|| LinkCache::new(interface, service_type.clone(), first));
    }

    /// Forgets the interface and reports every server found on it as lost.
    pub fn interface_removed(&mut self, interface: InterfaceIndex) {
        self.links.remove(&interface);
        let events = &mut self.events;
        self.reported.retain(|(on, _), servers| {
            let kept = *on != interface;
            if !kept {
                let lost = std::mem::take(servers).into_values();
                events.extend(lost.map(BrowserEvent::Lost));
            }
            kept
        });
    }

    /// Takes in a message.
    ///
    /// # Errors
    ///
    /// The reason why the message was not used. For a debug log at most: anyone can send anything, and queries of other
    /// hosts arrive here too.
    pub fn handle_packet(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        now: Monotonic,
    ) -> Result<(), IgnoreReason> {
        let link = self
            .links
            .get_mut(&arrival.interface)
            .ok_or(IgnoreReason::UnknownInterface)?;
        check_origin(arrival)?;
        let source = arrival.source.ip();
        let print = link.fingerprint(bytes);
        if link.is_repeated(source, print, now) {
            return Err(IgnoreReason::Repeated);
        }
        let records = message::parse(bytes)?;
        link.take(source, &records, now);
        link.remember(source, print, now);
        Ok(())
    }

    /// Call it at the time of [`poll_timeout`](Self::poll_timeout). Early or late is no harm.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        for link in self.links.values_mut() {
            link.expire(now);
        }
    }

    /// The next query that is due, if any.
    pub fn poll_transmit(&mut self, now: Monotonic) -> Option<Transmit> {
        for (interface, link) in &mut self.links {
            if let Some(payload) = link.take_query(now) {
                return Some(Transmit {
                    interface: *interface,
                    payload,
                });
            }
        }
        None
    }

    /// The next change of the known servers. Call it after each message, because a later message may evict what an
    /// earlier one announced.
    pub fn poll_event(&mut self) -> Option<BrowserEvent> {
        if self.events.is_empty() {
            self.compare_with_reported();
        }
        self.events.pop_front()
    }

    /// The time for the next [`handle_timeout`](Self::handle_timeout); `None` without interfaces.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.links.values().map(LinkCache::deadline).min()
    }

    /// The servers that are announced now, in order of preference.
    pub fn servers(&self) -> Vec<FoundServer> {
        let all = self.links.values().flat_map(LinkCache::addresses);
        let mut servers: Vec<FoundServer> = all.map(|address| address.server()).collect();
        servers.sort_by_cached_key(|server| (preference(server.addr), server.clone()));
        servers.dedup_by_key(|server| (server.interface, server.addr, server.source));
        servers
    }

    /// The interfaces on which `addr` is announced now.
    pub fn interfaces_of(&self, addr: SocketAddr) -> Vec<InterfaceIndex> {
        let announces = |link: &&LinkCache| link.addresses().any(|address| address.addr == addr);
        let links = self.links.iter();
        let on = links.filter(|(_, link)| announces(link));
        on.map(|(interface, _)| *interface).collect()
    }

    /// An interface whose table was full since the last call, so that something announced there was evicted.
    pub fn poll_evicted(&mut self) -> Option<InterfaceIndex> {
        let links = self.links.iter_mut();
        let mut evicted = links.filter_map(|(interface, link)| {
            let evicted = link.take_evicted();
            evicted.then_some(*interface)
        });
        evicted.next()
    }

    /// Queues the differences between the known and the reported servers. Computed from the tables instead of collected
    /// as they happen, so that the queue cannot outgrow the tables.
    fn compare_with_reported(&mut self) {
        let mut found = Vec::new();
        for (interface, link) in &mut self.links {
            for source in link.take_changed() {
                let mut current: BTreeMap<Rank, ServiceAddress<'_>> = BTreeMap::new();
                for address in link.addresses_of(source) {
                    let rank = (preference(address.addr), address.addr);
                    current.entry(rank).or_insert(address);
                }
                let reported = self.reported.entry((*interface, source)).or_default();
                reported.retain(|rank, server| {
                    let kept = current.contains_key(rank);
                    if !kept {
                        self.events.push_back(BrowserEvent::Lost(server.clone()));
                    }
                    kept
                });
                for (rank, address) in current {
                    reported.entry(rank).or_insert_with(|| {
                        let server = address.server();
                        found.push((rank, server.clone()));
                        server
                    });
                }
                if reported.is_empty() {
                    self.reported.remove(&(*interface, source));
                }
            }
        }
        found.sort();
        let found = found
            .into_iter()
            .map(|(_, server)| BrowserEvent::Found(server));
        self.events.extend(found);
    }
}

/// RFC 6762 sections 6 and 11: from port 5353, and from the local link.
fn check_origin(arrival: Arrival) -> Result<(), IgnoreReason> {
    if arrival.source.port() != MDNS_PORT {
        return Err(IgnoreReason::SourcePort);
    }
    if !arrival.is_from_link() {
        return Err(IgnoreReason::OffLink);
    }
    Ok(())
}

/// Lower is tried first. Link-local IPv6 needs no set-up on either side and no router.
fn preference(addr: SocketAddr) -> u8 {
    match addr {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => 0,
        SocketAddr::V6(_) => 1,
        SocketAddr::V4(_) => 2,
    }
}
