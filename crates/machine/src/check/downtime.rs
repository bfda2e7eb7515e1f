//! The time that a reboot takes, measured on the last ones: from the last entry of one boot's journal to the first of
//! the next (journalctl(1), `--list-boots`), or from the shutdown to the boot in wtmp(5).

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

/// Used where nothing was measured: a server's reboot with the tests of its firmware.
pub(super) const USUAL: Duration = Duration::from_secs(300);

/// From the first entry of the next boot to a machine that answers a check, generously.
const STARTING: Duration = Duration::from_secs(60);

/// Number of reboots that count.
const LAST: usize = 9;

/// Longer than this and the machine was off.
const OFF: Duration = Duration::from_secs(60 * 60);

/// The median of the last reboots; `None` where neither the journal nor wtmp knows any.
pub(super) fn measured() -> Option<Duration> {
    median(&by_journal()).or_else(|| median(&by_wtmp(&fs::read("/var/log/wtmp").ok()?)))
}

/// A boot as the journal lists it. Microseconds since 1970.
#[derive(Deserialize, Clone, Copy, Debug)]
struct JournalBoot {
    first_entry: u64,
    last_entry: u64,
}

fn by_journal() -> Vec<Duration> {
    let output = Command::new("journalctl")
        .args(["--list-boots", "--output=json", "--no-pager", "--quiet"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    // Before systemd 253 the option was not understood here, and a table came.
    let boots = output.map(|output| serde_json::from_slice(&output.stdout));
    let boots: Vec<JournalBoot> = boots.ok().and_then(Result::ok).unwrap_or_default();
    between(&boots)
}

fn between(boots: &[JournalBoot]) -> Vec<Duration> {
    let gaps = boots.windows(2).filter_map(|two| {
        let gap = two[1].first_entry.checked_sub(two[0].last_entry)?;
        Some(Duration::from_micros(gap))
    });
    gaps.collect()
}

/// The layout of a record of wtmp(5) on every Linux with 32-bit times in it: its length, where its type is, the
/// user and the seconds since 1970, in the byte order of the machine.
const RECORD: usize = 384;
const TYPE: usize = 0;
const USER: usize = 44;
const SECONDS: usize = 340;

/// Types of records (utmp(5)): a change of the run level, by which a shutdown is written down, and a boot.
const RUN_LEVEL: u16 = 1;
const BOOT_TIME: u16 = 2;

fn by_wtmp(file: &[u8]) -> Vec<Duration> {
    let mut gaps = Vec::new();
    let mut down = None;
    for record in file.chunks_exact(RECORD) {
        let kind = u16::from_ne_bytes([record[TYPE], record[TYPE + 1]]);
        let is_shutdown = record[USER..].starts_with(b"shutdown\0");
        let mut seconds = [0; 4];
        seconds.copy_from_slice(&record[SECONDS..SECONDS + 4]);
        let at = u64::from(u32::from_ne_bytes(seconds));
        match kind {
            RUN_LEVEL if is_shutdown => down = Some(at),
            BOOT_TIME => {
                // A boot without a shutdown before it followed a power cut.
                let gap = down.take().and_then(|down| at.checked_sub(down));
                gaps.extend(gap.map(Duration::from_secs));
            }
            _ => {}
        }
    }
    gaps
}

fn median(gaps: &[Duration]) -> Option<Duration> {
    let counted = gaps.iter().filter(|gap| **gap < OFF).copied();
    let counted: Vec<Duration> = counted.collect();
    let mut last = counted[counted.len().saturating_sub(LAST)..].to_vec();
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
            boots.push(JournalBoot {
                first_entry: at,
                last_entry: at + 1000 * second,
            });
            at += 1000 * second + gap * second;
        }
        boots.push(JournalBoot {
            first_entry: at,
            last_entry: at,
        });
        assert_eq!(median(&between(&boots)), Some(Duration::from_secs(45 + 60)));
        assert_eq!(median(&between(&boots[..1])), None);
        assert_eq!(median(&[]), None);
    }

    fn record(kind: u16, user: &str, seconds: u32) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        record[..2].copy_from_slice(&kind.to_ne_bytes());
        record[USER..USER + user.len()].copy_from_slice(user.as_bytes());
        record[SECONDS..SECONDS + 4].copy_from_slice(&seconds.to_ne_bytes());
        record
    }

    #[test]
    fn wtmp_is_read_from_shutdown_to_boot() {
        let file = [
            record(BOOT_TIME, "reboot", 100),
            record(7, "root", 150),
            record(RUN_LEVEL, "runlevel", 160),
            record(RUN_LEVEL, "shutdown", 200),
            record(BOOT_TIME, "reboot", 230),
            record(RUN_LEVEL, "shutdown", 400),
            record(BOOT_TIME, "reboot", 450),
            // The power was cut.
            record(BOOT_TIME, "reboot", 9000),
            vec![0; 17],
        ]
        .concat();
        let expected = [30, 50].map(Duration::from_secs);
        assert_eq!(by_wtmp(&file), expected);
        assert_eq!(by_wtmp(b"short"), []);
    }

    /// last(1) reads the same file, where it is installed.
    #[test]
    fn last_reads_the_same_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wtmp");
        let mut shutdown = record(RUN_LEVEL, "shutdown", 1_700_000_000);
        let mut boot = record(BOOT_TIME, "reboot", 1_700_000_077);
        for record in [&mut shutdown, &mut boot] {
            // The line, without which it shows neither.
            record[8] = b'~';
        }
        fs::write(&file, [shutdown, boot].concat()).unwrap();
        let Ok(last) = Command::new("last")
            .args(["-x", "--time-format", "iso", "-f"])
            .arg(&file)
            .env("TZ", "UTC")
            .output()
        else {
            nightlatch_test_support::skipped("needs last(1)");
            return;
        };
        let shown = String::from_utf8_lossy(&last.stdout).into_owned();
        assert!(shown.contains("2023-11-14T22:13:20"), "{shown}");
        assert!(shown.contains("2023-11-14T22:14:37"), "{shown}");
        assert_eq!(
            by_wtmp(&fs::read(&file).unwrap()),
            [Duration::from_secs(77)]
        );
    }
}
