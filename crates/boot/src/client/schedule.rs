//! When which server is tried: every one at once, each again after the same time whatever failed.
//!
//! Pure, `now` is an argument. Servers that keep silent must not keep others from being tried.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use nightlatch_core::time::Monotonic;

/// Most tries at one time. Anyone on the link can announce servers; each try is a process.
const SLOTS: usize = 16;

/// How long a try keeps its slot when others wait. A server may take long over an approval, but a
/// link full of silent servers must not hide the real one.
const HELD: Duration = Duration::from_secs(30);

/// The least time between two tries of one server, however often the network changes.
const PACE: Duration = Duration::from_millis(250);

/// Where to connect.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Destination {
    /// An address; a link-local one has its scope.
    Address(SocketAddr),
    /// A name to resolve at each try, and a port.
    Name(String, u16),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// All destinations and when their turn is.
#[derive(Debug)]
pub(super) struct Schedule {
    retry: Duration,
    entries: BTreeMap<Destination, Entry>,
    /// How often the network has changed.
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// When the last try began, and how often the network had changed by then.
    started: Monotonic,
    changes: u64,
    /// Nobody wants it any more; forgotten when its try ends.
    gone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Its turn comes at this time; with `true` sooner, when the network changes.
    Waiting(Monotonic, bool),
    /// It is being tried; with `true` its try was asked to end.
    Running(bool),
}

impl Schedule {
    /// Nothing to try yet. `retry` is the time between two tries of one server.
    pub(super) fn new(retry: Duration) -> Self {
        Self {
            retry: retry.max(PACE),
            entries: BTreeMap::new(),
            changes: 0,
        }
    }

    /// A destination to try from now on.
    pub(super) fn add(&mut self, destination: Destination, now: Monotonic) {
        let entry = self.entries.entry(destination).or_insert(Entry {
            state: State::Waiting(now, false),
            started: now,
            changes: self.changes,
            gone: false,
        });
        entry.gone = false;
    }

    /// A destination that is not there any more. A try that runs may still succeed.
    pub(super) fn remove(&mut self, destination: &Destination) {
        match self.entries.get_mut(destination) {
            Some(entry) if matches!(entry.state, State::Running(_)) => entry.gone = true,
            _ => {
                self.entries.remove(destination);
            }
        }
    }

    /// The network has changed: what failed for want of it is tried again.
    pub(super) fn handle_change(&mut self, now: Monotonic) {
        self.changes += 1;
        for entry in self.entries.values_mut() {
            if let State::Waiting(due, true) = entry.state {
                let soon = now.max(entry.started.after(PACE));
                entry.state = State::Waiting(due.min(soon), true);
            }
        }
    }

    /// A try has failed; `local` says that it was for want of a network.
    ///
    /// The next turn is at a whole multiple of the retry time after the beginning of this try, so
    /// that it tells a server nothing of how long which step took.
    pub(super) fn handle_failed(&mut self, destination: &Destination, local: bool, now: Monotonic) {
        let (retry, changes) = (self.retry, self.changes);
        let Some(entry) = self.entries.get_mut(destination) else {
            return;
        };
        if entry.gone {
            self.entries.remove(destination);
            return;
        }
        let mut due = next_turn(entry.started, retry, now);
        if local && entry.changes != changes {
            due = due.min(now.max(entry.started.after(PACE)));
        }
        entry.state = State::Waiting(due, local);
    }

    /// What stood in the way of `destination` was mended.
    pub(super) fn handle_mended(&mut self, destination: &Destination, now: Monotonic) {
        if let Some(entry) = self.entries.get_mut(destination) {
            entry.state = State::Waiting(now, false);
        }
    }

    /// The next destination to try now; it counts as being tried.
    pub(super) fn poll_start(&mut self, now: Monotonic) -> Option<Destination> {
        if self.running() >= SLOTS {
            return None;
        }
        let (_, next) = self.waiting().min()?;
        let next = next.clone();
        let changes = self.changes;
        let entry = self.entries.get_mut(&next)?;
        match entry.state {
            State::Waiting(due, _) if due <= now => {
                *entry = Entry {
                    state: State::Running(false),
                    started: now,
                    changes,
                    gone: false,
                };
                Some(next)
            }
            _ => None,
        }
    }

    /// A try that must end now, so that another can begin; it ends as a failure.
    pub(super) fn poll_evict(&mut self, now: Monotonic) -> Option<Destination> {
        if self.running() < SLOTS || self.waiting().all(|(due, _)| due > now) {
            return None;
        }
        // One at a time: a try that was asked to end gives its slot back presently.
        if self
            .entries
            .values()
            .any(|e| e.state == State::Running(true))
        {
            return None;
        }
        let (started, longest) = self.held().min()?;
        let longest = longest.clone();
        if now < started.after(HELD) {
            return None;
        }
        self.entries.get_mut(&longest)?.state = State::Running(true);
        Some(longest)
    }

