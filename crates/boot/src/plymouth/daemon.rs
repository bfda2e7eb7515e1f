//! Plymouth's daemon: whether there is one, and which it is.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::sockopt::socket_peercred;

use crate::daemon::Daemon;

/// Where the daemon writes its process id.
const PID_FILE: &str = "/run/plymouth/pid";

/// Its name.
const NAME: &str = "plymouthd";

/// Whether Plymouth has the screen: it has left its process id, or there is a process of its name
/// (password-prompt(8mandos)).
pub fn is_running() -> bool {
    Path::new(PID_FILE).exists() || has_process()
}

fn has_process() -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    entries.filter_map(Result::ok).any(|entry| {
        let name = fs::read_to_string(entry.path().join("comm"));
        name.is_ok_and(|name| name.trim_end() == NAME)
    })
}

/// The daemon at the other end of its socket, as the kernel knows it.
pub(super) fn at(stream: &UnixStream) -> io::Result<Daemon> {
    Daemon::of_process(socket_peercred(stream)?.pid, NAME)
}
