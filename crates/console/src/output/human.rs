//! Times and lengths of time for people.

use std::time::Duration;

use nightlatch_core::calendar::DateTime;
use nightlatch_core::duration;
use nightlatch_core::time::Wall;

/// Units from the longest to the shortest, each with its length in seconds.
const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];

/// A length of time in its two largest units that count: `2 d 3 h`, `4 min 10 s`.
pub fn length(length: Duration) -> String {
    let mut rest = length.as_secs();
    let first = UNITS.iter().position(|(seconds, _)| rest >= *seconds);
    let Some(first) = first else {
        return "0 s".to_owned();
    };
    let mut words = Vec::new();
    for (seconds, unit) in &UNITS[first..(first + 2).min(UNITS.len())] {
        let count = rest / seconds;
        if count > 0 {
            words.push(format!("{count} {unit}"));
        }
        rest %= seconds;
    }
    words.join(" ")
}

/// A setting's length of time as `clients.conf` has it, or with a fraction of a second that it could not
/// have: such a one was set by mandos-ctl, and mostly by mistake.
pub fn setting(length: Duration) -> String {
    match length.subsec_millis() {
        0 => duration::print(length),
        millis => format!("PT{}.{millis:03}S", length.as_secs()),
    }
}

/// `4 min 10 s ago`, or `never`.
pub fn ago(then: Option<Wall>, now: Wall) -> String {
    match then {
        Some(then) => format!("{} ago", length(now.since(then))),
        None => "never".to_owned(),
    }
}

/// A point in time as RFC 3339, in UTC, to the second.
pub fn time(wall: Wall) -> String {
    format!("{}Z", DateTime::from(wall).to_second('T'))
}

/// A point in time and how far away it is: `2026-11-21T23:19:55Z (4 min ago)`.
pub fn time_and_distance(wall: Wall, now: Wall) -> String {
    let distance = if wall > now {
        format!("in {}", length(wall.since(now)))
    } else {
        format!("{} ago", length(now.since(wall)))
    };
    format!("{} ({distance})", time(wall))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_in_two_units() {
        let shown = |seconds| length(Duration::from_secs(seconds));
        assert_eq!(shown(0), "0 s");
        assert_eq!(shown(59), "59 s");
        assert_eq!(shown(250), "4 min 10 s");
        assert_eq!(shown(3600), "1 h");
        assert_eq!(shown(2 * 86_400 + 3 * 3600 + 59), "2 d 3 h");
        assert_eq!(shown(86_400 + 59), "1 d");
    }

    #[test]
    fn a_fraction_of_a_second_is_shown() {
        assert_eq!(setting(Duration::from_secs(300)), "PT5M");
        assert_eq!(setting(Duration::from_millis(31)), "PT0.031S");
    }

    #[test]
    fn times_have_their_zone() {
        let now = Wall::from_unix_micros(1_795_303_195_400_000);
        let then = Wall::from_unix_micros(1_795_303_194_400_000);
        assert_eq!(time(now), "2026-11-21T23:19:55Z");
        assert_eq!(
            time_and_distance(then, now),
            "2026-11-21T23:19:54Z (1 s ago)"
        );
        assert_eq!(
            time_and_distance(now, then),
            "2026-11-21T23:19:55Z (in 1 s)"
        );
    }
}
