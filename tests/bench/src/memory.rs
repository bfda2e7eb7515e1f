//! Memory of a server as proportional set size, so that pages shared between its processes are counted once
//! (proc_pid_smaps(5)).

use std::fs;
use std::thread;
use std::time::Duration;

/// Interval and limit of the wait until a server's memory stops growing.
const LOOK: Duration = Duration::from_millis(200);
const LOOKS: usize = 150;

/// Bytes of the process and all its descendants.
pub(crate) fn of_tree(pid: u32) -> u64 {
    let mut total = of_process(pid);
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
    {
        total += of_tree(child);
    }
    total
}

/// As [`of_tree`], once three looks in a row agree to one part in a hundred.
pub(crate) fn settled(pid: u32) -> u64 {
    let mut last = of_tree(pid);
    let mut agreed = 0;
    for _ in 0..LOOKS {
        thread::sleep(LOOK);
        let now = of_tree(pid);
        agreed = if now.abs_diff(last) <= last / 100 {
            agreed + 1
        } else {
            0
        };
        last = now;
        if agreed == 3 {
            break;
        }
    }
    last
}

/// Bytes of the process itself that are in memory now.
pub(crate) fn resident(pid: u32) -> u64 {
    field(pid, "status", "VmRSS:")
}

/// Bytes of the process itself that were in memory at most since its start.
pub(crate) fn most_resident(pid: u32) -> u64 {
    field(pid, "status", "VmHWM:")
}

fn of_process(pid: u32) -> u64 {
    field(pid, "smaps_rollup", "Pss:")
}

fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| {
        line.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kilobytes.unwrap_or(0) * 1024
}
