//! The applet `password-prompt`: asks at the terminal on standard input (password-prompt(8mandos)).
//!
//! The terminal is itself again on every way out that is not `SIGKILL`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

use nightlatch_sys::signals::EndSignals;
use nightlatch_sys::terminal;

use crate::applet::{Applet, AppletError, Ending, Privilege};
use crate::cli::OptionNames;
use crate::exit::Exit;
use crate::log::{AppletLog, format_error};
use crate::output::write_out;
use crate::plymouth;
use crate::prompt::{self, PromptOptions};

pub(crate) const APPLET: Applet = Applet {
    names: &["password-prompt"],
    about: "ask for the password on the terminal",
    help: HELP,
    privilege: Privilege::None,
    start: |applet, arguments| {
        let action = prompt::parse(&NAMES, arguments);
        applet.run_borrowed(action, |options| options.debug, run)
    },
};

const HELP: &str = "\
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

const NAMES: OptionNames = OptionNames {
    mandos: &["prefix", "prompt", "debug"],
    ours: &[],
    short: &[('p', "prefix")],
};

/// The password could not be asked for or handed over.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask for the password")]
struct PasswordPromptError(#[from] io::Error);

impl AppletError for PasswordPromptError {
    fn exit(&self) -> Exit {
        Exit::Output
    }
}

fn run(options: &PromptOptions, log: AppletLog) -> Result<Ending, PasswordPromptError> {
    if plymouth::daemon::is_running() {
        log.info("Plymouth has the screen: not asking here");
        return Ok(Ending::Exit(Exit::Unavailable));
    }
    if !io::stdin().is_terminal() {
        log.info("expected a terminal as standard input");
        return Ok(Ending::Exit(Exit::Unavailable));
    }
    Ok(ask(&prompt::question(&options.wording), log)?)
}

fn ask(question: &str, log: AppletLog) -> io::Result<Ending> {
    let input = copy(io::stdin().as_fd())?;
    let output = copy(io::stderr().as_fd())?;
    let password = loop {
        match terminal::read_password_on(&input, &output, question) {
            Ok(password) => break password,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                log.info(&format_error(&error));
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                log.info("nothing was typed: the input has ended");
                return Ok(Ending::Exit(Exit::Unavailable));
            }
            Err(error) => return Err(error),
        }
    };
    let signals = EndSignals::hold()?;
    Ok(write_out(&password, &signals)?.into())
}

fn copy(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(descriptor.try_clone_to_owned()?))
}
