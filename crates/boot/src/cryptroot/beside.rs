//! A command of the boot system's that runs beside the search.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nightlatch_sys::signals::release_in;
use rustix::process::{self, Pid, PidfdFlags, kill_process_group, pidfd_open};

use crate::log::Log;
use crate::wait;

/// Time to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// A running command. Ended with all its children on drop.
pub(super) struct SideCommand(Child);

impl SideCommand {
    /// Starts `line` in a shell. Says so when that fails: the server may be reached all the same.
    pub(super) fn start(line: &OsStr, log: Log) -> io::Result<Option<Self>> {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(line)
            .stdin(Stdio::null())
            .process_group(0);
        // Its output is for a person; standard output is for passwords.
        command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
        match release_in(&mut command).spawn() {
            Ok(child) => Ok(Some(Self(child))),
            Err(error) => {
                log.info(&format!("cannot run {line:?}: {error}"));
                Ok(None)
            }
        }
    }

    /// Asks it to end, and does not wait.
    pub(super) fn end(&self) {
        if let Some(group) = self.group() {
            // The child is not reaped yet, so that the number is still that of its group.
            let _ = kill_process_group(group, process::Signal::TERM);
        }
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for SideCommand {
    fn drop(&mut self) {
        self.end();
        if let Some(group) = self.group() {
            if let Ok(handle) = pidfd_open(group, PidfdFlags::empty()) {
                let _ = wait::for_end(handle.as_fd(), GRACE);
            }
            let _ = kill_process_group(group, process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}
