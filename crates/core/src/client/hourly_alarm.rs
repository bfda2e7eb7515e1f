//! An alarm that is raised once an hour at most.

use std::time::Duration;

use crate::time::Monotonic;

/// Interval between two alarms about a disabled client that keeps asking.
const ALARM_AGAIN: Duration = Duration::from_secs(60 * 60);

/// An alarm that is raised once an hour for as long as its cause continues.
#[derive(Debug, Default)]
pub(crate) struct HourlyAlarm {
    /// It is not raised until then.
    until: Option<Monotonic>,
}

impl HourlyAlarm {
    /// The cause occurred; true when the alarm is to be raised.
    pub(crate) fn is_news(&mut self, now: Monotonic) -> bool {
        let news = self.until.is_none_or(|until| until <= now);
        if news {
            self.until = Some(now.after(ALARM_AGAIN));
        }
        news
    }

    /// The next occurrence raises the alarm again.
    pub(crate) const fn forget(&mut self) {
        self.until = None;
    }
}
