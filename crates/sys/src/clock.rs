//! The clocks of the host, read into `nightlatch_core::time`.
//!
//! The only place where the server's time comes from. No rule may use `CLOCK_MONOTONIC`, which
//! stands still while the host is suspended.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use nightlatch_core::time::{BootId, Monotonic, Now, Wall};
use rustix::time::{ClockId, Timespec};

/// The kernel's random id of this boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

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

/// Seconds that local time is ahead of UTC at `wall`: by `TZ`, else by `/etc/localtime` (tzset(3)).
pub fn ahead_of_utc(wall: Wall) -> i32 {
    let seconds = wall.unix_micros().div_euclid(1_000_000);
    let mut local = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are to values of ours that live through the call, which only writes to
    // `local`. The environment is not changed by these programs while they run.
    let known = unsafe { libc::localtime_r(&raw const seconds, local.as_mut_ptr()) };
    if known.is_null() {
        // A year that does not fit into its type.
        return 0;
    }
    // SAFETY: the call succeeded, so `local` is filled in.
    let ahead = unsafe { local.assume_init() }.tm_gmtoff;
    i32::try_from(ahead).unwrap_or(0)
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
    fn this_boot_has_an_id_that_stays() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }
}
