//! The applet `password-agent`: answers systemd's questions with the password that a client fetches
//! (password-agent(8mandos)).
//!
//! What was answered once and is asked again is left to a person: more tries with the same password
//! would use up those that the person has.

pub mod options;
pub mod question;
mod questions;

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::identity::{ProgramIdentity, start_as};
use nightlatch_sys::signals::{EndSignals, Signal};
use nightlatch_sys::{clock, privileges};

use crate::applet::{Applet, AppletError, Privilege};
use crate::exit::Exit;
use crate::log::AppletLog;
use crate::process::{PasswordProcess, end_all};
use crate::program::TrustedProgram;
use crate::source::PasswordSource;
use crate::wait;
use crate::watch::DirectoryWatch;
use options::PasswordAgentOptions;
use questions::Questions;

pub(crate) const APPLET: Applet = Applet {
    names: &["password-agent"],
    about: "answer systemd's questions for a password",
    help: HELP,
    privilege: Privilege::None,
    start: |applet, arguments| {
        applet.run_borrowed(options::parse(arguments), |options| options.debug, answer)
    },
};

const HELP: &str = "\
Usage: nightlatch-boot password-agent [-?V] [-d DIR] [--helper-directory DIR] [-u ID] [-g ID]
       [--linger SECONDS] [--debug] [--help] [--usage] [--version] [--] [CLIENT [OPTION...]]

Runs CLIENT and gives the password that it prints to everybody who asks by systemd's password agents.
What asks again has refused the password, and is left to a person.

  -d, --agent-directory DIR   where the questions are [/run/systemd/ask-password]
      --helper-directory DIR  where helpers of CLIENT are [/lib/mandos/plugin-helpers]
  -u, --user ID               CLIENT's real user, a number [65534]
  -g, --group ID              CLIENT's real group, a number [65534]
      --linger SECONDS        how long to watch for a question that comes again [20]
      --debug                 tell each step on standard error
  -?, --help                  show this help
      --usage                 show a short usage message
  -V, --version               show the version

CLIENT is /lib/mandos/plugins.d/mandos-client unless it is given. It has root as its effective user,
as a set-user-ID program has, and is expected to give that up.

Example, a client with options:
  nightlatch-boot password-agent -- /usr/bin/nightlatch-boot client --interface eth0
";

/// Tells the client the directory of its helpers.
const HELPERS: &str = "MANDOSPLUGINHELPERDIR";

#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("cannot watch {0}")]
    Watch(PathBuf, #[source] io::Error),
    #[error("nobody asks for a password in {0}")]
    NoQuestion(PathBuf),
    #[error("no password could be fetched")]
    NoPassword,
    #[error("the system refused")]
    System(#[from] io::Error),
}

impl AppletError for AgentError {
    fn exit(&self) -> Exit {
        match self {
            Self::Watch(..) => Exit::File,
            Self::NoQuestion(_) | Self::NoPassword => Exit::Unavailable,
            Self::System(_) => Exit::System,
        }
    }
}

fn answer(options: &PasswordAgentOptions, log: AppletLog) -> Result<Option<Signal>, AgentError> {
    let signals = EndSignals::hold()?;
    let directory = &options.directory;
    let watch = DirectoryWatch::for_changes(directory)
        .map_err(|e| AgentError::Watch(directory.clone(), e))?;
    let mut questions = Questions::of(directory, log);
    questions.update(None)?;
    if !questions.any() {
        return Err(AgentError::NoQuestion(directory.clone()));
    }
    let now = clock::now().mono;
    let mut source = PasswordSource::new("the client".to_owned(), now, || start(options));
    let mut agent = Agent {
        questions,
        password: None,
        alone_since: None,
        linger: options.linger,
    };
    let end = agent.until_end(&mut source, &watch, &signals, log);
    end_all(source.into_process().into_iter().collect());
    end
}

fn start(options: &PasswordAgentOptions) -> io::Result<PasswordProcess> {
    let (program, arguments) = options
        .client
        .split_first()
        .ok_or(io::ErrorKind::NotFound)?;
    let program = TrustedProgram::named(program).map_err(io::Error::other)?;
    let mut command = program.command();
    command
        .args(arguments)
        .env(HELPERS, &options.helper_directory);
    // Only root can start a program as another user.
    if privileges::is_root() {
        let identity = ProgramIdentity {
            user: options.user,
            group: options.group,
            effective_root: true,
        };
        start_as(&mut command, identity);
    }
    PasswordProcess::start(&mut command)
}

struct Agent<'a> {
    questions: Questions<'a>,
    password: Option<Secret>,
    /// The time at which the last question vanished.
    alone_since: Option<Monotonic>,
    linger: Duration,
}

impl Agent<'_> {
    fn until_end(
        &mut self,
        source: &mut PasswordSource<'_>,
        watch: &DirectoryWatch,
        signals: &EndSignals,
        log: AppletLog,
    ) -> Result<Option<Signal>, AgentError> {
        loop {
            if let Some(signal) = signals.next()? {
                return Ok(Some(signal));
            }
            let now = clock::now().mono;
            if let Some(password) = source.advance(now, log)? {
                self.password = Some(password);
            } else if self.password.is_none() && source.is_over() {
                return Err(AgentError::NoPassword);
            }
            watch.drain()?;
            self.questions.update(self.password.as_ref())?;
            let left = self.left(now);
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let due = source.due().map(|due| due.since(now));
            let limit = [left, due].into_iter().flatten().min();
            let fixed = [watch.as_fd(), signals.as_fd()];
            wait::for_any(source.descriptors().chain(fixed), limit)?;
        }
    }

    /// Time to stay, once every question is answered and gone.
    fn left(&mut self, now: Monotonic) -> Option<Duration> {
        if self.password.is_none() || self.questions.any() {
            self.alone_since = None;
            return None;
        }
        let since = *self.alone_since.get_or_insert(now);
        Some(since.after(self.linger).since(now))
    }
}
