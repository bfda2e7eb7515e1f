//! `nightlatch enroll`, `rotate` and `unenroll` on container files, with the real cryptsetup(8) or one that records or fails.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

mod again;
mod host_keys;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use support::*;

const SERVER: &str = "abababababababababababababababababababababababababababababababab";

/// A machine: its keys, disks and the passphrase that opens them.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(directory());
        fs::write(machine.at("old"), "old").unwrap();
        machine
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn disk(&self, name: &str) -> std::path::PathBuf {
        container(self.0.path(), name, "luks2")
    }

    fn command(&self, disks: &[&Path], more: &[&str]) -> Command {
        let mut command = nightlatch(&["enroll", "--no-ssh", "--name", "foo"]);
        command.arg("--dir").arg(self.at("keys"));
        if !more.contains(&"--key-file") {
            command.arg("--key-file").arg(self.at("old"));
        }
        command.args(more).args(disks);
        command
    }

    fn enroll(&self, disks: &[&Path], more: &[&str]) -> String {
        String::from_utf8(succeed(&mut self.command(disks, more), b"")).unwrap()
    }

    fn refused(&self, disks: &[&Path], more: &[&str]) -> Output {
        let output = run(&mut self.command(disks, more), b"");
        assert!(!output.status.success());
        assert!(output.stdout.is_empty());
        output
    }

    /// A `cryptsetup` found first, that runs `script` before the real one.
    fn cryptsetup(&self, script: &str) -> String {
        let bin = self.at("bin");
        fs::create_dir(&bin).unwrap();
        let real = "exec /usr/sbin/cryptsetup \"$@\"";
        let text = format!("#!/bin/sh\n{script}\n{real}\n");
        fs::write(bin.join("cryptsetup"), text).unwrap();
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bin.join("cryptsetup"), executable).unwrap();
        format!("{}:{}", path(&bin), std::env::var("PATH").unwrap())
    }
}

fn header(disk: &Path) -> Vec<u8> {
    fs::read(disk).unwrap()
}

#[test]
fn what_the_server_hands_out_opens_the_disks() {
    let machine = Machine::new();
    let (one, two) = (machine.disk("one"), machine.disk("two"));
    let section = machine.enroll(&[&one, &two], &["--server-key-id", SERVER]);
    let password = Gnupg::with_keys(&machine.at("keys")).open(&section);
    assert_eq!(password.len(), 43);
    assert!(
        password
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b))
    );
    for disk in [&one, &two] {
        assert!(opens(disk, &password) && opens(disk, b"old"));
        assert_eq!(slots(disk), ["0", "1"]);
    }
    let trusted = fs::read_to_string(machine.at("keys/trusted-servers")).unwrap();
    assert!(trusted.lines().any(|line| line == SERVER));
    let backups: Vec<_> = fs::read_dir(machine.at("keys"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| path(file).ends_with(".img"))
        .collect();
    assert_eq!(backups.len(), 2);
    for backup in backups {
        assert_eq!(mode(&backup) & 0o077, 0);
        assert_eq!(slots(&backup), ["0"]);
    }
    // The keys are used again the next time, and another section says the same.
    let again = machine.enroll(&[&one], &[]);
    for key in ["key_id", "fingerprint"] {
        assert_eq!(value(&section, key), value(&again, key));
    }
}

#[test]
fn the_section_says_what_was_asked_for() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let more = ["--host", "foo.example", "--checker", "test %(host)s = 100%"];
    let section = machine.enroll(&[&disk], &more);
    assert!(section.starts_with("[foo]\n"));
    assert_eq!(value(&section, "host"), "foo.example");
    assert!(
        section.ends_with("\nchecker = test %%(host)s = 100%%\n"),
        "{section}"
    );
}

#[test]
fn a_dry_run_changes_no_byte() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let before = header(&disk);
    let more = ["--dry-run", "--server-key-id", SERVER];
    let output = run(&mut machine.command(&[&disk], &more), b"");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    assert!(
        stderr(&output).contains("dry run: add the key"),
        "{}",
        stderr(&output)
    );
    assert!(header(&disk) == before);
    assert!(!machine.at("keys").exists());
}

#[test]
fn a_wrong_passphrase_changes_no_byte() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let before = header(&disk);
    fs::write(machine.at("old"), "old\n").unwrap();
    let output = machine.refused(&[&disk], &[]);
    assert_eq!(output.status.code(), Some(77));
    assert!(header(&disk) == before);
    assert!(!machine.at("keys").exists());
}

