//! The guard of one client: its settings, and who stands behind it.

use std::time::Duration;

use super::Client;
use crate::guard::{Guard, GuardSettings, GuardState, Phase};
use crate::time::{Now, Wall};

/// A request is held so much longer than the next heartbeat is due, where the agent cannot be poked.
const HEARTBEAT_MARGIN: Duration = Duration::from_secs(5);

impl Client {
    /// Knowledge of its agent, and what follows from it.
    pub const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// True once its agent was heard.
    pub fn is_armed(&self) -> bool {
        self.guard.is_armed()
    }

    /// True when its agent answers pokes.
    pub const fn is_pokeable(&self) -> bool {
        self.pokeable
    }

    /// Time of the last heartbeat; `None` for a client whose agent was not heard.
    pub fn last_heartbeat(&self) -> Option<Wall> {
        self.last_checked_ok.filter(|_| self.is_armed())
    }

    /// The state of its guard, as people and programs see it.
    pub fn guard_state(&self) -> GuardState {
        match self.settings.guard {
            true => self.guard.phase().into(),
            false => GuardState::Off,
        }
    }

    /// The end of the time for its announced reboot; `None` unless it said goodbye and may be released.
    pub fn leaving_until(&self) -> Option<Wall> {
        let (true, Phase::Leaving { until, .. }) = (self.settings.guard, self.guard.phase()) else {
            return None;
        };
        // By the two readings of the deadline, so that it is the same moment however often it is read.
        let deadline = self.deadline?;
        Some(match until < deadline.mono {
            true => deadline.wall.before(deadline.mono.since(until)),
            false => deadline.wall,
        })
    }

    /// The guard judges requests with its boot key. A suspicion outlives the host key by which it arose.
    pub(crate) fn is_guarded(&self) -> bool {
        let has_guard = self.is_armed() || self.guard.suspect().is_some();
        self.settings.guard && has_guard
    }

    /// The settings that its guard needs at `now`.
    pub(crate) fn guard_settings(&self, now: Now) -> GuardSettings {
        let settings = &self.settings;
        let guard_wait = match self.guard.phase() {
            // Without pokes only the next heartbeat can tell that the machine is up.
            Phase::Up { last, next } if !self.pokeable => {
                let heard_by = last.after(next).after(HEARTBEAT_MARGIN);
                heard_by.since(now.mono).max(settings.guard_wait)
            }
            _ => settings.guard_wait,
        };
        GuardSettings {
            unannounced: settings.unannounced,
            guard_wait,
            reboot_window: settings.reboot_window,
            grace: settings.extended_timeout,
        }
    }
}
