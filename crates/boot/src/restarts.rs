//! The pauses before a plugin that died is started again.
//!
//! Pure: `now` is an argument.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nightlatch_core::time::Monotonic;

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause, short enough for a person at the machine to notice the next start.
const LONGEST: Duration = Duration::from_secs(60);

/// The exit status that asks for another try (sysexits(3), `EX_TEMPFAIL`).
const TEMPORARY: i32 = 75;

/// True when another start may help: the program crashed, was killed, or exited with `EX_TEMPFAIL`. Any other status
/// is final, as without a terminal.
pub(crate) fn may_restart(status: ExitStatus) -> bool {
    status.signal().is_some() || status.code() == Some(TEMPORARY)
}

/// The pauses of one plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RestartPauses {
    next: Duration,
}

impl RestartPauses {
    /// Of a plugin that never died.
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The time to start a plugin again that was started at `started` and died at `now`. Each pause is twice as long
    /// as the one before; a run longer than [`LONGEST`] resets it.
    pub(crate) fn due(&mut self, started: Monotonic, now: Monotonic) -> Monotonic {
        if now.since(started) > LONGEST {
            self.next = FIRST;
        }
        let due = now.after(self.next);
        self.next = (self.next * 2).min(LONGEST);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_shrink_after_a_long_life() {
        let mut pauses = RestartPauses::new();
        let mut now = Monotonic::from_boot(Duration::from_secs(100));
        let mut seen = Vec::new();
        for _ in 0..8 {
            let due = pauses.due(now, now);
            seen.push(due.since(now).as_secs());
            now = due;
        }
        assert_eq!(seen, [1, 2, 4, 8, 16, 32, 60, 60]);
        let started = now;
        now = now.after(Duration::from_secs(61));
        assert_eq!(pauses.due(started, now).since(now), FIRST);
    }

    #[test]
    fn who_says_that_he_cannot_is_not_asked_again() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        assert!(may_restart(ExitStatus::from_raw(11)));
        assert!(may_restart(exited(75)));
        for code in [0, 1, 64, 69] {
            assert!(!may_restart(exited(code)), "{code}");
        }
    }
}
