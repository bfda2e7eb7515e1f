//! The responder: announces one server as `_mandos._tcp` on any number of interfaces.
//!
//! The counterpart of the browser, for hosts where no Avahi runs. It claims a service name and a
//! host name of its own (RFC 6762 section 8), defends them (section 9), answers questions
//! (section 6) and says goodbye (section 10.1). No sockets, no clock, no source of randomness.

mod link;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use simple_dns::{OPCODE, Packet, PacketFlag, RCODE};

use super::message::{Ignored, check_header};
use super::{Arrival, InterfaceIndex, MDNS_PORT};
use link::{Link, Verdict};
use records::Identity;

/// So many conflicts are given way to (RFC 6762 section 8.1). More come from a host that answers to every name,
/// and would keep the server from being found for as long as it likes: then the names that we have are announced,
/// whoever else claims them.
const CONFLICTS: u32 = 15;

/// The wait that section 8.1 wants before the probes after that many.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// So long after the last that was given way to they are counted from none again.
const CALM: Duration = Duration::from_secs(10 * 60);

/// The random wait before the first probe (RFC 6762 section 8.1), in milliseconds.
const FIRST_PROBE_WITHIN: u64 = 250;

/// The random wait before a multicast answer that other hosts may give too, in milliseconds: 20 to
/// 120 (RFC 6762 section 6).
const SHARED_ANSWER_FROM: u64 = 20;
const SHARED_ANSWER_SPREAD: u64 = 100;

/// Most messages kept for sending. A caller that polls as told never has more than a few.
const MAX_QUEUED: usize = 32;

/// What to announce.
#[derive(Clone, Debug)]
pub struct Service {
    /// The service's name, such as `Mandos`; cut to the 63 bytes of a label.
    pub name: String,
    /// The first label of the host name to claim. Not that of the machine itself, which some other
    /// responder of the machine may hold.
    pub host: String,
    /// TCP port of the server.
    pub port: u16,
}

/// A message to send out of `interface`, from port 5353, with hop limit 255.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Where to send it out.
    pub interface: InterfaceIndex,
    /// Whom to: one host, or with `None` the group.
    pub to: Option<SocketAddr>,
    /// The message.
    pub payload: Vec<u8>,
}

/// Announces one service. Drive it as the browser: after each call that takes `now`, send what
/// [`poll_transmit`](Self::poll_transmit) gives, then wait for a message or for
/// [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Responder {
    name: String,
    host: String,
    identity: Identity,
    links: BTreeMap<InterfaceIndex, Link>,
    outbox: VecDeque<Reply>,
    conflicts: u32,
    last_conflict: Option<Monotonic>,
    dice: Dice,
}

impl Responder {
    /// A responder of no interface yet. `seed` spreads its random waits; it need not be secret.
    pub fn new(service: Service, seed: u64) -> Self {
        let name = cut(&service.name, MAX_LABEL).to_owned();
        let host = cut(&service.host, MAX_LABEL).to_owned();
        Self {
            identity: Identity::new(&name, &host, service.port),
            name,
            host,
            links: BTreeMap::new(),
            outbox: VecDeque::new(),
            conflicts: 0,
            last_conflict: None,
            dice: Dice(seed),
        }
    }

