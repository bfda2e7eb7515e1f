//! Limits: the destination that is removed when there are too many, and the try that is ended for its slot.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nightlatch_core::time::Monotonic;

use super::{AttemptEntry, AttemptSchedule, AttemptStage, AttemptState, Destination, HELD, SLOTS};

/// Most destinations that are known at one time: some hundred kilobytes.
pub(in crate::client) const MAX_DESTINATIONS: usize = 1024;

/// Most addresses kept for one trusted key that are not announced any more: a relay of the real server's bytes can
/// prove its key at any address.
const MAX_KEPT: usize = 8;

/// Doublings of the time that a try keeps its slot: up to a quarter of an hour.
const DOUBLINGS: u32 = 11;

impl AttemptSchedule {
    /// The number of destinations that `source` has announced.
    pub(super) fn share(&self, source: Option<IpAddr>) -> usize {
        let same = |entry: &&AttemptEntry| entry.origin.as_ref().map(|it| it.source) == source;
        self.entries.values().filter(same).count()
    }

    /// Makes room for one more of `newcomer`: the source with the most gives one up, one that failed if there
    /// is, else the one that came first. Tells whether there was any to give up.
    pub(super) fn make_room(&mut self, newcomer: Option<IpAddr>) -> bool {
        let mut shares: BTreeMap<Option<IpAddr>, usize> = BTreeMap::from([(newcomer, 1)]);
        for entry in self.entries.values() {
            let source = entry.origin.as_ref().map(|it| it.source);
            *shares.entry(source).or_default() += 1;
        }
        let waiting = self.entries.iter().filter(|(_, entry)| {
            matches!(entry.state, AttemptState::Waiting(..)) && !self.is_kept(entry)
        });
        let first = waiting.max_by_key(|(_, entry)| {
            let source = entry.origin.as_ref().map(|it| it.source);
            let failed = entry.tries > 0;
            // Among sources of one each it is the failed ones that go.
            let share = shares.get(&source).copied().unwrap_or_default();
            (share, failed, std::cmp::Reverse(entry.rank))
        });
        let Some((first, entry)) = first else {
            return false;
        };
        self.left_out |= entry.tries == 0;
        let first = first.clone();
        self.entries.remove(&first);
        true
    }

    /// True for a destination that proved a trusted key in this boot: it stays, whatever is announced.
    pub(super) fn is_kept(&self, entry: &AttemptEntry) -> bool {
        let Some(key) = entry.key.filter(|_| self.trusted_only) else {
            return false;
        };
        let before = |other: &&AttemptEntry| other.key == Some(key) && other.rank < entry.rank;
        self.entries.values().filter(before).count() < MAX_KEPT
    }

    /// The try that has had its slot for long enough while another waits for one. What has not even connected
    /// goes first.
    pub(super) fn longest(&self, now: Monotonic) -> Option<Destination> {
        if self.running() < SLOTS {
            return None;
        }
        let waiting = self.waiting().filter(|(due, ..)| *due <= now).count();
        if waiting <= self.ending() {
            return None;
        }
        let over = self.endable().filter(|(end, ..)| *end <= now);
        let longest = over.min_by_key(|(end, asked, _)| (*asked, *end));
        longest.map(|(.., to)| to.clone())
    }

    /// The tries that may be ended for their slot: when, whether they were asked, and which.
    pub(super) fn endable(&self) -> impl Iterator<Item = (Monotonic, bool, &Destination)> {
        self.entries.iter().filter_map(|(to, entry)| {
            let AttemptState::Running(stage) = entry.state else {
                return None;
            };
            let asked = match stage {
                AttemptStage::Connecting | AttemptStage::Connected(..) => false,
                // There are as many of them as there are trusted keys.
                AttemptStage::Asked(Some(_), _) if self.trusted_only => return None,
                AttemptStage::Asked(..) => true,
                AttemptStage::Ending(_) => return None,
            };
            Some((entry.started.after(held(entry.tries)), asked, to))
        })
    }

    fn ending(&self) -> usize {
        let ending = |entry: &&AttemptEntry| {
            matches!(entry.state, AttemptState::Running(AttemptStage::Ending(_)))
        };
        self.entries.values().filter(ending).count()
    }
}

fn held(tries: u32) -> Duration {
    HELD.saturating_mul(1 << tries.saturating_sub(1).min(DOUBLINGS))
}
