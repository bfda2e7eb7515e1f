//! `test-runner --single SECONDS PROGRAM ARGUMENTS`: watches over the process of one test.
//!
//! The subreaper of all that the test starts, in a session of its own: an interrupt at the terminal ends the runner,
//! whose end is seen here, and then everything below.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use nightlatch_test_support::{Deadline, Note};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, getpid, getppid, pidfd_open, set_child_subreaper, setsid};

use crate::processes;

/// Exit status after the deadline, as of timeout(1).
const TIMED_OUT: u8 = 124;

enum End {
    Ended,
    TimedOut,
    RunnerGone,
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
    let runner = getppid()
        .map(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .transpose()?;
    let mut test = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()?;
    let pid = test.id();
    let raw = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)?;
    let ended = pidfd_open(raw, PidfdFlags::empty())?;
    let mut polled = vec![PollFd::new(&ended, PollFlags::IN)];
    polled.extend(
        runner
            .as_ref()
            .map(|runner| PollFd::new(runner, PollFlags::IN)),
    );
    let (code, end) = match wait(&mut polled, Deadline::after(limit))? {
        End::Ended => (exit_code(test.wait()?), End::Ended),
        End::TimedOut => {
            eprintln!("\nended: it ran for {limit:?}, which is its limit. Its processes:");
            processes::descendants()
                .iter()
                .for_each(|process| eprintln!("    {process}"));
            (TIMED_OUT, End::TimedOut)
        }
        End::RunnerGone => (TIMED_OUT, End::RunnerGone),
    };
    let well = matches!(end, End::Ended) && code == 0;
    let processes = processes::end_descendants(well);
    let namespaces = remove_namespaces(pid);
    if well {
        // A test that failed could not clean up.
        let left = processes.iter().map(ToString::to_string).chain(namespaces);
        left.for_each(|what| Note::Left(what).write());
    }
    Ok(code)
}

fn wait(polled: &mut [PollFd<'_>], deadline: Deadline) -> std::io::Result<End> {
    loop {
        let left = Timespec::try_from(deadline.left()).map_err(|_| Errno::INVAL)?;
        match poll(polled, Some(&left)) {
            Ok(0) if deadline.passed() => return Ok(End::TimedOut),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) if polled[0].revents().is_empty() => return Ok(End::RunnerGone),
            Ok(_) => return Ok(End::Ended),
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    if let Some(signal) = status.signal() {
        eprintln!("\nended by signal {signal}");
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
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