    /// When to poll again; `None` when only an event can change anything.
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        let due = self.waiting().map(|(due, _)| due).min()?;
        if self.running() < SLOTS {
            return Some(due);
        }
        if self
            .entries
            .values()
            .any(|e| e.state == State::Running(true))
        {
            return None;
        }
        let (started, _) = self.held().min()?;
        Some(due.max(started.after(HELD)))
    }

    /// Every destination, in no particular order.
    pub(super) fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.entries.keys()
    }

    fn running(&self) -> usize {
        let running = |entry: &&Entry| matches!(entry.state, State::Running(_));
        self.entries.values().filter(running).count()
    }

    fn waiting(&self) -> impl Iterator<Item = (Monotonic, &Destination)> {
        self.entries
            .iter()
            .filter_map(|(to, entry)| match entry.state {
                State::Waiting(due, _) => Some((due, to)),
                State::Running(_) => None,
            })
    }

    fn held(&self) -> impl Iterator<Item = (Monotonic, &Destination)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Running(false))
            .map(|(to, entry)| (entry.started, to))
    }
}

fn next_turn(started: Monotonic, retry: Duration, now: Monotonic) -> Monotonic {
    let past = now.since(started).as_nanos() + PACE.as_nanos();
    let turns = past / retry.as_nanos().max(1) + 1;
    let turns = u32::try_from(turns).unwrap_or(u32::MAX);
    started.after(retry.saturating_mul(turns))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_millis(millis))
    }

    fn server(number: u8) -> Destination {
        Destination::Address(SocketAddr::from(([192, 0, 2, number], 4711)))
    }

    #[test]
    fn every_server_is_tried_at_once() {
        let mut schedule = Schedule::new(RETRY);
        schedule.add(server(1), at(0));
        schedule.add(server(2), at(0));
        assert_eq!(schedule.poll_start(at(0)), Some(server(1)));
        assert_eq!(schedule.poll_start(at(0)), Some(server(2)));
        assert_eq!(schedule.poll_start(at(0)), None);
        assert_eq!(schedule.poll_timeout(), None);
    }

    #[test]
    fn the_next_try_does_not_tell_how_long_this_one_took() {
        for took in [0, 1, 500, 9_000] {
            let mut schedule = Schedule::new(RETRY);
            schedule.add(server(1), at(0));
            schedule.poll_start(at(0)).unwrap();
            schedule.handle_failed(&server(1), false, at(took));
            assert_eq!(schedule.poll_timeout(), Some(at(10_000)), "{took}");
            schedule.handle_change(at(took));
            assert_eq!(schedule.poll_timeout(), Some(at(10_000)), "{took}");
        }
    }

    #[test]
    fn want_of_a_network_ends_when_the_network_changes() {
        let mut schedule = Schedule::new(RETRY);
        schedule.add(server(1), at(0));
        schedule.poll_start(at(0)).unwrap();
        schedule.handle_failed(&server(1), true, at(1));
        assert_eq!(schedule.poll_timeout(), Some(at(10_000)));
        schedule.handle_change(at(2));
        assert_eq!(schedule.poll_timeout(), Some(at(250)));
        assert_eq!(schedule.poll_start(at(250)), Some(server(1)));
        schedule.handle_change(at(251));
        schedule.handle_failed(&server(1), true, at(260));
        assert_eq!(schedule.poll_timeout(), Some(at(500)));
    }

    #[test]
    fn silent_servers_do_not_keep_another_waiting_for_ever() {
        let mut schedule = Schedule::new(RETRY);
        for number in 0..16 {
            schedule.add(server(number), at(u64::from(number)));
            schedule.poll_start(at(u64::from(number))).unwrap();
        }
        schedule.add(server(99), at(100));
        assert_eq!(schedule.poll_start(at(100)), None);
        assert_eq!(schedule.poll_evict(at(100)), None);
        assert_eq!(schedule.poll_timeout(), Some(at(30_000)));
        assert_eq!(schedule.poll_evict(at(30_000)), Some(server(0)));
        assert_eq!(schedule.poll_evict(at(30_000)), None);
        schedule.handle_failed(&server(0), false, at(30_001));
        assert_eq!(schedule.poll_start(at(30_001)), Some(server(99)));
    }

    #[test]
    fn a_server_that_goes_while_it_is_tried_is_forgotten_afterwards() {
        let mut schedule = Schedule::new(RETRY);
        schedule.add(server(1), at(0));
        schedule.poll_start(at(0)).unwrap();
        schedule.remove(&server(1));
        assert_eq!(schedule.destinations().count(), 1);
        schedule.handle_failed(&server(1), false, at(5));
        assert_eq!(schedule.destinations().count(), 0);
    }
}
