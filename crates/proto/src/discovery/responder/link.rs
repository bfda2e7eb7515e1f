//! The responder's life on one interface: probe, announce, answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use simple_dns::Packet;

use super::records::{Identity, Item, OTHER_TTL};

/// Probes before a name counts as free, and the time between them (RFC 6762 section 8.1).
const PROBES: u8 = 3;
const PROBE_PAUSE: Duration = Duration::from_millis(250);

/// Announcements, one second apart (RFC 6762 section 8.3 wants two at least).
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCEMENT_PAUSE: Duration = Duration::from_secs(1);

/// How long to hold back after losing to another host's probe (RFC 6762 section 8.2): by then it
/// answers, or it is gone.
const LOST_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two multicasts of one record (RFC 6762 section 6).
const REPEAT_PAUSE: Duration = Duration::from_secs(1);

/// A record that was not multicast for that long is, even to one that asked for an answer to
/// itself alone: so that the others' caches stay filled (RFC 6762 section 5.4: a quarter of its life).
const REFRESH: Duration = Duration::from_secs(OTHER_TTL as u64 / 4);

#[derive(Debug)]
pub(super) struct Link {
    addresses: Vec<IpAddr>,
    phase: Phase,
    /// Answers that wait for their time.
    pending: BTreeMap<Item, Monotonic>,
    multicast: BTreeMap<Item, Monotonic>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Probing { sent: u8, next: Monotonic },
    Announcing { sent: u8, next: Monotonic },
    Settled,
}

/// What a conflict leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The name is another's.
    Rename,
    /// It was ours: both sides probe again, and who is left without an answer keeps it.
    ProbeAgain,
}

impl Link {
    pub(super) fn new(addresses: &[IpAddr], first: Monotonic) -> Self {
        Self {
            addresses: addresses.to_vec(),
            phase: Phase::Probing {
                sent: 0,
                next: first,
            },
            pending: BTreeMap::new(),
            multicast: BTreeMap::new(),
        }
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// New addresses are announced; the names stay ours (RFC 6762 section 8.4).
    pub(super) fn readdress(&mut self, addresses: &[IpAddr], now: Monotonic) {
        if self.addresses == addresses {
            return;
        }
        self.addresses = addresses.to_vec();
        if self.is_announced() {
            self.phase = Phase::Announcing { sent: 0, next: now };
        }
    }

    pub(super) fn restart(&mut self, first: Monotonic) {
        self.phase = Phase::Probing {
            sent: 0,
            next: first,
        };
        self.pending.clear();
        self.multicast.clear();
    }

    /// Whether the names are proven to be free here.
    pub(super) const fn is_announced(&self) -> bool {
        match self.phase {
            Phase::Probing { .. } => false,
            Phase::Announcing { .. } | Phase::Settled => true,
        }
    }

    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let phase = match self.phase {
            Phase::Probing { next, .. } | Phase::Announcing { next, .. } => Some(next),
            Phase::Settled => None,
        };
        self.pending.values().copied().chain(phase).min()
    }

    /// The next message to the group that is due.
    pub(super) fn take_due(&mut self, identity: &Identity, now: Monotonic) -> Option<Vec<u8>> {
        match self.phase {
            Phase::Probing { sent, next } if next <= now => {
                let next = now.after(PROBE_PAUSE);
                if sent < PROBES {
                    self.phase = Phase::Probing {
                        sent: sent + 1,
                        next,
                    };
                    return identity.probe(&self.addresses);
                }
                self.phase = Phase::Announcing { sent: 0, next: now };
                self.take_due(identity, now)
            }
            Phase::Announcing { sent, next } if next <= now => {
                self.phase = if sent + 1 < ANNOUNCEMENTS {
                    Phase::Announcing {
                        sent: sent + 1,
                        next: now.after(ANNOUNCEMENT_PAUSE),
                    }
                } else {
                    Phase::Settled
                };
                self.multicast(identity, &Item::ANNOUNCED, now)
            }
            _ => self.take_answer(identity, now),
        }
    }

    /// Everything that waits goes with the first that is due: one message instead of several.
    fn take_answer(&mut self, identity: &Identity, now: Monotonic) -> Option<Vec<u8>> {
        if !self.pending.values().any(|due| *due <= now) {
            return None;
        }
        let items: Vec<Item> = std::mem::take(&mut self.pending).into_keys().collect();
        self.multicast(identity, &items, now)
    }

    fn multicast(
        &mut self,
        identity: &Identity,
        items: &[Item],
        now: Monotonic,
    ) -> Option<Vec<u8>> {
        for item in items {
            self.multicast.insert(*item, now);
            self.pending.remove(item);
        }
        identity.response(items, &self.addresses)
    }

    /// Another host probes while we do, and its probe counts for more.
    pub(super) fn lose_probe(&mut self, first: Monotonic) {
        self.restart(first.after(LOST_PAUSE));
    }

    /// Another host holds one of our names. The next probe is not before `first`.
    pub(super) fn verdict(&mut self, first: Monotonic) -> Verdict {
        if !self.is_announced() {
            return Verdict::Rename;
        }
        self.restart(first);
        Verdict::ProbeAgain
    }

    /// Plans the answers to the group, and returns the one to the asker alone.
    ///
    /// That one goes out at once. The wait of RFC 6762 section 6 keeps many hosts' multicast
    /// answers from colliding; here a machine waits for its disk, and there is nobody to collide with.
    pub(super) fn answer(
        &mut self,
        identity: &Identity,
        packet: &Packet<'_>,
        shared_delay: Duration,
        now: Monotonic,
    ) -> Option<Vec<u8>> {
        // A probe for our name must hear of us in time, whatever was sent just before.
        let probe = !packet.name_servers.is_empty();
        let mut alone = Vec::new();
        for question in &packet.questions {
            for item in identity.asked_for(question) {
                if identity.is_known(item, packet) {
                    continue;
                }
                let last = self.multicast.get(&item);
                let recent = last.is_some_and(|last| now.since(*last) < REFRESH);
                if question.unicast_response && !alone.contains(&item) {
                    alone.push(item);
                }
                if question.unicast_response && recent {
                    continue;
                }
                let wanted = if item.is_shared() {
                    now.after(shared_delay)
                } else {
                    now
                };
                let allowed = last.map_or(now, |last| last.after(REPEAT_PAUSE));
                let due = if probe { now } else { wanted.max(allowed) };
                let pending = self.pending.entry(item).or_insert(due);
                *pending = due.min(*pending);
            }
        }
        if alone.is_empty() {
            return None;
        }
        identity.response(&alone, &self.addresses)
    }

    /// The answer to a resolver that speaks no multicast DNS.
    pub(super) fn answer_legacy(
        &self,
        identity: &Identity,
        packet: &Packet<'_>,
    ) -> Option<Vec<u8>> {
        let questions = packet.questions.iter();
        let mut items: Vec<Item> = questions.flat_map(|it| identity.asked_for(it)).collect();
        items.sort_unstable();
        items.dedup();
        if items.is_empty() {
            return None;
        }
        identity.legacy_response(packet, &items, &self.addresses)
    }

    /// What voids what was announced here, if anything was.
    pub(super) fn goodbye(&self, identity: &Identity) -> Option<Vec<u8>> {
        if !self.is_announced() {
            return None;
        }
        identity.goodbye(&self.addresses)
    }
}
