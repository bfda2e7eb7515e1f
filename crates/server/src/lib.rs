//! nightlatchd: keeps watch over machines and releases their secrets.
//!
//! A thin shell around `nightlatch-core`: sockets, processes, clocks and the store live here,
//! decisions do not.
#![forbid(unsafe_code)]

mod accounts;
mod audit;
mod checker;
pub mod cli;
pub mod config;
mod dbus;
pub mod driver;
pub mod error;
mod import_state;
pub mod limits;
pub mod listen;
mod logging;
pub mod own_key;
mod pause;
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

use cli::Action;
use error::RunError;
use nightlatch_core::chain::chain;

/// Writing failed (sysexits.h).
const EX_IOERR: u8 = 74;
/// Nobody reads the output any more: the exit status of a shell's command that SIGPIPE ended.
const UNREAD: u8 = 128 + 13;

/// The whole program, by its command line.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = match cli::parse(arguments) {
        Action::Print(text) => return print(&text),
        Action::Usage(text) => {
            say(&text);
            return ExitCode::from(64);
        }
        Action::SelfTest => match selftest::run() {
            Ok(lines) => return print(&lines),
            Err(lines) => {
                let _ = print(&lines);
                return ExitCode::FAILURE;
            }
        },
        Action::CheckConfig(options) => run::check_config(&options).map(|found| print(&found)),
        Action::ImportState(options) => import_state::run(&options).map(|told| print(&told)),
        Action::Serve(options) => run::serve(options).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::from(error.status())
    })
}

/// Prints what was asked for. A reader that has left, as `head` does, needs no word of it.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(UNREAD),
        Err(error) => {
            say(&format!(
                "nightlatchd: cannot write to standard output: {error}\n"
            ));
            ExitCode::from(EX_IOERR)
        }
    }
}

/// Says something on standard error. Where that takes nothing there is nobody to tell.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The one place where the program says why it ends.
fn complain(error: &RunError) {
    let line = |error: &dyn std::error::Error, hint: Option<String>| {
        say(&format!("nightlatchd: {}\n", chain(error)));
        if let Some(hint) = hint {
            say(&format!("hint: {hint}\n"));
        }
    };
    if let RunError::Config(faulty) = error {
        for fault in &faulty.faults {
            line(fault, fault.hint());
        }
    }
    line(error, error.hint());
}
