//! A faulty configuration or command line: refused whole, every fault named with its place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::fixture::{Machine, SECRET_BASE64, ServerFolders, fails, give, write_private};

fn expose(path: &std::path::Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn clients_that_others_can_read_are_refused_with_the_remedy() {
    let fixture = ServerFolders::new(&Machine::new("a").section(""));
    expose(&fixture.clients_file());
    let hint = format!("hint: chmod 600 {}", fixture.clients_file().display());
    fixture.fails(78, &["others can read it (mode 0644)", &hint]);
}

#[test]
fn a_secret_file_must_be_there_private_and_full() {
    let section = |file: &std::path::Path| {
        let text = Machine::new("a").section("");
        let secret = format!("secret = {SECRET_BASE64}");
        text.replace(&secret, &format!("secfile = {}", file.display()))
    };
    let fixture = ServerFolders::new("");
    let file = fixture.file("a.secret");
    fixture.write_clients(&section(&file));
    let place = format!("{}:1: [a] secfile: ", fixture.clients_file().display());
    let place = place.replace(":1:", ":3:");
    fixture.fails(78, &[&place, "cannot be read", "No such file"]);
    write_private(&file, b"");
    fixture.fails(78, &[&place, "found an empty file"]);
    write_private(&file, b"secret");
    expose(&file);
    fixture.fails(78, &["a.secret", "others can read it", "hint: chmod 600"]);
    write_private(&file, b"secret");
    give(&file);
    drop(fixture.start(&[]));
}

#[test]
fn every_fault_is_reported_at_once() {
    let fixture = ServerFolders::new("[a]\nsecret = *\ntimeout = soon\n\n[b]\ninterval = never\n");
    fixture.write_server("port = many\n");
    let output = fixture.run(&[]);
    let file = fixture.clients_file().display().to_string();
    let expected = [
        "nightlatch.conf:2: [DEFAULT] port",
        &format!("{file}:2: [a] secret"),
        &format!("{file}:3: [a] timeout"),
        &format!("{file}:6: [b] interval"),
        "faults",
    ];
    fails(&output, 78, &expected);
    fails(&fixture.run(&["--check-config"]), 78, &expected);
}

#[test]
fn check_config_says_what_it_read_and_changes_nothing() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let fixture = ServerFolders::new(&(a.section("") + &b.section("enabled = no")));
    let output = fixture.run(&["--check-config"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(&format!("{}: read", fixture.clients_file().display())));
    assert!(
        said.contains("clients: 2, of which 1 start enabled"),
        "{said}"
    );
    assert_eq!(fs::read_dir(fixture.state()).unwrap().count(), 0);
}

#[test]
fn a_priority_that_means_nothing_is_refused() {
    let fixture = ServerFolders::new("");
    fails(
        &fixture.run(&["--priority", "SOMETIMES"]),
        64,
        &["priority: ", "SOMETIMES"],
    );
    let checked = fixture.run(&["--check-config", "--priority", "SOMETIMES"]);
    fails(&checked, 64, &["SOMETIMES"]);
}

#[test]
fn a_server_that_nobody_could_find_is_refused() {
    let fixture = ServerFolders::new("");
    let mut command = std::process::Command::new(nightlatch_interop::programs::ours("nightlatchd"));
    command.arg("--configdir").arg(fixture.conf());
    command.arg("--statedir").arg(fixture.state());
    command
        .args(["--no-zeroconf", "--no-dbus"])
        .stdin(Stdio::null());
    fails(&command.output().unwrap(), 64, &["zeroconf", "port"]);
}

/// A file of `clients.d` that the service may read.
fn put(fixture: &ServerFolders, name: &str, text: &str) {
    let folder = fixture.conf().join("clients.d");
    fs::create_dir_all(&folder).unwrap();
    give(&folder);
    // Written beside it, for what is found in there is counted.
    let unborn = fixture.file("unborn");
    write_private(&unborn, text.as_bytes());
    give(&unborn);
    fs::rename(unborn, folder.join(name)).unwrap();
}

#[test]
fn leftovers_in_clients_d_are_left_out_with_a_line_each() {
    let a = Machine::new("a");
    let fixture = ServerFolders::new("");
    put(&fixture, "web1.conf", &a.section(""));
    put(&fixture, "web1.conf~", "no section at all");
    put(&fixture, "web1.conf.dpkg-old", &a.section(""));
    put(&fixture, "web1.conf.rpmnew", &a.section(""));
    let inside = |name: &str| fixture.conf().join("clients.d").join(name);
    // Emacs makes such a link while it edits a file.
    std::os::unix::fs::symlink("root@host.4711:1700000000", inside(".#web1.conf")).unwrap();
    std::os::unix::fs::symlink("/nonexistent/web2.conf", inside("web2.conf")).unwrap();
    let checked = fixture.run(&["--check-config"]);
    assert!(checked.status.success(), "{checked:?}");
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(said.contains("clients: 1, of which 1 start"), "{said}");
    let server = fixture.start(&[]);
    for name in [
        ".#web1.conf",
        "web1.conf~",
        "web1.conf.dpkg-old",
        "web1.conf.rpmnew",
        "web2.conf",
    ] {
        let line = format!("{}: left out", inside(name).display());
        assert!(said.contains(&line), "{line} is not in:\n{said}");
        assert!(server.has_said(&line), "{line}");
    }
    a.is_served(&server);
    server.reload();
    server.says("configuration reloaded");
    a.is_served(&server);
}

#[test]
fn a_faulty_file_in_clients_d_takes_nothing_from_the_others_at_the_start() {
    let (a, b, c) = (Machine::new("a"), Machine::new("b"), Machine::new("c"));
    let fixture = ServerFolders::new(&c.section(""));
    put(&fixture, "a.conf", &a.section(""));
    put(&fixture, "b.conf", &b.section("timeout = soon"));
    let place = format!(
        "{}:5: [b] timeout",
        fixture.conf().join("clients.d/b.conf").display()
    );
    fails(&fixture.run(&["--check-config"]), 78, &[&place]);
    let server = fixture.start(&[]);
    assert!(server.has_said(&place) && server.has_said("this file is not used"));
    a.is_served(&server);
    c.is_served(&server);
    b.is_refused(&server, "unknown key");
    // At a reload nothing changes.
    put(&fixture, "a.conf", &a.section("enabled = no"));
    server.reload();
    server.says("not reloaded, everything stays as it was");
    a.is_served(&server);
    put(&fixture, "b.conf", &b.section(""));
    server.reload();
    server.says("configuration reloaded");
    b.is_served(&server);
    a.is_refused(&server, "client is disabled");
}

#[test]
fn a_secret_that_cannot_be_read_takes_its_own_file_only() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let fixture = ServerFolders::new("");
    put(&fixture, "a.conf", &a.section(""));
    let secret = fixture.file("b.secret");
    let text = b.section("").replace(
        &format!("secret = {SECRET_BASE64}"),
        &format!("secfile = {}", secret.display()),
    );
    put(&fixture, "b.conf", &text);
    drop(fixture.start(&[]));
    write_private(&secret, b"secret");
    expose(&secret);
    let server = fixture.start(&[]);
    assert!(server.has_said("others can read it"));
    a.is_served(&server);
}