#[test]
fn what_is_not_luks2_is_refused_with_a_hint() {
    let machine = Machine::new();
    let old = container(machine.0.path(), "luks1", "luks1");
    let none = machine.at("old");
    for disk in [&old, &none] {
        let before = header(disk);
        let output = machine.refused(&[disk], &[]);
        assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
        assert!(stderr(&output).contains("\nhint: "), "{}", stderr(&output));
        assert!(header(disk) == before);
    }
    let output = machine.refused(&[&machine.at("missing")], &[]);
    assert_eq!(output.status.code(), Some(66));
}

#[test]
fn a_disk_given_twice_is_refused() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let link = machine.at("link");
    std::os::unix::fs::symlink(&disk, &link).unwrap();
    let output = machine.refused(&[&disk, &link], &[]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn a_later_failure_takes_every_new_key_slot_away_again() {
    let machine = Machine::new();
    let (one, two) = (machine.disk("one"), machine.disk("two"));
    // The test of the new key in the second disk fails.
    let search = machine.cryptsetup(
        "case \"$*\" in *--test-passphrase*--key-slot*/two) echo broken >&2; exit 4;; esac",
    );
    let output = run(machine.command(&[&one, &two], &[]).env("PATH", search), b"");
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    assert!(
        stderr(&output).contains("cryptsetup says: broken"),
        "{}",
        stderr(&output)
    );
    for disk in [&one, &two] {
        assert_eq!(slots(disk), ["0"]);
        assert!(opens(disk, b"old"));
        let said = format!("removed key slot 1 of {} again", path(disk));
        assert!(stderr(&output).contains(&said), "{}", stderr(&output));
    }
}

#[test]
fn a_section_that_nobody_reads_is_a_failure() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = machine
        .command(&[&disk], &[])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    assert_eq!(slots(&disk), ["0"]);
}

#[test]
fn a_signal_waits_until_the_disk_is_as_before() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    // Our program is asked to end while the key is being added.
    let search = machine.cryptsetup("case \"$*\" in *luksAddKey*) kill -TERM $PPID;; esac");
    let output = run(machine.command(&[&disk], &[]).env("PATH", search), b"");
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(15), "{}", stderr(&output));
    assert_eq!(slots(&disk), ["0"]);
}

#[test]
fn no_secret_stands_in_arguments_environment_or_files() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let record = machine.at("record");
    let search = machine.cryptsetup(&format!(
        "{{ tr '\\0' '\\n' </proc/$$/cmdline; env; }} >>{}",
        path(&record)
    ));
    fs::write(machine.at("old"), "a secret of old").unwrap();
    let mut add = Command::new("cryptsetup");
    add.args(["luksAddKey", "--batch-mode", "--key-file", "-"]);
    add.args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]);
    succeed(add.arg(&disk).arg(machine.at("old")), b"old");
    let section = succeed(machine.command(&[&disk], &[]).env("PATH", search), b"");
    let section = String::from_utf8(section).unwrap();
    let password = Gnupg::with_keys(&machine.at("keys")).open(&section);
    assert!(opens(&disk, &password));
    fs::remove_file(machine.at("old")).unwrap();
    let mut searched = 0;
    for place in [machine.0.path().to_owned(), machine.at("keys")] {
        for entry in fs::read_dir(place).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                let bytes = fs::read(&file).unwrap();
                let holds = |what: &[u8]| bytes.windows(what.len()).any(|w| w == what);
                assert!(!holds(&password) && !holds(b"a secret of old"), "{file:?}");
                searched += 1;
            }
        }
    }
    // The record, the disk, four keys and the header.
    assert!(searched >= 7);
    let recorded = fs::read_to_string(record).unwrap();
    assert!(recorded.contains("luksAddKey") && recorded.contains("--test-passphrase"));
}

#[test]
fn passphrases_are_asked_for_on_the_terminal() {
    let machine = Machine::new();
    let disk = machine.disk("disk");
    let keys = machine.at("keys");
    let command = [
        NIGHTLATCH,
        "enroll",
        "--passphrase",
        "-S",
        "-n",
        "foo",
        "-d",
        path(&keys),
        path(&disk),
    ];
    let new = "Enter new passphrase";
    let session = on_terminal(
        &command,
        &[
            ("that opens", "mistyped\n"),
            ("that opens", "mistyped\n"),
            ("that opens", "old\n"),
            (new, " typed \n"),
            ("Repeat passphrase: ", " typed \n"),
        ],
    );
    assert_eq!(session.status, 0, "{}", session.shown);
    assert!(
        session.echo && !session.shown.contains("typed "),
        "{}",
        session.shown
    );
    assert_eq!(Gnupg::with_keys(&keys).open(&session.stdout), b" typed ");
    assert!(opens(&disk, b" typed "));
}
