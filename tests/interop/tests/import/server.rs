//! A stock server whose clients were administered over D-Bus, and what ours makes of it.

use std::fs;

use nightlatch_core::checker::LastCheck;
use nightlatch_core::client::saved::Life;
use nightlatch_core::time::Wall;
use nightlatch_interop::administered::Administered;
use nightlatch_interop::client;
use nightlatch_interop::machine::{Keys, Machine};
use nightlatch_interop::programs::Whose;
use nightlatch_interop::server::{Refusal, Server};

use crate::house::{Move, UP, errors, listing, python};

/// When a client expires, in microseconds since 1970, as Python reads the state.
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

fn machine(name: &str) -> Machine {
    let password = format!("the password of {name}");
    Machine::new(name, Whose::Ours, Keys::Curve25519, password.as_bytes())
}

fn ctl(house: &Administered, arguments: &[&str]) {
    let output = house.mandos_ctl(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        errors(&output)
    );
}

fn assert_served(machine: &Machine, server: &Server, password: &[u8]) {
    let output = client::fetch(Whose::Ours, machine, &server.address());
    assert_eq!(output.stdout, password, "{}", errors(&output));
}

fn assert_refused(machine: &Machine, server: &Server, refusal: Refusal) {
    let client = client::start(Whose::Ours, machine, &server.address());
    server.wait_for_refusal(refusal);
    assert_eq!(client.terminate().stdout, b"");
}

#[test]
fn everything_an_administrator_did_is_still_done() {
    let [tower, retired, rotated, gone] = ["tower", "retired", "rotated", "gone"].map(machine);
    // A client whose secret is long enough to be written otherwise in the state.
    let long = "bG9uZw".repeat(600);
    let long = format!("[long]\nfingerprint =\nsecret = {long}\n{UP}\n");
    let sections = [&tower, &retired, &rotated, &gone].map(|it| it.section(UP));
    // The same password as before, in another message to the same key.
    let new = rotated.payload_of_gnupg(Some(&rotated));
    let house = Move::of_story(&format!("{}{long}", sections.concat()), |house| {
        ctl(house, &["--disable", "retired"]);
        ctl(house, &["--remove", "gone"]);
        ctl(
            house,
            &["--timeout", "PT2H", "--host", "elsewhere", "tower"],
        );
        ctl(house, &["--secret", new.to_str().unwrap(), "rotated"]);
        for name in ["tower", "rotated", "long"] {
            house.server.running().wait_for("a check", |line| {
                (line.contains(name) && line.contains("succeeded")).then_some(())
            });
        }
    });
    let originals = listing(&house.from(""));

    let told = house.import(&[]);
    assert!(told.status.success() && listing(&house.to("")).is_empty());
    assert!(errors(&told).contains("nothing was changed"));
    let told = String::from_utf8(told.stdout).unwrap();
    assert_eq!(house.succeed(&[]), told, "it does what it said");
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
        listing(&house.from("")),
        originals,
        "originals are as they were"
    );

    let expires: i64 = python(EXPIRES, &[&house.pickle()]).trim().parse().unwrap();
    let state = house.present("tower").state;
    let deadline = state.deadline.unwrap().wall;
    assert!(deadline.since(Wall::from_unix_micros(expires)).as_micros() == 0);
    assert!(
        Wall::from_unix_micros(expires).since(deadline).as_micros() < 2,
        "whole microseconds"
    );
    assert_eq!(state.last_check, LastCheck::Exited(0));
    assert!(state.last_checked_ok.is_some() && state.last_enabled.is_some());
    assert_eq!(house.present("tower").settings.host, "elsewhere");
    assert_eq!(house.saved("gone").unwrap().life, Life::Removed);
    let secret = house.present("rotated").secret.clone();
    assert_eq!(secret.unwrap().expose(), fs::read(&new).unwrap());
    assert_eq!(house.present("long").secret, None);

    let server = house.serve();
    assert_served(&tower, &server, &tower.password);
    assert_served(&rotated, &server, &rotated.password);
    assert_refused(&retired, &server, Refusal::Disabled);
    assert_refused(&gone, &server, Refusal::UnknownKey);
    // And stays so.
    let server = server.restart();
    assert_refused(&retired, &server, Refusal::Disabled);
    assert_served(&tower, &server, &tower.password);
}

#[test]
fn whose_time_ran_out_is_disabled_although_mandos_would_renew_it() {
    let tower = machine("tower");
    let house = Move::of_stock(&tower.section(UP));
    python(EXPIRE, &[&house.pickle()]);
    let told = house.succeed(&[]);
    assert!(
        told.contains("tower: disabled, its time ran out at "),
        "{told}"
    );
    assert!(told.contains("the time of 1 ran out"), "{told}");
    let server = house.serve();
    assert_refused(&tower, &server, Refusal::Disabled);
}

#[test]
fn a_client_that_was_enabled_in_the_file_since_stays_disabled() {
    let tower = machine("tower");
    let house = Move::of_stock(&tower.section("enabled = False"));
    fs::write(
        house.from("etc/mandos/clients.conf"),
        tower.section("enabled = True"),
    )
    .unwrap();
    assert!(house.succeed(&[]).contains("tower: disabled"));
    let server = house.serve();
    assert_refused(&tower, &server, Refusal::Disabled);
}

#[test]
fn a_check_that_was_killed_is_told_from_one_that_failed() {
    let killed = machine("killed").section("checker = kill -9 $$\ninterval = PT1S\ntimeout = PT1H");
    let house = Move::of_story(&killed, |house| {
        house.server.running().wait_for("the killed check", |line| {
            line.contains("crashed").then_some(())
        });
    });
    house.succeed(&[]);
    let last = house.present("killed").state.last_check;
    assert!(matches!(last, LastCheck::Signaled(_)), "{last:?}");
}
