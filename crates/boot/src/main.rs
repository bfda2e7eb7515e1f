//! The program nightlatch-boot.
#![forbid(unsafe_code)]

use nightlatch_sys::wiping::Wiping;

/// Passwords go through libraries here.
#[global_allocator]
static MEMORY: Wiping = Wiping::new();

fn main() -> std::process::ExitCode {
    nightlatch_boot::run(std::env::args_os())
}
