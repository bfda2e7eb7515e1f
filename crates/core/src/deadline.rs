//! Moments that must survive a restart: kept on the monotonic clock, saved on both.

use std::time::Duration;

use crate::time::{BootId, Monotonic, Now, Wall};

/// A deadline on both clocks. The monotonic one counts within the same boot of the host, the wall
/// clock's after a reboot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedDeadline {
    /// The boot in which `mono` counts.
    pub boot: BootId,
    /// The deadline on the monotonic clock of that boot.
    pub mono: Monotonic,
    /// The same moment on the wall clock.
    pub wall: Wall,
    /// Time to the deadline when it was written: after a reboot it is never longer.
    pub remaining: Duration,
}

/// The deadline of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deadline {
    /// The moment that decides.
    pub(crate) mono: Monotonic,
    /// The same moment as the wall clock had it when it was set: only to be shown.
    pub(crate) wall: Wall,
}

impl Deadline {
    /// The deadline `from_now` after `now`.
    pub(crate) fn within(from_now: Duration, now: Now) -> Self {
        Self {
            mono: now.mono.after(from_now),
            wall: now.wall.after(from_now),
        }
    }

    /// The deadline at `mono`.
    pub(crate) fn at(mono: Monotonic, now: Now) -> Self {
        Self {
            mono,
            wall: now.wall.after(mono.since(now.mono)),
        }
    }

    /// This deadline after its timeout changed from `old` to `new`.
    pub(crate) fn shifted(self, old: Duration, new: Duration, now: Now) -> Self {
        let mono = match new.checked_sub(old) {
            Some(more) => self.mono.after(more),
            None => self.mono.before(old.saturating_sub(new)),
        };
        Self::at(mono, now)
    }

    pub(crate) fn passed(self, now: Now) -> bool {
        self.mono <= now.mono
    }
}

/// `moment` on both clocks, for the store.
pub(crate) fn to_saved(moment: Monotonic, boot: BootId, now: Now) -> SavedDeadline {
    let remaining = moment.since(now.mono);
    SavedDeadline {
        boot,
        mono: moment,
        wall: now.wall.after(remaining),
        remaining,
    }
}

/// The saved moment on this boot's monotonic clock.
///
/// In the same boot it is the same moment. In another one the wall clock shows how much is left, never more than was
/// left when it was written: a clock that went backwards extends nothing.
/// The second value is how long ago it passed, by the wall clock, where this boot's clock cannot say so.
pub(crate) fn restore(saved: &SavedDeadline, boot: BootId, now: Now) -> (Monotonic, Duration) {
    if saved.boot == boot {
        return (saved.mono, Duration::ZERO);
    }
    let left = saved.wall.since(now.wall).min(saved.remaining);
    (now.mono.after(left), now.wall.since(saved.wall))
}
