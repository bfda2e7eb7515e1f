//! Rate limit for requests with unknown keys: a burst raises an alarm, and further ones are only counted.

use std::time::Duration;

use crate::time::Monotonic;

/// Requests within [`WINDOW`] that raise an alarm. A machine with new keys whose section is old makes six a minute.
const ALARM_THRESHOLD: u32 = 10;

/// Time in which requests are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts the requests with unknown keys of the current window.
#[derive(Debug, Default)]
pub(super) struct UnknownKeyLimiter {
    /// `None` before the first request, and after the end of a window.
    window_end: Option<Monotonic>,
    count: u32,
}

/// A request after it was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CountedRequest {
    /// True for each request past [`ALARM_THRESHOLD`], which is not reported by itself.
    pub(super) flood: bool,
    /// The number of requests, when it has just reached [`ALARM_THRESHOLD`].
    pub(super) alarm: Option<u32>,
    /// The number of requests in the window before, if that was a flood whose end is not reported yet.
    pub(super) previous_flood: Option<u32>,
}

impl UnknownKeyLimiter {
    pub(super) fn count_request(&mut self, now: Monotonic) -> CountedRequest {
        let previous_flood = self.close(now);
        if self.window_end.is_none() {
            self.window_end = Some(now.after(WINDOW));
        }
        self.count = self.count.saturating_add(1);
        CountedRequest {
            flood: self.count > ALARM_THRESHOLD,
            alarm: (self.count == ALARM_THRESHOLD).then_some(ALARM_THRESHOLD),
            previous_flood,
        }
    }

    /// Time at which [`Self::close`] returns a number.
    pub(super) fn flood_end(&self) -> Option<Monotonic> {
        self.window_end.filter(|_| self.count > ALARM_THRESHOLD)
    }

    /// Ends the window if its time has passed; the number of its requests if they were a flood.
    pub(super) fn close(&mut self, now: Monotonic) -> Option<u32> {
        if self.window_end? > now {
            return None;
        }
        self.window_end = None;
        let count = std::mem::take(&mut self.count);
        (count > ALARM_THRESHOLD).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn a_flood_is_reported_at_its_start_and_with_its_number_at_its_end() {
        let mut limiter = UnknownKeyLimiter::default();
        let counted: Vec<CountedRequest> = (0..25).map(|_| limiter.count_request(at(5))).collect();
        let alarms: Vec<u32> = counted.iter().filter_map(|it| it.alarm).collect();
        assert_eq!(alarms, [10]);
        assert_eq!(counted.iter().filter(|it| !it.flood).count(), 10);
        assert_eq!(limiter.flood_end(), Some(at(65)));
        assert_eq!(limiter.close(at(64)), None);
        assert_eq!(limiter.close(at(65)), Some(25));
        assert_eq!(limiter.close(at(65)), None);
    }

    #[test]
    fn a_few_requests_raise_no_alarm_and_each_minute_counts_for_itself() {
        let mut limiter = UnknownKeyLimiter::default();
        for minute in 0..3 {
            for _ in 0..9 {
                let counted = limiter.count_request(at(60 * minute));
                assert_eq!(
                    (counted.flood, counted.alarm, counted.previous_flood),
                    (false, None, None)
                );
            }
        }
        assert_eq!(limiter.flood_end(), None);
    }
}
