//! nightlatch-agent: tells the servers of a booted machine that it is up, and that it goes down; gets named secrets for
//! its programs.
//!
//! The daemon holds the host key, which lies on the encrypted root only: whoever proves it has a machine that is
//! booted. It runs as a user of its own, and has no privilege after its start.
#![forbid(unsafe_code)]

mod attempt;
mod boots;
mod control;
mod daemon;
mod files;
mod get;
mod goodbye;
mod jitter;
mod log;
mod options;
mod place;
mod pokes;
mod rejections;
mod reporter;
mod schedule;
mod search;
mod service_manager;
mod setup;
mod sleeps;
mod start;
mod stopping;
mod timers;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use nightlatch_core::error_chain::format_error;
use nightlatch_core::guard::GoodbyeKind;
use nightlatch_sys::signals::{Signal, die_of};

use log::{Log, PROGRAM};
use options::{Command, Options, UsageError};
use setup::SetupFault;
use start::StartError;

pub use options::HELP;

/// The exit statuses, of sysexits(3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Success = 0,
    /// The command line makes no sense (`EX_USAGE`).
    Usage = 64,
    /// A key, or the daemon, is not there or cannot be used (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The system refused something that should always work (`EX_OSERR`).
    System = 71,
    /// A configuration file is wrong (`EX_CONFIG`).
    Config = 78,
}

/// An error that ends the program.
#[derive(Debug, thiserror::Error)]
enum FatalError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("no daemon answers in {}", .0.display())]
    NoDaemon(std::path::PathBuf, #[source] io::Error),
    #[error("cannot ask systemd whether the machine goes down")]
    Systemd(#[source] io::Error),
}

impl FatalError {
    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Start(StartError::Setup(fault)) if fault.is_configuration() => Exit::Config,
            Self::Start(StartError::Setup(_) | StartError::NoUser(_)) | Self::NoDaemon(..) => {
                Exit::Unavailable
            }
            Self::Start(StartError::System(..) | StartError::Drop(_)) | Self::Systemd(_) => {
                Exit::System
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Usage(_) => Some(format!("`{PROGRAM} --help` explains commands and options")),
            Self::Start(StartError::Setup(fault)) => Some(SetupFault::hint(fault)),
            Self::Start(StartError::NoUser(name)) => Some(format!(
                "make the user with `useradd --system {name}`, or name another with --user"
            )),
            Self::NoDaemon(..) => {
                Some("start it with `systemctl start nightlatch-agent`".to_owned())
            }
            Self::Start(StartError::System(..) | StartError::Drop(_)) | Self::Systemd(_) => None,
        }
    }
}

/// Runs the program with the arguments after its name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    log::silence_panics();
    let result = options::parse(arguments)
        .map_err(FatalError::from)
        .and_then(|(command, options)| carry_out(command, &options));
    let exit = match result {
        Ok(exit) => exit,
        Err(error) => {
            let log = Log::new(false);
            log.info(&format_error(&error));
            if let Some(hint) = error.hint() {
                log.hint(&hint);
            }
            error.exit()
        }
    };
    ExitCode::from(exit as u8)
}

fn carry_out(command: Command, options: &Options) -> Result<Exit, FatalError> {
    let log = Log::new(options.debug);
    match command {
        Command::Help => Ok(print(HELP)),
        Command::Version => Ok(print(concat!(
            "nightlatch-agent ",
            env!("CARGO_PKG_VERSION"),
            "\n"
        ))),
        Command::Check => Ok(print(&start::check(options, log)?)),
        Command::NoteBoot => {
            start::note_boot(options, log)?;
            Ok(Exit::Success)
        }
        Command::Goodbye(kind) => order(options, kind, log),
        Command::Stopping => match stopping::ask_systemd().map_err(FatalError::Systemd)? {
            Some(kind) => order(options, kind, log),
            None => {
                log.debug(|| "the machine is not going down".to_owned());
                Ok(Exit::Success)
            }
        },
        Command::Run => match start::run(options, log)? {
            Signal::Terminate => Ok(Exit::Success),
            signal => die_of(signal),
        },
    }
}

/// Makes the daemon say goodbye.
fn order(options: &Options, kind: GoodbyeKind, log: Log) -> Result<Exit, FatalError> {
    let told = control::order(&options.runtime, kind)
        .map_err(|error| FatalError::NoDaemon(options.runtime.clone(), error))?;
    log.info(&format!(
        "{} of {} servers know that this machine goes down",
        told.told, told.of
    ));
    Ok(if told.told == told.of {
        Exit::Success
    } else {
        Exit::Unavailable
    })
}

fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has seen enough is no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Log::new(false).info(&format!("cannot write to standard output: {error}"));
            Exit::System
        }
        _ => Exit::Success,
    }
}
