//! `test-runner PROGRAM [ARGUMENTS]`: runs the tests of a test program of libtest, each in a process of its own with an
//! absolute deadline, and ends what a test leaves behind.
//!
//! `scripts/test-environment` starts it where it is built; cargo starts that. What a test skipped, a peer that failed by
//! itself, and what was left behind are appended to the file that `NIGHTLATCH_TEST_SUMMARY` names.
#![forbid(unsafe_code)]

mod options;
mod processes;
mod single;
mod suite;
mod summary;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use options::RunnerOptions;

/// First argument of the process that watches over one test.
const SINGLE: &str = "--single";

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == SINGLE) {
        return single::run(&arguments[1..]);
    }
    if arguments.is_empty() {
        eprintln!("usage: test-runner PROGRAM [ARGUMENTS]");
        return ExitCode::from(64);
    }
    let program = arguments.remove(0);
    let Some(options) = RunnerOptions::read(&arguments) else {
        // Left to libtest: `--help`, `--list`, formats.
        let error = Command::new(&program).args(&arguments).exec();
        eprintln!("test-runner: cannot start {}: {error}", program.display());
        return ExitCode::from(69);
    };
    match suite::run(&program, &options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => {
            eprintln!("test-runner: {}: {error}", program.display());
            ExitCode::from(69)
        }
    }
}
