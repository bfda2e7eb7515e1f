//! `nightlatch secret` against a server: put, listed, followed, refused and removed.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::machine::host_openpgp;
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::pty::Terminal;
use nightlatch_test_support::programs;
use serde_json::Value;

const SETTINGS: &str = "timeout = P1D\ninterval = PT12H\n";

/// A server, and an administrator with a home and an admin key.
struct Desk {
    site: Administered,
    home: tempfile::TempDir,
}

impl Desk {
    fn new(sections: &str) -> Self {
        Self::with(Project::Ours, sections)
    }

    fn with(project: Project, sections: &str) -> Self {
        let desk = Self {
            site: Administered::start(project, sections),
            home: tempfile::tempdir().unwrap(),
        };
        let made = desk.run(&["admin-key", "new", "--no-passphrase"], b"");
        assert!(made.status.success(), "{}", said(&made));
        desk
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        programs::run(&mut self.command(arguments), input)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ours("nightlatch"));
        command.args(arguments).current_dir(self.home.path());
        command.env("HOME", self.home.path());
        command.env_remove("XDG_CONFIG_HOME");
        self.site.on_bus(&mut command);
        command
    }

    /// Runs it and returns what it said.
    fn succeed(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    /// Runs it, and returns what it said when it failed.
    fn fail(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.run(arguments, input);
        assert!(!output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    /// Runs it, and returns what it printed.
    fn print(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the server keeps.
    fn list(&self) -> Vec<Value> {
        let output = self.run(&["secret", "list", "--json"], b"");
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The section of a machine with host keys, whose OpenPGP key is new.
fn with_host_key(name: &str) -> String {
    let id = format!("{:0>2x}", name.bytes().map(u32::from).sum::<u32>() % 251).repeat(32);
    section(
        name,
        &format!(
            "{SETTINGS}host_key_id = {id}\nhost_openpgp = {}",
            host_openpgp().1
        ),
    )
}

#[test]
fn secrets_are_put_listed_followed_and_removed() {
    let sections = ["web1", "web2"].map(with_host_key);
    let desk = Desk::new(&format!(
        "{}{}",
        sections.concat(),
        section("old", SETTINGS)
    ));
    let put = ["secret", "put", "tls.key", "web*", "--yes"];
    let dry = [&put[..], &["--dry-run"]].concat();
    let told = desk.succeed(&dry, b"secret value");
    assert!(
        told.contains("the server would take tls.key for web1, web2"),
        "{told}"
    );
    assert!(desk.list().is_empty());
    assert!(!desk.at(".config/nightlatch/known-hosts").exists());

    let told = desk.succeed(&put, b"secret value");
    assert!(told.contains("pinned the new OpenPGP key"), "{told}");
    assert!(told.contains("put tls.key for web1, web2"), "{told}");
    let list = desk.list();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["client"], "web1");
    assert_eq!(list[0]["name"], "tls.key");
    assert_eq!(list[0]["source"], "runtime");

    let older = [&put[..], &["--serial", "1"]].concat();
    let told = desk.fail(&older, b"older");
    assert!(told.contains("web1: ") && told.contains("web2: "), "{told}");
    assert_eq!(desk.list(), list);

    // One without a host key stops no other.
    let told = desk.fail(&["secret", "put", "a", "old", "web1", "--approval"], b"x");
    assert!(
        told.contains("old: its section has no host_key_id"),
        "{told}"
    );
    let list = desk.list();
    let new = list.iter().find(|it| it["name"] == "a").unwrap();
    assert_eq!(
        (&new["client"], &new["approval"]),
        (&"web1".into(), &true.into())
    );

    let history = desk.run(&["secret", "history", "tls.key", "web1"], b"");
    let history = String::from_utf8(history.stdout).unwrap();
    assert!(history.contains("secret-put"), "{history}");
    let remove = ["secret", "remove", "tls.key", "web*", "--yes"];
    let told = desk.succeed(&[&remove[..], &["--dry-run"]].concat(), b"");
    assert!(
        told.contains("dry run: remove the secret tls.key of web1, web2"),
        "{told}"
    );
    assert_eq!(desk.list(), list);
    desk.succeed(&remove, b"");
    assert_eq!(desk.list().len(), 1);
    let history = desk.run(&["secret", "history", "tls.key", "web1"], b"");
    assert!(String::from_utf8_lossy(&history.stdout).contains("secret-removed"));
    for file in ["known-hosts", "admin-key"] {
        let text = fs::read(desk.at(".config/nightlatch").join(file)).unwrap();
        assert!(!text.windows(12).any(|it| it == b"secret value"), "{file}");
    }
}

#[test]
fn what_was_sealed_elsewhere_goes_to_the_machine_that_it_is_for() {
    let web1 = with_host_key("web1");
    let desk = Desk::new(&web1);
    fs::write(desk.at("web1.section"), &web1).unwrap();
    let seal = [
        "secret",
        "seal",
        "a",
        "--host-key",
        "web1.section",
        "--output",
        "sealed",
    ];
    desk.succeed(&seal, b"value");
    desk.succeed(&["secret", "put", "--sealed", "sealed"], b"");
    assert_eq!(desk.list()[0]["client"], "web1");
    // What is there already may be sent again; an older one may not.
    desk.succeed(&["secret", "put", "--sealed", "sealed"], b"");
    let older = ["secret", "seal", "a", "--host", "web1", "--serial", "1"];
    let older = desk.run(&older, b"older");
    let told = desk.fail(&["secret", "put", "--sealed", "-"], &older.stdout);
    assert!(told.starts_with("nightlatch: web1: "), "{told}");
}

#[test]
fn a_changed_key_stops_the_whole_selection_until_it_is_accepted() {
    let [web1, web2] = ["web1", "web2"].map(with_host_key);
    let desk = Desk::new(&format!("{web1}{web2}"));
    let put = ["secret", "put", "a", "web*", "--yes"];
    desk.succeed(&["secret", "put", "first", "web1"], b"x");
    let before = desk.list();
    // Another key under the same names: the server, or somebody on it, wants to read.
    let desk = Desk {
        site: Administered::start(Project::Ours, &format!("{}{web2}", with_host_key("web1"))),
        ..desk
    };
    let told = desk.fail(&put, b"y");
    assert!(
        told.contains("keys have changed, and nothing was sealed or sent"),
        "{told}"
    );
    let word = told.split("--accept-changed-key ").nth(1).unwrap();
    let word = word.split(';').next().unwrap();
    assert!(word.starts_with("web1="), "{told}");
    assert!(desk.list().is_empty(), "{before:?}");
    desk.succeed(&[&put[..], &["--accept-changed-key", word]].concat(), b"y");
    assert_eq!(desk.list().len(), 2);
}

#[test]
fn a_stock_server_keeps_no_named_secrets() {
    let section = with_host_key("web1");
    let desk = Desk::with(Project::Stock, &section);
    fs::write(desk.at("section"), &section).unwrap();
    let seal = [
        "secret",
        "seal",
        "a",
        "--host-key",
        "section",
        "-o",
        "sealed",
    ];
    desk.succeed(&seal, b"value");
    for arguments in [
        &["secret", "put", "a", "web1"][..],
        &["secret", "put", "a", "--all", "--approval", "--yes"],
        &["secret", "put", "--sealed", "sealed"],
        &["secret", "list"],
        &["secret", "remove", "a", "web1", "--yes"],
    ] {
        let output = desk.run(arguments, b"value");
        let told = said(&output);
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {told}");
        let expected = "this server keeps no named secrets: it is a Mandos server";
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
    let told = desk.fail(&["secret", "history", "a", "web1"], b"");
    assert!(told.contains("this server keeps no audit log"), "{told}");
}

#[test]
fn one_value_is_made_for_all_machines_or_one_for_each() {
    let sections = ["web1", "web2"].map(with_host_key).concat();
    let desk = Desk::new(&sections);
    let put = ["secret", "put", "backup.key", "--all", "--yes", "--print"];
    let printed = desk.print(&[&put[..], &["--generate", "--each"]].concat(), b"");
    let lines: Vec<(&str, &str)> = printed
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .collect();
    let [("web1", one), ("web2", other)] = lines[..] else {
        panic!("{printed}");
    };
    assert_eq!((one.len(), other.len()), (32, 32));
    assert_ne!(one, other);
    assert_eq!(desk.list().len(), 2);
    let printed = desk.print(&[&put[..], &["--generate=40"]].concat(), b"");
    assert_eq!(printed.trim_end().len(), 40, "{printed}");
    let told = desk.fail(&["secret", "put", "a", "--all", "--yes", "--each"], b"x");
    assert!(told.contains("--generate"), "{told}");
}

#[test]
fn outcomes_and_history_are_json_for_programs() {
    let sections = ["web1", "web2"].map(with_host_key).concat();
    let desk = Desk::new(&sections);
    let put = ["secret", "put", "tls.key", "--all", "--yes", "--json"];
    let outcome: Value = serde_json::from_str(&desk.print(&put, b"value")).unwrap();
    let listed = desk.list();
    for (index, client) in ["web1", "web2"].iter().enumerate() {
        let (line, listed) = (&outcome[index], &listed[index]);
        assert_eq!(line["client"], *client);
        for key in ["client", "name", "host_key_id", "serial", "approval"] {
            assert_eq!(line[key], listed[key], "{key}");
        }
        assert_eq!(line["done"], true);
    }
    let remove = ["secret", "remove", "tls.key", "web1", "--yes", "--json"];
    let removed: Value = serde_json::from_str(&desk.print(&remove, b"")).unwrap();
    let done = serde_json::json!([{"client": "web1", "done": true, "error": null}]);
    assert_eq!(removed, done);
    let history = ["secret", "history", "tls.key", "web1", "--json"];
    let history = desk.print(&history, b"");
    let kinds: Vec<Value> = history
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["record"]["secret"], "tls.key", "{line}");
            line["record"]["kind"].clone()
        })
        .collect();
    assert_eq!(kinds, ["secret-put", "secret-removed"]);
    // That of a machine that is no client any more.
    desk.succeed(&["remove", "web2", "--yes"], b"");
    let host = desk.list()[0]["host_key_id"].as_str().unwrap().to_owned();
    let remove = ["secret", "remove", "tls.key", &host, "--yes", "--json"];
    let removed: Value = serde_json::from_str(&desk.print(&remove, b"")).unwrap();
    let done = serde_json::json!([{"client": host, "done": true, "error": null}]);
    assert_eq!(removed, done);
    assert!(desk.list().is_empty());
}

#[test]
fn nothing_that_is_typed_is_shown() {
    let desk = Desk::new(&with_host_key("web1"));
    let terminal = Terminal::new();
    let answer = |question: &str, typed: &str| {
        terminal.wait_for(question);
        assert!(!terminal.echoes(), "{question}");
        terminal.type_in(format!("{typed}\n").as_bytes());
    };
    let key = desk.at("locked");
    let key = key.to_str().unwrap();
    let seat = terminal.start(&desk.command(&["admin-key", "new", "--file", key]));
    answer("New passphrase of the admin key: ", "correct horse");
    answer("Repeat passphrase: ", "correct horse");
    let output = seat.finish();
    assert!(output.status.success(), "{}", terminal.rest());
    let put = ["secret", "put", "a", "web1", "--admin-key", key];
    let seat = terminal.start(&desk.command(&put));
    answer("Passphrase of the admin key", "correct horse");
    answer("Value of a: ", "battery");
    answer("Repeat the value: ", "staple");
    terminal.wait_for("try again");
    answer("Value of a: ", "battery");
    answer("Repeat the value: ", "battery");
    let output = seat.finish();
    let shown = terminal.rest();
    assert!(output.status.success(), "{shown}");
    assert!(output.stdout.is_empty());
    assert!(!shown.contains("battery"), "{shown}");
    assert_eq!(desk.list().len(), 1);
}
