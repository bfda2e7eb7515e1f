//! Requests that come by the hundred: when somebody should look, and when unknown keys are no longer told one by one.

use std::time::Duration;

use crate::time::Monotonic;

/// So many within [`WINDOW`] are an alarm. A machine with new keys whose section is old asks six times a
/// minute.
const MANY: u32 = 10;

/// How long requests are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts the requests with unknown keys of the current window.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// When the window ends; `None` before the first request, and once it has ended.
    ends: Option<Monotonic>,
    count: u32,
}

/// What one more request means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    /// Enough were told in this window.
    pub(super) flood: bool,
    /// They have just become many: this is their number.
    pub(super) alarm: Option<u32>,
    /// The window before this request was a flood of so many, which nobody was told the number of.
    pub(super) over: Option<u32>,
}

impl Strangers {
    /// One more came.
    pub(super) fn hear(&mut self, now: Monotonic) -> Heard {
        let over = self.close(now);
        if self.ends.is_none() {
            self.ends = Some(now.after(WINDOW));
        }
        self.count = self.count.saturating_add(1);
        Heard {
            flood: self.count > MANY,
            alarm: (self.count == MANY).then_some(MANY),
            over,
        }
    }

    /// When [`Self::close`] has something to tell.
    pub(super) fn ends(&self) -> Option<Monotonic> {
        self.ends.filter(|_| self.count > MANY)
    }

    /// Ends the window when its time has come; how many there were, when they were too many.
    pub(super) fn close(&mut self, now: Monotonic) -> Option<u32> {
        if self.ends? > now {
            return None;
        }
        self.ends = None;
        let count = std::mem::take(&mut self.count);
        (count > MANY).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn many_are_told_once_and_once_more_with_their_number() {
        let mut strangers = Strangers::default();
        let heard: Vec<Heard> = (0..25).map(|_| strangers.hear(at(5))).collect();
        let alarms: Vec<u32> = heard.iter().filter_map(|it| it.alarm).collect();
        assert_eq!(alarms, [10]);
        assert_eq!(heard.iter().filter(|it| !it.flood).count(), 10);
        assert_eq!(strangers.ends(), Some(at(65)));
        assert_eq!(strangers.close(at(64)), None);
        assert_eq!(strangers.close(at(65)), Some(25));
        assert_eq!(strangers.close(at(65)), None);
    }

    #[test]
    fn a_few_are_no_alarm_and_the_next_minute_begins_anew() {
        let mut strangers = Strangers::default();
        for minute in 0..3 {
            for _ in 0..9 {
                let heard = strangers.hear(at(60 * minute));
                assert_eq!((heard.flood, heard.alarm, heard.over), (false, None, None));
            }
        }
        assert_eq!(strangers.ends(), None);
    }
}
