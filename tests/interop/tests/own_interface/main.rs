//! The verbs that need `org.nightlatch.Nightlatch1`, at a stand-in for our server on a private bus: for
//! what our server never does, as losing records, and for fleets that nobody starts for a test.
#![forbid(unsafe_code)]

mod stand_in;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use nightlatch_interop::programs::ours;
use stand_in::StandIn;

const STARTED: &str = r#"{"time":"2026-11-21T23:19:55.400000Z","kind":"started"}"#;
const REFUSED: &str = r#"{"time":"2026-11-21T23:20:55.000000Z","kind":"refused","client":"foo","peer":"fe80::1","reason":"disabled"}"#;
const ALARM: &str = r#"{"time":"2026-11-21T23:21:55.000000Z","kind":"alarm","client":"bar","alarm":"second-request"}"#;
const ENABLED: &str = r#"{"time":"2026-11-21T23:22:55.000000Z","kind":"enabled","client":"foo","who":"uid 0 (root)"}"#;

fn command(server: &StandIn, arguments: &[&str]) -> Command {
    let mut command = Command::new(ours("nightlatch"));
    command
        .args(arguments)
        .env("DBUS_SYSTEM_BUS_ADDRESS", server.bus.address());
    command
}

fn run(server: &StandIn, arguments: &[&str], input: &str) -> Output {
    use std::io::Write;
    let mut child = command(server, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading everything; its exit status shows a failure.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn succeed(server: &StandIn, arguments: &[&str]) -> String {
    let output = run(server, arguments, "");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    stdout(&output)
}

fn refused(output: &Output, status: i32, said: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(text.contains(said), "{text}");
}

#[test]
fn sections_are_checked_before_the_first_is_added() {
    let server = StandIn::start();
    let (one, two) = ("[one]\nhost = a\n", "[two]\nhost = b\n");
    let output = run(&server, &["add", "--dry-run"], &format!("{one}{two}"));
    assert!(output.status.success(), "{output:?}");
    let checked = [(one.to_owned(), true), (two.to_owned(), true)];
    assert_eq!(server.added(), checked);
    let output = run(&server, &["add", "-", "--json"], &format!("{one}{two}"));
    assert!(output.status.success(), "{output:?}");
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json[1]["path"], "/clients/two");
    let order = server.added()[2..].to_vec();
    let added = [(one.to_owned(), false), (two.to_owned(), false)];
    assert_eq!(order, [checked, added].concat());
}

#[test]
fn a_section_that_the_server_refuses_is_named() {
    let server = StandIn::start();
    let text = "[one]\nhost = a\n[bad]\ntimeout = x\n";
    let output = run(&server, &["add"], text);
    // The server counts from the section's heading; the line of the file is what helps.
    refused(&output, 65, "-:4: [bad] timeout: expected a duration");
    // The one before it was only checked.
    assert!(server.added().iter().all(|(_, dry_run)| *dry_run));
    refused(
        &run(&server, &["add"], "[foo]\n"),
        65,
        "belongs to another client",
    );
    refused(
        &run(&server, &["add"], "host = a\n"),
        65,
        "a section's heading",
    );
    refused(
        &run(&server, &["add", "/nonexistent"], ""),
        66,
        "/nonexistent",
    );
}

#[test]
fn the_server_explains_itself() {
    let server = StandIn::start();
    assert_eq!(
        succeed(&server, &["why", "foo"]),
        "foo: It did not answer its checks.\n"
    );
    let json: serde_json::Value =
        serde_json::from_str(&succeed(&server, &["why", "foo", "--json"])).unwrap();
    assert_eq!(json[0]["verdict"], "refused");
    assert_eq!(json[0]["since"], "2026-11-21T23:19:55.400000Z");
    assert_eq!(json[0]["until"], serde_json::Value::Null);
}

#[test]
fn the_record_is_read_page_by_page() {
    let server = StandIn::start();
    server.record((0, ""), &[STARTED, REFUSED, ALARM, ENABLED, STARTED]);
    let text = succeed(&server, &["log"]);
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(
        text.contains("2026-11-21T23:20:55Z  refused       foo  from fe80::1  disabled\n"),
        "{text}"
    );
    assert!(text.contains("bar  ALARM: second-request\n"), "{text}");
    let text = succeed(&server, &["log", "--client", "foo"]);
    assert!(
        text.contains("enabled       foo  by uid 0 (root)\n"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2, "{text}");
    let text = succeed(&server, &["log", "--last", "1", "--json"]);
    assert!(text.starts_with("{\"seq\":5,"), "{text}");
    assert!(
        text.ends_with(&format!("\"record\":{STARTED}}}\n")),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn what_is_recorded_is_followed() {
    let server = StandIn::start();
    server.record((0, ""), &[STARTED, REFUSED]);
    server.upcoming(&[ALARM, ENABLED]);
    let mut child = command(&server, &["log", "--follow", "--client", "foo"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<String> = lines.take(2).map(Result::unwrap).collect();
    assert!(lines[0].contains("refused"), "{lines:?}");
    // The alarm between them is about another machine.
    assert!(lines[1].contains("enabled"), "{lines:?}");
    // It outlives the server, and ends with the bus.
    drop(server.stop());
    assert_eq!(child.wait().unwrap().code(), Some(69));
}

#[test]
fn a_whole_record_is_verified_in_one_line() {
    let server = StandIn::start();
    let text = succeed(&server, &["log", "--verify"]);
    assert_eq!(text, "the audit log is whole: it is empty\n");
    let hash = "ab".repeat(32);
    for anchor in [(0, ""), (7, hash.as_str())] {
        server.record(anchor, &[STARTED, REFUSED, ALARM, ENABLED, STARTED]);
        let text = succeed(&server, &["log", "--verify"]);
        let first = anchor.0 + 1;
        let expected = format!(
            "the audit log is whole: 5 records, number {first} to {}",
            first + 4
        );
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
    let json: serde_json::Value =
        serde_json::from_str(&succeed(&server, &["log", "--verify", "--json"])).unwrap();
    assert_eq!((&json["whole"], &json["last"]), (&true.into(), &12.into()));
}

#[test]
fn a_record_that_was_touched_is_found() {
    let whole = || {
        let server = StandIn::start();
        server.record((0, ""), &[STARTED, REFUSED, ALARM, ENABLED, STARTED]);
        server
    };
    let verify = |server: &StandIn| run(server, &["log", "--verify"], "");
    let server = whole();
    server.tamper(1, |line| line.replace("refused", "released"));
    refused(
        &verify(&server),
        65,
        "record 2, or one before it, was changed",
    );
    let server = whole();
    server.lose(2);
    refused(
        &verify(&server),
        65,
        "record 3 is missing: the next one is 4",
    );
    let server = whole();
    server.lose(4);
    refused(
        &verify(&server),
        65,
        "ends with number 4, while the server states 5",
    );
}

#[test]
fn ten_thousand_machines_are_one_call() {
    let names: Vec<String> = (0..10_000)
        .map(|n| format!("machine-{n}.example"))
        .collect();
    let server = StandIn::with_clients(&names);
    for arguments in [&["list"][..], &["ctl"]] {
        let text = succeed(&server, arguments);
        assert_eq!(text.lines().count(), 10_001, "{arguments:?}");
    }
}

/// The stand-in knows no calls about named secrets, as an earlier version.
#[test]
fn an_earlier_server_keeps_no_named_secrets() {
    let server = StandIn::start();
    for arguments in [
        &["secret", "put", "a", "foo"][..],
        &["secret", "put", "a", "--all", "--no-approval", "--yes"],
        &["secret", "list"],
        &["secret", "remove", "a", "foo", "--yes"],
    ] {
        let output = run(&server, arguments, "value");
        let said = "this server keeps no named secrets: it is an earlier version";
        refused(&output, 69, said);
    }
    let output = run(&server, &["secret", "history", "a", "foo"], "");
    assert!(output.status.success(), "{output:?}");
}
