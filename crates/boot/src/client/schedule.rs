//! When which server is tried: every one at once, each again after the same time whatever failed.
//!
//! A server that has several addresses is tried at one of them after another: asked at two at the same
//! time it would release twice, and take the second for somebody else who has the keys.
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

/// How long the other addresses of a server wait for one that has not answered: a second and a third
/// packet to open a connection were lost by then (RFC 6298, 2).
const ALTERNATIVE: Duration = Duration::from_secs(3);

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
    /// How many were added.
    added: u64,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// When the last try began, and how often the network had changed by then.
    started: Monotonic,
    changes: u64,
    /// Nobody wants it any more; forgotten when its try ends.
    gone: bool,
    /// Which server has this address, where that is known.
    server: Option<String>,
    /// How many were added before it: what was found first is tried first.
    rank: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Its turn comes at this time; with `true` sooner, when the network changes.
    Waiting(Monotonic, bool),
    /// It is being tried.
    Running(Stage),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Until its server has proved that it is there.
    Connecting,
    /// The handshake is done. From then on a server may think as long as it likes.
    Answered,
    /// It was asked to end.
    Ending,
}

impl Schedule {
    /// Nothing to try yet. `retry` is the time between two tries of one server.
    pub(super) fn new(retry: Duration) -> Self {
        Self {
            retry: retry.max(PACE),
            entries: BTreeMap::new(),
            changes: 0,
            added: 0,
        }
    }

    /// A destination to try from now on; `server` is the same for all addresses of one server.
    pub(super) fn add(&mut self, destination: Destination, server: Option<String>, now: Monotonic) {
        self.added += 1;
        let entry = self.entries.entry(destination).or_insert(Entry {
            state: State::Waiting(now, false),
            started: now,
            changes: self.changes,
            gone: false,
            server,
            rank: self.added,
        });
        entry.gone = false;
    }

    /// The server at `destination` has proved that it is there.
    pub(super) fn handle_answered(&mut self, destination: &Destination) {
        if let Some(entry) = self.entries.get_mut(destination)
            && entry.state == State::Running(Stage::Connecting)
        {
            entry.state = State::Running(Stage::Answered);
        }
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
        let first = self
            .waiting()
            .min_by_key(|(due, _, entry)| (*due, entry.rank));
        let (due, next, _) = first?;
        if due > now {
            return None;
        }
        let next = next.clone();
        let entry = self.entries.get_mut(&next)?;
        entry.state = State::Running(Stage::Connecting);
        entry.started = now;
        entry.changes = self.changes;
        Some(next)
    }

    /// A try that must end now, so that another can begin; it ends as a failure.
    pub(super) fn poll_evict(&mut self, now: Monotonic) -> Option<Destination> {
        if self.running() < SLOTS || self.waiting().all(|(due, ..)| due > now) {
            return None;
        }
        // One at a time: a try that was asked to end gives its slot back presently.
        if self.is_ending() {
            return None;
        }
        let (started, longest) = self.held().min()?;
        let longest = longest.clone();
        if now < started.after(HELD) {
            return None;
        }
        self.entries.get_mut(&longest)?.state = State::Running(Stage::Ending);
        Some(longest)
    }

