//! The timers of one client.

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
pub(crate) type TimerSet = [Option<Monotonic>; 3];
