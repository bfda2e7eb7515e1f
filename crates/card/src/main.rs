//! The program nightlatch-card.
#![forbid(unsafe_code)]

use nightlatch_sys::wiping::Wiping;

/// PINs go through libraries here.
#[global_allocator]
static MEMORY: Wiping = Wiping::new();

fn main() -> std::process::ExitCode {
    nightlatch_card::run(std::env::args_os())
}
