//! A point in time as a person writes it: a length of time before now, or a date.

use nightlatch_bus::moment;
use nightlatch_core::duration;
use nightlatch_core::time::Wall;

/// Reads `2h`, `PT2H`, `2026-11-24`, `2026-11-24T18:30`, `2026-11-24 18:30:05`, with or without a `Z` at the
/// end; all in UTC.
pub(crate) fn parse(text: &str, now: Wall) -> Result<Wall, PointInTimeError> {
    let text = text.trim();
    if !text.is_empty()
        && let Ok(length) = duration::parse(text)
    {
        let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        return Ok(Wall::from_unix_micros(
            now.unix_micros().saturating_sub(micros),
        ));
    }
    let date = text.strip_suffix('Z').unwrap_or(text).replacen(' ', "T", 1);
    let forms = ["", ":00", "T00:00:00"];
    forms
        .iter()
        .find_map(|rest| moment::parse(&format!("{date}{rest}")).ok().flatten())
        .ok_or(PointInTimeError)
}

/// The text has another form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected a length of time as 2h or PT2H, or a date as 2026-11-24 or 2026-11-24T18:30 (UTC)"
)]
pub(crate) struct PointInTimeError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_dates_are_read() {
        let now = Wall::from_unix_micros(1_795_303_195_000_000);
        let read = |text| parse(text, now).map(|wall| moment::print(Some(wall)));
        for (text, time) in [
            ("2h", "2026-11-21T21:19:55"),
            ("PT2H", "2026-11-21T21:19:55"),
            ("1d 1m", "2026-11-20T23:18:55"),
            ("2026-11-20", "2026-11-20T00:00:00"),
            ("2026-11-20T18:30", "2026-11-20T18:30:00"),
            ("2026-11-20 18:30:05Z", "2026-11-20T18:30:05"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(time), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "18:30"] {
            assert_eq!(read(text), Err(PointInTimeError), "{text}");
        }
    }
}
