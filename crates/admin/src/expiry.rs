//! When a key expires, in the words of gpg(1) and mandos-keygen(8).

use std::time::Duration;

use nightlatch_core::time::Wall;

const DAY: u64 = 24 * 60 * 60;

/// Reads `0`, `30`, `2w`, `1m`, `1y`, `seconds=3600`, `2030-12-31` or `20301231T235959` as a time
/// after `created`; `None` is never.
///
/// As in GnuPG a month has 30 days and a year 365, and a date means noon (UTC) of that day.
pub(crate) fn parse(text: &str, created: Wall) -> Result<Option<Duration>, ExpiryError> {
    let text = text.trim();
    if matches!(text, "" | "0" | "none" | "never" | "-") {
        return Ok(None);
    }
    if let Some(moment) = moment(text) {
        let after = moment.since(created);
        if after < Duration::from_secs(1) {
            return Err(ExpiryError::Past);
        }
        return Ok(Some(after));
    }
    let (digits, unit) = match text.strip_prefix("seconds=") {
        Some(digits) => (digits, 1),
        None => match text.as_bytes().last() {
            Some(b'd') => (&text[..text.len() - 1], DAY),
            Some(b'w') => (&text[..text.len() - 1], 7 * DAY),
            Some(b'm') => (&text[..text.len() - 1], 30 * DAY),
            Some(b'y') => (&text[..text.len() - 1], 365 * DAY),
            _ => (text, DAY),
        },
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ExpiryError::Grammar);
    }
    let count: u64 = digits.parse().map_err(|_| ExpiryError::Grammar)?;
    match count.checked_mul(unit) {
        Some(0) => Ok(None),
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => Err(ExpiryError::Grammar),
    }
}

/// A point in time: `YYYY-MM-DD` or `YYYYMMDDThhmmss`, UTC.
fn moment(text: &str) -> Option<Wall> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
        digits.parse::<i64>().ok()
    };
    let (year, month, day, second) = match bytes {
        [_, _, _, _, b'-', _, _, b'-', _, _] => {
            (number(0, 4)?, number(5, 7)?, number(8, 10)?, 12 * 3600)
        }
        [_, _, _, _, _, _, _, _, b'T', _, _, _, _, _, _] => {
            let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
            (hour < 24 && minute < 60 && second < 60).then_some(())?;
            let second = hour * 3600 + minute * 60 + second;
            (number(0, 4)?, number(4, 6)?, number(6, 8)?, second)
        }
        _ => return None,
    };
    let days = days_since_1970(year, month, day)?;
    Some(Wall::from_unix_micros((days * 86_400 + second) * 1_000_000))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, which must exist.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [
        31,
        if leap { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let index = usize::try_from(month - 1).ok()?;
    if day < 1 || day > *lengths.get(index)? || year < 1 {
        return None;
    }
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let in_year: i64 = lengths[..index].iter().sum::<i64>() + day - 1;
    // 719,162 days lie between 0001-01-01 and 1970-01-01.
    Some(before * 365 + leap_days + in_year - 719_162)
}

/// Why a text says no time to expire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ExpiryError {
    /// Not in the grammar.
    #[error("expected 0, a number of days, a number with d, w, m or y, or a date as 2030-12-31")]
    Grammar,
    /// A date that is over.
    #[error("that date is not in the future")]
    Past,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T00:00:00 UTC.
    const CREATED: Wall = Wall::from_unix_micros(1_795_392_000_000_000);

    fn days(text: &str) -> Option<u64> {
        parse(text, CREATED)
            .unwrap()
            .map(|after| after.as_secs() / DAY)
    }

    #[test]
    fn the_words_of_gpg_are_read() {
        assert_eq!(days("0"), None);
        assert_eq!(days("30"), Some(30));
        assert_eq!(days("2w"), Some(14));
        assert_eq!(days("1m"), Some(30));
        assert_eq!(days("1y"), Some(365));
        assert_eq!(days("2026-11-24"), Some(1));
        assert_eq!(days("20261124T000000"), Some(1));
        let half = parse("seconds=43200", CREATED).unwrap();
        assert_eq!(half, Some(Duration::from_secs(43_200)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "x",
            "1x",
            "-1",
            "+1",
            "1.5y",
            "y",
            "2026-13-01",
            "2027-02-29",
            "99999999999999999999",
            "2026-1-1",
            "１d",
        ] {
            assert_eq!(parse(text, CREATED), Err(ExpiryError::Grammar), "{text}");
        }
        assert_eq!(parse("2026-11-22", CREATED), Err(ExpiryError::Past));
    }

    #[test]
    fn a_leap_day_exists_in_its_year_only() {
        assert_eq!(days_since_1970(1970, 1, 1), Some(0));
        assert_eq!(days_since_1970(2000, 3, 1), Some(11_017));
        assert_eq!(days_since_1970(2000, 2, 29), Some(11_016));
        assert_eq!(days_since_1970(2100, 2, 29), None);
    }
}
