//! Plymouth's daemon: whether there is one.

use std::fs;
use std::path::Path;

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
