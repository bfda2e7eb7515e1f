//! The schedule of the tries: all servers at once, each again after the same time whatever failed.
//!
//! A try has two steps. It connects, which requests nothing but shows the key of a trusted server. Then it asks, at
//! one address of a server at a time: a server would release twice otherwise, and report the second request as another
//! holder of the keys. Addresses with the same proven key are one server. Without a proven key the announced names
//! decide, for a moment only, since anybody on the link can announce any name.
//!
//! Pure, `now` is an argument. However many servers somebody announces, the others are tried.

mod destination;
mod room;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::time::Monotonic;

pub(super) use destination::Destination;
pub(super) use room::MAX_DESTINATIONS;

/// Most tries at one time. Anyone on the link can announce servers; each try is a process.
pub(super) const SLOTS: usize = 64;

/// Time that a first try keeps its slot when others wait; twice as long the next time, and so on. A link full of
/// silent servers must not hide the real one for long, and a slow server must get its time.
const HELD: Duration = Duration::from_millis(500);

/// The least time between two tries of one server, however often the network changes.
const PACE: Duration = Duration::from_millis(250);

/// Time that an address waits while another address of the same name, without a proven key, is asked. An honest server
/// has answered by then, unless a person decides.
const CLAIMED: Duration = Duration::from_secs(2);

/// Time that the addresses of one proven key wait while one of them is asked. A person who approves needs time; a
/// relay of the real server's bytes that falls silent must not hold it up for ever.
const PROVEN: Duration = Duration::from_secs(300);

/// Limit for resolving a name: three resolvers, five seconds each (resolv.conf(5)), and a search list. Another
/// turn finds what the network has brought since.
pub(super) const RESOLVE: Duration = Duration::from_secs(20);

/// By how much a source's next destination stands back behind those of others that were found with it.
const TURN: Duration = Duration::from_millis(4);

/// The announcement of a destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Announcement {
    /// The address that sent it. It can be forged.
    pub source: IpAddr,
    /// The same for all destinations that claim to be one server.
    pub name: String,
}

/// All destinations and when their turn is.
#[derive(Debug)]
pub(super) struct AttemptSchedule {
    retry: Duration,
    /// Only servers with trusted keys connect: a proven key is one of them.
    trusted_only: bool,
    entries: BTreeMap<Destination, AttemptEntry>,
    /// Changes of the network so far.
    changes: u64,
    /// Destinations added so far.
    added: u64,
    /// A destination was left out, or given up untried.
    left_out: bool,
    /// The time to add all announced servers again, because one that gave way is not announced twice.
    offer: Option<Monotonic>,
}

