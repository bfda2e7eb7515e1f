//! Skips, deadlines, faults of peers, and runs of programs, for the tests of every crate.
//!
//! A test talks to `test-runner` by lines on its standard error, past the capture of libtest, so that they are seen
//! without the runner too. Knows no other crate of the workspace.
#![forbid(unsafe_code)]

pub mod programs;
pub mod transcript;

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

/// Limit of a wait for what should happen at once. Only a hang takes this long, on a loaded machine too.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Starts each line that [`Note::read`] reads.
const MARK: &str = "nightlatch-test ";

/// A line from a test to the runner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// The test, or a part of it, did not run, for this reason.
    Skipped(String),
    /// A stock program failed by itself, in this way: the test may be tried once more.
    PeerFault(String),
    /// The test left this behind.
    Left(String),
}

impl Note {
    /// Writes it to standard error.
    pub fn write(&self) {
        let (kind, text) = match self {
            Self::Skipped(text) => ("skipped", text),
            Self::PeerFault(text) => ("peer's fault", text),
            Self::Left(text) => ("left behind", text),
        };
        let text = text.replace('\n', " ");
        // One write, so that lines of threads do not mix.
        let line = format!("\n{MARK}{kind}: {text}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// Reads a line of a test's output.
    pub fn read(line: &str) -> Option<Self> {
        let (kind, text) = line.strip_prefix(MARK)?.split_once(": ")?;
        let text = text.to_owned();
        match kind {
            "skipped" => Some(Self::Skipped(text)),
            "peer's fault" => Some(Self::PeerFault(text)),
            "left behind" => Some(Self::Left(text)),
            _ => None,
        }
    }
}

/// Says that the test, or a part of it, cannot run here. The caller returns.
///
/// # Panics
/// With `CI=true` in the environment: there everything runs.
#[track_caller]
pub fn skipped(why: impl Display) {
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!ci, "must not be skipped with CI=true: {why}");
    Note::Skipped(why.to_string()).write();
}

/// Says that a part of the test does not run here, for want of something that not every machine of CI can have (a part of
/// its kernel, a capability), and where it does run. No failure with `CI=true`.
pub fn runs_elsewhere(why: impl Display) {
    Note::Skipped(why.to_string()).write();
}

/// True when the test runs as root; otherwise [`skipped`] was called.
#[track_caller]
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("needs root");
    }
    root
}

/// Says that a stock program failed by itself. The runner tries a test that fails after this once more, and reports
/// the fault in its summary.
pub fn peer_fault(fault: impl Display) {
    Note::PeerFault(fault.to_string()).write();
}

/// A moment after which nothing is waited for. It never moves.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// [`PATIENCE`] from now.
    pub fn start() -> Self {
        Self::after(PATIENCE)
    }

    /// This long from now.
    pub fn after(limit: Duration) -> Self {
        Self(now() + limit)
    }

    /// Zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    /// True once it has passed.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test's patience is measured, no rule depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let line = "nightlatch-test skipped: needs root: really";
        assert_eq!(
            Note::read(line),
            Some(Note::Skipped("needs root: really".into()))
        );
        assert_eq!(Note::read("skipped: needs root"), None);
    }

    #[test]
    fn a_deadline_does_not_move() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.passed());
        assert!(Deadline::start().left() <= PATIENCE);
    }
}
