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
}

/// The tries for one server since it became due.
#[derive(Debug, Default)]
pub(super) struct Round {
    tried: BTreeSet<PlaceId>,
    last_start: Option<Monotonic>,
}

/// The next step of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Try the place with this index.
    Start(usize),
    /// Wait for the end of a try, until this time at most.
    Wait(Monotonic),
    /// Every place was tried.
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
        }
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Lower is tried first: where the server was, then where none was, then where only others were.
    pub(super) fn rank(&self, server: &KeyId) -> (u8, u64) {
        let rank = match (self.servers.contains(server), self.servers.is_empty()) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        (rank, self.order)
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
    /// The next step for `server`.
    pub(super) fn next(&self, places: &[PlaceState], server: &KeyId, now: Monotonic) -> Next {
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
                Next::Wait(start.after(STAGGER))
            }
            (Some((index, _)), ..) => Next::Start(index),
            (None, Some(end), _) => Next::Wait(end),
            (None, None, _) => Next::Exhausted,
        }
    }

    pub(super) fn start(&mut self, place: &mut PlaceState, id: TryId, now: Monotonic) {
        place.running = Some((id, now));
        self.tried.insert(place.id);
        self.last_start = Some(now);
    }
}
