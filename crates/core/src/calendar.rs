//! Points of wall-clock time as dates: the proleptic Gregorian calendar in UTC, without leap seconds.

use std::fmt;

use crate::time::Wall;

const MICROS: i64 = 1_000_000;
const DAY: i64 = 86_400;

/// Days from 0000-03-01 to 1970-01-01.
const BEFORE_1970: i64 = 719_468;
/// Limit of the years whose days are counted. It is beyond the range of [`Wall`].
const FURTHEST_YEAR: u64 = 300_000;

/// Days in 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;

/// A date and a time of day, in UTC. Every field is in its range, and the day exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DateTime {
    /// The year; zero and below before the year 1.
    pub year: i64,
    /// The month, from 1 to 12.
    pub month: u8,
    /// The day of the month, from 1.
    pub day: u8,
    /// The hour, from 0 to 23.
    pub hour: u8,
    /// The minute, from 0 to 59.
    pub minute: u8,
    /// The second, from 0 to 59.
    pub second: u8,
    /// Microseconds, below a million.
    pub micros: u32,
}

impl From<Wall> for DateTime {
    fn from(wall: Wall) -> Self {
        let seconds = wall.unix_micros().div_euclid(MICROS);
        let (year, month, day) = date(seconds.div_euclid(DAY));
        let second = seconds.rem_euclid(DAY);
        // Remainders, so that each fits its type.
        Self {
            year,
            month,
            day,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            micros: wall.unix_micros().rem_euclid(MICROS) as u32,
        }
    }
}

impl DateTime {
    /// Date and time of day to the second, with `between` between the two: `2026-11-21T23:19:55`.
    pub fn to_second(self, between: char) -> String {
        let (
            Self {
                year, month, day, ..
            },
            time,
        ) = (self, self.time_of_day());
        format!("{year:04}-{month:02}-{day:02}{between}{time}")
    }

    /// The time of day alone, to the second: `23:19:55`.
    pub fn time_of_day(self) -> String {
        format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }

    /// RFC 3339, UTC, to the microsecond: `2026-11-21T23:19:55.400000Z`.
    pub fn to_rfc3339(self) -> String {
        format!("{}.{:06}Z", self.to_second('T'), self.micros)
    }

    /// The point in time; `None` when there is no such date, or [`Wall`] cannot hold it.
    pub fn to_wall(self) -> Option<Wall> {
        let days = days(self.year, self.month, self.day)?;
        let in_range = self.hour < 24
            && self.minute < 60
            && self.second < 60
            && i64::from(self.micros) < MICROS;
        if !in_range {
            return None;
        }
        let second =
            i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        let seconds = days.checked_mul(DAY)?.checked_add(second)?;
        let micros = seconds.checked_mul(MICROS)?;
        Some(Wall::from_unix_micros(
            micros.checked_add(i64::from(self.micros))?,
        ))
    }
}

impl fmt::Display for DateTime {
    /// For people, to the second: `2026-11-21 23:19:55 UTC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} UTC", self.to_second(' '))
    }
}

/// Year, month and day, `days` after 1970-01-01. Counted in eras of 400 years that begin on 1 March,
/// so that the leap day is the last day of its year.
fn date(days: i64) -> (i64, u8, u8) {
    let days = days + BEFORE_1970;
    let era = days.div_euclid(ERA);
    let day_of_era = days.rem_euclid(ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + 400 * era + i64::from(month <= 2);
    // Both are below 32.
    (year, month as u8, day as u8)
}

/// Days from 1970-01-01 to a date, which must exist.
fn days(year: i64, month: u8, day: u8) -> Option<i64> {
    let (month, day) = (i64::from(month), i64::from(day));
    if !(1..=12).contains(&month) || year.unsigned_abs() > FURTHEST_YEAR {
        return None;
    }
    // March is the first month of its year, so that the leap day is the last one.
    let year = year - i64::from(month <= 2);
    let shifted = (month + 9) % 12;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * ERA + day_of_era - BEFORE_1970;
    // A day that its month does not have converts back into another date.
    let exists = date(days) == (year + i64::from(month <= 2), month as u8, day as u8);
    exists.then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(year: i64, month: u8, day: u8) -> DateTime {
        DateTime {
            year,
            month,
            day,
            hour: 23,
            minute: 59,
            second: 58,
            micros: 7,
        }
    }

    #[test]
    fn known_days_have_their_numbers() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2000, 2, 29), Some(11_016));
        assert_eq!(days(2000, 3, 1), Some(11_017));
        assert_eq!(days(1969, 12, 31), Some(-1));
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for date in [
            at(2100, 2, 29),
            at(2026, 2, 30),
            at(2026, 4, 31),
            at(2026, 0, 1),
            at(2026, 13, 1),
            at(2026, 1, 0),
            at(i64::MAX, 1, 1),
            at(i64::MIN, 1, 1),
            at(299_999, 1, 1),
            DateTime {
                hour: 24,
                ..at(2026, 1, 1)
            },
            DateTime {
                micros: 1_000_000,
                ..at(2026, 1, 1)
            },
        ] {
            assert_eq!(date.to_wall(), None, "{date:?}");
        }
    }

    #[test]
    fn a_date_is_written_for_programs_and_for_people() {
        let date = at(2026, 2, 3);
        assert_eq!(date.to_rfc3339(), "2026-02-03T23:59:58.000007Z");
        assert_eq!(date.to_string(), "2026-02-03 23:59:58 UTC");
    }

    proptest! {
        #[test]
        fn every_point_in_time_has_one_date(micros: i64) {
            let wall = Wall::from_unix_micros(micros);
            prop_assert_eq!(DateTime::from(wall).to_wall(), Some(wall));
        }

        #[test]
        fn any_numbers_are_a_date_or_refused(year: i64, month: u8, day: u8) {
            if let Some(wall) = at(year, month, day).to_wall() {
                prop_assert_eq!(DateTime::from(wall), at(year, month, day));
            }
        }
    }
}
