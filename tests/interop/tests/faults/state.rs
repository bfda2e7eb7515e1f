//! A disable that must not be forgotten: sections renamed and away, a configuration that is empty for a
//! moment, a state that was lost.

use std::fs;

use crate::house::{House, Machine, Server, fails};

/// Expires within seconds, and nobody checks it before.
const SHORT: &str = "timeout = PT2S\ninterval = PT1H\nchecker = false";

const RELOADED: &str = "configuration reloaded";
const LOST: &str = "the state was lost, or is older than it has been";

/// A server of two machines, of which the first has expired.
fn expired(house: &House) -> Server {
    let server = house.start(&[]);
    server.says("disabled client=\"a\"");
    server
}

#[test]
fn a_renamed_section_stays_disabled_over_reloads_and_restarts() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let house = House::new(&(a.section(SHORT) + &b.section("")));
    let server = expired(&house);
    let renamed = a.section(SHORT).replace("[a]", "[z]");
    house.write_clients(&(renamed + &b.section("")));
    server.reload();
    server.says(RELOADED);
    a.is_refused(&server, "client is disabled");
    b.is_served(&server);
    server.kill();
    drop(server);
    let renamed = a.section(SHORT).replace("[a]", "[y]");
    house.write_clients(&(b.section("") + &renamed));
    let server = house.start(&[]);
    a.is_refused(&server, "client is disabled");
    b.is_served(&server);
}

#[test]
fn a_configuration_that_is_empty_for_a_moment_forgets_nothing() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let both = a.section(SHORT) + &b.section("");
    let house = House::new(&both);
    let server = expired(&house);
    house.write_clients("");
    server.reload();
    server.says("not reloaded, everything stays as it was: 2 of the 2 known clients are missing");
    assert!(server.has_said("nightlatch reload --accept-fewer-clients"));
    b.is_served(&server);
    server.kill();
    drop(server);
    house.fails(
        78,
        &["2 of the 2 known clients are missing", "a, b", "hint: "],
    );
    let gone = house.conf().join("nowhere");
    fs::remove_file(house.clients_file()).unwrap();
    std::os::unix::fs::symlink(gone, house.clients_file()).unwrap();
    house.fails(78, &["clients.conf", "cannot be read"]);
    fs::remove_file(house.clients_file()).unwrap();
    fails(&house.run(&[]), 78, &["known clients are missing"]);
    // Even when it is meant, the disable is remembered.
    let server = house.start(&["--accept-fewer-clients"]);
    b.is_refused(&server, "unknown key");
    house.write_clients(&both);
    server.reload();
    server.says(RELOADED);
    a.is_refused(&server, "client is disabled");
    b.is_served(&server);
}

#[test]
fn a_first_start_is_none_of_this() {
    let a = Machine::new("a");
    let house = House::new("");
    let server = house.start(&[]);
    assert!(!server.has_said(LOST));
    house.write_clients(&a.section(""));
    server.reload();
    server.says(RELOADED);
    a.is_served(&server);
    server.kill();
    drop(server);
    let server = house.start(&[]);
    assert!(!server.has_said(LOST));
    a.is_served(&server);
}

#[test]
fn after_a_lost_state_nobody_is_served_before_a_person_has_looked() {
    let a = Machine::new("a");
    let house = House::new(&a.section(""));
    let losses: [fn(&House); 4] = [
        |house| fs::remove_file(house.state().join("nightlatch.db")).unwrap(),
        // Without its mark, but beside the server's key.
        |house| {
            fs::remove_file(house.state().join("nightlatch.db")).unwrap();
            fs::remove_file(house.state().join("generation")).unwrap();
            fs::remove_dir_all(house.file("state-mark")).unwrap();
        },
        // The whole folder: what is mounted there is away, say.
        |house| fs::remove_dir_all(house.state()).unwrap(),
        // All but the second mark, by a backup that knew nothing.
        |house| {
            for entry in fs::read_dir(house.state()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        },
    ];
    for (number, lose) in losses.into_iter().enumerate() {
        // A state that nobody doubts.
        let _ = fs::remove_dir_all(house.state());
        let _ = fs::remove_dir_all(house.file("state-mark"));
        let server = house.start(&[]);
        a.is_served(&server);
        assert!(server.running.terminate().status.success());
        lose(&house);
        for _ in 0..2 {
            let server = house.start(&[]);
            a.is_refused(&server, "client is disabled");
            server.kill();
        }
        eprintln!("loss {number} noticed");
    }
}
