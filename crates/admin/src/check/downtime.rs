//! How long a reboot takes, by the last ones: from the last entry of one boot's journal to the first of
//! the next (journalctl(1), `--list-boots`).

use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

/// What a server's reboot takes with its firmware's own tests, where nothing was measured.
pub(super) const USUAL: Duration = Duration::from_secs(300);

/// From the journal's first entry to a machine that answers a check.
const STARTING: Duration = Duration::from_secs(60);

/// How many reboots count.
const LAST: usize = 9;

/// Longer than this and the machine was off.
const OFF: Duration = Duration::from_secs(60 * 60);

/// A boot as the journal lists it. Microseconds since 1970.
#[derive(Deserialize, Clone, Copy, Debug)]
struct Boot {
    first_entry: u64,
    last_entry: u64,
}

/// The median of the last reboots; `None` where there is no journal or no reboot in it.
pub(super) fn measured() -> Option<Duration> {
    let output = Command::new("journalctl")
        .args(["--list-boots", "--output=json", "--no-pager", "--quiet"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    // Before systemd 253 the option was not understood here, and a table came.
    median(&serde_json::from_slice::<Vec<Boot>>(&output.stdout).ok()?)
}

fn median(boots: &[Boot]) -> Option<Duration> {
    let gaps = boots.windows(2).filter_map(|two| {
        let gap = two[1].first_entry.checked_sub(two[0].last_entry)?;
        Some(Duration::from_micros(gap)).filter(|gap| *gap < OFF)
    });
    let gaps: Vec<Duration> = gaps.collect();
    let mut last = gaps[gaps.len().saturating_sub(LAST)..].to_vec();
    last.sort_unstable();
    Some(*last.get(last.len() / 2)? + STARTING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_reboot_counts_and_not_the_weekend() {
        let second = 1_000_000;
        let mut boots = vec![];
        let mut at = 0;
        for gap in [40, 50, 30, 200_000, 45] {
            boots.push(Boot {
                first_entry: at,
                last_entry: at + 1000 * second,
            });
            at += 1000 * second + gap * second;
        }
        boots.push(Boot {
            first_entry: at,
            last_entry: at,
        });
        assert_eq!(median(&boots), Some(Duration::from_secs(45 + 60)));
        assert_eq!(median(&boots[..1]), None);
        assert_eq!(median(&[]), None);
    }
}
