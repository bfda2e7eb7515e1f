//! The applet `splashy`: asks on Splashy's screen (splashy(8mandos)).

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use nightlatch_core::secret::Secret;
use nightlatch_sys::signals::{EndSignals, Signal, die_of};
use nightlatch_sys::trusted::Executable;
use rustix::process::geteuid;

use crate::cli::{self, About};
use crate::daemon::Daemon;
use crate::exit::Exit;
use crate::log::{self, Log, chain};
use crate::output::write_out;
use crate::process::{Ended, Process, end_all};
use crate::prompt::{self, Wording};
use crate::wait;

const NAME: &str = "splashy";

/// The daemon (splashy(8mandos), FILES).
const DAEMON: &str = "/sbin/splashy";

/// What asks it.
const ASKER: &str = "/sbin/splashy_update";

const ABOUT: About = About {
    name: NAME,
    help: HELP,
};

/// The text of `--help`.
pub const HELP: &str = "\
Usage: nightlatch-boot splashy [-?V] [--debug] [--help] [--usage] [--version]

Asks for a password on Splashy's screen and prints it, without an end of line.

      --debug    tell each step on standard error
  -?, --help     show this help
      --usage    show a short usage message
  -V, --version  show the version

The question names the disk by CRYPTTAB_SOURCE and CRYPTTAB_NAME, or cryptsource and crypttarget.
A signal takes the question from the screen: Splashy is started anew for that.

Example:
  nightlatch-boot splashy | cryptsetup open --key-file - /dev/sda3 root
";

/// Runs the applet with the arguments that follow its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    cli::run(&ABOUT, cli::only_debug(arguments), ask)
}

fn ask(debug: bool) -> ExitCode {
    log::silence_panics(NAME);
    let log = Log::new(NAME, debug);
    match asked(log) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(signal)) => die_of(signal),
        Err(error) => {
            log.say(&format!(
                "cannot ask on Splashy's screen: {}",
                chain(&error)
            ));
            Exit::System.into()
        }
    }
}

fn asked(log: Log) -> io::Result<Result<Exit, Signal>> {
    let signals = EndSignals::hold()?;
    let Some(daemon) = Daemon::of_program(Path::new(DAEMON)).map_err(io::Error::other)? else {
        log.say("Splashy does not run");
        return Ok(Ok(Exit::Unavailable));
    };
    let question = format!("getpass {}", prompt::question(&Wording::default()));
    let program = Executable::open(Path::new(ASKER), geteuid().as_raw());
    let program = program.map_err(io::Error::other)?;
    let mut asker = Process::start(program.command().arg(question))?;
    loop {
        if let Some(signal) = signals.next()? {
            end_all(vec![asker]);
            if let Err(error) = daemon.replace_with(&["splashy", "boot"].map(Into::into)) {
                log.say(&format!(
                    "cannot take the question from the screen: {error}"
                ));
            }
            return Ok(Err(signal));
        }
        match asker.poll_end()? {
            None => wait::for_any(asker.descriptors().chain([signals.as_fd()]), None)?,
            Some(Ended::Password(answer)) => {
                let signal = write_out(&first_line(&answer), &signals)?;
                return Ok(signal.map_or(Ok(Exit::Success), Err));
            }
            Some(Ended::Failed(status)) => {
                log.say(&format!("{ASKER} failed: {status}"));
                return Ok(Ok(Exit::Unavailable));
            }
        }
    }
}

/// A line that was typed, without its end.
fn first_line(answer: &Secret) -> Secret {
    let line = answer.expose().split(|byte| *byte == b'\n').next();
    Secret::new(line.unwrap_or_default().to_vec())
}
