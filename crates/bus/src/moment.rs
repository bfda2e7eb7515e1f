//! Points in time as the Mandos interface writes them: `YYYY-MM-DDTHH:MM:SS`, in UTC without a mark of
//! the zone, then `.` and six digits of microseconds unless these are zero. No time at all is empty.

use nightlatch_core::calendar::DateTime;
use nightlatch_core::time::Wall;

/// Digits of a fraction of a second.
const FRACTION: usize = 6;

/// Writes a point in time; `None` is empty.
pub fn print(wall: Option<Wall>) -> String {
    let Some(wall) = wall else {
        return String::new();
    };
    let at = DateTime::from(wall);
    let mut text = at.to_second('T');
    if at.micros != 0 {
        text.push_str(&format!(".{:06}", at.micros));
    }
    text
}

/// Reads a point in time; empty is `None`. A fraction may have one to six digits.
pub fn parse(text: &str) -> Result<Option<Wall>, MomentError> {
    if text.is_empty() {
        return Ok(None);
    }
    read(text).map(Some).ok_or_else(|| MomentError(text.into()))
}

/// A text that is no point in time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a time as 2026-11-21T23:19:55.400000, found {0:?}")]
pub struct MomentError(String);

fn read(text: &str) -> Option<Wall> {
    let (date, time) = text.split_once('T')?;
    // A year may have a sign and more than four digits.
    let (rest, day) = date.rsplit_once('-')?;
    let (year, month) = rest.rsplit_once('-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':').map(two_digits);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1..=FRACTION).contains(&fraction.len()) {
        return None;
    }
    let digits = year.strip_prefix('-').unwrap_or(year);
    let plain = year.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let zeros = 10_u32.pow((FRACTION - fraction.len()) as u32);
    let date = DateTime {
        year: plain.then_some(year)?.parse().ok()?,
        month: two_digits(month)?,
        day: two_digits(day)?,
        hour,
        minute,
        second,
        micros: number(fraction)?.checked_mul(zeros)?,
    };
    date.to_wall()
}

fn two_digits(text: &str) -> Option<u8> {
    (text.len() == 2).then(|| number(text))??.try_into().ok()
}

fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_written_as_mandos_does() {
        let micros = 1_795_303_195_400_000;
        let text = "2026-11-21T23:19:55.400000";
        assert_eq!(print(Some(Wall::from_unix_micros(micros))), text);
        assert_eq!(parse(text), Ok(Some(Wall::from_unix_micros(micros))));
        assert_eq!(
            print(Some(Wall::from_unix_micros(0))),
            "1970-01-01T00:00:00"
        );
        assert_eq!(print(None), "");
        assert_eq!(parse(""), Ok(None));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "2026-11-21",
            "2026-11-21 23:19:55",
            "2026-11-21T23:19",
            "2026-11-21T23:19:55:00",
            "2026-11-21T23:19:55.",
            "2026-11-21T23:19:55.1234567",
            "2026-11-21T23:19:55Z",
            "2026-11-31T00:00:00",
            "2026-1-1T00:00:00",
            "+026-01-01T00:00:00",
            "--26-01-01T00:00:00",
            "2026-11-21T+3:19:55",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_survives_its_text(micros: i64) {
            let wall = Some(Wall::from_unix_micros(micros));
            prop_assert_eq!(parse(&print(wall)), Ok(wall));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,30}") {
            let _ = parse(&text);
        }
    }
}
