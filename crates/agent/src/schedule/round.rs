//! One round of tries for one server, and what is known about the places.

use std::collections::BTreeSet;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::time::Monotonic;

use super::{LONGEST_TRY, STAGGER, TryId};
use crate::place::Place;

/// The greatest number of servers that one place is remembered for. A name may lead to several.
const MAX_SERVERS: usize = 16;

/// Identifies a place as long as it is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct PlaceId(pub(super) u64);

/// A place and the servers that were found there.
#[derive(Debug)]
pub(super) struct PlaceState {
    pub(super) place: Place,
    id: PlaceId,
    /// The order among places of the same rank: random for found ones, so that nobody can announce himself before others.
    order: u64,
    servers: BTreeSet<KeyId>,
    running: Option<(TryId, Monotonic)>,
    /// The last try here. A round may end before each place was tried; the next one goes on where it ended.
    last: Option<TryId>,
}

/// The order in which places are tried: lower first.
type Rank = (u8, bool, Option<TryId>, u64);

/// The tries for one server since it became due.
#[derive(Debug)]
pub(super) struct Round {
    tried: BTreeSet<PlaceId>,
    last_start: Option<Monotonic>,
    /// The time at which the round ends, whatever was tried: whoever announces many places must not keep a server from being
    /// tried again where it was.
    end: Monotonic,
}

/// The next step of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Try the place with this index.
    Start(usize),
    /// Wait for the end of a try, until this time at most.
    Wait(Monotonic),
    /// Every place was tried, or the time of the round is over.
    Exhausted,
}

impl PlaceState {
    pub(super) fn new(place: Place, id: PlaceId, random: u64) -> Self {
        let order = match place {
            // As they are written, before all others.
            Place::Named(_) => 0,
            Place::Found(_) => random.max(1),
        };
        Self {
            place,
            id,
            order,
            servers: BTreeSet::new(),
            running: None,
            last: None,
        }
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Lower is tried first: where the server was, then where none was, then where only others were. Of these the named ones,
    /// then the found ones that were tried least recently.
    pub(super) fn rank(&self, server: &KeyId) -> Rank {
        let rank = match (self.servers.contains(server), self.servers.is_empty()) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        let is_found = matches!(self.place, Place::Found(_));
        (rank, is_found, self.last.filter(|_| is_found), self.order)
    }

    /// The try `id` has found this server.
    pub(super) fn found(&mut self, id: TryId, server: KeyId) {
        let runs = self.running.is_some_and(|(running, _)| running == id);
        if runs && (self.servers.len() < MAX_SERVERS) {
            self.servers.insert(server);
        }
    }

    pub(super) fn finished(&mut self, id: TryId) {
        self.running = self.running.filter(|(running, _)| *running != id);
    }
}

impl Round {
    /// A round that begins now.
    pub(super) fn new(now: Monotonic) -> Self {
        Self {
            tried: BTreeSet::new(),
            last_start: None,
            end: now.after(LONGEST_TRY),
        }
    }

    /// The time at which it ends.
    pub(super) const fn end(&self) -> Monotonic {
        self.end
    }

    /// The next step for `server`.
    pub(super) fn next(&self, places: &[PlaceState], server: &KeyId, now: Monotonic) -> Next {
        if now >= self.end {
            return Next::Exhausted;
        }
        let free = |place: &PlaceState| !place.is_running() && !self.tried.contains(&place.id);
        let best = places
            .iter()
            .enumerate()
            .filter(|(_, place)| free(place))
            .min_by_key(|(_, place)| place.rank(server));
        // Tries for other servers count too: they may find this one.
        let ends = places
            .iter()
            .filter_map(|place| Some(place.running?.1.after(LONGEST_TRY)))
            .filter(|end| now < *end)
            .max();
        match (best, ends, self.last_start) {
            (Some(_), Some(_), Some(start)) if now < start.after(STAGGER) => {
                Next::Wait(self.end.min(start.after(STAGGER)))
            }
            (Some((index, _)), ..) => Next::Start(index),
            (None, Some(end), _) => Next::Wait(self.end.min(end)),
            (None, None, _) => Next::Exhausted,
        }
    }

    pub(super) fn start(&mut self, place: &mut PlaceState, id: TryId, now: Monotonic) {
        place.running = Some((id, now));
        place.last = Some(id);
        self.tried.insert(place.id);
        self.last_start = Some(now);
    }
}
