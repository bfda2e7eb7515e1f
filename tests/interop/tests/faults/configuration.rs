//! A faulty configuration or command line: refused whole, every fault named with its place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::house::{House, Machine, SECRET_BASE64, fails, give, write_private};

fn expose(path: &std::path::Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn clients_that_others_can_read_are_refused_with_the_remedy() {
    let house = House::new(&Machine::new("a").section(""));
    expose(&house.clients_file());
    let hint = format!("hint: chmod 600 {}", house.clients_file().display());
    house.fails(78, &["others can read it (mode 0644)", &hint]);
}

#[test]
fn a_secret_file_must_be_there_private_and_full() {
    let section = |file: &std::path::Path| {
        let text = Machine::new("a").section("");
        let secret = format!("secret = {SECRET_BASE64}");
        text.replace(&secret, &format!("secfile = {}", file.display()))
    };
    let house = House::new("");
    let file = house.file("a.secret");
    house.write_clients(&section(&file));
    let place = format!("{}:1: [a] secfile: ", house.clients_file().display());
    let place = place.replace(":1:", ":3:");
    house.fails(78, &[&place, "cannot be read", "No such file"]);
    write_private(&file, b"");
    house.fails(78, &[&place, "found an empty file"]);
    write_private(&file, b"secret");
    expose(&file);
    house.fails(78, &["a.secret", "others can read it", "hint: chmod 600"]);
    write_private(&file, b"secret");
    give(&file);
    drop(house.start(&[]));
}

#[test]
fn every_fault_is_reported_at_once() {
    let house = House::new("[a]\nsecret = *\ntimeout = soon\n\n[b]\ninterval = never\n");
    house.write_server("port = many\n");
    let output = house.run(&[]);
    let file = house.clients_file().display().to_string();
    let expected = [
        "nightlatch.conf:2: [DEFAULT] port",
        &format!("{file}:2: [a] secret"),
        &format!("{file}:3: [a] timeout"),
        &format!("{file}:6: [b] interval"),
        "faults",
    ];
    fails(&output, 78, &expected);
    fails(&house.run(&["--check-config"]), 78, &expected);
}

#[test]
fn check_config_says_what_it_read_and_changes_nothing() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let house = House::new(&(a.section("") + &b.section("enabled = no")));
    let output = house.run(&["--check-config"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(&format!("{}: read", house.clients_file().display())));
    assert!(
        said.contains("clients: 2, of which 1 start enabled"),
        "{said}"
    );
    assert_eq!(fs::read_dir(house.state()).unwrap().count(), 0);
}

#[test]
fn a_priority_that_means_nothing_is_refused() {
    let house = House::new("");
    fails(
        &house.run(&["--priority", "SOMETIMES"]),
        64,
        &["priority: ", "SOMETIMES"],
    );
    let checked = house.run(&["--check-config", "--priority", "SOMETIMES"]);
    fails(&checked, 64, &["SOMETIMES"]);
}

#[test]
fn a_server_that_nobody_could_find_is_refused() {
    let house = House::new("");
    let mut command = std::process::Command::new(nightlatch_interop::programs::ours("nightlatchd"));
    command.arg("--configdir").arg(house.conf());
    command.arg("--statedir").arg(house.state());
    command
        .args(["--no-zeroconf", "--no-dbus"])
        .stdin(Stdio::null());
    fails(&command.output().unwrap(), 64, &["zeroconf", "port"]);
}
