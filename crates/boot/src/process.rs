//! A program that is run for the password it prints: started, listened to, ended and reaped.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_sys::clock;
use nightlatch_sys::signals::release_in;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use zeroize::Zeroizing;

use crate::program::TrustedProgram;
use crate::wait;

/// Time for a program to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// The most that is taken as a password: what cryptsetup(8) takes of a key file.
const MAX_OUTPUT: usize = 8 * 1024 * 1024;

/// Bytes of one read.
const CHUNK: usize = 4096;

/// A running program. Killed and reaped on drop.
#[derive(Debug)]
pub(crate) struct PasswordProcess {
    child: Child,
    handle: OwnedFd,
    /// Until the program closes it.
    pipe: Option<OwnedFd>,
    output: SecretBuffer,
}

#[derive(Debug)]
pub(crate) enum ProcessResult {
    /// It succeeded, and printed this.
    Password(Secret),
    /// It failed. What it printed is gone.
    Failed(ExitStatus),
}

impl PasswordProcess {
    /// Starts the command that an applet was given; without one, this program with the arguments `own`.
    pub(crate) fn start_given(command: &[OsString], own: &[&str]) -> io::Result<Self> {
        let Some((name, arguments)) = command.split_first() else {
            return Self::start(TrustedProgram::Myself.command().args(own));
        };
        let program = TrustedProgram::named(name).map_err(io::Error::other)?;
        Self::start(program.command().args(arguments))
    }

    /// Starts `command` with a pipe for its standard output.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = release_in(command.stdout(Stdio::piped())).spawn()?;
        match Self::watch(&mut child) {
            Ok((handle, pipe)) => Ok(Self {
                child,
                handle,
                pipe: Some(pipe),
                output: SecretBuffer::default(),
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn watch(child: &mut Child) -> io::Result<(OwnedFd, OwnedFd)> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        let pipe = OwnedFd::from(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok((handle, pipe))
    }

    /// Wait for these before [`Self::poll_end`].
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let pipe = self.pipe.as_ref().map(AsFd::as_fd);
        std::iter::once(self.handle.as_fd()).chain(pipe)
    }

    /// The result, once the program has ended. Everything that it printed is read, even when a child of it still holds
    /// the pipe.
    pub(crate) fn poll_end(&mut self) -> io::Result<Option<ProcessResult>> {
        let status = self.child.try_wait()?;
        self.listen();
        Ok(status.map(|status| match status.success() {
            true => ProcessResult::Password(std::mem::take(&mut self.output).finish()),
            false => ProcessResult::Failed(status),
        }))
    }

    fn listen(&mut self) {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut chunk[..]) {
                Ok(count) if count > 0 && self.output.len() + count <= MAX_OUTPUT => {
                    self.output.append(&chunk[..count]);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The end; or more than any password: it notices by SIGPIPE.
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        // One that has ended already is no error.
        let _ = pidfd_send_signal(&self.handle, Signal::TERM);
    }
}

impl Drop for PasswordProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends all of them: asks first, waits a little for those that put things back, then kills.
pub(crate) fn end_all(mut processes: Vec<PasswordProcess>) {
    processes.iter().for_each(PasswordProcess::terminate);
    let due = clock::now().mono.after(GRACE);
    loop {
        processes.retain_mut(|process| matches!(process.poll_end(), Ok(None)));
        let left = due.since(clock::now().mono);
        if processes.is_empty() || left.is_zero() {
            return;
        }
        if wait::for_any(
            processes.iter().flat_map(PasswordProcess::descriptors),
            Some(left),
        )
        .is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> PasswordProcess {
        PasswordProcess::start(Command::new("/bin/sh").args(["-c", script])).unwrap()
    }

    fn end(process: &mut PasswordProcess) -> ProcessResult {
        loop {
            if let Some(ended) = process.poll_end().unwrap() {
                return ended;
            }
            wait::for_any(process.descriptors(), None).unwrap();
        }
    }

    #[test]
    fn success_gives_all_that_was_printed() {
        let mut process = shell("printf 'a\\nb'");
        assert!(matches!(end(&mut process), ProcessResult::Password(p) if p.expose() == b"a\nb"));
        let mut long = shell("head -c 300000 /dev/zero");
        assert!(matches!(end(&mut long), ProcessResult::Password(p) if p.len() == 300_000));
    }

    #[test]
    fn a_grandchild_that_holds_the_pipe_holds_nothing_up() {
        let mut process = shell("sleep 1000 & echo $! >&2; printf x; kill $!");
        assert!(matches!(end(&mut process), ProcessResult::Password(p) if p.expose() == b"x"));
    }

    #[test]
    fn what_a_failed_program_printed_is_dropped() {
        let mut process = shell("printf x; exit 3");
        assert!(
            matches!(end(&mut process), ProcessResult::Failed(status) if status.code() == Some(3))
        );
    }

    #[test]
    fn more_than_any_password_is_no_password() {
        let mut process = shell("cat /dev/zero");
        assert!(matches!(end(&mut process), ProcessResult::Failed(_)));
    }

    #[test]
    fn the_stubborn_are_killed_and_the_others_may_clean_up() {
        let folder = tempfile::tempdir().unwrap();
        let cleaned = folder.path().join("cleaned");
        let clean = format!(
            "trap 'echo > {}; exit' TERM; echo; while :; do sleep 0.01; done",
            cleaned.display()
        );
        let stubborn = "trap '' TERM; echo; while :; do sleep 0.01; done";
        let mut both = vec![shell(&clean), shell(stubborn)];
        for process in &mut both {
            // They have printed a line once their traps are set.
            while process.output.is_empty() {
                wait::for_any(process.descriptors(), None).unwrap();
                process.listen();
            }
        }
        end_all(both);
        assert!(cleaned.exists());
    }
}
