//! The applet `password-prompt`: asks at the terminal on standard input (password-prompt(8mandos)).
//!
//! The terminal is itself again on every way out that is not `SIGKILL`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;

use nightlatch_sys::signals::{EndSignals, die_of};
use nightlatch_sys::terminal;

use crate::cli::{self, About, Action, Arguments, Names, Part, SyntaxError};
use crate::exit::Exit;
use crate::log::{self, Log, chain};
use crate::output::write_out;
use crate::plymouth;
use crate::prompt::{self, Wording};

const NAME: &str = "password-prompt";

const ABOUT: About = About {
    name: NAME,
    help: HELP,
};

/// The text of `--help`.
pub const HELP: &str = "\
Usage: nightlatch-boot password-prompt [-?V] [-p PREFIX] [--prompt PROMPT] [--debug]
       [--help] [--usage] [--version]

Asks for a password at the terminal on standard input and prints it, without an end of line.

  -p, --prefix PREFIX  stands before the question, as the name of the host
      --prompt PROMPT  the question, instead of one from the environment
      --debug          tell each step on standard error
  -?, --help           show this help
      --usage          show a short usage message
  -V, --version        show the version

The question names the disk by CRYPTTAB_SOURCE and CRYPTTAB_NAME, or cryptsource and crypttarget.
Where Plymouth has the screen, nothing is asked: that is the applet plymouth's to do.

Example:
  nightlatch-boot password-prompt --prefix=host.example.org: | cryptsetup open --key-file - /dev/sda3 root
";

const NAMES: Names = Names {
    mandos: &["prefix", "prompt", "debug"],
    ours: &[],
    short: &[('p', "prefix")],
};

/// How to ask.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// What is asked.
    pub wording: Wording,
    /// Whether each step is told.
    pub debug: bool,
}

/// Runs the applet with the arguments that follow its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    cli::run(&ABOUT, parse(arguments), |options| ask(&options))
}

fn parse(arguments: Vec<OsString>) -> Result<Action<Options>, SyntaxError> {
    let mut arguments = Arguments::new(&NAMES, arguments);
    let mut options = Options::default();
    while let Some(part) = arguments.next_part()? {
        match part {
            Part::Option("prefix") => options.wording.prefix = Some(arguments.text("--prefix")?),
            Part::Option("prompt") => options.wording.prompt = Some(arguments.text("--prompt")?),
            Part::Option("debug") => options.debug = true,
            Part::Option("help") => return Ok(Action::Help),
            Part::Option("usage") => return Ok(Action::Usage),
            Part::Option(_) => return Ok(Action::Version),
            Part::Word(word) => return Err(SyntaxError::Word(word)),
        }
    }
    Ok(Action::Run(options))
}

fn ask(options: &Options) -> ExitCode {
    log::silence_panics(NAME);
    let log = Log::new(NAME, options.debug);
    if plymouth::daemon::is_running() {
        log.say("Plymouth has the screen: not asking here");
        return Exit::Unavailable.into();
    }
    if !io::stdin().is_terminal() {
        log.say("expected a terminal as standard input");
        return Exit::Unavailable.into();
    }
    match asked(&prompt::question(&options.wording), log) {
        Ok(exit) => exit,
        Err(error) => {
            log.say(&format!("cannot ask for the password: {}", chain(&error)));
            Exit::Output.into()
        }
    }
}

fn asked(question: &str, log: Log) -> io::Result<ExitCode> {
    let input = copy(io::stdin().as_fd())?;
    let output = copy(io::stderr().as_fd())?;
    let password = loop {
        match terminal::read_password_on(&input, &output, question) {
            Ok(password) => break password,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                log.say(&chain(&error));
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                log.say("nothing was typed: the input has ended");
                return Ok(Exit::Unavailable.into());
            }
            Err(error) => return Err(error),
        }
    };
    let signals = EndSignals::hold()?;
    match write_out(&password, &signals)? {
        None => Ok(Exit::Success.into()),
        Some(signal) => {
            drop(password);
            die_of(signal)
        }
    }
}

fn copy(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(descriptor.try_clone_to_owned()?))
}
