//! The applet `splashy`: asks on Splashy's screen (splashy(8mandos)).

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nightlatch_core::secret::Secret;
use nightlatch_sys::signals::EndSignals;
use nightlatch_sys::trusted::Executable;
use rustix::process::geteuid;

use crate::applet::{Applet, AppletError, Ending, Privilege};
use crate::cli;
use crate::daemon::SplashDaemon;
use crate::exit::Exit;
use crate::log::AppletLog;
use crate::output::write_out;
use crate::process::{PasswordProcess, ProcessResult, end_all};
use crate::prompt::{self, Wording};
use crate::wait;

/// The daemon (splashy(8mandos), FILES).
const DAEMON: &str = "/sbin/splashy";

/// The program that asks the daemon.
const ASKER: &str = "/sbin/splashy_update";

pub(crate) const APPLET: Applet = Applet {
    names: &["splashy"],
    about: "ask for the password on Splashy's screen",
    help: HELP,
    privilege: Privilege::Root,
    start: |applet, arguments| {
        let action = cli::parse_debug(arguments);
        applet.run(action, |debug| *debug, |_, log| ask(log))
    },
};

const HELP: &str = "\
Usage: nightlatch-boot splashy [-?V] [--debug] [--help] [--usage] [--version]

Asks for a password on Splashy's screen and prints it, without an end of line.

      --debug    tell each step on standard error
  -?, --help     show this help
      --usage    show a short usage message
  -V, --version  show the version

The question names the disk by CRYPTTAB_SOURCE and CRYPTTAB_NAME, or cryptsource and crypttarget.
A signal takes the question from the screen: Splashy is started again for that.

Example:
  nightlatch-boot splashy | cryptsetup open --key-file - /dev/sda3 root
";

/// The question could not be put on the screen.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask on Splashy's screen")]
struct SplashyError(#[from] io::Error);

impl AppletError for SplashyError {
    fn exit(&self) -> Exit {
        Exit::System
    }
}

fn ask(log: AppletLog) -> Result<Ending, SplashyError> {
    let signals = EndSignals::hold()?;
    let Some(daemon) = SplashDaemon::of_program(Path::new(DAEMON)).map_err(io::Error::other)?
    else {
        log.info("Splashy does not run");
        return Ok(Ending::Exit(Exit::Unavailable));
    };
    let question = format!("getpass {}", prompt::question(&Wording::default()));
    let program = Executable::open(Path::new(ASKER), geteuid().as_raw());
    let program = program.map_err(io::Error::other)?;
    let mut asker = PasswordProcess::start(program.command().arg(question))?;
    loop {
        if let Some(signal) = signals.next()? {
            end_all(vec![asker]);
            if let Err(error) = daemon.replace_with(&["splashy", "boot"].map(Into::into)) {
                log.info(&format!(
                    "cannot take the question from the screen: {error}"
                ));
            }
            return Ok(Ending::Signal(signal));
        }
        match asker.poll_end()? {
            None => wait::for_any(asker.descriptors().chain([signals.as_fd()]), None)?,
            Some(ProcessResult::Password(answer)) => {
                let signal = write_out(&first_line(&answer), &signals)?;
                return Ok(signal.into());
            }
            Some(ProcessResult::Failed(status)) => {
                log.info(&format!("{ASKER} failed: {status}"));
                return Ok(Ending::Exit(Exit::Unavailable));
            }
        }
    }
}

/// A line that was typed, without its end.
fn first_line(answer: &Secret) -> Secret {
    let line = answer.expose().split(|byte| *byte == b'\n').next();
    Secret::new(line.unwrap_or_default().to_vec())
}