#[test]
fn a_clients_conf_that_leads_nowhere_is_not_the_same_as_none() {
    let a = Machine::new("a");
    let fixture = ServerFolders::new("");
    put(&fixture, "a.conf", &a.section(""));
    fs::remove_file(fixture.clients_file()).unwrap();
    drop(fixture.start(&[]));
    std::os::unix::fs::symlink("/nonexistent/clients.conf", fixture.clients_file()).unwrap();
    fixture.fails(78, &["clients.conf", "cannot be read"]);
}

#[test]
fn defaults_of_one_file_of_clients_d_are_no_other_files() {
    // Without a clients.conf, the first file would otherwise stand for it, and with it away the next.
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let fixture = ServerFolders::new("");
    fs::remove_file(fixture.clients_file()).unwrap();
    put(
        &fixture,
        "a.conf",
        &format!("[DEFAULT]\nenabled = no\n{}", a.section("")),
    );
    put(&fixture, "b.conf", &b.section(""));
    let said = String::from_utf8(fixture.run(&["--check-config"]).stdout).unwrap();
    assert!(
        said.contains("clients: 2, of which 1 start enabled"),
        "{said}"
    );
}

#[test]
fn a_priority_line_that_cannot_be_honoured_is_named_with_its_place() {
    for line in [
        "priority = SOMETIMES",
        // The example in the stock file of old versions.
        "priority = SECURE256:!CTYPE-X.509:+CTYPE-OPENPGP:!RSA:+SIGN-DSA-SHA256",
    ] {
        let fixture = ServerFolders::new("");
        fixture.write_server(line);
        let place = "nightlatch.conf:2: [DEFAULT] priority: ";
        fixture.fails(78, &[place, "hint: leave the line out"]);
        fails(&fixture.run(&["--check-config"]), 78, &[place]);
    }
}

