//! The program `nightlatch`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    nightlatch_admin::run(std::env::args_os())
}
