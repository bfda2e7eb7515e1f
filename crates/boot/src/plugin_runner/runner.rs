//! The race of the plugins: all run side by side, the first that succeeds wins. When none can help,
//! a person is asked; one that died may still come back and win.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nightlatch_core::secret::Secret;
use nightlatch_sys::clock;
use nightlatch_sys::signals::{EndSignals, Signal};
use nightlatch_sys::terminal::{self, PasswordPrompt};

use super::options::PluginRunnerOptions;
use super::plugins::Plugin;
use crate::log::{AppletLog, format_error};
use crate::process::{PasswordProcess, end_all};
use crate::source::PasswordSource;
use crate::wait;

/// The prompt of getpass(3).
const QUESTION: &str = "Password: ";

#[derive(Debug)]
pub(super) enum RaceOutcome {
    /// A plugin printed it.
    Plugin(Secret),
    /// A person typed it.
    Person(Secret),
    /// Every plugin has failed, and no person can be asked.
    NoPassword,
    Signal(Signal),
}

/// Runs `plugins` until there is a password. Those that still run are then in the second place, for
/// the caller to end.
pub(super) fn race(
    plugins: &[Plugin],
    options: &PluginRunnerOptions,
    signals: &EndSignals,
    log: AppletLog,
) -> io::Result<(RaceOutcome, Vec<PasswordProcess>)> {
    let now = clock::now().mono;
    let sources = plugins.iter().map(|plugin| {
        let what = format!("plugin {:?}", plugin.name);
        PasswordSource::new(what, now, || plugin.start(options))
    });
    let mut sources: Vec<PasswordSource<'_>> = sources.collect();
    let terminal = terminal::controlling().or_else(|_| standard_input());
    let terminal = terminal.as_ref().ok().filter(|_| options.fallback);
    let result = until_end(&mut sources, terminal, signals, log);
    let running = sources.into_iter().filter_map(PasswordSource::into_process);
    let running: Vec<PasswordProcess> = running.collect();
    match result {
        Ok(end) => Ok((end, running)),
        Err(error) => {
            end_all(running);
            Err(error)
        }
    }
}

/// For an initramfs without a controlling terminal, as on /dev/console.
fn standard_input() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn until_end(
    sources: &mut [PasswordSource<'_>],
    terminal: Option<&File>,
    signals: &EndSignals,
    log: AppletLog,
) -> io::Result<RaceOutcome> {
    let mut fallback = Fallback {
        terminal,
        question: None,
        log,
    };
    loop {
        if let Some(signal) = signals.next()? {
            return Ok(RaceOutcome::Signal(signal));
        }
        let now = clock::now().mono;
        for source in &mut *sources {
            if let Some(password) = source.advance(now, log)? {
                return Ok(RaceOutcome::Plugin(password));
            }
        }
        let running = sources.iter().any(PasswordSource::is_running);
        if let Some(typed) = fallback.advance(!running) {
            return Ok(RaceOutcome::Person(typed));
        }
        if sources.iter().all(PasswordSource::is_over) && fallback.question.is_none() {
            return Ok(RaceOutcome::NoPassword);
        }
        let due = sources.iter().filter_map(PasswordSource::due).min();
        let descriptors = sources.iter().flat_map(PasswordSource::descriptors);
        let asked = fallback
            .question
            .iter()
            .flat_map(PasswordPrompt::descriptors);
        let descriptors = descriptors.chain(asked).chain([signals.as_fd()]);
        wait::for_any(descriptors, due.map(|due| due.since(now)))?;
    }
}

/// The question to a person.
struct Fallback<'a> {
    /// None when no person is asked, or cannot be any more.
    terminal: Option<&'a File>,
    question: Option<PasswordPrompt<'a>>,
    log: AppletLog,
}

impl Fallback<'_> {
    /// Asks when it is `wanted`, and answers with what was typed. A question that stands stays.
    fn advance(&mut self, wanted: bool) -> Option<Secret> {
        let answer = self.try_advance(wanted);
        answer.unwrap_or_else(|error| {
            self.log.info(&format!(
                "cannot ask for a password: {}",
                format_error(&error)
            ));
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
                .info("no plugin can give a password: asking for one");
        }
        if let Some(terminal) = self.terminal {
            self.question = Some(PasswordPrompt::ask(terminal, terminal, QUESTION)?);
        }
        Ok(None)
    }
}
