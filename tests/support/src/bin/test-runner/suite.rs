//! All tests of one program, some at a time, each in a process of its own. What is printed has the form of libtest.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nightlatch_test_support::Note;

use crate::options::{IgnoredTests, RunnerOptions};
use crate::{SINGLE, summary};

/// Most tests wait for others most of the time.
const AT_ONCE_PER_CORE: usize = 4;

/// This program, also when a build has replaced its file meanwhile.
const MYSELF: &str = "/proc/self/exe";

/// Limit of one test in seconds, unless `NIGHTLATCH_TEST_LIMIT` has another. On an idle machine of two cores the
/// longest, which makes images, takes a minute; the limit holds on one that does ten times as much beside.
const LIMIT: u64 = 1200;

/// From this on the time that a test took is shown.
const LONG: Duration = Duration::from_secs(10);

/// One test, after its end.
#[derive(Debug)]
pub(crate) struct TestReport {
    pub(crate) name: String,
    pub(crate) outcome: TestOutcome,
    pub(crate) notes: Vec<Note>,
    pub(crate) took: Duration,
    output: String,
}

/// The result of a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TestOutcome {
    Passed,
    /// It passed, and said that a part of it did not run.
    Skipped,
    Failed,
}

/// Runs what `options` selects; true when nothing failed.
pub(crate) fn run(program: &OsStr, options: &RunnerOptions) -> io::Result<bool> {
    let started = now();
    let (tests, ignored) = select(program, options)?;
    println!(
        "\nrunning {} test{}",
        tests.len(),
        if tests.len() == 1 { "" } else { "s" }
    );
    let mut reports = Vec::with_capacity(tests.len() + ignored.len());
    for name in &ignored {
        println!("test {name} ... ignored");
    }
    for report in start_all(program, options, &tests) {
        print(&report, options);
        reports.push(report);
    }
    for report in reports
        .iter()
        .filter(|report| report.outcome == TestOutcome::Failed)
    {
        println!("\n---- {} ----\n{}", report.name, report.output.trim_end());
    }
    let count = |outcome| {
        reports
            .iter()
            .filter(|report| report.outcome == outcome)
            .count()
    };
    let (passed, skipped, failed) = (
        count(TestOutcome::Passed),
        count(TestOutcome::Skipped),
        count(TestOutcome::Failed),
    );
    if failed > 0 {
        println!("\nfailures:");
        let names = reports
            .iter()
            .filter(|report| report.outcome == TestOutcome::Failed);
        names.for_each(|report| println!("    {}", report.name));
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {} ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        skipped + ignored.len(),
        started.elapsed().as_secs_f64()
    );
    summary::append(program, &reports, ignored.len())?;
    Ok(failed == 0)
}

/// The tests to run, and those that are ignored.
fn select(program: &OsStr, options: &RunnerOptions) -> io::Result<(Vec<String>, Vec<String>)> {
    let all = list(program, options, &[])?;
    let ignored = list(program, options, &["--ignored"])?;
    Ok(match options.ignored {
        IgnoredTests::Also => (all, Vec::new()),
        IgnoredTests::Only => (ignored, Vec::new()),
        IgnoredTests::None => {
            let names: HashSet<&String> = ignored.iter().collect();
            let run = all
                .iter()
                .filter(|name| !names.contains(name))
                .cloned()
                .collect();
            (run, ignored)
        }
    })
}

fn list(program: &OsStr, options: &RunnerOptions, more: &[&str]) -> io::Result<Vec<String>> {
    let mut command = Command::new(program);
    command
        .args(["--list", "--format", "terse"])
        .args(&options.selection)
        .args(more);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "cannot list its tests: {}",
            output.status
        )));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect())
}

