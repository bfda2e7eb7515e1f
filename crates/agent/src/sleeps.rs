//! The number of times that this boot was continued from a hibernation. Pure: the program reads the clocks.
//!
//! The kernel counts suspends and not hibernations. A sleep of either kind moves `CLOCK_BOOTTIME` ahead of
//! `CLOCK_MONOTONIC`; one that the kernel does not count as a suspend was a hibernation.

use std::time::Duration;

use nightlatch_core::time::Monotonic;

/// The least sleep. A hibernation that fails after its snapshot moves the clocks by less than the second to which the
/// hardware clock is exact; one that succeeds takes a start of the firmware.
const SHORTEST: Duration = Duration::from_secs(2);

/// Time between a sleep that is noticed and its verdict: the kernel counts a suspend after it has let programs run
/// again.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// The kernel's count of sleeps at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SleepReading {
    /// `CLOCK_BOOTTIME` less `CLOCK_MONOTONIC`.
    pub(crate) asleep: Duration,
    /// Suspends that succeeded.
    pub(crate) suspends: u64,
}

/// The sleeps of this boot, as far as they are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sleeps {
    /// Number of resumes from hibernation.
    pub(crate) resumes: u64,
    /// The reading that `resumes` belongs to.
    pub(crate) at: SleepReading,
}

/// Sleeps that were noticed and not judged.
#[derive(Clone, Copy, Debug)]
struct Unsettled {
    count: u64,
    asleep: Duration,
    until: Monotonic,
}

/// Counts sleeps.
#[derive(Debug)]
pub(crate) struct SleepCounter {
    known: Sleeps,
    unsettled: Option<Unsettled>,
}

/// The result of [`SleepCounter::observe`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SleepState {
    /// Nothing new.
    Known,
    /// There was a sleep whose kind is known at this time. Until then nothing may be reported.
    Unsettled(Monotonic),
    /// There was a sleep of either kind, and the counter is right again.
    Counted,
}

impl SleepCounter {
    /// Continues from what was known before the program was started; a fresh boot has the default.
    pub(crate) const fn new(known: Sleeps) -> Self {
        Self {
            known,
            unsettled: None,
        }
    }

    pub(crate) const fn sleeps(&self) -> Sleeps {
        self.known
    }

    /// Takes in a reading. Call it whenever the program wakes, and before each report: two sleeps with no call between
    /// them count as one.
    pub(crate) fn observe(&mut self, now: Monotonic, reading: SleepReading) -> SleepState {
        let last = self.unsettled.map_or(self.known.at.asleep, |it| it.asleep);
        if reading.asleep.saturating_sub(last) >= SHORTEST {
            let until = now.after(SETTLE);
            self.unsettled = Some(Unsettled {
                count: self.unsettled.map_or(0, |it| it.count).saturating_add(1),
                asleep: reading.asleep,
                until,
            });
            return SleepState::Unsettled(until);
        }
        match self.unsettled {
            None => {
                // One that was too short to be seen must not be taken off a later sleep.
                self.known.at.suspends = reading.suspends;
                SleepState::Known
            }
            Some(Unsettled { until, .. }) if now < until => SleepState::Unsettled(until),
            Some(Unsettled { count, .. }) => {
                let suspends = reading.suspends.saturating_sub(self.known.at.suspends);
                let resumes = count.saturating_sub(suspends);
                self.known = Sleeps {
                    resumes: self.known.resumes.saturating_add(resumes),
                    at: reading,
                };
                self.unsettled = None;
                SleepState::Counted
            }
        }
    }
}

impl Sleeps {
    /// The text of the file that keeps it over a restart of the program.
    pub(crate) fn to_text(self) -> String {
        format!(
            "{} {} {}\n",
            self.resumes,
            self.at.asleep.as_millis(),
            self.at.suspends
        )
    }

    /// `None` for any other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (resumes, asleep, suspends) = (next()?, next()?, next()?);
        let at = SleepReading {
            asleep: Duration::from_millis(asleep),
            suspends,
        };
        numbers.next().is_none().then_some(Self { resumes, at })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    fn reading(asleep: u64, suspends: u64) -> SleepReading {
        SleepReading {
            asleep: Duration::from_secs(asleep),
            suspends,
        }
    }

    #[test]
    fn a_hibernation_is_counted_and_a_suspend_is_not() {
        let mut counter = SleepCounter::new(Sleeps::default());
        assert_eq!(counter.observe(at(10), reading(0, 0)), SleepState::Known);
        // A suspend: the kernel counts it a moment after this program runs again.
        let settling = SleepState::Unsettled(at(101));
        assert_eq!(counter.observe(at(100), reading(50, 0)), settling);
        assert_eq!(counter.observe(at(100), reading(50, 1)), settling);
        assert_eq!(
            counter.observe(at(101), reading(50, 1)),
            SleepState::Counted
        );
        assert_eq!(counter.sleeps().resumes, 0);
        // A hibernation.
        let settling = SleepState::Unsettled(at(901));
        assert_eq!(counter.observe(at(900), reading(700, 1)), settling);
        assert_eq!(
            counter.observe(at(902), reading(700, 1)),
            SleepState::Counted
        );
        assert_eq!(counter.sleeps().resumes, 1);
        assert_eq!(counter.observe(at(903), reading(700, 1)), SleepState::Known);
    }

    /// systemd's suspend-then-hibernate wakes the machine for a moment in between.
    #[test]
    fn a_suspend_that_is_followed_by_a_hibernation_counts_as_one_resume() {
        let mut counter = SleepCounter::new(Sleeps::default());
        counter.observe(at(100), reading(50, 0));
        counter.observe(at(200), reading(149, 1));
        assert_eq!(
            counter.observe(at(201), reading(149, 1)),
            SleepState::Counted
        );
        assert_eq!(counter.sleeps().resumes, 1);
    }

    #[test]
    fn a_hibernation_that_fails_is_no_sleep() {
        let mut counter = SleepCounter::new(Sleeps::default());
        assert_eq!(counter.observe(at(30), reading(1, 0)), SleepState::Known);
        assert_eq!(counter.sleeps(), Sleeps::default());
    }

    #[test]
    fn a_sleep_while_the_program_did_not_run_is_counted_when_it_starts() {
        let before = Sleeps {
            resumes: 4,
            at: reading(100, 3),
        };
        let mut counter = SleepCounter::new(before);
        counter.observe(at(500), reading(300, 3));
        counter.observe(at(501), reading(300, 3));
        assert_eq!(counter.sleeps().resumes, 5);
        let again = Sleeps::parse(&counter.sleeps().to_text());
        assert_eq!(again, Some(counter.sleeps()));
    }

    #[test]
    fn a_file_that_holds_something_else_is_not_believed() {
        for text in ["", "1 2", "1 2 3 4", "1 2 x", "-1 2 3"] {
            assert_eq!(Sleeps::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        /// Whatever the readings are, the number never falls, and it grows by one for each sleep at most.
        #[test]
        fn the_number_never_falls(steps in prop::collection::vec((0u64..5, 0u64..100, 0u64..3), 0..50)) {
            let mut counter = SleepCounter::new(Sleeps::default());
            let (mut now, mut asleep, mut suspends) = (0, 0, 0);
            for (later, slept, suspended) in steps {
                now += later;
                asleep += slept;
                suspends += suspended;
                let before = counter.sleeps().resumes;
                counter.observe(at(now), reading(asleep, suspends));
                let after = counter.sleeps().resumes;
                prop_assert!(after >= before && after <= now);
            }
        }
    }
}
