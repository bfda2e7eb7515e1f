//! The race of the plugins: all run side by side, the first that succeeds wins. When none can help,
//! a person is asked; one that died may still come back and win.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;
use nightlatch_sys::signals::{EndSignals, Signal};
use nightlatch_sys::terminal::{self, Question};

use super::options::Options;
use super::plugins::Plugin;
use super::restarts::{Pauses, makes_sense};
use crate::log::{Log, chain};
use crate::process::{Ended, Process, end_all};
use crate::wait;

/// What getpass(3) is asked to say.
const QUESTION: &str = "Password: ";

/// How the race ended.
#[derive(Debug)]
pub(super) enum End {
    /// A plugin has won.
    Plugin(Secret),
    /// A person has typed.
    Person(Secret),
    /// Nobody has a password, and nobody ever will.
    Nobody,
    /// The program was asked to end.
    Signal(Signal),
}

struct Slot {
    plugin: Plugin,
    pauses: Pauses,
    state: State,
}

enum State {
    Running(Process, Monotonic),
    Paused(Monotonic),
    Over,
}

/// Runs `plugins` until there is a password. Those that still run are then in the second place, for
/// the caller to end.
pub(super) fn race(
    plugins: Vec<Plugin>,
    options: &Options,
    signals: &EndSignals,
    log: Log,
) -> io::Result<(End, Vec<Process>)> {
    let now = clock::now().mono;
    let slots = plugins.into_iter().map(|plugin| Slot {
        plugin,
        pauses: Pauses::new(),
        state: State::Paused(now),
    });
    let mut slots: Vec<Slot> = slots.collect();
    let terminal = terminal::controlling().or_else(|_| standard_input());
    let result = until_end(&mut slots, terminal.as_ref().ok(), options, signals, log);
    let running = slots.into_iter().filter_map(|slot| match slot.state {
        State::Running(process, _) => Some(process),
        State::Paused(_) | State::Over => None,
    });
    let running: Vec<Process> = running.collect();
    match result {
        Ok(end) => Ok((end, running)),
        Err(error) => {
            end_all(running);
            Err(error)
        }
    }
}

/// Where the initramfs has no controlling terminal, as on /dev/console.
fn standard_input() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn until_end(
    slots: &mut [Slot],
    terminal: Option<&File>,
    options: &Options,
    signals: &EndSignals,
    log: Log,
) -> io::Result<End> {
    let mut fallback = Fallback {
        terminal: terminal.filter(|_| options.fallback),
        question: None,
        log,
    };
    loop {
        if let Some(signal) = signals.next()? {
            return Ok(End::Signal(signal));
        }
        let now = clock::now().mono;
        for slot in &mut *slots {
            if let Some(password) = slot.advance(options, now, log)? {
                return Ok(End::Plugin(password));
            }
        }
        let running = slots.iter().any(Slot::is_running);
        if let Some(typed) = fallback.advance(!running) {
            return Ok(End::Person(typed));
        }
        let due = slots.iter().filter_map(Slot::due).min();
        if !running && due.is_none() && fallback.question.is_none() {
            return Ok(End::Nobody);
        }
        let descriptors = slots.iter().flat_map(Slot::descriptors);
        let asked = fallback.question.iter().flat_map(Question::descriptors);
        let descriptors = descriptors.chain(asked).chain([signals.as_fd()]);
        let limit = due.map(|due| due.since(now).max(Duration::from_millis(1)));
        wait::for_any(descriptors, limit)?;
    }
}

impl Slot {
    /// Starts it when that is due, and listens to it; answers with its password.
    fn advance(
        &mut self,
        options: &Options,
        now: Monotonic,
        log: Log,
    ) -> io::Result<Option<Secret>> {
        if matches!(self.state, State::Paused(due) if due <= now) {
            self.start(options, now, log);
        }
        let State::Running(process, started) = &mut self.state else {
            return Ok(None);
        };
        let name = &self.plugin.name;
        match process.poll_end()? {
            None => {}
            Some(Ended::Password(password)) => {
                log.debug(|| format!("plugin {name:?} has succeeded"));
                return Ok(Some(password));
            }
            Some(Ended::Failed(status)) if makes_sense(status) => {
                let due = self.pauses.due(*started, now);
                let pause = due.since(now).as_secs();
                log.say(&format!(
                    "plugin {name:?} died: {status}; again in {pause} s"
                ));
                self.state = State::Paused(due);
            }
            Some(Ended::Failed(status)) => {
                log.debug(|| format!("plugin {name:?} failed: {status}"));
                self.state = State::Over;
            }
        }
        Ok(None)
    }

    fn start(&mut self, options: &Options, now: Monotonic, log: Log) {
        let name = &self.plugin.name;
        log.debug(|| format!("starting plugin {name:?}"));
        self.state = match self.plugin.start(options) {
            Ok(process) => State::Running(process, now),
            Err(error) => {
                log.say(&format!("cannot start plugin {name:?}: {error}"));
                State::Over
            }
        };
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Running(..))
    }

    fn due(&self) -> Option<Monotonic> {
        match self.state {
            State::Paused(due) => Some(due),
            State::Running(..) | State::Over => None,
        }
    }

    fn descriptors(&self) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        let process = match &self.state {
            State::Running(process, _) => Some(process),
            State::Paused(_) | State::Over => None,
        };
        process.into_iter().flat_map(Process::descriptors)
    }
}

/// The question to a person.
struct Fallback<'a> {
    /// Where to ask; none when nobody is to be asked, or any more.
    terminal: Option<&'a File>,
    question: Option<Question<'a>>,
    log: Log,
}

impl Fallback<'_> {
    /// Asks when it is `wanted`, and answers with what was typed. A question that stands stays.
    fn advance(&mut self, wanted: bool) -> Option<Secret> {
        let answer = self.try_advance(wanted);
        answer.unwrap_or_else(|error| {
            self.log
                .say(&format!("cannot ask for a password: {}", chain(&error)));
            self.question = None;
            self.terminal = None;
            None
        })
    }

    fn try_advance(&mut self, wanted: bool) -> io::Result<Option<Secret>> {
        if let Some(question) = &mut self.question {
            if !question.is_interrupted()? {
                return question.read();
            }
            // The signal acts now. Whom it does not end asks again.
            self.question = None;
        } else if !wanted {
            return Ok(None);
        } else if self.terminal.is_some() {
            self.log
                .say("no plugin can give a password: asking for one");
        }
        if let Some(terminal) = self.terminal {
            self.question = Some(Question::ask(terminal, terminal, QUESTION)?);
        }
        Ok(None)
    }
}
