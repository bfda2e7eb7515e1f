//! A disable that must not be forgotten: sections renamed and away, a configuration that is empty for a
//! moment, a state that was lost.

use std::fs;

use crate::fixture::{Machine, Server, ServerFolders, fails};

/// Expires within seconds, and nobody checks it before.
const SHORT: &str = "timeout = PT2S\ninterval = PT1H\nchecker = false";

const RELOADED: &str = "configuration reloaded";
const LOST: &str = "the state was lost, or is older than it has been";

/// A server of two machines, of which the first has expired.
fn expired(fixture: &ServerFolders) -> Server {
    let server = fixture.start(&[]);
    server.says("disabled client=\"a\"");
    server
}

#[test]
fn a_renamed_section_stays_disabled_over_reloads_and_restarts() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let fixture = ServerFolders::new(&(a.section(SHORT) + &b.section("")));
    let server = expired(&fixture);
    let renamed = a.section(SHORT).replace("[a]", "[z]");
    fixture.write_clients(&(renamed + &b.section("")));
    server.reload();
    server.says(RELOADED);
    a.is_refused(&server, "client is disabled");
    b.is_served(&server);
    server.kill();
    drop(server);
    let renamed = a.section(SHORT).replace("[a]", "[y]");
    fixture.write_clients(&(b.section("") + &renamed));
    let server = fixture.start(&[]);
    a.is_refused(&server, "client is disabled");
    b.is_served(&server);
}

#[test]
fn a_configuration_that_is_empty_for_a_moment_forgets_nothing() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let both = a.section(SHORT) + &b.section("");
    let fixture = ServerFolders::new(&both);
    let server = expired(&fixture);
    fixture.write_clients("");
    server.reload();
    server.says("not reloaded, everything stays as it was: 2 of the 2 known clients are missing");
    assert!(server.has_said("nightlatch reload --accept-fewer-clients"));
    b.is_served(&server);
    server.kill();
    drop(server);
    fixture.fails(
        78,
        &["2 of the 2 known clients are missing", "a, b", "hint: "],
    );
    let gone = fixture.conf().join("nowhere");
    fs::remove_file(fixture.clients_file()).unwrap();
    std::os::unix::fs::symlink(gone, fixture.clients_file()).unwrap();
    fixture.fails(78, &["clients.conf", "cannot be read"]);
    fs::remove_file(fixture.clients_file()).unwrap();
    fails(&fixture.run(&[]), 78, &["known clients are missing"]);
    // Even when it is meant, the disable is remembered.
    let server = fixture.start(&["--accept-fewer-clients"]);
    b.is_refused(&server, "unknown key");
    fixture.write_clients(&both);
    server.reload();
    server.says(RELOADED);
    a.is_refused(&server, "client is disabled");
    b.is_served(&server);
}

#[test]
fn a_first_start_is_none_of_this() {
    let a = Machine::new("a");
    let fixture = ServerFolders::new("");
    let server = fixture.start(&[]);
    assert!(!server.has_said(LOST));
    fixture.write_clients(&a.section(""));
    server.reload();
    server.says(RELOADED);
    a.is_served(&server);
    server.kill();
    drop(server);
    let server = fixture.start(&[]);
    assert!(!server.has_said(LOST));
    a.is_served(&server);
}

#[test]
fn after_a_lost_state_nobody_is_served_before_a_person_has_looked() {
    let a = Machine::new("a");
    let fixture = ServerFolders::new(&a.section(""));
    let losses: [fn(&ServerFolders); 4] = [
        |fixture| fs::remove_file(fixture.state().join("nightlatch.db")).unwrap(),
        // Without its mark, but beside the server's key.
        |fixture| {
            fs::remove_file(fixture.state().join("nightlatch.db")).unwrap();
            fs::remove_file(fixture.state().join("generation")).unwrap();
            fs::remove_dir_all(fixture.file("state-mark")).unwrap();
        },
        // The whole folder: what is mounted there is away, say.
        |fixture| fs::remove_dir_all(fixture.state()).unwrap(),
        // All but the second mark, by a backup that knew nothing.
        |fixture| {
            for entry in fs::read_dir(fixture.state()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        },
    ];
    for (number, lose) in losses.into_iter().enumerate() {
        // A state that nobody doubts.
        let _ = fs::remove_dir_all(fixture.state());
        let _ = fs::remove_dir_all(fixture.file("state-mark"));
        let server = fixture.start(&[]);
        a.is_served(&server);
        assert!(server.running.terminate().status.success());
        lose(&fixture);
        for _ in 0..2 {
            let server = fixture.start(&[]);
            a.is_refused(&server, "client is disabled");
            server.kill();
        }
        eprintln!("loss {number} noticed");
    }
}
