//! The times at which each server is told that the machine is up, and the places where that is tried. Pure: time is an
//! argument, and a try is carried out elsewhere.
//!
//! A server is known by its key, which only a handshake shows. So a place (an address or a name) is tried for a server
//! that is due: first the places where this server was before, then those where none was, then all others. Each place is
//! tried once in a round at most; a round ends when the server has accepted a heartbeat, when no place is left, or after
//! [`LONGEST_TRY`].

use std::collections::BTreeMap;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::Token;
use subtle::ConstantTimeEq;

use crate::jitter::Jitter;
use crate::place::Place;

mod round;
#[cfg(test)]
mod tests;

use round::{Next, PlaceId, PlaceState, Round};

/// The first retry after a failure is at most this far away; the range doubles with each failure.
pub(crate) const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The greatest range of retries as long as the server has not said how often it wants to hear of the machine.
const LAST_RETRY: Duration = Duration::from_secs(5 * 60);

/// No retry comes sooner: a server that refuses at once must not be asked without a pause.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);

/// The least and the greatest time to the next heartbeat that a server can ask for. A faulty one must not be told without a
/// pause; nightlatchd asks for 15 s at least.
const NEXT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(24 * 60 * 60));

/// The longest pause after a refusal that a server may ask for.
const LONGEST_REFUSAL: Duration = Duration::from_secs(60 * 60);

/// A further place is tried beside one that has not answered for so long: a dead address must not delay a living one.
const STAGGER: Duration = Duration::from_millis(500);

/// A round waits for a try for so long, and lasts no longer itself. Each try has limits of its own; only the resolver of names is out of reach.
pub(crate) const LONGEST_TRY: Duration = Duration::from_secs(60);

/// The greatest number of tries at the same time.
const MAX_TRIES: usize = 16;

/// Identifies one try.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TryId(u64);

/// A try to carry out: connect to `place`, then ask [`Schedule::connected`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Try {
    pub(crate) id: TryId,
    pub(crate) place: Place,
}

/// The trusted servers, each with the time at which it is due, and the places where they are tried.
#[derive(Debug)]
pub(crate) struct Schedule {
    servers: BTreeMap<KeyId, ServerState>,
    places: Vec<PlaceState>,
    /// No heartbeat before this time: a goodbye was said.
    held_until: Option<Monotonic>,
    last_try: u64,
    last_place: u64,
    jitter: Jitter,
}

#[derive(Debug)]
struct ServerState {
    due: Monotonic,
    /// The time between heartbeats that the server asked for; `None` before its first answer.
    next: Option<Duration>,
    /// Rounds that failed since the last success.
    failures: u32,
    last_failure: Option<Monotonic>,
    /// The server has refused, and wants no heartbeat before this time.
    refused_until: Option<Monotonic>,
    token: Option<Token>,
    /// The token has caused its one heartbeat.
    token_used: bool,
    /// A poke came while a heartbeat was under way, which therefore proves nothing about the time of the poke.
    poked: bool,
    /// The token of the poke that the next heartbeat answers.
    answers: Option<Token>,
    /// The try that reports to it now.
    reporter: Option<TryId>,
    round: Option<Round>,
}

impl Schedule {
    /// A schedule in which all servers are due at once.
    pub(crate) fn new(
        servers: impl IntoIterator<Item = KeyId>,
        jitter: Jitter,
        now: Monotonic,
    ) -> Self {
        let state = || ServerState {
            due: now,
            next: None,
            failures: 0,
            last_failure: None,
            refused_until: None,
            token: None,
            token_used: false,
            poked: false,
            answers: None,
            reporter: None,
            round: None,
        };
        Self {
            servers: servers.into_iter().map(|key| (key, state())).collect(),
            places: Vec::new(),
            held_until: None,
            last_try: 0,
            last_place: 0,
            jitter,
        }
    }

    /// The places there are now. Those that were known keep what is known about them.
    pub(crate) fn set_places(&mut self, places: impl IntoIterator<Item = Place>, now: Monotonic) {
        let mut before = std::mem::take(&mut self.places);
        let mut is_new = false;
        for place in places {
            if self.places.iter().any(|known| known.place == place) {
                continue;
            }
            let known = before.iter().position(|known| known.place == place);
            is_new |= known.is_none();
            self.places.push(match known {
                Some(index) => before.swap_remove(index),
                None => {
                    self.last_place += 1;
                    PlaceState::new(place, PlaceId(self.last_place), self.jitter.number())
                }
            });
        }
        // A thread that runs still must not be forgotten: there would be two at this place if it came back.
        self.places
            .extend(before.into_iter().filter(PlaceState::is_running));
        if is_new {
            self.network_changed(now);
        }
    }

