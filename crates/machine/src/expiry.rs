//! The time at which a key expires, in the syntax of gpg(1) and mandos-keygen(8).

use std::time::Duration;

use nightlatch_core::calendar::DateTime;
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
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
        digits.parse::<u16>().ok()
    };
    // Two digits always fit.
    let pair = |from: usize| Some(number(from, from + 2)? as u8);
    let (month, day, [hour, minute, second]) = match text.as_bytes() {
        [_, _, _, _, b'-', _, _, b'-', _, _] => (pair(5)?, pair(8)?, [12, 0, 0]),
        [_, _, _, _, _, _, _, _, b'T', _, _, _, _, _, _] => {
            (pair(4)?, pair(6)?, [pair(9)?, pair(11)?, pair(13)?])
        }
        _ => return None,
    };
    let date = DateTime {
        year: number(0, 4)?.into(),
        month,
        day,
        hour,
        minute,
        second,
        micros: 0,
    };
    date.to_wall()
}

/// A text that is not a time of expiry.
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

    /// Midnight UTC at the start of 2026-11-23.
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
}
