//! The program nightlatchd, see `nightlatch_server`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nightlatch_server::main(std::env::args_os())
}
