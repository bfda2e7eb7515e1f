//! `test-runner --single SECONDS PROGRAM ARGUMENTS`: watches over the process of one test.
//!
//! It is the subreaper of all processes of the test, in a session of its own: an interrupt at the terminal ends the
//! runner; this process notices that, and ends everything below.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use nightlatch_test_support::Note;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, WaitOptions, WaitStatus, getpid, getppid, pidfd_open, set_child_subreaper,
    setsid, wait,
};

use crate::processes;

/// Exit status after the deadline, as of timeout(1).
const TIMED_OUT: u8 = 124;

/// An event that ends the watch before the deadline.
enum WatchEnd {
    Test(WaitStatus),
    Runner,
}

pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let [seconds, program, arguments @ ..] = arguments else {
        return ExitCode::from(64);
    };
    let Some(limit) = seconds.to_str().and_then(|text| text.parse().ok()) else {
        return ExitCode::from(64);
    };
    match watch(Duration::from_secs(limit), program, arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!(
                "test-runner: cannot watch over {}: {error}",
                program.display()
            );
            let _ = processes::end_descendants(false);
            ExitCode::from(69)
        }
    }
}

fn watch(limit: Duration, program: &OsStr, arguments: &[OsString]) -> std::io::Result<u8> {
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    let (sender, ends) = channel();
    watch_runner(sender.clone())?;
    let mut command = Command::new(program);
    let test = command.args(arguments).stdin(Stdio::null()).spawn()?;
    let pid = i32::try_from(test.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)?;
    thread::spawn(move || reap(pid, &sender));
    let code = match ends.recv_timeout(limit) {
        Ok(WatchEnd::Test(status)) => exit_code(status),
        Ok(WatchEnd::Runner) => TIMED_OUT,
        Err(_) => {
            eprintln!("\nended: it ran for {limit:?}, which is its limit. Its processes:");
            processes::descendants()
                .iter()
                .for_each(|process| eprintln!("    {process}"));
            TIMED_OUT
        }
    };
    let well = code == 0;
    let processes = processes::end_descendants(well);
    let namespaces = remove_namespaces(test.id());
    if well {
        // A test that failed could not clean up.
        let left = processes.iter().map(ToString::to_string).chain(namespaces);
        left.for_each(|what| Note::Left(what).write());
    }
    Ok(code)
}

/// Sends the end of the process that started this one.
fn watch_runner(sender: Sender<WatchEnd>) -> rustix::io::Result<()> {
    let Some(runner) = getppid() else {
        return Ok(());
    };
    let runner = pidfd_open(runner, PidfdFlags::empty())?;
    thread::spawn(move || {
        while poll(&mut [PollFd::new(&runner, PollFlags::IN)], None) == Err(Errno::INTR) {}
        let _ = sender.send(WatchEnd::Runner);
    });
    Ok(())
}

/// Takes the status of every orphan when it ends, so that a test does not take it for one that runs, and sends that of
/// the test.
fn reap(test: Pid, sender: &Sender<WatchEnd>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == test => {
                let _ = sender.send(WatchEnd::Test(status));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal();
    if let Some(signal) = signal {
        eprintln!("\nended by signal {signal}");
    }
    let code = status.exit_status().or(signal.map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

/// Removes the network namespaces that the test with this process id made: their names are `nl-ROLE-PID-NUMBER`.
fn remove_namespaces(pid: u32) -> Vec<String> {
    let part = format!("-{pid}-");
    let names: Vec<String> = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("nl-") && name.contains(&part))
        .collect();
    for name in &names {
        let _ = Command::new("ip").args(["netns", "delete", name]).status();
    }
    names
        .into_iter()
        .map(|name| format!("network namespace {name}"))
        .collect()
}
