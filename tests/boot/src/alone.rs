//! A process tree and a mount table of our own: when the program ends, in whatever way, the kernel ends all
//! that it started, and the network namespaces are gone.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set in the environment of the program once it is alone.
const MARK: &str = "NIGHTLATCH_BOOT_TEST_IS_ALONE";

/// The shell is process 1 of the namespace: signals from outside end it only where it has a trap.
const SCRIPT: &str = r#"set -e
    mkdir -p /run/netns
    mount -t tmpfs none /run/netns
    trap 'exit 130' HUP INT TERM
    "$@" &
    wait $!"#;

/// Starts this program anew, with its arguments, in namespaces of its own; returns there.
///
/// # Errors
/// A sentence when that cannot be done.
pub fn ensure() -> Result<(), String> {
    if std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err("guests need network namespaces and taps: run it as root".to_owned());
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let failed = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--mount-proc"])
        .args(["sh", "-c", SCRIPT, "sh"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .exec();
    Err(format!("cannot start unshare: {failed}"))
}
