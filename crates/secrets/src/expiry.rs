//! Reads the expiry of a secret: a length of time from now, or a date.

use nightlatch_bus::moment;
use nightlatch_core::duration;
use nightlatch_core::sealed_secret::whole_seconds;
use nightlatch_core::time::Wall;

/// Reads `90d`, `P90D`, `2027-01-01`, `2027-01-01T18:30`, `2027-01-01 18:30:05Z`; dates are in UTC.
///
/// # Errors
/// Another form, or a time that is over at `now`.
pub(crate) fn parse(text: &str, now: Wall) -> Result<Wall, ExpiryError> {
    let text = text.trim();
    let expires = length(text, now).or_else(|| date(text));
    let expires = expires.ok_or(ExpiryError::Form)?;
    match expires > now {
        true => Ok(expires),
        false => Err(ExpiryError::Over),
    }
}

fn length(text: &str, now: Wall) -> Option<Wall> {
    let length = duration::parse(text).ok().filter(|it| !it.is_zero())?;
    Some(whole_seconds(now.after(length)))
}

fn date(text: &str) -> Option<Wall> {
    let date = text.strip_suffix('Z').unwrap_or(text).replacen(' ', "T", 1);
    let forms = ["", ":00", "T00:00:00"];
    let read = |rest: &&str| moment::parse(&format!("{date}{rest}")).ok().flatten();
    forms.iter().find_map(read).map(whole_seconds)
}

/// The error of [`parse`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ExpiryError {
    /// Neither a length of time nor a date.
    #[error(
        "expected a length of time as 90d or P90D, or a date as 2027-01-01 or 2027-01-01T18:30 (UTC)"
    )]
    Form,
    /// The time is over.
    #[error("expected a time to come, and this is over")]
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_dates_to_come_are_read() {
        let now = Wall::from_unix_micros(1_795_303_195_400_000);
        let read = |text| parse(text, now).map(|wall| moment::print(Some(wall)));
        for (text, time) in [
            ("90d", "2027-02-19T23:19:55"),
            ("PT2H", "2026-11-22T01:19:55"),
            ("2027-01-01", "2027-01-01T00:00:00"),
            ("2027-01-01T18:30", "2027-01-01T18:30:00"),
            ("2027-01-01 18:30:05Z", "2027-01-01T18:30:05"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(time), "{text}");
        }
        for text in ["", "soon", "0d", "2027-13-01", "18:30"] {
            assert_eq!(read(text), Err(ExpiryError::Form), "{text}");
        }
        assert_eq!(read("2026-11-21"), Err(ExpiryError::Over));
    }
}
