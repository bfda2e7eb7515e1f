//! Windows of the week in local time: `22:00-06:00, Sun 08:00-20:00`. Pure: the caller reads the clock and the time zone.
//!
//! A window without days is one of each day. One that ends at or before its beginning crosses midnight, and belongs to the day
//! on which it begins.

use std::fmt;

use crate::calendar::DateTime;
use crate::digits;
use crate::time::Wall;

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

/// Microseconds of a minute.
const MINUTE: i64 = 60_000_000;

/// The days of the week, as they are written.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// 1970-01-01 was a Thursday.
const FIRST_DAY: i64 = 3;

/// 2025-01-01T00:00:00 UTC. A clock that is before it was never set.
const EARLIEST: Wall = Wall::from_unix_micros(1_735_689_600_000_000);

/// The windows of a week; without one it is always open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hours(Vec<Window>);

/// A part of the week.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Window {
    /// Minutes since Monday 00:00.
    start: u32,
    /// Minutes, from 1 to a day.
    length: u32,
}

/// A text is no list of windows.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected times as 22:00-06:00 or Mon-Fri 08:00-20:00, with commas between (00:00-24:00 is a whole day); found {0:?}"
)]
pub struct InvalidHours(pub String);

/// Now is in none of the windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Closed {
    /// The next window is known.
    #[error("the next hours begin on {0}")]
    Until(LocalTime),
    /// The clock or the time zone is not known.
    #[error(
        "the local time is not known: set the clock (timedatectl), and look at TZ and /etc/localtime"
    )]
    Unknown,
}

/// A minute in local time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalTime {
    /// The time in UTC that has the same digits.
    as_utc: Wall,
}

impl Hours {
    /// Reads a list. An empty text is no window: always open.
    ///
    /// # Errors
    /// When any window of the list is not understood; an empty place between two commas is none.
    pub fn parse(text: &str) -> Result<Self, InvalidHours> {
        let mut windows = Vec::new();
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        for part in text.split(',') {
            let found = window(part).ok_or_else(|| InvalidHours(part.trim().to_owned()))?;
            windows.extend(found);
        }
        Ok(Self(windows))
    }

    /// True when there is no window to keep to.
    pub fn is_always(&self) -> bool {
        self.0.is_empty()
    }

    /// Judges a moment; `ahead` is the number of seconds that local time is ahead of UTC then, if that is known.
    ///
    /// # Errors
    /// When it is in no window, with the beginning of the next one. If the clock changes to or from summer time before it, that
    /// is an hour off.
    pub fn check(&self, now: Wall, ahead: Option<i32>) -> Result<(), Closed> {
        if self.is_always() {
            return Ok(());
        }
        let ahead = ahead.filter(|_| now >= EARLIEST).ok_or(Closed::Unknown)?;
        let local = now
            .unix_micros()
            .saturating_add(i64::from(ahead) * 1_000_000);
        let minutes = local.div_euclid(MINUTE) + FIRST_DAY * i64::from(DAY);
        // A remainder is below a week.
        let now = u32::try_from(minutes.rem_euclid(i64::from(WEEK))).unwrap_or_default();
        let mut windows = self.0.iter();
        if windows.any(|window| between(window.start, now) < window.length) {
            return Ok(());
        }
        let waits = self.0.iter().map(|window| between(now, window.start));
        let wait = i64::from(waits.min().unwrap_or_default());
        let minute = local.div_euclid(MINUTE).saturating_add(wait);
        Err(Closed::Until(LocalTime {
            as_utc: Wall::from_unix_micros(minute.saturating_mul(MINUTE)),
        }))
    }
}

/// Minutes from a minute of the week to the next time that it is another one.
const fn between(from: u32, to: u32) -> u32 {
    (to + WEEK - from) % WEEK
}

/// The windows of `[DAY[-DAY]] HH:MM-HH:MM`, one for each day.
fn window(text: &str) -> Option<Vec<Window>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (days, times) = match words[..] {
        [times] => ((0, 6), times),
        [days, times] => (day_range(days)?, times),
        _ => return None,
    };
    let (start, end) = times.split_once('-')?;
    let (start, end) = (minute(start)?, minute(end)?);
    if start == end || start == DAY {
        return None;
    }
    let length = match start < end {
        true => end - start,
        false => end + DAY - start,
    };
    let (first, last) = days;
    let count = (last + 7 - first) % 7 + 1;
    let starts = (0..count).map(|later| (first + later) % 7 * DAY + start);
    Some(starts.map(|start| Window { start, length }).collect())
}

fn day_range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((day(first)?, day(last)?))
}

fn day(text: &str) -> Option<u32> {
    let number = DAYS.iter().position(|day| day.eq_ignore_ascii_case(text))?;
    u32::try_from(number).ok()
}

/// Minutes of `HH:MM`, up to 24:00.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute) = (
        digits::decimal::<u32>(hour)?,
        digits::decimal::<u32>(minute)?,
    );
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY).then_some(minutes)
}

