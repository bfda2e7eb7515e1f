//! The program nightlatch-agent.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nightlatch_agent::run(std::env::args_os().skip(1))
}
