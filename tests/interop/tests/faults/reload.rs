//! SIGHUP: what is right applies at once, what is wrong changes nothing.

use crate::fixture::{Machine, ServerFolders, service, write_private};

const RELOADED: &str = "configuration reloaded";

#[test]
fn clients_are_added_changed_and_removed() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let fixture = ServerFolders::new(&a.section(""));
    let server = fixture.start(&[]);
    a.is_served(&server);
    b.is_refused(&server, "unknown key");
    fixture.write_clients(&(a.section("enabled = no") + &b.section("")));
    server.reload();
    server.says(RELOADED);
    assert!(server.has_said("disabled client=\"a\""));
    assert!(server.has_said("new client client=\"b\""));
    a.is_refused(&server, "client is disabled");
    b.is_served(&server);
    fixture.write_clients(&a.section("enabled = yes"));
    server.reload();
    server.says("client removed client=\"b\"");
    server.says("enabled client=\"a\"");
    b.is_refused(&server, "unknown key");
    a.is_served(&server);
}

#[test]
fn a_faulty_file_changes_nothing_and_is_named() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let fixture = ServerFolders::new(&a.section(""));
    let server = fixture.start(&[]);
    fixture.write_clients(&(a.section("enabled = no") + &b.section("timeout = soon")));
    server.reload();
    server.says("not reloaded, everything stays as it was");
    let place = format!("{}:10: [b] timeout", fixture.clients_file().display());
    assert!(server.has_said(&place), "{:#?}", server.running.log());
    a.is_served(&server);
    b.is_refused(&server, "unknown key");
    assert!(!server.has_said(RELOADED));
}

#[test]
fn a_file_that_only_root_can_read_asks_for_a_restart() {
    if service().is_none() {
        nightlatch_test_support::skipped("makes a file that only root can read: needs root");
        return;
    }
    let a = Machine::new("a");
    let fixture = ServerFolders::new(&a.section(""));
    let server = fixture.start(&[]);
    let file = fixture.clients_file();
    write_private(&file, b"");
    std::os::unix::fs::chown(&file, Some(0), Some(0)).unwrap();
    server.reload();
    server.says("not reloaded");
    assert!(server.has_said("clients.conf: cannot be read"));
    assert!(server.has_said("restart the server, which reads it as root"));
    a.is_served(&server);
}
