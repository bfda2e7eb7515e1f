//! The program nightlatch-boot.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    nightlatch_boot::run(std::env::args_os())
}
