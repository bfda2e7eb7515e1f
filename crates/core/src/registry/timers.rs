//! The timers of all clients in one ordered table, so that no event scans all clients.

use std::collections::BTreeSet;

use crate::client::{Timer, TimerSet};
use crate::event::ClientId;
use crate::time::Monotonic;

/// All timers of all clients, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Monotonic, Timer, ClientId)>);

impl Timers {
    /// Moves `timer` of `client`, whose timers are `set`, to `at`; `None` stops it.
    pub(super) fn set(
        &mut self,
        client: ClientId,
        set: &mut TimerSet,
        timer: Timer,
        at: Option<Monotonic>,
    ) {
        let entry = &mut set[timer as usize];
        if *entry == at {
            return;
        }
        if let Some(old) = *entry {
            self.0.remove(&(old, timer, client));
        }
        if let Some(new) = at {
            self.0.insert((new, timer, client));
        }
        *entry = at;
    }

    /// Time of the earliest timer.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.0.first().map(|(at, _, _)| *at)
    }

    /// The earliest timer, if it is due at `now`. It stays due until it is set again.
    pub(super) fn due(&self, now: Monotonic) -> Option<(ClientId, Timer)> {
        let &(at, timer, client) = self.0.first()?;
        (at <= now).then_some((client, timer))
    }
}
