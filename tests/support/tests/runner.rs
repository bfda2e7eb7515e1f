//! The runner, on tests of this very file: each misbehaves in one way when the environment asks for it.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::process::{Command, Output, Stdio};

/// Names the one that does it.
const ACT: &str = "NIGHTLATCH_ACT";

fn acts(name: &str) -> bool {
    std::env::var(ACT).is_ok_and(|act| act == name)
}

#[test]
fn act_hangs() {
    if acts("hangs") {
        Command::new("sleep").arg("31557600").status().unwrap();
    }
}

#[test]
fn act_leaves() {
    if acts("leaves") {
        // Another session, and an orphan at once.
        let script = "setsid sleep 31557601 >/dev/null 2>&1 & exit 0";
        assert!(
            Command::new("sh")
                .args(["-c", script])
                .status()
                .unwrap()
                .success()
        );
    }
}

#[test]
fn act_skips() {
    if acts("skips") {
        nightlatch_test_support::skipped("the moon is new");
    }
}

#[test]
fn act_fails_once_by_a_peer() {
    if acts("peer") {
        let place = std::env::var_os("NIGHTLATCH_ONCE").unwrap();
        if std::fs::create_dir(place).is_ok() {
            nightlatch_test_support::peer_fault("it dead-locked");
            panic!("no answer");
        }
    }
}

#[test]
fn act_waits_for_an_orphan() {
    if acts("orphan") {
        let script = "setsid sleep 0.1 >/dev/null 2>&1 & echo $!";
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        let pid = String::from_utf8(output.stdout).unwrap();
        let place = std::path::Path::new("/proc").join(pid.trim());
        let deadline = nightlatch_test_support::Deadline::start();
        while place.exists() {
            assert!(!deadline.passed(), "nobody reads its status");
        }
    }
}

#[test]
fn act_ends_its_process() {
    if acts("ends") {
        std::process::exit(0);
    }
}

#[test]
fn act_shows_its_environment() {
    if acts("environment") {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let find = |key: &str| {
            status
                .lines()
                .find(|line| line.starts_with(key))
                .map(str::to_owned)
        };
        for key in ["SigIgn", "SigBlk", "Umask"] {
            println!("{}", find(key).unwrap());
        }
        // A child: Rust itself ignores SIGPIPE in this process.
        Command::new("grep")
            .args(["SigIgn", "/proc/self/status"])
            .status()
            .unwrap();
        Command::new("sh")
            .args(["-c", "echo limit $(ulimit -Sf); env"])
            .status()
            .unwrap();
    }
}

/// Runs `act_NAME` by the runner.
fn run(test: &str, act: &str, settings: &[(&str, &str)]) -> (Output, String) {
    let mut runner = Command::new(env!("CARGO_BIN_EXE_test-runner"));
    runner
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact"]);
    runner
        .env(ACT, act)
        .env_remove("CI")
        .env_remove("NIGHTLATCH_TEST_SUMMARY")
        .envs(settings.iter().copied());
    let output = runner.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    (output, said)
}

fn sleepers() -> usize {
    let output = Command::new("pgrep")
        .args(["-c", "-f", "^sleep 31557601$"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn a_test_that_hangs_is_ended_and_what_it_waited_for_is_named() {
    let (output, said) = run("act_hangs", "hangs", &[("NIGHTLATCH_TEST_LIMIT", "1")]);
    assert_eq!(output.status.code(), Some(101), "{said}");
    assert!(said.contains("test act_hangs ... FAILED"), "{said}");
    assert!(said.contains("ran for 1s, which is its limit"), "{said}");
    assert!(said.contains("    sleep 31557600 ("), "{said}");
}

#[test]
fn what_a_test_leaves_behind_is_ended_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary");
    let settings = [("NIGHTLATCH_TEST_SUMMARY", summary.to_str().unwrap())];
    let before = sleepers();
    let (output, said) = run("act_leaves", "leaves", &settings);
    assert!(output.status.success(), "{said}");
    assert!(sleepers() <= before);
    let summary = std::fs::read_to_string(summary).unwrap();
    assert!(
        summary.contains("left\trunner: act_leaves\tsleep 31557601"),
        "{summary}"
    );
}

#[test]
fn a_skip_is_seen_and_fails_in_ci() {
    let (output, said) = run("act_skips", "skips", &[]);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("test act_skips ... skipped, the moon is new"),
        "{said}"
    );
    assert!(
        said.contains("test result: ok. 0 passed; 0 failed; 1 ignored"),
        "{said}"
    );
    let (output, said) = run("act_skips", "skips", &[("CI", "true")]);
    assert_eq!(output.status.code(), Some(101), "{said}");
}

#[test]
fn a_peer_that_fails_by_itself_gets_a_second_try_which_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (once, summary) = (path("once"), path("summary"));
    let settings = [
        ("NIGHTLATCH_ONCE", &*once),
        ("NIGHTLATCH_TEST_SUMMARY", &*summary),
    ];
    let (output, said) = run("act_fails_once_by_a_peer", "peer", &settings);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    let summary = std::fs::read_to_string(summary).unwrap();
    assert!(
        summary.contains("peer\trunner: act_fails_once_by_a_peer\tit dead-locked"),
        "{summary}"
    );
}

#[test]
fn an_orphan_that_ends_is_gone() {
    let (output, said) = run("act_waits_for_an_orphan", "orphan", &[]);
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_test_that_ends_its_process_has_not_passed() {
    let (output, said) = run("act_ends_its_process", "ends", &[]);
    assert_eq!(output.status.code(), Some(101), "{said}");
}

#[test]
fn nothing_is_inherited_that_changes_what_a_test_finds() {
    let script =
        "trap '' INT QUIT HUP TERM PIPE; umask 077; ulimit -S -f 100; exec \"$@\" 5</dev/null";
    let environment = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../scripts/test-environment"
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash", environment])
        .arg(std::env::current_exe().unwrap());
    bash.args(["act_shows_its_environment", "--exact", "--nocapture"]);
    bash.env(ACT, "environment")
        .env("NOTIFY_SOCKET", "/x")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("RUST_LOG", "trace");
    let output = bash.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{output:?}"
    );
    // The C library keeps two signals for itself, and lets nobody change them.
    let ignored = said
        .lines()
        .filter_map(|line| line.strip_prefix("SigIgn:\t"))
        .next_back();
    let ignored = u64::from_str_radix(ignored.unwrap(), 16).unwrap() & !(3 << 31);
    assert_eq!(ignored, 0, "{said}");
    assert!(
        said.contains("SigBlk:\t0000000000000000") && said.contains("Umask:\t0022"),
        "{said}"
    );
    assert!(
        said.contains("limit unlimited") && said.contains("HOME=/nonexistent"),
        "{said}"
    );
    for name in ["NOTIFY_SOCKET", "LC_ALL", "RUST_LOG"] {
        assert!(!said.contains(name), "{said}");
    }
}
