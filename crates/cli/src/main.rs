//! The program `nightlatch`.
#![forbid(unsafe_code)]

use nightlatch_sys::wiping::Wiping;

/// Passphrases go through libraries here.
#[global_allocator]
static MEMORY: Wiping = Wiping::new();

fn main() -> std::process::ExitCode {
    nightlatch_cli::run(std::env::args_os())
}
