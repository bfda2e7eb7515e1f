//! Stock programs that run beside the test, and whether one of them is dead-locked.

use std::collections::BTreeMap;
use std::sync::Mutex;

use nightlatch_test_support::peer_fault;

/// Names by process group.
static PEERS: Mutex<BTreeMap<u32, String>> = Mutex::new(BTreeMap::new());

/// Keeps a process group in the list.
#[derive(Debug)]
pub(crate) struct Watched(u32);

/// Adds the process group of a stock program.
pub(crate) fn watch(name: &str, group: u32) -> Watched {
    if let Ok(mut peers) = PEERS.lock() {
        peers.insert(group, name.to_owned());
    }
    Watched(group)
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Ok(mut peers) = PEERS.lock() {
            peers.remove(&self.0);
        }
    }
}

/// Called after a wait without result: reports each stock program with a process whose first thread waits for a lock.
/// In a healthy one that thread waits for input, for a timer or for a child.
pub(crate) fn report_stuck() {
    let Ok(peers) = PEERS.lock() else { return };
    for (pid, group) in processes() {
        if let Some(name) = peers.get(&group)
            && waits_for_lock(pid)
        {
            peer_fault(format!(
                "{name} is dead-locked: its process {pid} waits for a lock"
            ));
        }
    }
}

/// Process ids with their process groups.
fn processes() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, group(pid)?))).collect()
}

/// The fifth field of proc_pid_stat(5).
fn group(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(2)?
        .parse()
        .ok()
}

/// True when the process is in futex(2); false where the kernel does not show it.
fn waits_for_lock(pid: u32) -> bool {
    let wait = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    wait.contains("futex") || call.split(' ').next() == Some(FUTEX)
}

/// The number of futex(2).
#[cfg(target_arch = "x86_64")]
const FUTEX: &str = "202";
#[cfg(not(target_arch = "x86_64"))]
const FUTEX: &str = "98";

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use nightlatch_test_support::Deadline;

    use super::*;

    #[test]
    fn a_process_that_waits_for_a_lock_is_told_from_one_that_waits_for_time() {
        let script = "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()";
        let mut stuck = Command::new("python3");
        let mut stuck = stuck
            .args(["-c", script])
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut idle = Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .unwrap();
        let deadline = Deadline::start();
        while !waits_for_lock(stuck.id()) && !deadline.passed() {
            std::thread::yield_now();
        }
        let found = (
            waits_for_lock(stuck.id()),
            waits_for_lock(idle.id()),
            group(stuck.id()),
        );
        for child in [&mut stuck, &mut idle] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found, (true, false, Some(stuck.id())));
    }
}