#[derive(Debug)]
struct AttemptEntry {
    state: AttemptState,
    /// The beginning of the last try, and the number of network changes by then.
    started: Monotonic,
    changes: u64,
    tries: u32,
    /// Nobody announces it any more; forgotten when a try of it ends.
    gone: bool,
    origin: Option<Announcement>,
    /// Behind how many others of its source it came.
    turn: u32,
    /// Behind how many others it came.
    rank: u64,
    /// The key that it proved last.
    key: Option<KeyId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AttemptState {
    /// Its turn comes at this time; with `true` sooner, when the network changes.
    Waiting(Monotonic, bool),
    /// It is being tried.
    Running(AttemptStage),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AttemptStage {
    /// Until the server is known to be there.
    Connecting,
    /// It could be asked, since then.
    Connected(Option<KeyId>, Monotonic),
    /// It was asked then. From then on a server may think.
    Asked(Option<KeyId>, Monotonic),
    /// Its process was killed.
    Ending(EndReason),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EndReason {
    /// Others wait for its slot.
    Room,
    /// The same server is being asked at another address.
    SameServer,
    /// It takes too long to resolve its name.
    Unresolved,
}

impl AttemptSchedule {
    /// Nothing to try yet. `retry` is the time between two tries of one server; with `trusted_only` each key
    /// that a server proves is a trusted one.
    pub(super) fn new(retry: Duration, trusted_only: bool) -> Self {
        Self {
            retry: retry.max(PACE),
            trusted_only,
            entries: BTreeMap::new(),
            changes: 0,
            added: 0,
            left_out: false,
            offer: None,
        }
    }

    /// Adds a destination to try from now on. One that several sources announce counts for the source with the fewest
    /// destinations, so that a source with hundreds cannot push the right one out.
    pub(super) fn add(
        &mut self,
        destination: Destination,
        origin: Option<Announcement>,
        now: Monotonic,
    ) {
        if let Some(known) = self.entries.get_mut(&destination) {
            known.gone = false;
            self.charge(&destination, origin);
            return;
        }
        let source = origin.as_ref().map(|origin| origin.source);
        if self.entries.len() >= MAX_DESTINATIONS {
            self.offer.get_or_insert(now.after(self.retry));
            if !self.make_room(source) {
                self.left_out = true;
                return;
            }
        }
        self.added += 1;
        let turn = self.share(source);
        let entry = AttemptEntry {
            state: AttemptState::Waiting(now, false),
            started: now,
            changes: self.changes,
            tries: 0,
            gone: false,
            origin,
            turn: u32::try_from(turn).unwrap_or(u32::MAX),
            rank: self.added,
            key: None,
        };
        self.entries.insert(destination, entry);
    }

    /// Counts a known destination among those of `origin`, when that has fewer even with it.
    fn charge(&mut self, destination: &Destination, origin: Option<Announcement>) {
        let charged = self.entries.get(destination);
        let Some((origin, charged)) = origin.zip(charged.and_then(|it| it.origin.as_ref())) else {
            return;
        };
        let share = self.share(Some(origin.source));
        if origin.source == charged.source || share + 1 >= self.share(Some(charged.source)) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(destination) {
            let turn = u32::try_from(share).unwrap_or(u32::MAX);
            entry.turn = entry.turn.min(turn);
            entry.origin = Some(origin);
        }
    }

    /// A destination is not announced any more. A running try may still succeed, and an untried destination is tried
    /// once: anybody who can announce can also send goodbyes. A destination that has proved a trusted key stays.
    pub(super) fn remove(&mut self, destination: &Destination) {
        let Some(entry) = self.entries.get(destination) else {
            return;
        };
        if self.is_kept(entry) {
            return;
        }
        if matches!(entry.state, AttemptState::Waiting(..)) && entry.tries > 0 {
            self.entries.remove(destination);
        } else if let Some(entry) = self.entries.get_mut(destination) {
            entry.gone = true;
        }
    }

    /// The network has changed: what failed for want of it is tried again.
    pub(super) fn handle_change(&mut self, now: Monotonic) {
        self.changes += 1;
        for entry in self.entries.values_mut() {
            if let AttemptState::Waiting(due, true) = entry.state {
                let soon = now.max(entry.started.after(PACE));
                entry.state = AttemptState::Waiting(due.min(soon), true);
            }
        }
    }

    /// The server at `destination` answers, and has proved `key` if that is a trusted one.
    pub(super) fn handle_connected(
        &mut self,
        destination: &Destination,
        key: Option<KeyId>,
        now: Monotonic,
    ) {
        if let Some(entry) = self.entries.get_mut(destination)
            && entry.state == AttemptState::Running(AttemptStage::Connecting)
        {
            entry.state = AttemptState::Running(AttemptStage::Connected(key, now));
            entry.key = key;
        }
    }

    /// A try has failed; `local` says that there was no usable network. Returns true when that should be logged, which
    /// a try ended by the schedule is not.
    ///
    /// The next turn is at a whole multiple of the retry time after the beginning of this try, so that it does not
    /// show a server how long each step took.
    pub(super) fn handle_failed(
        &mut self,
        destination: &Destination,
        local: bool,
        now: Monotonic,
    ) -> bool {
        let (retry, changes) = (self.retry, self.changes);
        let Some(entry) = self.entries.get_mut(destination) else {
            return false;
        };
        let reason = match entry.state {
            AttemptState::Running(AttemptStage::Ending(reason)) => Some(reason),
            _ => None,
        };
        if entry.gone {
            self.entries.remove(destination);
            return reason.is_none();
        }
        let local = local || reason == Some(EndReason::Unresolved);
        let mut due = next_turn(entry.started, retry, now);
        if local && entry.changes != changes {
            due = due.min(now.max(entry.started.after(PACE)));
        }
        if reason == Some(EndReason::SameServer) {
            // As soon as it is no longer asked elsewhere.
            due = now;
        }
        entry.state = AttemptState::Waiting(due, local);
        reason.is_none()
    }

    /// The name `destination` has resolved. The next turn may find other addresses.
    pub(super) fn handle_resolved(&mut self, destination: &Destination, now: Monotonic) {
        self.handle_failed(destination, false, now);
    }

    /// The obstacle of `destination` was removed.
    pub(super) fn handle_mended(&mut self, destination: &Destination, now: Monotonic) {
        if let Some(entry) = self.entries.get_mut(destination) {
            entry.state = AttemptState::Waiting(now, false);
        }
    }

    /// The next destination to try now; it counts as being tried.
    pub(super) fn poll_start(&mut self, now: Monotonic) -> Option<Destination> {
        if self.running() >= SLOTS {
            return None;
        }
        let due = self.waiting().filter(|(due, ..)| *due <= now);
        let first = due.min_by_key(|(due, _, entry)| {
            let turn = TURN.saturating_mul(entry.turn);
            (due.after(turn), entry.rank)
        });
        let next = first?.1.clone();
        let entry = self.entries.get_mut(&next)?;
        entry.state = AttemptState::Running(AttemptStage::Connecting);
        entry.started = now;
        entry.changes = self.changes;
        entry.tries = entry.tries.saturating_add(1);
        Some(next)
    }

    /// The next connected destination that may be asked now; it counts as asked.
    pub(super) fn poll_ask(&mut self, now: Monotonic) -> Option<Destination> {
        let connected = self.entries.iter().filter_map(|(to, entry)| {
            let AttemptState::Running(AttemptStage::Connected(key, since)) = entry.state else {
                return None;
            };
            let free = match key {
                Some(key) => self.asked_until(key).is_none_or(|until| until <= now),
                None => !self.is_claimed(entry) || since.after(CLAIMED) <= now,
            };
            free.then_some((since, entry.rank, to, key))
        });
        let (_, _, next, key) = connected.min()?;
        let next = next.clone();
        self.entries.get_mut(&next)?.state = AttemptState::Running(AttemptStage::Asked(key, now));
        Some(next)
    }

    /// A try that must end now.
    pub(super) fn poll_end(&mut self, now: Monotonic) -> Option<(Destination, EndReason)> {
        let late = self.resolving().find(|(end, _)| *end <= now);
        let (next, reason) = match (self.same_server(now), late) {
            (Some(same), _) => (same, EndReason::SameServer),
            (None, Some((_, late))) => (late.clone(), EndReason::Unresolved),
            (None, None) => (self.longest(now)?, EndReason::Room),
        };
        self.entries.get_mut(&next)?.state = AttemptState::Running(AttemptStage::Ending(reason));
        Some((next, reason))
    }

    /// True when a destination was left out, or given up untried, since this was asked last.
    pub(super) fn take_left_out(&mut self) -> bool {
        std::mem::take(&mut self.left_out)
    }

    /// True when everything that is announced is to be [added](Self::add) anew now, because something had to give
    /// way; says so once for each time.
    pub(super) fn poll_offer(&mut self, now: Monotonic) -> bool {
        self.offer.take_if(|due| *due <= now).is_some()
    }

    /// The time to poll again, if nothing happens. Everything due at `now` must have been polled.
    pub(super) fn poll_timeout(&self, now: Monotonic) -> Option<Monotonic> {
        let starts = self.waiting().map(|(due, ..)| due);
        let others = self.entries.values().filter_map(|entry| match entry.state {
            AttemptState::Running(AttemptStage::Connected(None, since)) => {
                Some(since.after(CLAIMED))
            }
            _ => None,
        });
        // Only a full house has reason to end a try for its slot.
        let full = self.running() >= SLOTS;
        let ends = self.endable().filter(|_| full).map(|(end, ..)| end);
        let late = self.resolving().map(|(end, _)| end);
        let all = starts.chain(others).chain(ends).chain(late);
        let all = all.chain(self.offer);
        all.filter(|at| *at > now).min()
    }

    /// Every destination, in no particular order.
    pub(super) fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.entries.keys()
    }

    fn running(&self) -> usize {
        let running = |entry: &&AttemptEntry| matches!(entry.state, AttemptState::Running(_));
        self.entries.values().filter(running).count()
    }

    /// The waiting destinations and their turns: not before the request to the same server at another address is over.
    fn waiting(&self) -> impl Iterator<Item = (Monotonic, &Destination, &AttemptEntry)> {
        let asked = self.asked();
        self.entries.iter().filter_map(move |(to, entry)| {
            let AttemptState::Waiting(due, _) = entry.state else {
                return None;
            };
            let until = entry.key.and_then(|key| asked.get(&key));
            Some((until.map_or(due, |until| due.max(*until)), to, entry))
        })
    }

    /// The names that are being resolved, and until when they may be.
    fn resolving(&self) -> impl Iterator<Item = (Monotonic, &Destination)> {
        self.entries.iter().filter_map(|(to, entry)| {
            let is_name = matches!(to, Destination::Name(..));
            let runs = entry.state == AttemptState::Running(AttemptStage::Connecting);
            (is_name && runs).then(|| (entry.started.after(RESOLVE), to))
        })
    }

    /// The proven keys that are being asked, and the end of that time for each.
    fn asked(&self) -> BTreeMap<KeyId, Monotonic> {
        let asked = self.entries.values().filter_map(|entry| match entry.state {
            AttemptState::Running(AttemptStage::Asked(Some(key), since)) => {
                Some((key, since.after(PROVEN)))
            }
            _ => None,
        });
        let mut latest = BTreeMap::new();
        for (key, until) in asked {
            let known = latest.entry(key).or_insert(until);
            *known = until.max(*known);
        }
        latest
    }

    fn asked_until(&self, key: KeyId) -> Option<Monotonic> {
        self.asked().get(&key).copied()
    }

    /// True when what claims to be the same server is being asked.
    fn is_claimed(&self, entry: &AttemptEntry) -> bool {
        let name = |entry: &AttemptEntry| entry.origin.as_ref().map(|origin| origin.name.clone());
        let Some(own) = name(entry) else {
            return false;
        };
        self.entries.values().any(|other| {
            matches!(
                other.state,
                AttemptState::Running(AttemptStage::Asked(None, _))
            ) && name(other).as_ref() == Some(&own)
        })
    }

    /// A connected try of a server that is being asked at another address.
    fn same_server(&self, now: Monotonic) -> Option<Destination> {
        let asked = self.asked();
        let same = self.entries.iter().find(|(_, entry)| {
            matches!(entry.state, AttemptState::Running(AttemptStage::Connected(Some(key), _))
                if asked.get(&key).is_some_and(|until| *until > now))
        });
        same.map(|(to, _)| to.clone())
    }
}

fn next_turn(started: Monotonic, retry: Duration, now: Monotonic) -> Monotonic {
    let past = now.since(started).as_nanos() + PACE.as_nanos();
    let turns = past / retry.as_nanos().max(1) + 1;
    let turns = u32::try_from(turns).unwrap_or(u32::MAX);
    started.after(retry.saturating_mul(turns))
}
