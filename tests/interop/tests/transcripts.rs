//! The output of the commands that a person sees first, and of common errors, as files below `transcripts/`.
//!
//! `NIGHTLATCH_UPDATE_GOLDEN=1` writes new ones. The tests of `nightlatch check` make those of that command.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::programs::{Project, ours};
use nightlatch_test_support::transcript::{Transcript, file};

fn transcript(name: &str) -> Transcript {
    Transcript::of(file(env!("CARGO_MANIFEST_DIR"), name))
}

/// Runs `nightlatch` with the words of `line` on a server's bus.
fn run(site: &Administered, transcript: &mut Transcript, line: &str) -> Output {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = site.nightlatch(&words);
    transcript.add(&format!("nightlatch {line}"), &output);
    output
}

const CLIENTS: [(&str, &str); 3] = [
    ("db1", "timeout = P1D\ninterval = PT12H\n"),
    (
        "web1",
        "timeout = P1D\ninterval = PT12H\napproval_delay = P1D\napproved_by_default = no\n",
    ),
    ("web2", "timeout = P1D\ninterval = PT12H\nenabled = no\n"),
];

fn site() -> Administered {
    let sections = CLIENTS.map(|(name, more)| section(name, more));
    Administered::start(Project::Ours, &sections.concat())
}

#[test]
fn seeing_and_deciding() {
    let site = site();
    let mut seen = transcript("fleet.txt");
    seen.explain("A server with three clients. The checks of all succeed.");
    for name in ["db1", "web1"] {
        assert!(site.nightlatch(&["check-now", name]).status.success());
    }
    for line in [
        "list",
        "list web* --state enabled",
        "show web1",
        "why db1",
        "why web1",
        "why web2",
        "enable web2",
        "disable web*",
        "disable web* --dry-run",
        "disable web* --yes",
        "why web1",
        "set db1 timeout=PT2H",
        "approve web1",
        "check-now db1",
        "remove db1",
    ] {
        run(&site, &mut seen, line);
    }
    seen.assert();
}

#[test]
fn errors_of_the_fleet() {
    let site = site();
    let mut seen = transcript("fleet-errors.txt");
    for line in [
        "show bd1",
        "show mail*",
        "list --state up",
        "lits",
        "set db1 timeout=5",
        "set db1 timout=PT5M",
        "wait db1 --timeout soon",
        "check --wait soon",
        "network --learn --wait soon",
        "enable",
        "approve --all",
    ] {
        run(&site, &mut seen, line);
    }
    seen.explain("Without a server.");
    let no_bus = Command::new(ours("nightlatch"))
        .arg("list")
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    seen.add("nightlatch list", &no_bus);
    seen.assert();
}

#[test]
fn reading_the_audit_log() {
    let site = site();
    let mut seen = transcript("log.txt");
    seen.explain("A client was disabled, and its rehearsals were allowed.");
    for line in ["disable web1", "rehearsal db1 --for 10m"] {
        assert!(
            site.nightlatch(&line.split(' ').collect::<Vec<_>>())
                .status
                .success()
        );
    }
    for line in [
        "log",
        "log --client web1 --last 1",
        "log --kind disabled --json",
        "log --alarms",
        "log --verify",
        "log --since tomorrow",
        "log --kind nosuch",
        "log --last none",
    ] {
        run(&site, &mut seen, line);
    }
    seen.explain("A Mandos server.");
    let stock = Administered::start(Project::Stock, &section("db1", "timeout = P1D\n"));
    run(&stock, &mut seen, "log");
    seen.assert();
}

/// A LUKS container that the passphrase in the file `old` opens.
fn container(folder: &Path, name: &str) {
    fs::write(folder.join("old"), "old").unwrap();
    let disk = folder.join(name);
    fs::File::create(&disk).unwrap().set_len(20 << 20).unwrap();
    let made = Command::new("cryptsetup")
        .args([
            "luksFormat",
            "--batch-mode",
            "--type",
            "luks2",
            "--pbkdf",
            "pbkdf2",
        ])
        .args(["--pbkdf-force-iterations", "1000", "--key-file"])
        .args([folder.join("old"), disk])
        .status();
    assert!(made.unwrap().success());
}

#[test]
fn enrolment() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    container(folder.path(), "disk");
    let mut seen = transcript("enroll.txt");
    let mut run = |line: &str| {
        let output = Command::new(ours("nightlatch"))
            .args(line.split_whitespace())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        seen.add(&format!("nightlatch {line}"), &output);
    };
    let enroll = "enroll --no-ssh --name web1 --dir keys --key-file old";
    run(&format!("{enroll} --dry-run disk"));
    run(&format!("{enroll} disk"));
    run(&format!("{enroll} disk"));
    run(&format!("{enroll} nosuch"));
    run(&format!("{enroll} old"));
    run("unenroll --dir keys disk");
    run("keygen --dir keys --name web1");
    seen.assert();
}

/// A person adds a section on the server.
#[test]
fn adding_a_client() {
    let site = site();
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let mut seen = transcript("add.txt");
    let path = folder.path().join("mail1.conf");
    fs::write(&path, section("mail1", "timeout = PT1H\n")).unwrap();
    let wrong = folder.path().join("wrong.conf");
    fs::write(&wrong, section("mail2", "timeout = 1 hour\n")).unwrap();
    seen.name(folder.path().display().to_string(), "FOLDER");
    for file in [&path, &path, &wrong, &folder.path().join("nosuch.conf")] {
        run(&site, &mut seen, &format!("add {}", file.display()));
    }
    run(&site, &mut seen, "list");
    seen.assert();
}
