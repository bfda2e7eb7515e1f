//! The program `boot-test`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    nightlatch_boot_test::run(&nightlatch_boot_test::cli::BootTestArguments::parse())
}