#[test]
fn output_that_cannot_be_written_is_said_by_every_program() {
    let fixture = ServerFolders::new(&Machine::new("a").section(""));
    let conf = fixture.conf().display().to_string();
    let full = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let asked: [(&str, &[&str]); 9] = [
        ("nightlatchd", &["--check-config", "--configdir", &conf]),
        ("nightlatchd", &["--check"]),
        ("nightlatchd", &["--help"]),
        ("nightlatch", &["--help"]),
        ("nightlatch", &["--version"]),
        ("nightlatch", &["completions", "bash"]),
        ("nightlatch", &["check-config", &conf]),
        ("nightlatch-boot", &["--help"]),
        ("nightlatch-boot", &["client", "--version"]),
    ];
    for (program, arguments) in asked {
        let mut command = std::process::Command::new(nightlatch_interop::programs::ours(program));
        command.args(arguments).stdin(Stdio::null()).stdout(full());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let status = output.status.code();
        assert!(
            matches!(status, Some(1..=100)) && said.contains("cannot write to standard output"),
            "{program} {arguments:?}: {status:?}, {said}"
        );
    }
}

#[test]
fn a_full_standard_error_is_no_fault_of_the_program() {
    let fixture = ServerFolders::new("[a]\ntimeout = soon\n");
    for arguments in [&["--check-config"][..], &["--no-such-option"], &[]] {
        let mut command = fixture.command();
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = command.args(arguments).stdin(Stdio::null()).stderr(full);
        let status = output.output().unwrap().status.code();
        assert!(matches!(status, Some(64 | 78)), "{arguments:?}: {status:?}");
    }
}

#[test]
fn what_is_no_duration_is_quoted_with_what_is_missing() {
    for (value, expected) in [
        ("300", "found \"300\": 300 needs a unit"),
        ("5min", "found \"5min\": \"min\" is no unit"),
        (
            "PT5M ; five minutes",
            "a comment must have a line of its own",
        ),
    ] {
        let fixture = ServerFolders::new(&Machine::new("a").section(&format!("timeout = {value}")));
        fixture.fails(78, &["clients.conf:", "[a] timeout: ", expected]);
    }
    let fixture = ServerFolders::new("");
    fixture.write_server("max_connections = 5 # a few\nkeep_records = 30");
    let expected = [
        "nightlatch.conf:2: [DEFAULT] max_connections",
        "found \"5 # a few\": a comment must have a line of its own",
        "nightlatch.conf:3: [DEFAULT] keep_records",
        "30 needs a unit",
    ];
    fixture.fails(78, &expected);
}
