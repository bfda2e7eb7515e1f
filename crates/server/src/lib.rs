//! nightlatchd: keeps watch over machines and releases their secrets.
//!
//! A thin shell around `nightlatch-core`: sockets, processes, clocks and the store live here,
//! decisions do not.
#![forbid(unsafe_code)]

mod audit;
mod checker;
pub mod cli;
pub mod config;
mod dbus;
pub mod driver;
mod import_state;
pub mod limits;
pub mod listen;
mod logging;
pub mod own_key;
mod pause;
pub mod publish;
mod random;
pub mod run;
mod selftest;
mod serve;
mod service_manager;
pub mod session;
mod warnings;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use cli::Action;
use nightlatch_core::chain::chain;
use run::RunError;

/// The whole program, by its command line.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = match cli::parse(arguments) {
        Action::Print(text) => return print(&text),
        Action::Usage(text) => {
            eprint!("{text}");
            return ExitCode::from(64);
        }
        Action::SelfTest => match selftest::run() {
            Ok(lines) => return print(&lines),
            Err(lines) => {
                print(&lines);
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

/// Output that nobody reads any more is no fault of ours.
fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The one place where the program says why it ends.
fn complain(error: &RunError) {
    if let RunError::Config(faulty) = error {
        for fault in &faulty.faults {
            eprintln!("nightlatchd: {}", chain(fault));
            if let Some(hint) = fault.hint() {
                eprintln!("hint: {hint}");
            }
        }
    }
    eprintln!("nightlatchd: {}", chain(error));
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
}
