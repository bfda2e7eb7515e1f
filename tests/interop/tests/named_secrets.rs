//! `nightlatch secret` against a server: put, listed, followed, refused and removed.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use nightlatch_core::time::Wall;
use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::programs::{Project, ours};
use nightlatch_openpgp::{Algorithm, GenerateOptions, PublicKey, generate};
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
        let desk = Self {
            site: Administered::start(Project::Ours, sections),
            home: tempfile::tempdir().unwrap(),
        };
        let made = desk.run(&["admin-key", "new", "--no-passphrase"], b"");
        assert!(made.status.success(), "{}", said(&made));
        desk
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(ours("nightlatch"));
        command.args(arguments).current_dir(self.home.path());
        command.env("HOME", self.home.path());
        command.env_remove("XDG_CONFIG_HOME");
        programs::run(self.site.on_bus(&mut command), input)
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
        &format!("{SETTINGS}host_key_id = {id}\nhost_openpgp = {}", openpgp()),
    )
}

fn openpgp() -> String {
    let pair = generate(&GenerateOptions {
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        name: "host",
        comment: "",
        email: "",
        created: Wall::from_unix_micros(0),
        expires: None,
    });
    let key = PublicKey::from_armored(pair.unwrap().public_armored.as_bytes());
    key.unwrap().to_base64().unwrap()
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
