//! The responder: announces one server as `_mandos._tcp` on any number of interfaces.
//!
//! The counterpart of the browser, for hosts where no Avahi runs. It claims a service name and a host name (RFC 6762
//! section 8), defends them (section 9), answers questions (section 6) and sends goodbyes (section 10.1). No sockets,
//! no clock, no source of randomness.

mod link;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use simple_dns::{OPCODE, Packet, PacketFlag, RCODE};

use super::message::{IgnoreReason, check_header};
use super::{Arrival, InterfaceIndex, MDNS_PORT};
use link::{ConflictAction, LinkResponder};
use records::ClaimedNames;

/// Conflicts after which the responder stops giving way (RFC 6762 section 8.1). More of them come from a host that
/// claims every name, and giving way would hide the server for as long as that host likes: the responder then announces
/// its current names despite the conflict.
const MAX_CONFLICTS: u32 = 15;

/// The wait before probes once that many conflicts occurred (RFC 6762 section 8.1).
const MANY_CONFLICTS_PAUSE: Duration = Duration::from_secs(5);

/// Time without conflicts after which they are counted from zero again.
const CONFLICT_RESET: Duration = Duration::from_secs(10 * 60);

/// The random wait before the first probe (RFC 6762 section 8.1), in milliseconds.
const FIRST_PROBE_WITHIN: u64 = 250;

/// The random wait before a multicast answer that other hosts may give too, in milliseconds: 20 to
/// 120 (RFC 6762 section 6).
const SHARED_ANSWER_FROM: u64 = 20;
const SHARED_ANSWER_SPREAD: u64 = 100;

/// Most messages kept for sending. A caller that polls as documented never has more than a few.
const MAX_QUEUED: usize = 32;

/// The service to announce.
#[derive(Clone, Debug)]
pub struct AnnouncedService {
    /// The service's name, such as `Mandos`; cut to the 63 bytes of a label.
    pub name: String,
    /// The first label of the host name to claim. Not the machine's own host name, which another responder on the
    /// machine may hold.
    pub host: String,
    /// TCP port of the server.
    pub port: u16,
}

/// A message to send out of `interface`, from port 5353, with hop limit 255.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponderMessage {
    /// The interface to send it from.
    pub interface: InterfaceIndex,
    /// The recipient: one host, or with `None` the multicast group.
    pub to: Option<SocketAddr>,
    /// The encoded message.
    pub payload: Vec<u8>,
}

/// Announces one service. Drive it as the browser: after each call that takes `now`, send what
/// [`poll_transmit`](Self::poll_transmit) gives, then wait for a message or for
/// [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Responder {
    name: String,
    host: String,
    claimed_names: ClaimedNames,
    links: BTreeMap<InterfaceIndex, LinkResponder>,
    outbox: VecDeque<ResponderMessage>,
    conflicts: u32,
    last_conflict: Option<Monotonic>,
    jitter: Jitter,
}

impl Responder {
    /// A responder without interfaces. `seed` varies its random waits; it need not be secret.
    pub fn new(service: AnnouncedService, seed: u64) -> Self {
        let name = cut(&service.name, MAX_LABEL).to_owned();
        let host = cut(&service.host, MAX_LABEL).to_owned();
        Self {
            claimed_names: ClaimedNames::new(&name, &host, service.port),
            name,
            host,
            links: BTreeMap::new(),
            outbox: VecDeque::new(),
            conflicts: 0,
            last_conflict: None,
            jitter: Jitter(seed),
        }
    }

    /// Announces on an interface that can send, with these addresses. Call it again whenever they may have changed; an
    /// empty list removes the interface.
    pub fn interface_added(
        &mut self,
        interface: InterfaceIndex,
        addresses: &[IpAddr],
        now: Monotonic,
    ) {
        if addresses.is_empty() {
            self.interface_removed(interface);
        } else if let Some(link) = self.links.get_mut(&interface) {
            link.readdress(addresses, now);
        } else {
            let first = now.after(self.jitter.millis(FIRST_PROBE_WITHIN));
            self.links
                .insert(interface, LinkResponder::new(addresses, first));
        }
    }