    /// The interface can send, and has these addresses to be announced on it. May be called again
    /// whenever they may have changed; without any, the interface is as good as removed.
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
            let first = now.after(self.dice.millis(FIRST_PROBE_WITHIN));
            self.links.insert(interface, Link::new(addresses, first));
        }
    }

    /// The interface is gone, or must not be announced on any more.
    pub fn interface_removed(&mut self, interface: InterfaceIndex) {
        self.links.remove(&interface);
    }

    /// Takes in a message.
    ///
    /// # Errors
    ///
    /// Why the message was not used; for a debug log at most, since anyone can send anything.
    pub fn handle_packet(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        now: Monotonic,
    ) -> Result<(), Ignored> {
        if !self.links.contains_key(&arrival.interface) {
            return Err(Ignored::UnknownInterface);
        }
        if !arrival.is_from_link() {
            return Err(Ignored::OffLink);
        }
        check_header(bytes)?;
        let packet = Packet::parse(bytes).map_err(|_| Ignored::Malformed)?;
        if packet.opcode() != OPCODE::StandardQuery || packet.rcode() != RCODE::NoError {
            return Err(Ignored::Malformed);
        }
        if packet.has_flags(PacketFlag::RESPONSE) {
            self.handle_response(arrival, &packet, now)
        } else {
            self.handle_query(arrival, &packet, now);
            Ok(())
        }
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come. Early or late is no harm.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        for (interface, link) in &mut self.links {
            while let Some(payload) = link.take_due(&self.identity, now) {
                queue(&mut self.outbox, *interface, None, payload);
            }
        }
    }

    /// Withdraws everything with a goodbye, which is then to be sent. Interfaces added afterwards
    /// are announced on anew.
    pub fn withdraw(&mut self) {
        for (interface, link) in std::mem::take(&mut self.links) {
            if let Some(payload) = link.goodbye(&self.identity) {
                queue(&mut self.outbox, interface, None, payload);
            }
        }
    }

    /// The next message to send, if any.
    pub fn poll_transmit(&mut self, now: Monotonic) -> Option<Reply> {
        if self.outbox.is_empty() {
            self.handle_timeout(now);
        }
        self.outbox.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while there is nothing to do
    /// but to answer.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.links.values().filter_map(Link::deadline).min()
    }

    /// The service's name as it is claimed now.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the service is announced on some interface: its names are proven to be free there.
    pub fn is_announced(&self) -> bool {
        self.links.values().any(Link::is_announced)
    }

    fn handle_query(&mut self, arrival: Arrival, packet: &Packet<'_>, now: Monotonic) {
        let own = self.is_own(arrival.source.ip());
        let delay = self.shared_delay();
        let Some(link) = self.links.get_mut(&arrival.interface) else {
            return;
        };
        if !link.is_announced() {
            if !own
                && self.identity.loses_to(packet, link.addresses())
                && let Some(pause) = self.give_way(now)
                && let Some(link) = self.links.get_mut(&arrival.interface)
            {
                link.lose_probe(now.after(pause));
            }
            return;
        }
        if arrival.source.port() != MDNS_PORT {
            let answer = link.answer_legacy(&self.identity, packet);
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
        if let Some(payload) = link.answer(&self.identity, packet, delay, now) {
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
    ) -> Result<(), Ignored> {
        if arrival.source.port() != MDNS_PORT {
            return Err(Ignored::SourcePort);
        }
        let addresses: Vec<IpAddr> = self.addresses().collect();
        let Some(claimed) = records::conflict(&self.identity, &addresses, packet) else {
            return Ok(());
        };
        let Some(pause) = self.give_way(now) else {
            return Ok(());
        };
        let first = now.after(pause);
        let Some(link) = self.links.get_mut(&arrival.interface) else {
            return Err(Ignored::UnknownInterface);
        };
        match (claimed, link.verdict(first)) {
            (records::Claimed::Instance, Verdict::Rename) => {
                let name = alternative(&self.name, " #");
                self.rename(name, self.host.clone(), first);
            }
            (records::Claimed::Host, Verdict::Rename) => {
                let host = alternative(&self.host, "-");
                self.rename(self.name.clone(), host, first);
            }
            (_, Verdict::ProbeAgain) => {}
        }
        Ok(())
    }

    /// Counts a conflict: how long to wait before the next probe, or nothing when the names are kept.
    fn give_way(&mut self, now: Monotonic) -> Option<Duration> {
        let last = self.last_conflict;
        if last.is_none_or(|last| now.since(last) > CALM) {
            self.conflicts = 0;
        }
        if self.conflicts == CONFLICTS {
            return None;
        }
        // Those that are not given way to do not count: two honest servers that were left with one name by an attack
        // are told apart by the next one.
        self.last_conflict = Some(now);
        self.conflicts += 1;
        match self.conflicts {
            CONFLICTS => Some(LAST_PAUSE),
            _ => Some(Duration::ZERO),
        }
    }

    /// Takes other names, on all interfaces: a service that had one name here and another there
    /// could not be told apart from two.
    fn rename(&mut self, name: String, host: String, first: Monotonic) {
        let first = first.after(self.dice.millis(FIRST_PROBE_WITHIN));
        for (interface, link) in &mut self.links {
            if let Some(payload) = link.goodbye(&self.identity) {
                queue(&mut self.outbox, *interface, None, payload);
            }
            link.restart(first);
        }
        self.identity = Identity::new(&name, &host, self.identity.port());
        self.name = name;
        self.host = host;
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let links = self.links.values();
        links.flat_map(|link| link.addresses().iter().copied())
    }

    /// Whether a message came from ourselves: a host may have two interfaces on one link, and the
    /// kernel gives each group message back to the host that sent it.
    fn is_own(&self, source: IpAddr) -> bool {
        self.addresses().any(|address| address == source)
    }

    fn shared_delay(&mut self) -> Duration {
        Duration::from_millis(SHARED_ANSWER_FROM) + self.dice.millis(SHARED_ANSWER_SPREAD)
    }
}

fn queue(
    outbox: &mut VecDeque<Reply>,
    interface: InterfaceIndex,
    to: Option<SocketAddr>,
    payload: Vec<u8>,
) {
    if outbox.len() < MAX_QUEUED {
        outbox.push_back(Reply {
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

/// The longest start of `text` of at most `length` bytes.
fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

/// Spreads waits; splitmix64. Nothing depends on its being hard to guess.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn millis(&mut self, below: u64) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_millis((z ^ (z >> 31)) % below)
    }
}
