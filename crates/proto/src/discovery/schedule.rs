//! Timers of multicast DNS: repeated questions, and the lifetime of records.

use std::time::Duration;

use nightlatch_core::time::Monotonic;

/// The first pause between two askings of one question, doubled each time (RFC 6762 section 5.2).
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause. RFC 6762 section 5.2 lets it grow to an hour; but a machine that waits for
/// its disk must not, when a lost announcement or a switch port still learning (spanning tree, 30
/// to 50 s) hid the server. One small packet a minute is what it costs.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A question that is asked at once, after 1 s, 2 s, 4 s, and so on.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuerySchedule {
    next: Monotonic,
    /// `None` until asked once.
    pause: Option<Duration>,
}

impl QuerySchedule {
    pub(super) const fn starting(at: Monotonic) -> Self {
        Self {
            next: at,
            pause: None,
        }
    }

    pub(super) const fn next(&self) -> Monotonic {
        self.next
    }

    /// True before the first question: then the answer is wanted quickly and by unicast.
    pub(super) const fn is_first(&self) -> bool {
        self.pause.is_none()
    }

    pub(super) fn is_due(&self, now: Monotonic) -> bool {
        self.next <= now
    }

    /// It is being asked: sets the next time.
    pub(super) fn asked(&mut self, now: Monotonic) {
        let pause = match self.pause {
            None => FIRST_PAUSE,
            Some(pause) => (pause * 2).min(LONGEST_PAUSE),
        };
        self.pause = Some(pause);
        self.next = now.after(pause);
    }
}

/// The remaining life of a record, and the times at which to ask for it again.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordLifetime {
    since: Monotonic,
    ttl: Duration,
    /// Number of [`RENEWALS`] that were asked.
    renewals: usize,
}

/// At which percentages of its life a record is asked for again (RFC 6762 section 5.2).
const RENEWALS: [u32; 4] = [80, 85, 90, 95];

/// Time that a record remains after its goodbye or replacement, in which another sender of it can object (RFC 6762
/// sections 10.1 and 10.2).
const GRACE: Duration = Duration::from_secs(1);

impl RecordLifetime {
    pub(super) fn new(ttl: Duration, now: Monotonic) -> Self {
        if ttl.is_zero() {
            return Self {
                since: now,
                ttl: GRACE,
                renewals: RENEWALS.len(),
            };
        }
        Self {
            since: now,
            ttl,
            renewals: 0,
        }
    }

    pub(super) const fn expires(&self) -> Monotonic {
        self.since.after(self.ttl)
    }

    pub(super) fn is_over(&self, now: Monotonic) -> bool {
        self.expires() <= now
    }

    pub(super) fn remaining(&self, now: Monotonic) -> Duration {
        self.expires().since(now)
    }

    /// Ends it one second from now, unless it was just renewed, within that second, or ends sooner.
    pub(super) fn supersede(&mut self, now: Monotonic) {
        if now.since(self.since) > GRACE && self.remaining(now) > GRACE {
            *self = Self::new(Duration::ZERO, now);
        }
    }

    /// The moment at which to ask whether it still holds.
    pub(super) fn renewal(&self) -> Option<Monotonic> {
        let percent = RENEWALS.get(self.renewals)?;
        Some(self.since.after(self.ttl * *percent / 100))
    }

    /// True when a renewal is due; only once for each.
    pub(super) fn take_renewal(&mut self, now: Monotonic) -> bool {
        let mut due = false;
        while self.renewal().is_some_and(|at| at <= now) {
            self.renewals += 1;
            due = true;
        }
        due
    }
}
