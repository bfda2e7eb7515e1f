//! `nightlatch check --inhibit`: holds up reboots while the machine would not come back. Runs as a service
//! (nightlatch-inhibit.service) until it is ended.
//!
//! The lock is systemd's, taken by systemd-inhibit(1): it goes away with this program, however that ends.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use nightlatch_console::failure::{EX_UNAVAILABLE, Failure, note};
use nightlatch_console::report::Report;

use super::options::MachineCheckOptions;
use crate::boot_files;

/// The time between two checks: a server that comes back should not hold up a reboot for long.
const EVERY: Duration = Duration::from_secs(5 * 60);

/// The line that the program below the lock echoes: systemd-inhibit(1) starts it once the lock is taken.
const HELD: &str = "held\n";

/// Checks for ever, unless the administrator does not want it.
pub(super) fn run(options: &MachineCheckOptions) -> Result<u8, Failure> {
    let settings = boot_files::settings(Path::new("/"), &mut Vec::new())?;
    if !settings.inhibit {
        note("client.conf does not say `inhibit = yes`: reboots are not held up");
        return Ok(0);
    }
    let mut noted = None;
    let mut lock: Option<Lock> = None;
    loop {
        let mut report = Report::new(true);
        // A machine whose settings cannot be read is not one that is known to come back.
        let reason = match super::check(options, &mut report) {
            Ok(()) => report.reason(),
            Err(failure) => Some(failure.to_string()),
        };
        let is_news = noted.as_ref() != Some(&reason);
        let is_held = lock.as_mut().is_some_and(Lock::is_held);
        if is_news || !is_held {
            // The new one first, so that no moment is without.
            lock = reason.as_deref().map(Lock::take).transpose()?;
        }
        if is_news {
            // Said when it is so.
            note(match &reason {
                Some(reason) => format!("reboots are held up: {reason}"),
                None => "this machine would come back: reboots are free".to_owned(),
            });
        }
        noted = Some(reason);
        thread::sleep(EVERY);
    }
}

/// A lock on shutdowns. It is given back on drop.
struct Lock {
    holder: Child,
    input: Option<ChildStdin>,
}

impl Lock {
    /// Takes it, with the reason that people are shown.
    fn take(reason: &str) -> Result<Self, Failure> {
        let refused = |error: io::Error| {
            Failure::new(
                EX_UNAVAILABLE,
                "reboots cannot be held up by systemd-inhibit",
            )
            .because(error)
            .hint("this needs systemd-logind: systemctl status systemd-logind")
        };
        let holder = Command::new("systemd-inhibit")
            .args(["--what=shutdown", "--mode=block", "--who=Nightlatch"])
            .arg(format!("--why={reason}"))
            // Ends when our end of its input is closed.
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(refused)?;
        let mut lock = Self {
            holder,
            input: None,
        };
        lock.input = lock.holder.stdin.take();
        lock.await_it().map_err(refused)?;
        Ok(lock)
    }

    /// Waits until it is held: without logind the program above `cat` ends, and so does its output.
    fn await_it(&mut self) -> io::Result<()> {
        let (Some(input), Some(output)) = (&mut self.input, self.holder.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut echo = String::new();
        // One that ended does not read it, and its end is what its output tells.
        let _ = input.write_all(HELD.as_bytes());
        BufReader::new(output).read_line(&mut echo)?;
        match echo == HELD {
            true => Ok(()),
            false => Err(io::Error::other("it ended without a lock")),
        }
    }

    /// False once its holder has ended.
    fn is_held(&mut self) -> bool {
        matches!(self.holder.try_wait(), Ok(None))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.holder.wait();
    }
}
