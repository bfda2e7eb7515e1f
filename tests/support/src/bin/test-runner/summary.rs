//! The summary of a run of many test programs, from lines of `KIND<TAB>TEST<TAB>TEXT` in a file.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use nightlatch_test_support::Note;

use crate::suite::{TestOutcome, TestReport};

/// Names the file.
const FILE: &str = "NIGHTLATCH_TEST_SUMMARY";

/// Appends the results of one program.
pub(crate) fn append(program: &OsStr, reports: &[TestReport], ignored: usize) -> io::Result<()> {
    let Some(file) = std::env::var_os(FILE) else {
        return Ok(());
    };
    let program = name(program);
    let mut text = format!("ignored\t{program}\t{ignored}\n");
    for report in reports {
        let test = format!("{program}: {}", report.name);
        let kind = match report.outcome {
            TestOutcome::Passed => "passed",
            TestOutcome::Skipped => "skipped",
            TestOutcome::Failed => "failed",
        };
        text += &format!("{kind}\t{test}\t{:.1} s\n", report.took.as_secs_f64());
        for note in &report.notes {
            let (kind, what) = match note {
                Note::Skipped(what) => ("why", what),
                Note::PeerFault(what) => ("peer", what),
                Note::Left(what) => ("left", what),
            };
            text += &format!("{kind}\t{test}\t{what}\n");
        }
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)?
        .write_all(text.as_bytes())
}

/// `signals` of `target/debug/deps/signals-0123456789abcdef`.
fn name(program: &OsStr) -> String {
    let stem = Path::new(program)
        .file_name()
        .unwrap_or(program)
        .to_string_lossy();
    stem.rsplit_once('-')
        .map_or(&*stem, |(name, _)| name)
        .to_owned()
}
