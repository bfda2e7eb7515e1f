//! A process tree and a mount table of its own for this program: when it ends, in whatever way, the kernel ends all
//! that it started, and the network namespaces are gone.

use std::process::{Command, ExitStatus};

/// Set in the environment of the program inside of the namespaces.
const MARK: &str = "NIGHTLATCH_BOOT_TEST_IS_ALONE";

/// The command that precedes the program's path. unshare(1) ends with its parent, and with it the first process of the
/// namespace, which ends all others.
const ALONE: [&str; 12] = [
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child=KILL",
    "--mount-proc",
    "sh",
    "-ec",
    "mkdir -p /run/netns; mount -t tmpfs none /run/netns; exec \"$@\"",
    "sh",
];

/// Runs this program again, with its arguments, in namespaces of its own, and returns its status. `None` inside of
/// them.
///
/// # Errors
/// A sentence when that cannot be done.
pub fn run() -> Result<Option<ExitStatus>, String> {
    if std::env::var_os(MARK).is_some() {
        return Ok(None);
    }
    if !rustix::process::geteuid().is_root() {
        return Err("guests need network namespaces and taps: run it as root".to_owned());
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let ended = Command::new("setpriv")
        .args(ALONE)
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .status();
    ended
        .map(Some)
        .map_err(|error| format!("cannot start setpriv: {error}"))
}
