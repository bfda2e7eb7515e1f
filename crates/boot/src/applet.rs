//! The frame of every applet: answers `--help`, protects the memory, runs the applet and ends the process.

use std::error::Error;
use std::ffi::{CString, OsString};
use std::io;
use std::process::ExitCode;

use nightlatch_sys::capabilities::{Capabilities, Capability};
use nightlatch_sys::memory;
use nightlatch_sys::signals::{Signal, die_of};

use crate::cli::{CliAction, UsageError};
use crate::exit::Exit;
use crate::log::{self, AppletLog, format_error};

/// A row of the table of applets.
pub(crate) struct Applet {
    /// The first name is ours, the others are those of Mandos's programs.
    pub(crate) names: &'static [&'static str],
    /// One line for the list of applets.
    pub(crate) about: &'static str,
    /// The text of `--help`. Its first paragraph is the text of `--usage`.
    pub(crate) help: &'static str,
    pub(crate) privilege: Privilege,
    /// Parses the arguments that follow the applet's name, and calls [`Applet::run`].
    pub(crate) start: fn(&Self, Vec<OsString>) -> ExitCode,
}

/// The privilege that an applet needs from the plugin runner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Privilege {
    None,
    /// Root as its effective user: it keeps the few capabilities that it needs and becomes its real
    /// user at once.
    Lowers,
    /// Root all along.
    Root,
}

/// The end of an applet that met no error.
#[derive(Debug)]
pub(crate) enum Ending {
    Exit(Exit),
    /// The process dies of the same signal.
    Signal(Signal),
}

impl From<Option<Signal>> for Ending {
    fn from(signal: Option<Signal>) -> Self {
        signal.map_or(Self::Exit(Exit::Success), Self::Signal)
    }
}

/// An error that ends an applet.
pub(crate) trait AppletError: Error + 'static {
    fn exit(&self) -> Exit;

    /// Advice on how to mend it, for a user of `applet`.
    fn hint(&self, _applet: &str) -> Option<String> {
        None
    }
}

impl AppletError for UsageError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self, applet: &str) -> Option<String> {
        Some(format!(
            "`nightlatch-boot {applet} --help` explains the options"
        ))
    }
}

impl AppletError for io::Error {
    fn exit(&self) -> Exit {
        Exit::System
    }
}

impl Applet {
    /// Runs the applet as a whole process, named after it in a list of processes.
    pub(crate) fn start(&self, arguments: Vec<OsString>) -> ExitCode {
        let name = CString::new(self.names[0]).unwrap_or_default();
        let _ = rustix::thread::set_name(&name);
        (self.start)(self, arguments)
    }

    /// [`run`](Self::run) for a function that only reads its options.
    pub(crate) fn run_borrowed<T, R: Into<Ending>, E: AppletError>(
        &self,
        action: Result<CliAction<T>, UsageError>,
        debug: fn(&T) -> bool,
        run: fn(&T, AppletLog) -> Result<R, E>,
    ) -> ExitCode {
        self.run(action, debug, |options, log| run(&options, log))
    }

    /// Does what `action` asks for. `debug` reads the option `--debug`.
    pub(crate) fn run<T, R: Into<Ending>, E: AppletError>(
        &self,
        action: Result<CliAction<T>, UsageError>,
        debug: impl FnOnce(&T) -> bool,
        run: impl FnOnce(T, AppletLog) -> Result<R, E>,
    ) -> ExitCode {
        let name = self.names[0];
        let options = match action {
            Ok(CliAction::Run(options)) => options,
            Ok(CliAction::Help) => return log::print(self.help).into(),
            Ok(CliAction::Usage) => {
                let usage = self.help.split("\n\n").next().unwrap_or_default();
                return log::print(&format!("{usage}\n")).into();
            }
            Ok(CliAction::Version) => {
                let version = env!("CARGO_PKG_VERSION");
                return log::print(&format!("nightlatch-boot {name} {version}\n")).into();
            }
            Err(error) => return report(&error, AppletLog::new(name, false)).into(),
        };
        let log = AppletLog::new(name, debug(&options));
        log::silence_panics(name);
        // The client does so itself once it has become its real user: the change of user would undo it.
        if self.privilege != Privilege::Lowers
            && let Err(error) = protect_memory(None, log)
        {
            log.info(&format!("cannot forbid core dumps: {error}"));
            return Exit::System.into();
        }
        match run(options, log).map(Into::into) {
            Ok(Ending::Exit(exit)) => exit.into(),
            Ok(Ending::Signal(signal)) => die_of(signal),
            Err(error) => report(&error, log).into(),
        }
    }
}

/// Logs an error with its hint.
pub(crate) fn report(error: &impl AppletError, log: AppletLog) -> Exit {
    log.info(&format_error(error));
    if let Some(hint) = error.hint(log.applet()) {
        log.hint(&hint);
    }
    error.exit()
}

/// Keeps passwords out of core dumps, of swap and of other processes' sight. What an applet starts has the same
/// limits. `capabilities` are those that may have to be raised.
///
/// # Errors
/// When core dumps cannot be forbidden. Memory that cannot be locked is only logged.
pub(crate) fn protect_memory(capabilities: Option<Capabilities>, log: AppletLog) -> io::Result<()> {
    memory::forbid_core_dumps()?;
    let needed = [Capability::IpcLock, Capability::SysResource];
    let locked = match capabilities {
        Some(capabilities) => capabilities.with(&needed, memory::lock_all),
        None => memory::lock_all(),
    };
    if let Err(error) = locked {
        log.debug(|| format!("memory is not locked: {error}"));
    }
    Ok(())
}
