//! Lengths of time in text: RFC 3339 appendix A durations, and the older `1d 2h`.
//!
//! With the lengths and the limits of mandos(8): a month is 4 weeks, a year is 52 weeks, there are
//! no fractions, and units must be next to each other (`PT1H0M30S`, not `PT1H30S`).

use std::str::FromStr;
use std::time::Duration;

use crate::ini::is_space;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 4 * WEEK;
const YEAR: u64 = 52 * WEEK;

/// The longest accepted duration, `P10000Y`, so that every deadline fits the clocks and the store.
pub const MAX: Duration = Duration::from_secs(10_000 * YEAR);

/// Units before the `T`, in their required order.
const DATE_UNITS: [(char, u64); 3] = [('Y', YEAR), ('M', MONTH), ('D', DAY)];

/// Units after the `T`, in their required order.
const TIME_UNITS: [(char, u64); 3] = [('H', HOUR), ('M', MINUTE), ('S', 1)];

/// Units of the older form.
const OLD_UNITS: [(char, u64); 5] = [
    ('s', 1),
    ('m', MINUTE),
    ('h', HOUR),
    ('d', DAY),
    ('w', WEEK),
];

/// Parses a duration: the form of RFC 3339 appendix A first, then the older sum of `<number><unit>` with units `s m h
/// d w`. The empty text is zero, as in Mandos.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    match text.strip_prefix('P') {
        Some(rest) => within_max(parse_appendix_a(rest)?.saturating_mul(1000)),
        None => within_max(parse_sum(text)?.saturating_mul(1000)),
    }
}

/// Parses a duration in the form of RFC 3339 appendix A only.
pub fn parse_rfc3339(text: &str) -> Result<Duration, DurationError> {
    match text.strip_prefix('P') {
        Some(_) => parse(text),
        None => Err(DurationError::Syntax),
    }
}

/// Parses a malformed text as mandos-ctl(8) does: the sum of all numbers in it, each with the unit `s m h d w`
/// directly after it, or without one in milliseconds.
///
/// `PT1H30S` is 31 milliseconds. Only for compatibility with Mandos, and with a warning.
pub fn parse_lenient(text: &str) -> Result<Duration, DurationError> {
    let mut millis = 0_u64;
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let number = &rest[start..];
        let end = number.find(|c: char| !c.is_ascii_digit());
        let (digits, tail) = number.split_at(end.unwrap_or(number.len()));
        let unit = OLD_UNITS
            .iter()
            .find(|(letter, _)| tail.starts_with(*letter));
        let scale = unit.map_or(1, |(_, seconds)| seconds * 1000);
        let term = scaled(digits, scale)?;
        millis = millis.checked_add(term).ok_or(DurationError::TooLong)?;
        rest = tail;
    }
    within_max(millis)
}

fn within_max(millis: u64) -> Result<Duration, DurationError> {
    let duration = Duration::from_millis(millis);
    if duration > MAX {
        return Err(DurationError::TooLong);
    }
    Ok(duration)
}

/// Prints a duration so that [`parse`] gives the same. A fraction of a second is dropped: neither form has one.
pub fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return "PT0S".into();
    }
    if seconds.is_multiple_of(WEEK) {
        return format!("P{}W", seconds / WEEK);
    }
    let mut text = String::from("P");
    if seconds >= DAY {
        text.push_str(&format!("{}D", seconds / DAY));
    }
    let time = [
        (seconds % DAY / HOUR, 'H'),
        (seconds % HOUR / MINUTE, 'M'),
        (seconds % MINUTE, 'S'),
    ];
    // From the first to the last unit that is not zero; units between must not be omitted.
    let first = time.iter().position(|(count, _)| *count > 0);
    let last = time.iter().rposition(|(count, _)| *count > 0);
    if let (Some(first), Some(last)) = (first, last) {
        text.push('T');
        for (count, unit) in &time[first..=last] {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text
}

/// Prints a length of time for people: `1d2h`, `5m30s`; `0s` for what is shorter than a second.
pub fn in_whole_seconds(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [
        (seconds / DAY, 'd'),
        (seconds % DAY / HOUR, 'h'),
        (seconds % HOUR / MINUTE, 'm'),
        (seconds % MINUTE, 's'),
    ];
    let parts = units.iter().filter(|(count, _)| *count > 0);
    let text: String = parts
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() { "0s".into() } else { text }
}

/// A text is not a duration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DurationError {
    /// Neither of the two forms.
    #[error("expected a duration such as PT5M, P1DT12H or \"1d 12h\"")]
    Syntax,
    /// `PT1H30S`, `P1Y1D`: a unit is left out between two others.
    #[error("units of a duration must be next to each other: write PT1H0M30S, not PT1H30S")]
    Gap,
    /// A part of a second.
    #[error("expected whole seconds in a duration, without a fraction")]
    Fraction,
    /// A negative duration.
    #[error("expected a duration of zero or more, found a negative one")]
    Negative,
    /// More than [`MAX`].
    #[error("expected a duration of at most P10000Y")]
    TooLong,
}

/// A text is not a duration, with advice for its author.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{error}, found {found:?}{}", advice(found, *error))]
pub struct InvalidDuration {
    /// The text as found.
    pub found: String,
    /// The parser's reason.
    pub error: DurationError,
}

