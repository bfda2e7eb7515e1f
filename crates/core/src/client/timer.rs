//! The timers of one client.

use crate::time::Monotonic;

/// A timer of one client. Of those that are due at the same moment the first kind comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Timer {
    /// It must be disabled.
    Deadline,
    /// The hold of a request ends.
    HoldEnds,
    /// Its guard has something to do.
    Guard,
    /// The oldest of its waiting requests is decided without a person.
    ApprovalEnds,
    /// Its next check is due.
    Check,
}

impl Timer {
    /// Every timer.
    pub(crate) const ALL: [Self; 5] = [
        Self::Deadline,
        Self::HoldEnds,
        Self::Guard,
        Self::ApprovalEnds,
        Self::Check,
    ];
}

/// The due times of a client's timers; kept by the client so that a change finds the old entry.
pub(crate) type TimerSet = [Option<Monotonic>; 5];
