//! `nightlatch check-config`: runs the server's program to check the configuration.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use nightlatch_console::failure::{EX_OSERR, EX_UNAVAILABLE, Failure};

/// The options of `check-config`.
#[derive(Args, Debug)]
pub struct CheckConfigOptions {
    /// Folder of the configuration [default: the server's own, /etc/nightlatch]
    #[arg(value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
}

/// The server's program.
const SERVER: &str = "nightlatchd";

/// Folders of system programs, which may be missing in `PATH`.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/local/sbin", "/usr/sbin"];

/// Runs the server's program; passes its output and its exit status on.
pub fn run(options: &CheckConfigOptions) -> Result<u8, Failure> {
    let program = find().ok_or_else(|| {
        Failure::new(
            EX_UNAVAILABLE,
            format!("{SERVER} is not installed on this host"),
        )
        .hint("a configuration is checked by the server that will read it: run this there")
    })?;
    let mut command = Command::new(&program);
    command.arg("--check-config");
    if let Some(directory) = &options.directory {
        command.arg("--configdir").arg(directory);
    }
    let status = command.status().map_err(|error| {
        Failure::new(EX_OSERR, format!("cannot run {}", program.display())).because(error)
    })?;
    let Some(code) = status.code() else {
        let signal = status.signal().unwrap_or_default();
        return Err(Failure::new(
            EX_OSERR,
            format!("{} was killed by signal {signal}", program.display()),
        ));
    };
    // An exit status has eight bits.
    Ok(u8::try_from(code).unwrap_or(EX_OSERR))
}

/// The path of the server's program: in the folder of this program, else in `PATH`, else in the folders of system programs.
fn find() -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(|program| program.parent());
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .map(PathBuf::from)
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(SYSTEM_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(SERVER))
        .find(|program| program.is_file())
}
