//! A program that is run for the password it prints, and started again when it dies.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;

use crate::log::Log;
use crate::process::{PasswordProcess, ProcessResult};
use crate::restarts::{RestartPauses, may_restart};

/// A program that may give a password.
pub(crate) struct PasswordSource<'a> {
    what: String,
    start: Box<dyn Fn() -> io::Result<PasswordProcess> + 'a>,
    pauses: RestartPauses,
    state: SourceState,
}

enum SourceState {
    Running(PasswordProcess, Monotonic),
    Paused(Monotonic),
    Over,
}

impl<'a> PasswordSource<'a> {
    /// One that `start` starts, at `now`. Messages call it `what`.
    pub(crate) fn new(
        what: String,
        now: Monotonic,
        start: impl Fn() -> io::Result<PasswordProcess> + 'a,
    ) -> Self {
        Self {
            what,
            start: Box::new(start),
            pauses: RestartPauses::new(),
            state: SourceState::Paused(now),
        }
    }

    /// Starts it when that is due, and listens to it; answers with its password.
    pub(crate) fn advance(&mut self, now: Monotonic, log: Log) -> io::Result<Option<Secret>> {
        if matches!(self.state, SourceState::Paused(due) if due <= now) {
            self.begin(now, log);
        }
        let SourceState::Running(process, started) = &mut self.state else {
            return Ok(None);
        };
        let what = &self.what;
        match process.poll_end()? {
            None => {}
            Some(ProcessResult::Password(password)) => {
                log.debug(|| format!("{what} has succeeded"));
                self.state = SourceState::Over;
                return Ok(Some(password));
            }
            Some(ProcessResult::Failed(status)) if may_restart(status) => {
                let due = self.pauses.due(*started, now);
                let pause = due.since(now).as_secs();
                log.info(&format!("{what} died: {status}; again in {pause} s"));
                self.state = SourceState::Paused(due);
            }
            Some(ProcessResult::Failed(status)) => {
                log.debug(|| format!("{what} failed: {status}"));
                self.state = SourceState::Over;
            }
        }
        Ok(None)
    }

    fn begin(&mut self, now: Monotonic, log: Log) {
        let what = &self.what;
        log.debug(|| format!("starting {what}"));
        self.state = match (self.start)() {
            Ok(process) => SourceState::Running(process, now),
            Err(error) => {
                log.info(&format!("cannot start {what}: {error}"));
                SourceState::Over
            }
        };
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, SourceState::Running(..))
    }

    /// True when it will give no password any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, SourceState::Over)
    }

    /// The time of the next start.
    pub(crate) fn due(&self) -> Option<Monotonic> {
        match self.state {
            SourceState::Paused(due) => Some(due),
            SourceState::Running(..) | SourceState::Over => None,
        }
    }

    /// Wait for these while it runs.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let process = match &self.state {
            SourceState::Running(process, _) => Some(process),
            SourceState::Paused(_) | SourceState::Over => None,
        };
        process.into_iter().flat_map(PasswordProcess::descriptors)
    }

    /// The program, if it runs, for the caller to end.
    pub(crate) fn into_process(self) -> Option<PasswordProcess> {
        match self.state {
            SourceState::Running(process, _) => Some(process),
            SourceState::Paused(_) | SourceState::Over => None,
        }
    }
}

impl fmt::Debug for PasswordSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordSource({})", self.what)
    }
}
