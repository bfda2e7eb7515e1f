//! `nightlatch admin-key` and `nightlatch secret seal`, as an administrator without a server uses them; what is sealed
//! is opened by the crate that the agent uses, and by GnuPG.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use nightlatch_core::sealed_secret::SealedSecret;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{AdminKeys, OpenedSecret, SecretKey, open};
use support::*;

const VALUE: &[u8] = b" correct horse\n\xff\n";

/// An administrator with a home, and a machine with host keys.
struct Desk {
    home: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { home: directory() };
        keygen(&desk.at("host"), &[]);
        desk.write_section("db1");
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The section of the machine whose keys are in `host`.
    fn write_section(&self, name: &str) {
        let script = "set -e; printf '[%s]\\nhost_key_id = %s\\nhost_openpgp = %s\\n' \"$1\" \
            \"$(openssl pkey -pubin -in tls-pubkey.pem -outform DER | sha256sum | cut -c1-64)\" \
            \"$(gpg --homedir . --dearmor < pubkey.txt | base64 --wrap=0)\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", name]);
        let section = succeed(shell.current_dir(self.at("host")), b"");
        fs::write(self.at(&format!("{name}.section")), section).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = nightlatch(arguments);
        command
            .env("HOME", self.home.path())
            .env_remove("XDG_CONFIG_HOME");
        command.current_dir(self.home.path());
        command
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        run(&mut self.command(arguments), input)
    }

    /// Runs it, and returns what it printed.
    fn succeed(&self, arguments: &[&str], input: &[u8]) -> String {
        String::from_utf8(succeed(&mut self.command(arguments), input)).unwrap()
    }

    /// Opens what was sealed, as the machine does.
    fn open(&self, sealed: &str, admin: &str) -> OpenedSecret {
        let sealed = SealedSecret::from_text(sealed).unwrap();
        let key = fs::read(self.at("host/seckey.txt")).unwrap();
        let key = SecretKey::from_armored(&key).unwrap();
        let trusted = AdminKeys::from_armored(admin.as_bytes()).unwrap();
        open(&sealed, &key, &trusted, Wall::from_unix_micros(0)).unwrap()
    }
}

#[test]
fn an_admin_key_is_made_once_for_its_owner_and_shown_without_its_passphrase() {
    let desk = Desk::new();
    fs::write(desk.at("passphrase"), "a passphrase\n").unwrap();
    let new = ["admin-key", "new", "--passphrase-file", "passphrase"];
    let public = desk.succeed(&new, b"");
    let file = desk.at(".config/nightlatch/admin-key");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    let before = fs::read(&file).unwrap();
    let again = desk.run(&["admin-key", "new", "--no-passphrase"], b"");
    assert!(
        stderr(&again).contains("is there already"),
        "{}",
        stderr(&again)
    );
    assert_eq!(again.status.code(), Some(73));
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(desk.succeed(&["admin-key", "show"], b""), public);

    let seal = ["secret", "seal", "a", "--host-key", "db1.section"];
    let wrong = [&seal[..], &["--passphrase-file", "db1.section"]].concat();
    let refused = desk.run(&wrong, VALUE);
    assert!(stderr(&refused).contains("does not open with this passphrase"));
    let right = [&seal[..], &["--passphrase-file", "passphrase"]].concat();
    let sealed = desk.succeed(&right, VALUE);
    assert_eq!(desk.open(&sealed, &public).value.expose(), VALUE);
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let refused = desk.run(&right, VALUE);
    assert_eq!(refused.status.code(), Some(77), "{}", stderr(&refused));
}

