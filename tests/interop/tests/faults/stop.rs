//! The end by SIGTERM, two servers at once, and what must never be in a log.
#![allow(
    clippy::disallowed_methods,
    reason = "how long the end takes is measured"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use nightlatch_core::checker::LastCheck;
use nightlatch_core::client::saved::ClientPresence;
use nightlatch_store::{SqliteStore, Store};

use crate::fixture::{Machine, SECRET, SECRET_BASE64, ServerFolders, fails};

/// The end takes less than one second; a busy machine gets some more.
const GENEROUS: Duration = Duration::from_secs(5);

/// True while a process runs; false for a zombie.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("status"));
    status.is_ok_and(|text| !text.contains("State:\tZ") && !text.contains("State:\tX"))
}

#[test]
fn sigterm_ends_it_within_a_second_with_what_it_knew_saved() {
    let fixture = ServerFolders::new(&Machine::new("a").section("checker = true\ninterval = PT1S"));
    let server = fixture.start(&["--debug"]);
    server.says("check succeeded");
    let told = Instant::now();
    let output = server.running.terminate();
    let took = told.elapsed();
    eprintln!("ended {took:?} after SIGTERM");
    assert!(took < GENEROUS, "{took:?}");
    assert!(output.status.success(), "{output:?}");
    let saved = SqliteStore::open(&fixture.state()).unwrap().load().unwrap();
    let ClientPresence::Present(a) = &saved.clients[0].presence else {
        panic!("removed");
    };
    assert_eq!(a.state.last_check, LastCheck::Exited(0));
    assert!(a.state.last_checked_ok.is_some());
}

#[test]
fn a_checker_ends_with_its_server_whole() {
    // The shell, a child of it, and neither listens to a polite signal.
    let checker = "checker = trap '' TERM; sleep 1000 & echo checker $$ $! end >&2; wait; wait";
    let fixture =
        ServerFolders::new(&Machine::new("a").section(&format!("{checker}\ninterval = PT1S")));
    let server = fixture.start(&["--debug"]);
    let pids = server.running.wait_for("the checker's processes", |line| {
        let (_, rest) = line.split_once("checker ")?;
        let pids = rest.strip_suffix(" end")?;
        Some(pids.split(' ').map(str::to_owned).collect::<Vec<_>>())
    });
    assert!(pids.len() == 2 && pids.iter().all(|pid| runs(pid)));
    let told = Instant::now();
    let output = server.running.terminate();
    let took = told.elapsed();
    eprintln!("ended {took:?} after SIGTERM with a checker running");
    assert!(output.status.success() && took < GENEROUS, "{took:?}");
    // The kernel delivers a signal soon, not at once.
    while pids.iter().any(|pid| runs(pid)) {
        assert!(told.elapsed() < GENEROUS, "{pids:?} live on");
        std::thread::yield_now();
    }
}

#[test]
fn a_second_server_on_the_same_state_says_so_and_goes() {
    let a = Machine::new("a");
    let fixture = ServerFolders::new(&a.section(""));
    let server = fixture.start(&[]);
    fixture.fails(74, &["is in use by another server", "hint: stop the other"]);
    a.is_served(&server);
    assert!(server.running.terminate().status.success());
    a.is_served(&fixture.start(&[]));
}

#[test]
fn no_secret_is_in_the_debug_log() {
    let a = Machine::new("a");
    let fixture = ServerFolders::new(&a.section("checker = true\ninterval = PT1S"));
    let server = fixture.start(&["--debug"]);
    a.is_served(&server);
    server.says("secret delivered");
    fixture.write_clients(&a.section("checker = true\ninterval = PT1S\nenabled = no"));
    server.reload();
    server.says("configuration reloaded");
    a.is_refused(&server, "client is disabled");
    // A fault in the secret itself is not shown either.
    let faulty = a
        .section("")
        .replace(SECRET_BASE64, &format!("{SECRET_BASE64}*"));
    fixture.write_clients(&faulty);
    server.reload();
    server.says("not reloaded");
    let output = server.running.terminate();
    assert!(output.status.success());
    let log = String::from_utf8(output.stderr).unwrap();
    let raw = String::from_utf8(SECRET.to_vec()).unwrap();
    assert!(log.contains("secret delivered"));
    for shown in [&raw[..12], &SECRET_BASE64[..16]] {
        assert!(!log.contains(shown), "{log}");
    }
    fails(&fixture.run(&[]), 78, &["[a] secret"]);
}
