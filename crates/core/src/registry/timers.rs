//! The one table of everything that is due, of all clients: no event ever scans them.

use std::collections::BTreeSet;

use super::action::ClientId;
use crate::time::Monotonic;

/// What can be due of one client. At the same moment the first kind comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Timer {
    /// It must be disabled.
    Deadline,
    /// The oldest of its waiting requests is decided without a person.
    ApprovalEnds,
    /// Its next check is due.
    Check,
}

/// When each timer of one client goes off; kept by the client so that a change finds the old entry.
pub(crate) type Set = [Option<Monotonic>; 3];

/// All timers of all clients, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Monotonic, Timer, ClientId)>);

impl Timers {
    /// Moves `timer` of `client`, whose timers are `set`, to `at`; `None` stops it.
    pub(super) fn set(
        &mut self,
        client: ClientId,
        set: &mut Set,
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

    /// When the earliest timer goes off.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.0.first().map(|(at, _, _)| *at)
    }

    /// The earliest timer when it is due at `now`. It stays until it is set anew.
    pub(super) fn due(&self, now: Monotonic) -> Option<(ClientId, Timer)> {
        let &(at, timer, client) = self.0.first()?;
        (at <= now).then_some((client, timer))
    }
}
