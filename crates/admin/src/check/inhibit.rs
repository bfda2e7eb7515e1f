//! `nightlatch check --inhibit`: holds up reboots while the machine would not come back. Runs as a service
//! (nightlatch-inhibit.service) until it is ended.
//!
//! The lock is systemd's, taken by systemd-inhibit(1): it goes away with this program, however that ends.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::report::Report;
use crate::cli::check::Check;
use crate::failure::{EX_UNAVAILABLE, Failure, note};
use crate::image::Plan;

/// The time between two checks: a server that comes back should not hold up a reboot for long.
const EVERY: Duration = Duration::from_secs(5 * 60);

/// Checks for ever, unless the administrator does not want it.
pub(super) fn run(options: &Check) -> Result<u8, Failure> {
    let settings = crate::image::settings(&mut Plan::default(), Path::new("/"))?;
    if !settings.inhibit {
        note("client.conf does not say `inhibit = yes`: reboots are not held up");
        return Ok(0);
    }
    let mut lock: Option<Lock> = None;
    loop {
        let mut report = Report::new(true);
        super::check(options, &mut report)?;
        match (report.reason(), &lock) {
            (Some(reason), None) => {
                note(format!("reboots are held up: {reason}"));
                lock = Some(Lock::take(&reason)?);
            }
            (None, Some(_)) => {
                note("this machine would come back: reboots are free again");
                lock = None;
            }
            _ => {}
        }
        thread::sleep(EVERY);
    }
}

/// A lock on shutdowns. It is given back on drop.
struct Lock(Child);

impl Lock {
    fn take(reason: &str) -> Result<Self, Failure> {
        let taken = Command::new("systemd-inhibit")
            .args(["--what=shutdown", "--mode=block", "--who=Nightlatch"])
            .arg(format!("--why={reason}"))
            // Ends when our end of its input is closed.
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        taken.map(Self).map_err(|error: io::Error| {
            Failure::new(EX_UNAVAILABLE, "cannot run systemd-inhibit")
                .because(error)
                .hint("reboots can only be held up where systemd-logind runs")
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
