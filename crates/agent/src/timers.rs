//! Timers that know of sleeps (timerfd_create(2)): `poll` alone would wait for a time that stands still while the host
//! is suspended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

const FLAGS: TimerfdFlags = TimerfdFlags::CLOEXEC.union(TimerfdFlags::NONBLOCK);

/// Becomes readable at a time of `CLOCK_BOOTTIME`.
#[derive(Debug)]
pub(crate) struct WakeTimer(OwnedFd);

impl WakeTimer {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, FLAGS)?))
    }

    /// The only time at which it wakes; never without one. A time that has passed wakes at once.
    pub(crate) fn set(&self, at: Option<Monotonic>) -> io::Result<()> {
        // Zero would switch it off.
        let soonest = Duration::from_nanos(1);
        let at = at.map_or(Duration::ZERO, |at| at.since_boot().max(soonest));
        let times = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(at),
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &times)?;
        Ok(())
    }
}

impl AsFd for WakeTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Becomes readable when the host wakes from a sleep, and when its wall clock is set.
#[derive(Debug)]
pub(crate) struct WakeUps(OwnedFd);

impl WakeUps {
    pub(crate) fn new() -> io::Result<Self> {
        let ups = Self(timerfd_create(TimerfdClockId::Realtime, FLAGS)?);
        ups.arm()?;
        Ok(ups)
    }

    /// Takes note of one that has come.
    pub(crate) fn drain(&self) -> io::Result<()> {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            // Being cancelled is what it is for.
            Ok(_) | Err(Errno::CANCELED) => self.arm(),
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn arm(&self) -> io::Result<()> {
        let never = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(Duration::from_secs(u64::from(u32::MAX) * 16)),
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.0, flags, &never)?;
        Ok(())
    }
}

impl AsFd for WakeUps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_sys::clock;
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn is_ready(fd: &impl AsFd, wait: Duration) -> bool {
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        poll(&mut fds, Some(&timespec(wait))).unwrap() == 1
    }

    #[test]
    fn a_timer_wakes_at_its_time_and_not_without_one() {
        let timer = WakeTimer::new().unwrap();
        assert!(!is_ready(&timer, Duration::ZERO));
        let now = clock::now().mono;
        timer
            .set(Some(now.after(Duration::from_millis(50))))
            .unwrap();
        assert!(is_ready(&timer, Duration::from_secs(20)));
        assert!(clock::now().mono.since(now) >= Duration::from_millis(50));
        timer.set(None).unwrap();
        assert!(!is_ready(&timer, Duration::ZERO));
        timer.set(Some(Monotonic::default())).unwrap();
        assert!(is_ready(&timer, Duration::from_secs(20)));
    }

    #[test]
    fn nothing_wakes_while_no_clock_is_set() {
        let ups = WakeUps::new().unwrap();
        ups.drain().unwrap();
        assert!(!is_ready(&ups, Duration::ZERO));
    }
}
