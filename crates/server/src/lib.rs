//! nightlatchd: checks machines and releases their secrets.
//!
//! Sockets, processes, clocks and the store, around the decisions of `nightlatch-core`.
#![forbid(unsafe_code)]

mod accounts;
mod audit;
mod backoff;
mod checker;
pub mod cli;
pub mod config;
#[cfg(test)]
mod damaged_store;
mod dbus;
pub mod driver;
pub mod error;
mod import_state;
pub mod limits;
pub mod listen;
mod logging;
pub mod own_key;
pub mod publish;
mod random;
mod reload;
pub mod run;
mod secrets;
mod selftest;
mod serve;
mod service_manager;
pub mod session;
mod state_folder;
mod warnings;

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use cli::CommandLine;
use error::RunError;
use nightlatch_core::error_chain::format_error;
use nightlatch_sys::memory;

/// I/O error (sysexits.h).
const EX_IOERR: u8 = 74;
/// The reader of the output is gone: the exit status of a shell's command that SIGPIPE ended.
const UNREAD: u8 = 128 + 13;

/// The whole program; called by `main`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // A checked configuration has secrets, too.
    if let Err(error) = memory::forbid_core_dumps() {
        let error = error::host("cannot forbid core dumps")(error);
        report(&error);
        return ExitCode::from(error.status());
    }
    let result = match cli::parse(arguments) {
        CommandLine::Print(text) => return print(&text),
        CommandLine::Usage(text) => {
            print_error(&text);
            return ExitCode::from(64);
        }
        CommandLine::SelfTest => match selftest::run() {
            Ok(lines) => return print(&lines),
            Err(lines) => {
                let _ = print(&lines);
                return ExitCode::FAILURE;
            }
        },
        CommandLine::CheckConfig(options) => run::check_config(&options).map(|found| print(&found)),
        CommandLine::ImportState(options) => {
            import_state::run(&options).map(|summary| print(&summary))
        }
        CommandLine::Serve(options) => run::serve(options).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        report(&error);
        ExitCode::from(error.status())
    })
}

/// Prints to standard output. A reader that is gone, as `head` may be, is no error worth a message.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(UNREAD),
        Err(error) => {
            print_error(&format!(
                "nightlatchd: cannot write to standard output: {error}\n"
            ));
            ExitCode::from(EX_IOERR)
        }
    }
}

/// Prints to standard error, if it can be written to.
fn print_error(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints an error with its hint: the one place that does.
fn report(error: &RunError) {
    let line = |error: &dyn std::error::Error, hint: Option<String>| {
        print_error(&format!("nightlatchd: {}\n", format_error(error)));
        if let Some(hint) = hint {
            print_error(&format!("hint: {hint}\n"));
        }
    };
    if let RunError::Config(faulty) = error {
        for fault in &faulty.faults {
            line(fault, fault.hint());
        }
    }
    line(error, error.hint());
}