impl fmt::Display for LocalTime {
    /// `Sun 2026-11-29 22:00 local time`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DateTime {
            year,
            month,
            day,
            hour,
            minute,
            ..
        } = self.as_utc.into();
        let days = self
            .as_utc
            .unix_micros()
            .div_euclid(MINUTE * i64::from(DAY))
            + FIRST_DAY;
        let weekday = usize::try_from(days.rem_euclid(7)).unwrap_or_default();
        let weekday = DAYS.get(weekday).unwrap_or(&"");
        write!(
            f,
            "{weekday} {year:04}-{month:02}-{day:02} {hour:02}:{minute:02} local time"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// This hour and minute of a day of November 2026, of which the second is a Monday.
    fn at(day: u8, hour: u8, minute: u8) -> Wall {
        let date = DateTime {
            year: 2026,
            month: 11,
            day,
            hour,
            minute,
            second: 59,
            micros: 999_999,
        };
        date.to_wall().unwrap()
    }

    fn hours(text: &str) -> Hours {
        Hours::parse(text).unwrap()
    }

    fn next(hours: &Hours, now: Wall) -> String {
        match hours.check(now, Some(0)) {
            Ok(()) => "open".to_owned(),
            Err(closed) => closed.to_string(),
        }
    }

    #[test]
    fn a_window_that_crosses_midnight_belongs_to_the_day_on_which_it_begins() {
        let nights = hours("22:00-06:00, Sun 08:00-20:00");
        for (day, hour, minute, is_open) in [
            (2, 21, 59, false),
            (2, 22, 0, true),
            (3, 5, 59, true),
            (3, 6, 0, false),
            (7, 12, 0, false),
            (8, 7, 59, false),
            (8, 8, 0, true),
            (8, 19, 59, true),
            (8, 20, 0, false),
        ] {
            let now = at(day, hour, minute);
            assert_eq!(nights.check(now, Some(0)).is_ok(), is_open, "{now:?}");
        }
        let sunday = hours("sun 22:00-06:00");
        assert_eq!(next(&sunday, at(9, 5, 59)), "open");
        assert_eq!(
            next(&sunday, at(8, 5, 0)),
            "the next hours begin on Sun 2026-11-08 22:00 local time"
        );
        assert_eq!(
            next(&sunday, at(9, 6, 0)),
            "the next hours begin on Sun 2026-11-15 22:00 local time"
        );
        let whole = hours("Sat-Sun 00:00-24:00");
        for (day, is_open) in [(6, false), (7, true), (8, true), (9, false)] {
            assert_eq!(whole.check(at(day, 0, 0), Some(0)).is_ok(), is_open);
        }
        let weekend = hours("Fri-Mon 12:00-13:00");
        assert_eq!(next(&weekend, at(9, 12, 30)), "open");
        assert!(next(&weekend, at(10, 12, 30)).contains("Fri 2026-11-13 12:00"));
    }

    #[test]
    fn local_time_counts_and_without_it_nothing_is_open() {
        let nights = hours("22:00-06:00");
        // 20:30 UTC is 22:30 two hours ahead, and 15:30 five hours behind.
        let evening = at(2, 20, 30);
        assert_eq!(nights.check(evening, Some(7200)), Ok(()));
        let behind = nights.check(evening, Some(-5 * 3600)).unwrap_err();
        assert!(behind.to_string().contains("Mon 2026-11-02 22:00"));
        assert_eq!(nights.check(evening, None), Err(Closed::Unknown));
        // A clock that was never set.
        let unset = Wall::from_unix_micros(22 * 60 * MINUTE);
        assert_eq!(nights.check(unset, Some(0)), Err(Closed::Unknown));
        for moment in [unset, evening] {
            assert_eq!(hours("").check(moment, None), Ok(()));
        }
    }

    #[test]
    fn anything_else_is_no_window() {
        for odd in [
            ",",
            "22:00",
            "22:00-06:00,",
            "22:00-22:00",
            "24:00-06:00",
            "22:00-24:01",
            "22:60-23:00",
            "2:00-03:00",
            "+2:00-03:00",
            "Mo 02:00-03:00",
            "Mon, 02:00-03:00",
            "Mon Tue 02:00-03:00",
            "Mon- 02:00-03:00",
            "always",
        ] {
            assert!(Hours::parse(odd).is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read(text: String) {
            let _ = Hours::parse(&text);
        }

        /// Of one window: open at its beginning, closed at its end, and the next beginning is the one that is told.
        #[test]
        fn a_window_is_open_from_its_beginning_to_its_end(
            day in 0u32..7, start in 0u32..1440, end in 0u32..1440, minutes in 0i64..20_000, ahead in -50_000i32..50_000
        ) {
            prop_assume!(start != end);
            let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
            let text = format!("{} {}-{}", DAYS[day as usize], time(start), time(end));
            let hours = Hours::parse(&text).unwrap();
            let now = Wall::from_unix_micros(at(2, 0, 0).unix_micros() + minutes * MINUTE);
            match hours.check(now, Some(ahead)) {
                Ok(()) => {}
                Err(Closed::Unknown) => prop_assert!(false, "the time is known"),
                Err(Closed::Until(next)) => {
                    let utc = next.as_utc.unix_micros() - i64::from(ahead) * 1_000_000;
                    prop_assert!(utc > now.unix_micros());
                    let moment = Wall::from_unix_micros;
                    prop_assert_eq!(hours.check(moment(utc), Some(ahead)), Ok(()));
                    prop_assert!(hours.check(moment(utc - MINUTE), Some(ahead)).is_err());
                }
            }
        }
    }
}
