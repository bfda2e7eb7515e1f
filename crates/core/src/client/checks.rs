//! The check of one client. The queue of checks that are due belongs to the registry.

use std::time::Duration;

use super::Client;
use crate::checker::{CheckerVariables, LastCheck};
use crate::guard::Phase;
use crate::settings::client::SHORTEST_INTERVAL;
use crate::time::{Monotonic, Now};

/// The state of a client's check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CheckState {
    /// None runs and none is due.
    Idle,
    /// One is due and waits for its turn, under this number in the queue.
    Queued(u64),
    /// Runs, and was not told to stop.
    Running,
    /// One runs and has the signal to stop; `again` when another is due already.
    Stopping { again: bool },
}

impl Client {
    /// Time from one check to the next.
    pub(crate) fn interval(&self) -> Duration {
        self.settings.interval.max(SHORTEST_INTERVAL)
    }

    /// Time of the check after the one that was due at `due`. One that was missed by more than
    /// an interval is not made up for.
    pub(crate) fn next_check(&self, due: Monotonic, now: Now) -> Monotonic {
        let next = due.after(self.interval());
        if next > now.mono {
            next
        } else {
            now.mono.after(self.interval())
        }
    }

    /// Stores the result of a check. `stopped` when it had the signal to stop: then a signal says
    /// nothing about the machine.
    pub(crate) fn note_check(&mut self, result: LastCheck, stopped: bool, now: Now) {
        if stopped && !matches!(result, LastCheck::Exited(_)) {
            return;
        }
        self.last_check = result;
        if result == LastCheck::Exited(0) {
            self.last_checked_ok = Some(now.wall);
        }
        // One that was stopped prolongs nothing, and so must not let a delivery do it.
        if result == LastCheck::Exited(0) && !stopped {
            self.proved = Some(now.mono);
            self.released = false;
            self.renewed = false;
        }
    }

    /// True when it was up as far as the server knew: its last check succeeded, or its agent was not missed.
    pub(crate) fn was_seen_up(&self) -> bool {
        match self.guard.phase() {
            Phase::Unarmed => self.last_check == LastCheck::Exited(0),
            Phase::Up { .. } | Phase::Leaving { .. } => true,
            // It was away because its secret was released.
            Phase::Opened => self.guard.has_open_release(),
            Phase::Quiet => false,
        }
    }

    /// True with a proof of life within the last two intervals.
    pub(crate) fn is_proved(&self, now: Now) -> bool {
        self.proved
            .is_some_and(|at| now.mono <= at.after(self.interval().saturating_mul(2)))
    }

    /// The values of the checker's references.
    pub(crate) fn checker_variables<'a>(
        &'a self,
        dbus_object_path: &'a str,
    ) -> CheckerVariables<'a> {
        let settings = &self.settings;
        CheckerVariables {
            approval_delay: settings.approval_delay,
            approval_duration: settings.approval_duration,
            created: self.created,
            dbus_object_path,
            enabled: self.is_enabled(),
            expires: self.expires(),
            fingerprint: settings.fingerprint,
            host: &settings.host,
            interval: settings.interval,
            key_id: settings.key_id,
            last_approval_request: self.last_approval_request,
            last_checked_ok: self.last_checked_ok,
            last_enabled: self.last_enabled,
            name: self.name.as_str(),
            timeout: settings.timeout,
        }
    }
}