    /// Servers that could not be reached are tried again, though not sooner than after a first failure: whoever sends
    /// announcements must not set the pace.
    pub(crate) fn network_changed(&mut self, now: Monotonic) {
        for server in self.servers.values_mut() {
            if let Some(failed) = server.last_failure {
                server.due = server.due.min(now.max(failed.after(FIRST_RETRY)));
            }
        }
    }

    /// True while some server has not accepted the last heartbeat that was due to it, or was never found.
    pub(crate) fn lacks_server(&self) -> bool {
        self.servers
            .values()
            .any(|server| server.next.is_none() || server.failures > 0)
    }

    /// The next try to start now, if any. Call it until there is none.
    pub(crate) fn poll(&mut self, now: Monotonic) -> Option<Try> {
        if self.is_held(now) {
            return None;
        }
        let keys: Vec<KeyId> = self.servers.keys().copied().collect();
        for key in keys {
            let running = self.places.iter().filter(|it| it.is_running()).count();
            let Some(server) = self.servers.get_mut(&key) else {
                continue;
            };
            if server.due > now || server.reporter.is_some() {
                continue;
            }
            let round = server.round.get_or_insert_with(|| Round::new(now));
            match round.next(&self.places, &key, now) {
                Next::Start(index) if running < MAX_TRIES => {
                    self.last_try += 1;
                    let id = TryId(self.last_try);
                    let place = &mut self.places[index];
                    round.start(place, id, now);
                    let place = place.place.clone();
                    return Some(Try { id, place });
                }
                Next::Start(_) | Next::Wait(_) => {}
                Next::Exhausted => self.fail(&key, Duration::ZERO, now),
            }
        }
        None
    }

    /// The time to call [`poll`](Self::poll) again if nothing else happens.
    pub(crate) fn poll_timeout(&self, now: Monotonic) -> Option<Monotonic> {
        if let Some(until) = self.held_until.filter(|until| now < *until) {
            return Some(until);
        }
        let waiting = self.servers.iter().filter(|(_, it)| it.reporter.is_none());
        let times = waiting.filter_map(|(key, server)| {
            if server.due > now {
                return Some(server.due);
            }
            let round = server.round.as_ref()?;
            match round.next(&self.places, key, now) {
                Next::Wait(until) => Some(until),
                // It waits for the end of another try, which is told, but no longer than the round lasts.
                Next::Start(_) => Some(round.end()),
                Next::Exhausted => None,
            }
        });
        times.min()
    }

    /// A try has found the server with this key. True when it is to report to it now; otherwise it leaves.
    pub(crate) fn connected(&mut self, id: TryId, key: KeyId, now: Monotonic) -> bool {
        for place in &mut self.places {
            place.found(id, key);
        }
        let held = self.is_held(now);
        let Some(server) = self.servers.get_mut(&key) else {
            return false;
        };
        if held || server.due > now || server.reporter.is_some() {
            return false;
        }
        server.reporter = Some(id);
        server.poked = false;
        true
    }

    /// The token of the poke that a heartbeat to this server answers, once.
    pub(crate) fn answers(&mut self, key: &KeyId) -> Option<Token> {
        self.servers.get_mut(key)?.answers.take()
    }

    /// The server has accepted the heartbeat of this try.
    pub(crate) fn accepted(
        &mut self,
        id: TryId,
        key: KeyId,
        next: Duration,
        token: Token,
        now: Monotonic,
    ) {
        let Some(server) = self.servers.get_mut(&key) else {
            return;
        };
        if server.reporter != Some(id) {
            return;
        }
        let next = next.clamp(NEXT.0, NEXT.1);
        // Never later than the server said, else it would miss the machine; never before half of that, else the
        // servers' load would be twice what they ask for.
        let delay = self.jitter.between(next / 2, next);
        let is_same = server.token.is_some_and(|it| same_token(&it, &token));
        server.token_used &= is_same;
        server.token = Some(token);
        server.next = Some(next);
        server.failures = 0;
        server.last_failure = None;
        server.refused_until = None;
        server.reporter = None;
        server.round = None;
        server.due = if std::mem::take(&mut server.poked) {
            now
        } else {
            now.after(delay)
        };
    }

