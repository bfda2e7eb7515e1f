//! The clocks of the host, read into `nightlatch_core::time`.
//!
//! The only place where the server's time comes from. No rule may use `CLOCK_MONOTONIC`, which
//! stands still while the host is suspended.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

use nightlatch_core::time::{BootId, Monotonic, Now, Wall};
use rustix::time::{ClockId, Timespec};

/// The kernel's random id of this boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The time zone of the system (localtime(5)), and the folder of all of them (tzset(3)).
const LOCAL_TIME: &str = "/etc/localtime";
const ZONES: &str = "/usr/share/zoneinfo";

/// Both clocks, now: `CLOCK_BOOTTIME` and `CLOCK_REALTIME` (clock_gettime(2)).
pub fn now() -> Now {
    let mono = rustix::time::clock_gettime(ClockId::Boottime);
    let wall = rustix::time::clock_gettime(ClockId::Realtime);
    Now {
        mono: Monotonic::from_boot(duration(mono)),
        wall: Wall::from_unix_micros(
            wall.tv_sec
                .saturating_mul(1_000_000)
                .saturating_add(wall.tv_nsec / 1_000),
        ),
    }
}

/// Seconds that local time is ahead of UTC at `wall`: by `TZ`, else by `/etc/localtime` (tzset(3)). Zero where that is not
/// known.
pub fn ahead_of_utc(wall: Wall) -> i32 {
    let seconds = wall.unix_micros().div_euclid(1_000_000);
    local(seconds).unwrap_or(0)
}

/// The same for a rule that must not guess: `None` when the time zone cannot be read. The system's library takes UTC then, and
/// tells nobody. Without `TZ` and `/etc/localtime` the time zone is UTC (localtime(5)).
pub fn known_ahead_of_utc(wall: Wall) -> Option<i32> {
    let seconds = wall.unix_micros().div_euclid(1_000_000);
    match has_zone(std::env::var_os("TZ"), Path::new(LOCAL_TIME)) {
        true => local(seconds),
        false => None,
    }
}

/// True when the file that the time zone comes from is one of a time zone. Rules in `TZ` itself, such as `CET-1CEST`, need none.
fn has_zone(variable: Option<OsString>, default: &Path) -> bool {
    let Some(variable) = variable else {
        return fs::symlink_metadata(default).is_err_and(|error| is_missing(&error))
            || is_zone(default);
    };
    let Some(text) = variable.to_str() else {
        return false;
    };
    let name = text.strip_prefix(':').unwrap_or(text);
    // A rule for summer time may have a / after its first comma.
    let first = name.split(',').next().unwrap_or_default();
    let is_rule = first.bytes().any(|byte| byte.is_ascii_digit()) && !first.contains('/');
    name.is_empty() || is_rule || is_zone(&Path::new(ZONES).join(name))
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn is_zone(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"TZif"
}

fn local(seconds: i64) -> Option<i32> {
    let mut local = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are to values of ours that live through the call, which only writes to
    // `local`. The environment is not changed by these programs while they run.
    let known = unsafe { libc::localtime_r(&raw const seconds, local.as_mut_ptr()) };
    if known.is_null() {
        // A year that does not fit into its type.
        return None;
    }
    // SAFETY: the call succeeded, so `local` is filled in.
    let ahead = unsafe { local.assume_init() }.tm_gmtoff;
    i32::try_from(ahead).ok()
}

/// `CLOCK_MONOTONIC` in microseconds, for what systemd counts by it alone: `MONOTONIC_USEC=` (sd_notify(3)) and the pauses
/// between two runs of a unit.
pub fn monotonic_usec() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    u64::try_from(duration(now).as_micros()).unwrap_or(u64::MAX)
}

/// The id of this boot.
pub fn boot_id() -> io::Result<BootId> {
    let text = fs::read_to_string(BOOT_ID)?;
    BootId::parse(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{BOOT_ID} holds no UUID"),
        )
    })
}

/// The length of time since the clock's beginning; zero for a clock that is before it.
pub(crate) fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let first = now();
        let second = now();
        assert!(first.mono <= second.mono);
    }

    #[test]
    fn a_time_zone_that_cannot_be_read_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("zone"), "TZif2 and more").unwrap();
        fs::write(at("odd"), "no zone").unwrap();
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        // Nothing at all is UTC by definition, a link that leads nowhere is a mistake.
        for (name, is_known) in [
            ("zone", true),
            ("none", true),
            ("odd", false),
            ("link", false),
        ] {
            assert_eq!(has_zone(None, &at(name)), is_known, "{name}");
        }
        let zone = at("zone").to_str().unwrap().to_owned();
        for (variable, is_known) in [
            (zone.as_str(), true),
            ("", true),
            ("CET-1CEST,M3.5.0,M10.5.0/3", true),
            ("UTC0", true),
            ("Europe/Nowhere", false),
            (":/nonexistent", false),
            ("Nowhere", false),
        ] {
            let known = has_zone(Some(variable.into()), &at("odd"));
            assert_eq!(known, is_known, "{variable}");
        }
    }

    #[test]
    fn this_boot_has_an_id_that_stays() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }
}
