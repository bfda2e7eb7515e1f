//! A stock server whose clients were administered over D-Bus, and its import into ours.

use std::fs;

use nightlatch_core::checker::LastCheck;
use nightlatch_core::client::saved::ClientPresence;
use nightlatch_core::time::Wall;
use nightlatch_interop::administered::Administered;
use nightlatch_interop::client;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::{ExpectedRefusal, TestServer};

use crate::fixture::{Move, UP, errors, listing, python};

/// The time at which a client expires, in microseconds since 1970, as Python reads the state.
const EXPIRES: &str = "
import datetime, pickle, sys
clients, _ = pickle.load(open(sys.argv[1], 'rb'))
expires = clients['tower']['expires'] - datetime.datetime(1970, 1, 1)
print(expires // datetime.timedelta(microseconds=1))
";

/// Changes a client that is enabled: its time ran out a while ago, though its last check was good.
const EXPIRE: &str = "
import datetime, pickle, sys
clients, settings = pickle.load(open(sys.argv[1], 'rb'))
client = clients['tower']
assert client['enabled']
client['last_checker_status'] = 0
client['expires'] = datetime.datetime.utcnow() - datetime.timedelta(seconds=1)
pickle.dump((clients, settings), open(sys.argv[1], 'wb'), protocol=2)
";

fn machine(name: &str) -> TestMachine {
    let password = format!("the password of {name}");
    TestMachine::new(
        name,
        Project::Ours,
        MachineKeys::Curve25519,
        password.as_bytes(),
    )
}

fn ctl(fixture: &Administered, arguments: &[&str]) {
    let output = fixture.mandos_ctl(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        errors(&output)
    );
}

fn assert_served(machine: &TestMachine, server: &TestServer, password: &[u8]) {
    let output = client::fetch(Project::Ours, machine, &server.address());
    assert_eq!(output.stdout, password, "{}", errors(&output));
}

fn assert_refused(machine: &TestMachine, server: &TestServer, refusal: ExpectedRefusal) {
    let client = client::start(Project::Ours, machine, &server.address());
    server.wait_for_refusal(refusal);
    assert_eq!(client.terminate().stdout, b"");
}

#[test]
fn everything_an_administrator_did_is_still_done() {
    let [tower, retired, rotated, gone] = ["tower", "retired", "rotated", "gone"].map(machine);
    // The secret is so long that the state stores it differently.
    let long = "bG9uZw".repeat(600);
    let long = format!("[long]\nfingerprint =\nsecret = {long}\n{UP}\n");
    let sections = [&tower, &retired, &rotated, &gone].map(|it| it.section(UP));
    // The same password as before, in another message to the same key.
    let new = rotated.payload_of_gnupg(Some(&rotated));
    let fixture = Move::of_story(&format!("{}{long}", sections.concat()), |fixture| {
        ctl(fixture, &["--disable", "retired"]);
        ctl(fixture, &["--remove", "gone"]);
        ctl(
            fixture,
            &["--timeout", "PT2H", "--host", "elsewhere", "tower"],
        );
        ctl(fixture, &["--secret", new.to_str().unwrap(), "rotated"]);
        for name in ["tower", "rotated", "long"] {
            fixture.server.running().wait_for("a check", |line| {
                (line.contains(name) && line.contains("succeeded")).then_some(())
            });
        }
    });
    let originals = listing(&fixture.from(""));

    let told = fixture.import(&[]);
    assert!(told.status.success() && listing(&fixture.to("")).is_empty());
    assert!(errors(&told).contains("nothing was changed"));
    let told = String::from_utf8(told.stdout).unwrap();
    assert_eq!(fixture.succeed(&[]), told, "it does what it said");
    for line in [
        "retired: disabled\n",
        "gone: removed, and stays so\n",
        "long: enabled until ",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let line = |name: &str| {
        told.lines()
            .find(|line| line.trim().starts_with(name))
            .unwrap()
    };
    assert!(
        line("tower").ends_with("changed at run time: host, timeout"),
        "{told}"
    );
    assert!(
        line("rotated").ends_with("changed at run time: secret"),
        "{told}"
    );
    assert_eq!(
        listing(&fixture.from("")),
        originals,
        "originals are as they were"
    );

    let expires: i64 = python(EXPIRES, &[&fixture.pickle()])
        .trim()
        .parse()
        .unwrap();
    let state = fixture.present("tower").state;
    let deadline = state.deadline.unwrap().wall;
    assert!(deadline.since(Wall::from_unix_micros(expires)).as_micros() == 0);
    assert!(
        Wall::from_unix_micros(expires).since(deadline).as_micros() < 2,
        "whole microseconds"
    );
    assert_eq!(state.last_check, LastCheck::Exited(0));
    assert!(state.last_checked_ok.is_some() && state.last_enabled.is_some());
    assert_eq!(fixture.present("tower").settings.host, "elsewhere");
    assert_eq!(
        fixture.saved("gone").unwrap().presence,
        ClientPresence::Removed
    );
    let secret = fixture.present("rotated").secret.clone();
    assert_eq!(secret.unwrap().expose(), fs::read(&new).unwrap());
    assert_eq!(fixture.present("long").secret, None);

    let server = fixture.serve();
    assert_served(&tower, &server, &tower.password);
    assert_served(&rotated, &server, &rotated.password);
    assert_refused(&retired, &server, ExpectedRefusal::Disabled);
    assert_refused(&gone, &server, ExpectedRefusal::UnknownKey);
    // And stays so.
    let server = server.restart();
    assert_refused(&retired, &server, ExpectedRefusal::Disabled);
    assert_served(&tower, &server, &tower.password);
}

#[test]
fn whose_time_ran_out_is_disabled_although_mandos_would_renew_it() {
    let tower = machine("tower");
    let fixture = Move::of_stock(&tower.section(UP));
    python(EXPIRE, &[&fixture.pickle()]);
    let told = fixture.succeed(&[]);
    assert!(
        told.contains("tower: disabled, its time ran out at "),
        "{told}"
    );
    assert!(told.contains("the time of 1 ran out"), "{told}");
    let server = fixture.serve();
    assert_refused(&tower, &server, ExpectedRefusal::Disabled);
}

#[test]
fn a_client_that_was_enabled_in_the_file_since_stays_disabled() {
    let tower = machine("tower");
    let fixture = Move::of_stock(&tower.section("enabled = False"));
    fs::write(
        fixture.from("etc/mandos/clients.conf"),
        tower.section("enabled = True"),
    )
    .unwrap();
    assert!(fixture.succeed(&[]).contains("tower: disabled"));
    let server = fixture.serve();
    assert_refused(&tower, &server, ExpectedRefusal::Disabled);
}

#[test]
fn a_check_that_was_killed_is_told_from_one_that_failed() {
    let killed = machine("killed").section("checker = kill -9 $$\ninterval = PT1S\ntimeout = PT1H");
    let fixture = Move::of_story(&killed, |fixture| {
        fixture
            .server
            .running()
            .wait_for("the killed check", |line| {
                line.contains("crashed").then_some(())
            });
    });
    fixture.succeed(&[]);
    let last = fixture.present("killed").state.last_check;
    assert!(matches!(last, LastCheck::Signaled(_)), "{last:?}");
}
