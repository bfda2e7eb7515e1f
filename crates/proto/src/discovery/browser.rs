//! The browser: messages and time in, queries and found servers out.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nightlatch_core::time::Monotonic;

use super::cache::Link;
use super::message::{self, Ignored};
use super::name::DomainName;
use super::view::Place;
use super::{Arrival, Event, InterfaceIndex, MDNS_PORT, SERVICE_TYPE, Server, Transmit};

/// What makes a server of one source one that is told of: lower comes first.
type Rank = (u8, SocketAddr);

/// Browses `_mandos._tcp.local` on any number of interfaces.
///
/// After each `handle_*` or `interface_*` call, send what [`poll_transmit`](Self::poll_transmit)
/// gives until it gives nothing, take what [`poll_event`](Self::poll_event) gives likewise, then
/// wait for a message or for [`poll_timeout`](Self::poll_timeout), whichever comes first.
#[derive(Debug)]
pub struct Browser {
    service_type: DomainName,
    links: BTreeMap<InterfaceIndex, Link>,
    /// What the caller was told of.
    told: BTreeMap<(InterfaceIndex, IpAddr), BTreeMap<Rank, Server>>,
    events: VecDeque<Event>,
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
            told: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// The interface can send now (for IPv6: its link-local address is no longer tentative).
    ///
    /// The first question is due `jitter` from now; RFC 6762 section 5.2 wants a random delay of
    /// 20 to 120 ms where many hosts may start at one moment. For an interface that was added
    /// before, say because its link came back, the questions start anew and what is known stays.
    pub fn interface_added(&mut self, interface: InterfaceIndex, jitter: Duration, now: Monotonic) {
        let first = now.after(jitter);
        let service_type = &self.service_type;
        self.links
            .entry(interface)
            .and_modify(|link| link.restart(first))
            .or_insert_with(|| Link::new(interface, service_type.clone(), first));
    }

    /// The interface is gone, and with it every server found on it.
    pub fn interface_removed(&mut self, interface: InterfaceIndex) {
        self.links.remove(&interface);
        let events = &mut self.events;
        self.told.retain(|(on, _), servers| {
            let kept = *on != interface;
            if !kept {
                let lost = std::mem::take(servers).into_values();
                events.extend(lost.map(Event::Lost));
            }
            kept
        });
    }

    /// Takes in a message.
    ///
    /// # Errors
    ///
    /// Why the message was not used; for a debug log at most, since anyone can send anything, and
    /// since other hosts' queries end up here too.
    pub fn handle_packet(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        now: Monotonic,
    ) -> Result<(), Ignored> {
        let link = self
            .links
            .get_mut(&arrival.interface)
            .ok_or(Ignored::UnknownInterface)?;
        check_origin(arrival)?;
        let source = arrival.source.ip();
        let print = link.fingerprint(bytes);
        if link.is_repeated(source, print, now) {
            return Err(Ignored::Repeated);
        }
        let records = message::parse(bytes)?;
        link.take(source, &records, now);
        link.remember(source, print, now);
        Ok(())
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come. Early or late is no harm.
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

    /// What was found or lost since the last call. Ask after each message: what one message announces another
    /// may push out.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            self.compare_with_told();
        }
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` without interfaces.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.links.values().map(Link::deadline).min()
    }

    /// The servers that are announced now, in order of preference.
    pub fn servers(&self) -> Vec<Server> {
        let all = self.links.values().flat_map(Link::places);
        let mut servers: Vec<Server> = all.map(|place| place.server()).collect();
        servers.sort_by_cached_key(|server| (preference(server.addr), server.clone()));
        servers.dedup_by_key(|server| (server.interface, server.addr, server.source));
        servers
    }

    /// True when `addr` is announced now, and on which interfaces.
    pub fn interfaces_of(&self, addr: SocketAddr) -> Vec<InterfaceIndex> {
        let announces = |link: &&Link| link.places().any(|place| place.addr == addr);
        let links = self.links.iter();
        let on = links.filter(|(_, link)| announces(link));
        on.map(|(interface, _)| *interface).collect()
    }

    /// An interface on which more was announced, since the last call, than is kept for one.
    pub fn poll_left_out(&mut self) -> Option<InterfaceIndex> {
        let links = self.links.iter_mut();
        let mut left_out = links.filter_map(|(interface, link)| {
            let left_out = link.take_left_out();
            left_out.then_some(*interface)
        });
        left_out.next()
    }

    /// Queues what differs between what is known and what was told. Computed from the tables, not
    /// gathered as it happens: so the queue cannot outgrow them.
    fn compare_with_told(&mut self) {
        let mut found = Vec::new();
        for (interface, link) in &mut self.links {
            for source in link.take_changed() {
                let mut current: BTreeMap<Rank, Place<'_>> = BTreeMap::new();
                for place in link.places_of(source) {
                    let rank = (preference(place.addr), place.addr);
                    current.entry(rank).or_insert(place);
                }
                let told = self.told.entry((*interface, source)).or_default();
                told.retain(|rank, server| {
                    let kept = current.contains_key(rank);
                    if !kept {
                        self.events.push_back(Event::Lost(server.clone()));
                    }
                    kept
                });
                for (rank, place) in current {
                    told.entry(rank).or_insert_with(|| {
                        let server = place.server();
                        found.push((rank, server.clone()));
                        server
                    });
                }
                if told.is_empty() {
                    self.told.remove(&(*interface, source));
                }
            }
        }
        found.sort();
        let found = found.into_iter().map(|(_, server)| Event::Found(server));
        self.events.extend(found);
    }
}

/// RFC 6762 sections 6 and 11: from port 5353, and from the local link.
fn check_origin(arrival: Arrival) -> Result<(), Ignored> {
    if arrival.source.port() != MDNS_PORT {
        return Err(Ignored::SourcePort);
    }
    if !arrival.is_from_link() {
        return Err(Ignored::OffLink);
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
