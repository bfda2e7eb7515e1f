//! The responder's state on one interface: probe, announce, answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use simple_dns::Packet;

use super::records::{ClaimedNames, OTHER_TTL, RecordSet};

/// Probes before a name counts as free, and the time between them (RFC 6762 section 8.1).
const PROBES: u8 = 3;
const PROBE_PAUSE: Duration = Duration::from_millis(250);

/// Announcements, one second apart (RFC 6762 section 8.3 wants two at least).
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCEMENT_PAUSE: Duration = Duration::from_secs(1);

/// Wait after losing to another host's probe (RFC 6762 section 8.2): by then that host answers, or it is gone.
const LOST_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two multicasts of one record (RFC 6762 section 6).
const REPEAT_PAUSE: Duration = Duration::from_secs(1);

/// A record is multicast again after this time even when a unicast answer was asked for, to keep the caches of other
/// hosts filled (RFC 6762 section 5.4: a quarter of its life).
const REFRESH: Duration = Duration::from_secs(OTHER_TTL as u64 / 4);

#[derive(Debug)]
pub(super) struct LinkResponder {
    addresses: Vec<IpAddr>,
    phase: Phase,
    /// Multicast answers, with the time at which each is due.
    pending: BTreeMap<RecordSet, Monotonic>,
    multicast: BTreeMap<RecordSet, Monotonic>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Probing { sent: u8, next: Monotonic },
    Announcing { sent: u8, next: Monotonic },
    Settled,
}

/// The consequence of a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConflictAction {
    /// Another host has the name.
    Rename,
    /// The names were announced already: both sides probe again, and the side without an answer keeps them.
    ProbeAgain,
}

impl LinkResponder {
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

    /// Announces new addresses; the names are kept without probing (RFC 6762 section 8.4).
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

    /// True when the names are proven to be free on this link.
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
    pub(super) fn take_due(&mut self, names: &ClaimedNames, now: Monotonic) -> Option<Vec<u8>> {
        match self.phase {
            Phase::Probing { sent, next } if next <= now => {
                let next = now.after(PROBE_PAUSE);
                if sent < PROBES {
                    self.phase = Phase::Probing {
                        sent: sent + 1,
                        next,
                    };
                    return names.probe(&self.addresses);
                }
                self.phase = Phase::Announcing { sent: 0, next: now };
                self.take_due(names, now)
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
                self.multicast(names, &RecordSet::ANNOUNCED, now)
            }
            _ => self.take_answer(names, now),
        }
    }

    /// Sends all waiting answers with the first that is due: one message instead of several.
    fn take_answer(&mut self, names: &ClaimedNames, now: Monotonic) -> Option<Vec<u8>> {
        if !self.pending.values().any(|due| *due <= now) {
            return None;
        }
        let sets: Vec<RecordSet> = std::mem::take(&mut self.pending).into_keys().collect();
        self.multicast(names, &sets, now)
    }

    fn multicast(
        &mut self,
        names: &ClaimedNames,
        sets: &[RecordSet],
        now: Monotonic,
    ) -> Option<Vec<u8>> {
        for set in sets {
            self.multicast.insert(*set, now);
            self.pending.remove(set);
        }
        names.response(sets, &self.addresses)
    }

    /// Another host probes at the same time, and its probe wins.
    pub(super) fn lose_probe(&mut self, first: Monotonic) {
        self.restart(first.after(LOST_PAUSE));
    }

    /// Another host holds one of our names. The next probe is not before `first`.
    pub(super) fn resolve_conflict(&mut self, first: Monotonic) -> ConflictAction {
        if !self.is_announced() {
            return ConflictAction::Rename;
        }
        self.restart(first);
        ConflictAction::ProbeAgain
    }

    /// Schedules the answers to the group, and returns the unicast answer.
    ///
    /// The unicast answer is sent at once. The wait of RFC 6762 section 6 keeps multicast answers of many hosts from
    /// colliding; here a machine waits for its disk, and no other host answers.
    pub(super) fn answer(
        &mut self,
        names: &ClaimedNames,
        packet: &Packet<'_>,
        shared_delay: Duration,
        now: Monotonic,
    ) -> Option<Vec<u8>> {
        // A probe for one of our names needs its answer in time, even shortly after the same records were sent.
        let probe = !packet.name_servers.is_empty();
        let mut alone = Vec::new();
        for question in &packet.questions {
            for set in names.asked_for(question) {
                if names.is_known(set, packet) {
                    continue;
                }
                let last = self.multicast.get(&set);
                let recent = last.is_some_and(|last| now.since(*last) < REFRESH);
                if question.unicast_response && !alone.contains(&set) {
                    alone.push(set);
                }
                if question.unicast_response && recent {
                    continue;
                }
                let wanted = if set.is_shared() {
                    now.after(shared_delay)
                } else {
                    now
                };
                let allowed = last.map_or(now, |last| last.after(REPEAT_PAUSE));
                let due = if probe { now } else { wanted.max(allowed) };
                let pending = self.pending.entry(set).or_insert(due);
                *pending = due.min(*pending);
            }
        }
        if alone.is_empty() {
            return None;
        }
        names.response(&alone, &self.addresses)
    }

    /// The answer to a resolver without multicast DNS.
    pub(super) fn answer_legacy(
        &self,
        names: &ClaimedNames,
        packet: &Packet<'_>,
    ) -> Option<Vec<u8>> {
        let questions = packet.questions.iter();
        let mut sets: Vec<RecordSet> = questions.flat_map(|it| names.asked_for(it)).collect();
        sets.sort_unstable();
        sets.dedup();
        if sets.is_empty() {
            return None;
        }
        names.legacy_response(packet, &sets, &self.addresses)
    }

    /// The message that voids the announcement on this link, if there was one.
    pub(super) fn goodbye(&self, names: &ClaimedNames) -> Option<Vec<u8>> {
        if !self.is_announced() {
            return None;
        }
        names.goodbye(&self.addresses)
    }
}
