//! The processes that a test started, found by their ancestry.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::time::Duration;

use nightlatch_test_support::Deadline;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// A process that ends by itself soon after its test is not left behind.
const GRACE: Duration = Duration::from_secs(2);

/// Limit for processes to go away after SIGKILL: one in an uninterruptible sleep may stay.
const KILLED: Duration = Duration::from_secs(20);

/// Interval of polling the process table, which reports no changes.
const LOOK: Duration = Duration::from_millis(5);

/// A process as proc(5) shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProcessEntry {
    pid: i32,
    parent: i32,
    state: char,
    name: String,
}

impl fmt::Display for ProcessEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, state {})", self.name, self.pid, self.state)
    }
}

/// All descendants of this process, parents first. A zombie is none.
pub(crate) fn descendants() -> Vec<ProcessEntry> {
    let all: Vec<ProcessEntry> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut known = HashSet::from([getpid().as_raw_nonzero().get()]);
    let mut found = Vec::new();
    loop {
        let next = all
            .iter()
            .filter(|it| known.contains(&it.parent) && !known.contains(&it.pid));
        let next: Vec<ProcessEntry> = next.cloned().collect();
        if next.is_empty() {
            break;
        }
        known.extend(next.iter().map(|process| process.pid));
        found.extend(next);
    }
    found.retain(|process| process.state != 'Z');
    found
}

fn read(pid: i32) -> Option<ProcessEntry> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
    let name = match arguments.trim() {
        "" => start
            .split_once('(')
            .map_or(start, |(_, name)| name)
            .to_owned(),
        arguments => arguments.chars().take(200).collect(),
    };
    Some(ProcessEntry {
        pid,
        parent,
        state,
        name,
    })
}

/// Gives descendants a moment to end, then kills those that are left and returns them. Needs a caller that is the
/// subreaper of all.
pub(crate) fn end_descendants(grace: bool) -> Vec<ProcessEntry> {
    let deadline = Deadline::after(if grace { GRACE } else { Duration::ZERO });
    let left = loop {
        reap();
        let left = descendants();
        if left.is_empty() || deadline.passed() {
            break left;
        }
        std::thread::sleep(LOOK);
    };
    let deadline = Deadline::after(KILLED);
    let mut running = left.clone();
    while !running.is_empty() && !deadline.passed() {
        for process in &running {
            if let Some(pid) = Pid::from_raw(process.pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        reap();
        std::thread::sleep(LOOK);
        running = descendants();
    }
    left
}

/// Takes the status of every child that has ended.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
