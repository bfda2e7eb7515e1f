//! Where a password may come from: a program that is run for it, and run again when it dies.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;

use crate::log::Log;
use crate::process::{Ended, Process};
use crate::restarts::{Pauses, makes_sense};

/// A program that may give a password.
pub struct Source<'a> {
    what: String,
    start: Box<dyn Fn() -> io::Result<Process> + 'a>,
    pauses: Pauses,
    state: State,
}

enum State {
    Running(Process, Monotonic),
    Paused(Monotonic),
    Over,
}

impl<'a> Source<'a> {
    /// One that `start` starts, at `now`. Messages call it `what`.
    pub fn new(what: String, now: Monotonic, start: impl Fn() -> io::Result<Process> + 'a) -> Self {
        Self {
            what,
            start: Box::new(start),
            pauses: Pauses::new(),
            state: State::Paused(now),
        }
    }

    /// Starts it when that is due, and listens to it; answers with its password.
    pub fn advance(&mut self, now: Monotonic, log: Log) -> io::Result<Option<Secret>> {
        if matches!(self.state, State::Paused(due) if due <= now) {
            self.begin(now, log);
        }
        let State::Running(process, started) = &mut self.state else {
            return Ok(None);
        };
        let what = &self.what;
        match process.poll_end()? {
            None => {}
            Some(Ended::Password(password)) => {
                log.debug(|| format!("{what} has succeeded"));
                self.state = State::Over;
                return Ok(Some(password));
            }
            Some(Ended::Failed(status)) if makes_sense(status) => {
                let due = self.pauses.due(*started, now);
                let pause = due.since(now).as_secs();
                log.say(&format!("{what} died: {status}; again in {pause} s"));
                self.state = State::Paused(due);
            }
            Some(Ended::Failed(status)) => {
                log.debug(|| format!("{what} failed: {status}"));
                self.state = State::Over;
            }
        }
        Ok(None)
    }

    fn begin(&mut self, now: Monotonic, log: Log) {
        let what = &self.what;
        log.debug(|| format!("starting {what}"));
        self.state = match (self.start)() {
            Ok(process) => State::Running(process, now),
            Err(error) => {
                log.say(&format!("cannot start {what}: {error}"));
                State::Over
            }
        };
    }

    /// Whether it runs now.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(..))
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// When it is to be started again.
    pub fn due(&self) -> Option<Monotonic> {
        match self.state {
            State::Paused(due) => Some(due),
            State::Running(..) | State::Over => None,
        }
    }

    /// What to wait for while it runs.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let process = match &self.state {
            State::Running(process, _) => Some(process),
            State::Paused(_) | State::Over => None,
        };
        process.into_iter().flat_map(Process::descriptors)
    }

    /// The program, if it runs, for the caller to end.
    pub fn into_process(self) -> Option<Process> {
        match self.state {
            State::Running(process, _) => Some(process),
            State::Paused(_) | State::Over => None,
        }
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.what)
    }
}
