//! What the boot system does before the search, or beside it: a command of the shell, ended with all its children
//! when a signal comes.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nightlatch_sys::signals::{EndSignals, Signal, release_in};
use rustix::process::{self, Pid, PidfdFlags, kill_process_group, pidfd_open};

use crate::log::Log;
use crate::wait;

/// How long it may take to end once it is asked to.
const GRACE: Duration = Duration::from_secs(2);

/// Runs `line`, and answers with the signal that ended it. One that fails is told of: the server may be
/// reached all the same.
pub(super) fn run(
    line: &std::ffi::OsStr,
    signals: &EndSignals,
    log: Log,
) -> io::Result<Option<Signal>> {
    let Some(mut child) = start(line, log)? else {
        return Ok(None);
    };
    let end = until_end(&mut child, signals, log);
    if !matches!(end, Ok(None)) {
        end_group(&child);
    }
    let _ = child.wait();
    end
}

/// A command that runs beside the search. Ended with all its children on drop.
pub(super) struct Beside(Child);

impl Beside {
    /// Starts `line`; nothing, and said so, when it cannot be started.
    pub(super) fn start(line: &std::ffi::OsStr, log: Log) -> io::Result<Option<Self>> {
        Ok(start(line, log)?.map(Self))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        end_group(&self.0);
        let _ = self.0.wait();
    }
}

fn start(line: &std::ffi::OsStr, log: Log) -> io::Result<Option<Child>> {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(line)
        .stdin(Stdio::null())
        .process_group(0);
    // What it says is for a person; standard output is for passwords.
    command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
    match release_in(&mut command).spawn() {
        Ok(child) => Ok(Some(child)),
        Err(error) => {
            log.say(&format!("cannot run {line:?}: {error}"));
            Ok(None)
        }
    }
}

fn until_end(child: &mut Child, signals: &EndSignals, log: Log) -> io::Result<Option<Signal>> {
    let handle = pidfd_open(group(child)?, PidfdFlags::empty())?;
    loop {
        if let Some(signal) = signals.next()? {
            return Ok(Some(signal));
        }
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                log.say(&format!("what was to be done first failed: {status}"));
            }
            return Ok(None);
        }
        wait::for_any([handle.as_fd(), signals.as_fd()], None)?;
    }
}

fn end_group(child: &Child) {
    let Ok(group) = group(child) else { return };
    // The child is not reaped yet, so that the number is still that of its group.
    let _ = kill_process_group(group, process::Signal::TERM);
    if let Ok(handle) = pidfd_open(group, PidfdFlags::empty()) {
        let _ = wait::for_end(handle.as_fd(), GRACE);
    }
    let _ = kill_process_group(group, process::Signal::KILL);
}

fn group(child: &Child) -> io::Result<Pid> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
