//! The end of a program with a command line: what is printed, and its exit status.

use std::process::ExitCode;

use crate::failure::{EX_USAGE, Failure};
use crate::output;

/// Prints what clap has to say in place of running a command: the help or the version that was asked for, or what is wrong
/// with the command line.
pub fn unread(error: &clap::Error) -> ExitCode {
    let printed = error.print().map_err(output::failure);
    match error.use_stderr() {
        true => ExitCode::from(EX_USAGE),
        false => ended(printed.map(|()| 0)),
    }
}

/// Prints the failure of a command, if it is one.
pub fn ended(result: Result<u8, Failure>) -> ExitCode {
    ExitCode::from(result.unwrap_or_else(|failure| {
        failure.report();
        failure.exit()
    }))
}