/// As [`parse`], without surrounding white space; the error quotes the text and gives advice.
pub fn read(text: &str) -> Result<Duration, InvalidDuration> {
    let text = text.trim_matches(is_space);
    parse(text).map_err(|error| InvalidDuration {
        found: text.to_owned(),
        error,
    })
}

/// A correction of the text, if one is obvious.
fn advice(text: &str, error: DurationError) -> String {
    let comment = comment_advice(text);
    if !comment.is_empty() || error != DurationError::Syntax {
        return comment.to_owned();
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let capitals = text.to_ascii_uppercase();
    if capitals != text && parse(&capitals).is_ok() {
        return format!(": write it in capitals, {capitals}");
    }
    if let Some(rest) = text.strip_prefix('P') {
        if !rest.contains('T') && parse(&format!("PT{rest}")).is_ok() {
            return format!(": hours, minutes and seconds stand after a T, PT{rest}");
        }
        if rest.ends_with(|last: char| last.is_ascii_digit()) {
            return ": the unit after the last number is missing".to_owned();
        }
        return String::new();
    }
    let mut tokens = text.split(is_space).filter(|token| !token.is_empty());
    let Some(bad) = tokens.find(|token| parse_term(token).is_err()) else {
        return String::new();
    };
    let number = bad.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = &bad[number.len()..];
    if digits(bad) {
        return match tokens
            .next()
            .filter(|next| OLD_UNITS.iter().any(|(unit, _)| next.chars().eq([*unit])))
        {
            Some(unit) => format!(": a unit follows its number at once, {bad}{unit}"),
            None => format!(": {bad} needs a unit, as in {bad}s for seconds or {bad}m for minutes"),
        };
    }
    if digits(number) && unit.chars().all(char::is_alphabetic) {
        return format!(": {unit:?} is no unit, units are s, m, h, d and w");
    }
    String::new()
}

/// Advice for a value that seems to end with a comment, or to be one, which is part of the value in these files.
pub(crate) fn comment_advice(text: &str) -> &'static str {
    let begins_comment = |word: &str| word.starts_with(['#', ';']);
    if text.split_whitespace().any(begins_comment) {
        ": a comment must have a line of its own"
    } else {
        ""
    }
}

/// Parses the text after the `P`; returns seconds.
fn parse_appendix_a(text: &str) -> Result<u64, DurationError> {
    if let Some(weeks) = text.strip_suffix('W') {
        return scaled(weeks, WEEK);
    }
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    if text.is_empty() || time == Some("") {
        return Err(DurationError::Syntax);
    }
    let (days, last) = parse_units(date, &DATE_UNITS)?;
    let Some(time) = time else {
        return Ok(days);
    };
    if last.is_some_and(|unit| unit != 'D') {
        return Err(DurationError::Gap);
    }
    let (seconds, _) = parse_units(time, &TIME_UNITS)?;
    days.checked_add(seconds).ok_or(DurationError::TooLong)
}

/// Parses numbers with adjacent units in order; returns the sum in seconds and the last unit.
fn parse_units(text: &str, units: &[(char, u64)]) -> Result<(u64, Option<char>), DurationError> {
    let (mut total, mut last) = (0u64, None);
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or(DurationError::Syntax)?;
        let (number, tail) = rest.split_at(end);
        let unit = tail.chars().next().ok_or(DurationError::Syntax)?;
        if matches!(unit, '.' | ',') {
            return Err(DurationError::Fraction);
        }
        let position = units
            .iter()
            .position(|(letter, _)| *letter == unit)
            .ok_or(DurationError::Syntax)?;
        match last {
            Some(last) if position <= last => return Err(DurationError::Syntax),
            Some(last) if position > last + 1 => return Err(DurationError::Gap),
            _ => {}
        }
        let seconds = scaled(number, units[position].1)?;
        total = total.checked_add(seconds).ok_or(DurationError::TooLong)?;
        last = Some(position);
        rest = &tail[unit.len_utf8()..];
    }
    Ok((total, last.map(|position| units[position].0)))
}

/// The older form: `1d 2h`.
fn parse_sum(text: &str) -> Result<u64, DurationError> {
    let tokens = text.split(is_space).filter(|token| !token.is_empty());
    tokens.map(parse_term).try_fold(0u64, |total, seconds| {
        total.checked_add(seconds?).ok_or(DurationError::TooLong)
    })
}

fn parse_term(token: &str) -> Result<u64, DurationError> {
    let (number, seconds) = OLD_UNITS
        .iter()
        .find_map(|(letter, seconds)| Some((token.strip_suffix(*letter)?, *seconds)))
        .ok_or(DurationError::Syntax)?;
    if let Some(number) = number.strip_prefix('-') {
        return Err(scaled(number, seconds)
            .err()
            .unwrap_or(DurationError::Negative));
    }
    scaled(number.strip_prefix('+').unwrap_or(number), seconds)
}

fn scaled(number: &str, seconds: u64) -> Result<u64, DurationError> {
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DurationError::Syntax);
    }
    // All digits: the only way to fail is to be too large.
    u64::from_str(number)
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .ok_or(DurationError::TooLong)
}

#[cfg(test)]
mod tests;
