//! The sleeps of the host in this boot: suspends and hibernations.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::clock::duration;

/// The kernel's count of suspends that succeeded. Hibernations are not among them. Kernels before 5.3 have no such file.
const SUSPENDS: &str = "/sys/power/suspend_stats/success";

/// Time that the host has slept since the kernel booted. Exact to about a second.
pub fn asleep() -> Duration {
    let since_boot = duration(clock_gettime(ClockId::Boottime));
    let awake = duration(clock_gettime(ClockId::Monotonic));
    since_boot.saturating_sub(awake)
}

/// The number of suspends that succeeded; 0 where the kernel counts none.
pub fn suspends() -> u64 {
    fs::read_to_string(SUSPENDS)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_does_not_sleep_has_slept_for_a_constant_time() {
        let before = asleep();
        let after = asleep();
        assert!(after.abs_diff(before) < Duration::from_millis(500));
    }
}