    /// The server has refused, and says how long to wait, if it does.
    pub(crate) fn refused(
        &mut self,
        id: TryId,
        key: KeyId,
        retry: Option<Duration>,
        now: Monotonic,
    ) {
        let reports = |server: &ServerState| server.reporter == Some(id);
        if self.servers.get(&key).is_some_and(reports) {
            let least = retry.unwrap_or_default().min(LONGEST_REFUSAL);
            if let Some(server) = self.servers.get_mut(&key) {
                server.refused_until = Some(now.after(least));
            }
            self.fail(&key, least, now);
        }
    }

    /// The try is over, whatever came of it.
    pub(crate) fn finished(&mut self, id: TryId) {
        for place in &mut self.places {
            place.finished(id);
        }
        for server in self.servers.values_mut() {
            if server.reporter == Some(id) {
                server.reporter = None;
            }
        }
    }

    /// True when a server is due and no try reports to it: a try that could reach more servers goes on.
    pub(crate) fn wants_more(&self, now: Monotonic) -> bool {
        let wanted = |server: &ServerState| server.due <= now && server.reporter.is_none();
        !self.is_held(now) && self.servers.values().any(wanted)
    }

    /// A poke with this token. True when it makes a heartbeat due. Each token does so once.
    pub(crate) fn poked(&mut self, token: &Token, now: Monotonic) -> bool {
        let mut acts = false;
        for server in self.servers.values_mut() {
            let Some(own) = server.token else { continue };
            // All are compared, so that the time tells nothing.
            if same_token(&own, token) && !server.token_used {
                server.token_used = true;
                server.answers = Some(own);
                acts = true;
                if server.reporter.is_some() {
                    server.poked = true;
                } else {
                    server.due = server.due.min(now);
                }
            }
        }
        acts
    }

    /// No heartbeat before `until`: one after a goodbye would take the goodbye back.
    pub(crate) fn hold(&mut self, until: Monotonic) {
        self.held_until = self.held_until.max(Some(until));
    }

    /// Heartbeats go on.
    pub(crate) fn end_hold(&mut self) {
        self.held_until = None;
    }

    /// Makes all servers due.
    pub(crate) fn all_due(&mut self, now: Monotonic) {
        for server in self.servers.values_mut() {
            server.due = server.due.min(now);
        }
    }

    /// There is something to tell to all servers: each is due, but for the pause after a failure. A heartbeat that is under
    /// way does not say it, and another one follows.
    pub(crate) fn tell_soon(&mut self, now: Monotonic) {
        for server in self.servers.values_mut() {
            let pause = server.last_failure.map(|failed| failed.after(FIRST_RETRY));
            let pause = pause.max(server.refused_until).unwrap_or(now);
            match server.reporter {
                Some(_) => server.poked = true,
                None => server.due = server.due.min(now.max(pause)),
            }
        }
    }

    /// The number of servers.
    pub(crate) fn server_count(&self) -> usize {
        self.servers.len()
    }

    /// Every place once, in the order of the best rank that it has for any server.
    pub(crate) fn best_places(&self) -> Vec<Place> {
        let mut places: Vec<&PlaceState> = self.places.iter().collect();
        places.sort_by_key(|place| self.servers.keys().map(|key| place.rank(key)).min());
        places.into_iter().map(|it| it.place.clone()).collect()
    }

    /// The servers, each with the places where it can be found, best first.
    pub(crate) fn ways(&self) -> Vec<(KeyId, Vec<Place>)> {
        let ways = self.servers.keys().map(|key| {
            let mut places: Vec<&PlaceState> = self.places.iter().collect();
            places.sort_by_key(|place| place.rank(key));
            let places = places.into_iter().map(|it| it.place.clone());
            (*key, places.collect())
        });
        ways.collect()
    }

    fn is_held(&self, now: Monotonic) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// A round has failed. The next is at least `least` away.
    fn fail(&mut self, key: &KeyId, least: Duration, now: Monotonic) {
        let Some(server) = self.servers.get_mut(key) else {
            return;
        };
        let limit = server.next.unwrap_or(LAST_RETRY);
        let range = FIRST_RETRY.saturating_mul(2u32.saturating_pow(server.failures.min(16)));
        let delay = self.jitter.between(SHORTEST_RETRY, range.min(limit));
        server.failures = server.failures.saturating_add(1);
        server.last_failure = Some(now);
        server.reporter = None;
        server.round = None;
        server.due = now.after(delay.max(least));
    }
}

fn same_token(one: &Token, other: &Token) -> bool {
    one.as_bytes()[..].ct_eq(&other.as_bytes()[..]).into()
}
