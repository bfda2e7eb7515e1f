//! A program that runs beside the test: its standard error is read as it comes, so that tests wait
//! for events instead of sleeping.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nightlatch_sys::process::kill_group;
use nightlatch_test_support::Deadline;
pub use nightlatch_test_support::PATIENCE;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::peer_watch;

/// Between two looks at whether a process still runs.
const LOOK: Duration = Duration::from_millis(100);

/// Limit for reading the last words of a process that has ended: another may hold its standard error open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running program, in a process group of its own. Killed with all that it started, and reaped, on
/// drop.
#[derive(Debug)]
pub struct RunningProgram {
    name: String,
    child: Child,
    log: Arc<OutputLog>,
    readers: Vec<JoinHandle<Vec<u8>>>,
    /// Present while a stock program runs: it may fail by itself.
    peer: Option<peer_watch::Watched>,
}

#[derive(Debug, Default)]
struct OutputLog {
    state: Mutex<LogState>,
    grew: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl RunningProgram {
    /// Starts `command` with no standard input; output and log are collected.
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::start_with(name, command, Stdio::null())
    }

    /// As [`Self::start`], with `input` as its standard input.
    pub fn start_with(name: &str, command: &mut Command, input: Stdio) -> Self {
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let log = Arc::new(OutputLog::default());
        let output = child.stdout.take();
        let errors = child.stderr.take();
        let shared = Arc::clone(&log);
        let readers = vec![
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(mut output) = output {
                    let _ = output.read_to_end(&mut bytes);
                }
                bytes
            }),
            std::thread::spawn(move || {
                if let Some(errors) = errors {
                    shared.follow(BufReader::new(errors));
                }
                shared.close();
                Vec::new()
            }),
        ];
        Self {
            name: name.to_owned(),
            child,
            log,
            readers,
            peer: None,
        }
    }

    /// Marks it as a stock program: when a wait comes to nothing while it is dead-locked, that is the peer's fault.
    #[must_use]
    pub fn of_a_peer(mut self) -> Self {
        self.peer = Some(peer_watch::watch(&self.name, self.child.id()));
        self
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `wanted` finds something in a line of the log, old or new, and returns that.
    pub fn wait_for<T>(&self, what: &str, wanted: impl FnMut(&str) -> Option<T>) -> T {
        self.wait_from(0, what, wanted).1
    }

    /// As [`Self::wait_for`], from line `first` on; also returns the number of the line after.
    pub fn wait_from<T>(
        &self,
        first: usize,
        what: &str,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> (usize, T) {
        let mut seen = first;
        let mut deadline = Deadline::start();
        let mut ended = false;
        let mut state = self.log.state.lock().unwrap();
        loop {
            while let Some(line) = state.lines.get(seen) {
                seen += 1;
                if let Some(found) = wanted(line) {
                    return (seen, found);
                }
            }
            if state.ended || deadline.passed() {
                break;
            }
            if !ended && self.has_ended() {
                ended = true;
                deadline = Deadline::after(LAST_WORDS);
            }
            let limit = deadline.left().min(LOOK);
            state = self.log.grew.wait_timeout(state, limit).unwrap().0;
        }
        let log = state.lines.join("\n");
        drop(state);
        let how = if ended {
            "ended before it logged"
        } else {
            "never logged"
        };
        if ended && self.peer.is_some() {
            nightlatch_test_support::peer_fault(format!("{} {how} {what}", self.name));
        }
        peer_watch::report_stuck();
        panic!("{} {how} {what}; its log:\n{log}", self.name);
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.state.lock().unwrap().lines.clone()
    }

    /// Sends `signal` (as `TERM`).
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .unwrap();
        assert!(status.success(), "cannot signal {}", self.name);
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(self) -> Output {
        self.signal("TERM");
        self.finish()
    }

    /// Kills at once and reaps.
    pub fn kill(self) {
        let _ = kill_group(self.child.id());
        self.finish();
    }

    /// Waits for the end and returns everything it said.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn finish(mut self) -> Output {
        let deadline = Deadline::start();
        while !self.has_ended() {
            if deadline.passed() {
                peer_watch::report_stuck();
                panic!(
                    "{} did not end; its log:\n{}",
                    self.name,
                    self.log().join("\n")
                );
            }
            std::thread::sleep(LOOK / 20);
        }
        let status = self
            .child
            .wait()
            .unwrap_or_else(|_| ExitStatus::from_raw(0));
        // Its children may keep its output open.
        let last_words = Deadline::after(LAST_WORDS);
        while !self.readers.iter().all(JoinHandle::is_finished) {
            if last_words.passed() {
                let _ = kill_group(self.child.id());
                break;
            }
            std::thread::sleep(LOOK / 20);
        }
        let mut outputs = self
            .readers
            .drain(..)
            .map(|reader| reader.join().unwrap_or_default());
        let stdout = outputs.next().unwrap_or_default();
        outputs.for_each(drop);
        let stderr = self.log().join("\n").into_bytes();
        Output {
            status,
            stdout,
            stderr,
        }
    }

    /// True while it runs.
    pub fn is_running(&self) -> bool {
        !self.has_ended()
    }

    /// True when it has ended, by its exit status, which stays to be read.
    fn has_ended(&self) -> bool {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that the status was already read.
        pid.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), options), Ok(None)))
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        // The stock server leaves a process behind when it is killed.
        let _ = kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

impl OutputLog {
    fn follow(&self, reader: impl BufRead) {
        for line in reader.split(b'\n').map_while(Result::ok) {
            let mut state = self.state.lock().unwrap();
            state
                .lines
                .push(String::from_utf8_lossy(&line).into_owned());
            self.grew.notify_all();
        }
    }

    fn close(&self) {
        self.state.lock().unwrap().ended = true;
        self.grew.notify_all();
    }
}