#[test]
fn what_is_sealed_opens_on_the_machine_and_its_key_is_pinned() {
    let desk = Desk::new();
    let public = desk.succeed(&["admin-key", "new", "--no-passphrase"], b"");
    let seal = ["secret", "seal", "postgres.password"];
    let with = |more: &[&'static str]| [&seal[..], more].concat();

    let unknown = desk.run(&with(&["--host", "db1"]), VALUE);
    assert!(stderr(&unknown).contains("no machine is known as \"db1\""));
    let first = desk.succeed(&with(&["--host-key", "db1.section"]), VALUE);
    let opened = desk.open(&first, &public);
    assert_eq!(opened.value.expose(), VALUE);
    assert_eq!(opened.header.name.as_str(), "postgres.password");

    let more = [
        "--host",
        "db1",
        "--trim",
        "--serial",
        "7",
        "--expires",
        "2999-01-01",
    ];
    let next = desk.succeed(&with(&more), b"x\n");
    let opened = desk.open(&next, &public);
    assert_eq!(opened.value.expose(), b"x");
    assert_eq!(opened.header.serial, 7);
    assert!(opened.header.expires.is_some());

    let more = [
        "--host",
        "db1",
        "--generate=40",
        "--print",
        "--output",
        "sealed",
    ];
    let printed = desk.succeed(&with(&more), b"");
    let sealed = fs::read_to_string(desk.at("sealed")).unwrap();
    let value = desk.open(&sealed, &public).value;
    assert_eq!(value.expose(), printed.trim_end().as_bytes());
    assert_eq!(value.len(), 40);

    let nothing = desk.run(&with(&["--host", "db1"]), b"");
    assert!(stderr(&nothing).contains("there is no value in standard input"));
    let boot = desk.run(&["secret", "seal", "boot", "--host", "db1"], VALUE);
    assert!(stderr(&boot).contains("boot is the password of the machine's disk"));
}

#[test]
fn a_pattern_seals_for_the_pinned_machines_that_fit_and_tells_of_each_in_json() {
    let desk = Desk::new();
    desk.succeed(&["admin-key", "new", "--no-passphrase"], b"");
    for name in ["db2", "web1"] {
        fs::remove_dir_all(desk.at("host")).unwrap();
        keygen(&desk.at("host"), &[]);
        desk.write_section(name);
    }
    for file in ["db1.section", "db2.section", "web1.section"] {
        desk.succeed(&["secret", "seal", "a", "--host-key", file], VALUE);
    }
    let seal = ["secret", "seal", "a", "--host", "db*", "--host", "db1"];
    let with = |more: &[&'static str]| [&seal[..], more].concat();
    let outcome = desk.succeed(&with(&["--output", "sealed", "--json"]), VALUE);
    let outcome: serde_json::Value = serde_json::from_str(&outcome).unwrap();
    let clients: Vec<_> = outcome
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["client"])
        .collect();
    assert_eq!(clients, ["db1", "db2"]);
    assert_eq!(
        (&outcome[1]["name"], &outcome[1]["done"]),
        (&"a".into(), &true.into())
    );
    let sealed = fs::read_to_string(desk.at("sealed")).unwrap();
    assert_eq!(sealed.matches("-----BEGIN").count(), 2);
    let none = desk.run(&["secret", "seal", "a", "--host", "x*"], VALUE);
    assert!(stderr(&none).contains("no machine is known as \"x*\""));
    let both = desk.run(&with(&["--json"]), VALUE);
    assert_eq!(both.status.code(), Some(64), "{}", stderr(&both));
}

#[test]
fn a_changed_key_is_refused_with_both_fingerprints_until_it_is_accepted() {
    let desk = Desk::new();
    desk.succeed(&["admin-key", "new", "--no-passphrase"], b"");
    let seal = ["secret", "seal", "a", "--host-key", "db1.section"];
    desk.succeed(&seal, VALUE);
    let pins = desk.at(".config/nightlatch/known-hosts");
    let before = fs::read_to_string(&pins).unwrap();
    fs::remove_dir_all(desk.at("host")).unwrap();
    keygen(&desk.at("host"), &[]);
    desk.write_section("db1");
    let refused = desk.run(&seal, VALUE);
    let told = stderr(&refused);
    let pinned = before.split(' ').nth(1).unwrap();
    assert!(
        told.contains("keys have changed, and nothing was sealed or sent"),
        "{told}"
    );
    assert!(
        told.contains(&format!("OpenPGP key {pinned}, now ")),
        "{told}"
    );
    let word = told.split("--accept-changed-key ").nth(1).unwrap();
    let word = word.split(';').next().unwrap();
    assert!(word.starts_with("db1="), "{told}");
    assert!(refused.stdout.is_empty());
    assert_eq!(fs::read_to_string(&pins).unwrap(), before);
    let other = format!("db1={pinned}");
    let other = desk.run(
        &[&seal[..], &["--accept-changed-key", &other]].concat(),
        VALUE,
    );
    assert!(
        stderr(&other).contains("nothing was sealed or sent"),
        "{}",
        stderr(&other)
    );
    let accept = [&seal[..], &["--accept-changed-key", word, "--dry-run"]].concat();
    desk.succeed(&accept, VALUE);
    assert_eq!(
        fs::read_to_string(&pins).unwrap(),
        before,
        "a dry run pins nothing"
    );
    desk.succeed(&accept[..accept.len() - 1], VALUE);
    assert_ne!(fs::read_to_string(&pins).unwrap(), before);
}