    /// Stops announcing on the interface, without a goodbye.
    pub fn interface_removed(&mut self, interface: InterfaceIndex) {
        self.links.remove(&interface);
    }

    /// Takes in a message.
    ///
    /// # Errors
    ///
    /// The reason why the message was not used. For a debug log at most: anyone can send anything.
    pub fn handle_packet(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        now: Monotonic,
    ) -> Result<(), IgnoreReason> {
        if !self.links.contains_key(&arrival.interface) {
            return Err(IgnoreReason::UnknownInterface);
        }
        if !arrival.is_from_link() {
            return Err(IgnoreReason::OffLink);
        }
        check_header(bytes)?;
        let packet = Packet::parse(bytes).map_err(|_| IgnoreReason::Malformed)?;
        if packet.opcode() != OPCODE::StandardQuery || packet.rcode() != RCODE::NoError {
            return Err(IgnoreReason::Malformed);
        }
        if packet.has_flags(PacketFlag::RESPONSE) {
            self.handle_response(arrival, &packet, now)
        } else {
            self.handle_query(arrival, &packet, now);
            Ok(())
        }
    }

    /// Call it at the time of [`poll_timeout`](Self::poll_timeout). Early or late is no harm.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        for (interface, link) in &mut self.links {
            while let Some(payload) = link.take_due(&self.claimed_names, now) {
                queue(&mut self.outbox, *interface, None, payload);
            }
        }
    }

    /// Withdraws everything: queues a goodbye for each interface. Interfaces added afterwards are announced on again.
    pub fn withdraw(&mut self) {
        for (interface, link) in std::mem::take(&mut self.links) {
            if let Some(payload) = link.goodbye(&self.claimed_names) {
                queue(&mut self.outbox, interface, None, payload);
            }
        }
    }

    /// The next message to send, if any.
    pub fn poll_transmit(&mut self, now: Monotonic) -> Option<ResponderMessage> {
        if self.outbox.is_empty() {
            self.handle_timeout(now);
        }
        self.outbox.pop_front()
    }

    /// The time for the next [`handle_timeout`](Self::handle_timeout); `None` while only questions can cause work.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.links
            .values()
            .filter_map(LinkResponder::deadline)
            .min()
    }

    /// The service's name as it is claimed now.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True when the names are proven to be free on some interface, and the service is announced there.
    pub fn is_announced(&self) -> bool {
        self.links.values().any(LinkResponder::is_announced)
    }

    fn handle_query(&mut self, arrival: Arrival, packet: &Packet<'_>, now: Monotonic) {
        let own = self.is_own(arrival.source.ip());
        let delay = self.shared_delay();
        let Some(link) = self.links.get_mut(&arrival.interface) else {
            return;
        };
        if !link.is_announced() {
            if !own
                && self.claimed_names.loses_to(packet, link.addresses())
                && let Some(pause) = self.give_way(now)
                && let Some(link) = self.links.get_mut(&arrival.interface)
            {
                link.lose_probe(now.after(pause));
            }
            return;
        }
        if arrival.source.port() != MDNS_PORT {
            let answer = link.answer_legacy(&self.claimed_names, packet);
            if let Some(payload) = answer {
                queue(
                    &mut self.outbox,
                    arrival.interface,
                    Some(arrival.source),
                    payload,
                );
            }
            return;
        }
        if let Some(payload) = link.answer(&self.claimed_names, packet, delay, now) {
            queue(
                &mut self.outbox,
                arrival.interface,
                Some(arrival.source),
                payload,
            );
        }
    }

    fn handle_response(
        &mut self,
        arrival: Arrival,
        packet: &Packet<'_>,
        now: Monotonic,
    ) -> Result<(), IgnoreReason> {
        if arrival.source.port() != MDNS_PORT {
            return Err(IgnoreReason::SourcePort);
        }
        let addresses: Vec<IpAddr> = self.addresses().collect();
        let Some(claimed) = records::conflict(&self.claimed_names, &addresses, packet) else {
            return Ok(());
        };
        let Some(pause) = self.give_way(now) else {
            return Ok(());
        };
        let first = now.after(pause);
        let Some(link) = self.links.get_mut(&arrival.interface) else {
            return Err(IgnoreReason::UnknownInterface);
        };
        match (claimed, link.resolve_conflict(first)) {
            (records::ConflictingName::Instance, ConflictAction::Rename) => {
                let name = alternative(&self.name, " #");
                self.rename(name, self.host.clone(), first);
            }
            (records::ConflictingName::Host, ConflictAction::Rename) => {
                let host = alternative(&self.host, "-");
                self.rename(self.name.clone(), host, first);
            }
            (_, ConflictAction::ProbeAgain) => {}
        }
        Ok(())
    }

    /// Counts a conflict. The wait before the next probe; `None` when the names are kept.
    fn give_way(&mut self, now: Monotonic) -> Option<Duration> {
        let last = self.last_conflict;
        if last.is_none_or(|last| now.since(last) > CONFLICT_RESET) {
            self.conflicts = 0;
        }
        if self.conflicts == MAX_CONFLICTS {
            return None;
        }
        // Ignored conflicts do not count: two honest servers that an attack left with one name resolve it at the next
        // conflict.
        self.last_conflict = Some(now);
        self.conflicts += 1;
        match self.conflicts {
            MAX_CONFLICTS => Some(MANY_CONFLICTS_PAUSE),
            _ => Some(Duration::ZERO),
        }
    }

    /// Takes other names, on all interfaces: with different names on two links, browsers would see two services.
    fn rename(&mut self, name: String, host: String, first: Monotonic) {
        let first = first.after(self.jitter.millis(FIRST_PROBE_WITHIN));
        for (interface, link) in &mut self.links {
            if let Some(payload) = link.goodbye(&self.claimed_names) {
                queue(&mut self.outbox, *interface, None, payload);
            }
            link.restart(first);
        }
        self.claimed_names = ClaimedNames::new(&name, &host, self.claimed_names.port());
        self.name = name;
        self.host = host;
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let links = self.links.values();
        links.flat_map(|link| link.addresses().iter().copied())
    }

    /// True when this host sent the message: it may have two interfaces on one link, and the kernel loops each
    /// multicast message back to its sender.
    fn is_own(&self, source: IpAddr) -> bool {
        self.addresses().any(|address| address == source)
    }

    fn shared_delay(&mut self) -> Duration {
        Duration::from_millis(SHARED_ANSWER_FROM) + self.jitter.millis(SHARED_ANSWER_SPREAD)
    }
}

fn queue(
    outbox: &mut VecDeque<ResponderMessage>,
    interface: InterfaceIndex,
    to: Option<SocketAddr>,
    payload: Vec<u8>,
) {
    if outbox.len() < MAX_QUEUED {
        outbox.push_back(ResponderMessage {
            interface,
            to,
            payload,
        });
    }
}

/// Longest label of a domain name, in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// The next name to try: `Mandos`, `Mandos #2`, `Mandos #3`, as Avahi counts.
fn alternative(name: &str, mark: &str) -> String {
    let numbered = name.rsplit_once(mark).and_then(|(base, number)| {
        let canonical = !number.starts_with(['0', '+']);
        let number: u32 = number.parse().ok().filter(|_| canonical)?;
        Some((base, number.checked_add(1)?))
    });
    let (base, number) = numbered.unwrap_or((name, 2));
    let suffix = format!("{mark}{number}");
    let base = cut(base, MAX_LABEL - suffix.len());
    format!("{base}{suffix}")
}

/// The longest prefix of `text` of at most `length` bytes.
fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

/// A pseudo-random number generator (splitmix64) for waits. Nothing depends on its being hard to guess.
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    fn millis(&mut self, below: u64) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_millis((z ^ (z >> 31)) % below)
    }
}