/// Reports come in the order in which tests end.
fn start_all(
    program: &OsStr,
    options: &RunnerOptions,
    tests: &[String],
) -> mpsc::IntoIter<TestReport> {
    let asked = options
        .threads
        .or_else(|| std::env::var("RUST_TEST_THREADS").ok()?.parse().ok());
    let threads = asked.unwrap_or_else(|| {
        let cores = thread::available_parallelism().map_or(1, Into::into);
        AT_ONCE_PER_CORE * cores
    });
    let (sender, receiver) = mpsc::channel();
    let queue = std::sync::Arc::new((tests.to_vec(), AtomicUsize::new(0)));
    let include_ignored = options.ignored != IgnoredTests::None;
    for _ in 0..threads.max(1) {
        let (queue, sender, program) = (queue.clone(), sender.clone(), program.to_owned());
        thread::spawn(move || {
            while let Some(name) = queue.0.get(queue.1.fetch_add(1, Ordering::Relaxed)) {
                let report = attempt_twice(&program, name, include_ignored);
                if sender.send(report).is_err() {
                    break;
                }
            }
        });
    }
    receiver.into_iter()
}

/// Tries again after a peer's fault, once.
fn attempt_twice(program: &OsStr, name: &str, include_ignored: bool) -> TestReport {
    let first = attempt(program, name, include_ignored);
    let fault = first
        .notes
        .iter()
        .any(|note| matches!(note, Note::PeerFault(_)));
    if first.outcome != TestOutcome::Failed || !fault {
        return first;
    }
    let mut second = attempt(program, name, include_ignored);
    second.output = format!(
        "first try:\n{}\n\nsecond try:\n{}",
        first.output, second.output
    );
    second.took += first.took;
    second.notes.extend(
        first
            .notes
            .into_iter()
            .filter(|note| matches!(note, Note::PeerFault(_))),
    );
    second
}

fn attempt(program: &OsStr, name: &str, include_ignored: bool) -> TestReport {
    let started = now();
    let (success, output) = run_single(program, name, include_ignored)
        .unwrap_or_else(|error| (false, error.to_string()));
    let notes: Vec<Note> = output.lines().filter_map(Note::read).collect();
    // A process that ends well before its test does has not run it.
    let outcome = if !success || !output.contains("test result: ok. 1 passed") {
        TestOutcome::Failed
    } else if notes.iter().any(|note| matches!(note, Note::Skipped(_))) {
        TestOutcome::Skipped
    } else {
        TestOutcome::Passed
    };
    TestReport {
        name: name.to_owned(),
        outcome,
        notes,
        took: started.elapsed(),
        output,
    }
}

fn run_single(program: &OsStr, name: &str, include_ignored: bool) -> io::Result<(bool, String)> {
    let limit = std::env::var("NIGHTLATCH_TEST_LIMIT").unwrap_or_else(|_| LIMIT.to_string());
    let (mut reader, writer) = io::pipe()?;
    let mut child = {
        let mut command = Command::new(MYSELF);
        command
            .args([SINGLE, &limit])
            .arg(program)
            .args([name, "--exact", "--nocapture"]);
        if include_ignored {
            command.arg("--include-ignored");
        }
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()?
    };
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    let success = child.wait()?.success();
    Ok((success, String::from_utf8_lossy(&bytes).into_owned()))
}

fn print(report: &TestReport, options: &RunnerOptions) {
    let skipped = report.notes.iter().find_map(|note| match note {
        Note::Skipped(why) => Some(why),
        _ => None,
    });
    let outcome = match (report.outcome, skipped) {
        (TestOutcome::Failed, _) => "FAILED".to_owned(),
        (TestOutcome::Skipped, Some(why)) => format!("skipped, {why}"),
        _ => "ok".to_owned(),
    };
    let time = if report.took < LONG {
        String::new()
    } else {
        format!(" <{:.1}s>", report.took.as_secs_f64())
    };
    println!("test {} ... {outcome}{time}", report.name);
    if options.show_output {
        println!("{}", report.output.trim_end());
    }
    let _ = io::stdout().flush();
}

#[allow(
    clippy::disallowed_methods,
    reason = "the time that is shown, no rule depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
