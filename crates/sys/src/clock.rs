//! The clocks of the host, read into `nightlatch_core::time`, and an alarm on the one that decides.
//!
//! The only place where the server's time comes from. Must never use `CLOCK_MONOTONIC`, which
//! stands still while the host is suspended.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nightlatch_core::time::{BootId, Monotonic, Now, Wall};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
};

/// Where the kernel says which boot this is (random(4)).
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

/// `CLOCK_MONOTONIC` in microseconds, for systemd's `MONOTONIC_USEC=` alone (sd_notify(3)).
pub fn monotonic_usec() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    u64::try_from(duration(now).as_micros()).unwrap_or(u64::MAX)
}

/// Which boot of the host this is.
pub fn boot_id() -> io::Result<BootId> {
    let text = fs::read_to_string(BOOT_ID)?;
    BootId::parse(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{BOOT_ID} holds no UUID"),
        )
    })
}

/// An alarm on `CLOCK_BOOTTIME` (timerfd_create(2)): its descriptor becomes readable at the moment
/// set, at once after a suspension that lasted past it.
#[derive(Debug)]
pub struct Alarm(OwnedFd);

impl Alarm {
    /// An alarm that is not set.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(rustix::time::timerfd_create(
            TimerfdClockId::Boottime,
            flags,
        )?))
    }

    /// Sets the alarm to `at`, or stops it. What had been set or had rung before is forgotten.
    pub fn set(&self, at: Option<Monotonic>) -> io::Result<()> {
        let it_value = match at {
            // All zeros would stop the alarm; one nanosecond after boot has passed as well.
            Some(at) => timespec(at.since_boot().max(Duration::from_nanos(1))),
            None => timespec(Duration::ZERO),
        };
        let spec = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value,
        };
        rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn rings(alarm: &Alarm, seconds: i64) -> bool {
        let limit = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(alarm, PollFlags::IN)], Some(&limit)).unwrap() == 1
    }

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

    #[test]
    fn an_alarm_rings_when_its_moment_comes_or_has_passed() {
        let alarm = Alarm::new().unwrap();
        alarm
            .set(Some(now().mono.after(Duration::from_millis(1))))
            .unwrap();
        assert!(rings(&alarm, 10));
        alarm.set(Some(Monotonic::default())).unwrap();
        assert!(rings(&alarm, 10));
    }

    #[test]
    fn an_alarm_that_was_stopped_stays_quiet() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Some(Monotonic::default())).unwrap();
        alarm.set(None).unwrap();
        assert!(!rings(&alarm, 0));
    }

    #[test]
    fn the_far_end_of_time_can_be_set() {
        let alarm = Alarm::new().unwrap();
        alarm
            .set(Some(Monotonic::from_boot(Duration::MAX)))
            .unwrap();
        assert!(!rings(&alarm, 0));
    }
}