    /// When to poll again; `None` when only an event can change anything.
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        let due = self.waiting().map(|(due, ..)| due).min()?;
        if self.running() < SLOTS {
            return Some(due);
        }
        if self.is_ending() {
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

    fn is_ending(&self) -> bool {
        let ending = |entry: &Entry| entry.state == State::Running(Stage::Ending);
        self.entries.values().any(ending)
    }

    /// What waits for its turn, and when that is. Without what waits for another address of its server to
    /// fail, whenever that will be.
    fn waiting(&self) -> impl Iterator<Item = (Monotonic, &Destination, &Entry)> {
        let occupied = self.occupied();
        self.entries.iter().filter_map(move |(to, entry)| {
            let State::Waiting(due, _) = entry.state else {
                return None;
            };
            let server = entry.server.as_deref();
            match server.and_then(|server| occupied.get(server)) {
                None => Some((due, to, entry)),
                Some(until) => until.map(|until| (due.max(until), to, entry)),
            }
        })
    }

    /// The servers that are being tried, and until when their other addresses wait: `None` when for
    /// as long as it takes.
    fn occupied(&self) -> BTreeMap<&str, Option<Monotonic>> {
        let mut occupied = BTreeMap::new();
        for entry in self.entries.values() {
            let (State::Running(stage), Some(server)) = (entry.state, entry.server.as_deref())
            else {
                continue;
            };
            let until = match stage {
                Stage::Connecting => Some(entry.started.after(ALTERNATIVE)),
                Stage::Answered | Stage::Ending => None,
            };
            occupied
                .entry(server)
                .and_modify(|other: &mut Option<Monotonic>| {
                    *other = other.and_then(|other| until.map(|until| other.max(until)))
                })
                .or_insert(until);
        }
        occupied
    }

    fn held(&self) -> impl Iterator<Item = (Monotonic, &Destination)> {
        let held = |entry: &Entry| {
            matches!(
                entry.state,
                State::Running(Stage::Connecting | Stage::Answered)
            )
        };
        self.entries
            .iter()
            .filter(move |(_, entry)| held(entry))
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
        schedule.add(server(1), None, at(0));
        schedule.add(server(2), None, at(0));
        assert_eq!(schedule.poll_start(at(0)), Some(server(1)));
        assert_eq!(schedule.poll_start(at(0)), Some(server(2)));
        assert_eq!(schedule.poll_start(at(0)), None);
        assert_eq!(schedule.poll_timeout(), None);
    }

    #[test]
    fn the_next_try_does_not_tell_how_long_this_one_took() {
        for took in [0, 1, 500, 9_000] {
            let mut schedule = Schedule::new(RETRY);
            schedule.add(server(1), None, at(0));
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
        schedule.add(server(1), None, at(0));
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
            schedule.add(server(number), None, at(u64::from(number)));
            schedule.poll_start(at(u64::from(number))).unwrap();
        }
        schedule.add(server(99), None, at(100));
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
        schedule.add(server(1), None, at(0));
        schedule.poll_start(at(0)).unwrap();
        schedule.remove(&server(1));
        assert_eq!(schedule.destinations().count(), 1);
        schedule.handle_failed(&server(1), false, at(5));
        assert_eq!(schedule.destinations().count(), 0);
    }

    /// A schedule with two addresses of one server, of which the first is being tried since 0.
    fn two_addresses() -> Schedule {
        let mut schedule = Schedule::new(RETRY);
        for number in [2, 1] {
            schedule.add(server(number), Some("tower.local:4711".to_owned()), at(0));
        }
        // What was found first, not what is smaller.
        assert_eq!(schedule.poll_start(at(0)), Some(server(2)));
        assert_eq!(schedule.poll_start(at(0)), None);
        schedule
    }

    #[test]
    fn a_server_that_does_not_answer_is_tried_at_its_other_address() {
        let mut schedule = two_addresses();
        assert_eq!(schedule.poll_timeout(), Some(at(3_000)));
        assert_eq!(schedule.poll_start(at(2_999)), None);
        assert_eq!(schedule.poll_start(at(3_000)), Some(server(1)));
    }

    #[test]
    fn a_server_that_thinks_is_not_asked_twice() {
        let mut schedule = two_addresses();
        schedule.handle_answered(&server(2));
        assert_eq!(schedule.poll_timeout(), None);
        assert_eq!(schedule.poll_start(at(3_600_000)), None);
        // Others are, meanwhile.
        schedule.add(
            server(3),
            Some("other.local:4711".to_owned()),
            at(3_600_000),
        );
        assert_eq!(schedule.poll_start(at(3_600_000)), Some(server(3)));
        schedule.handle_failed(&server(2), false, at(3_600_001));
        assert_eq!(schedule.poll_start(at(3_600_001)), Some(server(1)));
    }

    #[test]
    fn a_server_that_refuses_at_one_address_is_tried_at_the_other_at_once() {
        let mut schedule = two_addresses();
        schedule.handle_failed(&server(2), false, at(40));
        assert_eq!(schedule.poll_start(at(40)), Some(server(1)));
        schedule.handle_failed(&server(1), false, at(80));
        assert_eq!(schedule.poll_timeout(), Some(at(10_000)));
    }
}
