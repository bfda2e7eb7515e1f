//! Running a program that must end within a time.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nightlatch_sys::process::{kill_group, terminate_group};

/// Time for a program to end after SIGTERM, and to be reaped after SIGKILL.
const LEAVING: Duration = Duration::from_secs(2);

/// Runs `command` to its end as [`Command::output`] does, without standard input. One that runs for longer than `limit`
/// gets SIGTERM, and SIGKILL [`LEAVING`] later, with all processes that it has started.
///
/// # Errors
/// `TimedOut` for a program that was ended, and those of starting it.
pub(crate) fn output_within(command: &mut Command, limit: Duration) -> io::Result<Output> {
    output_or_end(command, limit, LEAVING)
}

fn output_or_end(command: &mut Command, limit: Duration, leaving: Duration) -> io::Result<Output> {
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let leader = child.id();
    let (sender, end) = mpsc::channel();
    // It reads both pipes and reaps the program, also one that is left here.
    thread::spawn(move || sender.send(child.wait_with_output()));
    match end.recv_timeout(limit) {
        Ok(output) => return output,
        Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        Err(RecvTimeoutError::Timeout) => {}
    }
    terminate_group(leader)?;
    if end.recv_timeout(leaving).is_err() {
        kill_group(leader)?;
        let _ = end.recv_timeout(leaving);
    }
    Err(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use nightlatch_test_support::Deadline;

    use super::*;

    /// Only a machine that is busy with other tests takes this long.
    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_ends_in_time_gives_its_output() {
        let output = output_within(&mut shell("echo one; echo two >&2; exit 3"), LONG).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"one\n"[..], &b"two\n"[..])
        );
        let mut absent = Command::new("/nonexistent/program");
        let absent = output_within(&mut absent, LONG).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_with_what_it_has_started() {
        for (trap, says, leaving) in [
            (
                "trap 'echo asked >> \"$LOG\"; exit' TERM",
                "ready\nasked\n",
                LONG,
            ),
            // Then it is killed.
            ("trap '' TERM", "ready\n", LEAVING),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (log, processes) = (folder.path().join("log"), folder.path().join("processes"));
            let script = format!(
                "{trap}; sleep 1000 & echo $$ $! > \"$PROCESSES\"; echo ready >> \"$LOG\"; wait; wait; sleep 1000"
            );
            let mut command = shell(&script);
            command.env("LOG", &log).env("PROCESSES", &processes);
            let late = output_or_end(&mut command, Duration::from_secs(10), leaving).unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
            assert_eq!(fs::read_to_string(&log).unwrap(), says);
            let processes = fs::read_to_string(&processes).unwrap();
            let (leader, child) = processes.trim().split_once(' ').unwrap();
            assert!(!Path::new("/proc").join(leader).exists(), "it is reaped");
            let deadline = Deadline::after(LONG);
            // The child of a program that is gone is for init to reap.
            while let Ok(status) = fs::read_to_string(format!("/proc/{child}/status"))
                && !status.contains("State:\tZ")
            {
                assert!(!deadline.passed(), "{status}");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
