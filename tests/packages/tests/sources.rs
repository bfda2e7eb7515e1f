//! Checks of the packages that do not need a build.

use std::process::Command;

use nightlatch_packages::{output, repository, text};

#[test]
fn every_manual_page_is_installed() {
    let list = repository().join("dist/install.list");
    let list = std::fs::read_to_string(list).unwrap();
    for entry in std::fs::read_dir(repository().join("docs/man")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let page = file.trim_end_matches(".md");
        let section = page.rsplit('.').next().unwrap();
        let named = format!("target/man/man{section}/{page}");
        let all = format!("target/man/man{section}/*.{section}");
        assert!(
            list.split_whitespace()
                .any(|word| word == named || word == all),
            "{page} is not in dist/install.list"
        );
    }
}

#[test]
fn every_script_is_one() {
    let mut scripts: Vec<_> = ["nightlatchd", "nightlatch-agent"]
        .map(|name| repository().join(format!("dist/sysv/{name}.in")))
        .into();
    for entry in std::fs::read_dir(repository().join("dist/debian")).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if matches!(
            kind,
            Some("postinst" | "postrm" | "prerm" | "preinst" | "sh")
        ) {
            scripts.push(path);
        }
    }
    assert!(scripts.len() > 5, "{scripts:?}");
    for script in scripts {
        text(Command::new("sh").arg("-n").arg(script));
    }
}

#[test]
fn places_that_the_programs_do_not_know_are_refused() {
    let install = || Command::new(repository().join("scripts/install"));
    for (name, value) in [
        ("sysconfdir", "/usr/local/etc"),
        ("localstatedir", "/usr/local/var"),
    ] {
        let refused = output(install().arg("list").env(name, value));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(64), "{said}");
        assert!(said.contains(name) && said.contains(value), "{said}");
    }
    assert_eq!(output(install().arg("everything")).status.code(), Some(64));
    assert_eq!(
        output(install().args(["list", "all"])).status.code(),
        Some(64)
    );
}

/// systemd.exec(5) and systemd-analyze(1): 0.0 is no exposure, 10.0 is all of it.
#[test]
fn the_units_are_as_closed_as_they_can_be() {
    if output(Command::new("sh").args(["-c", "command -v systemd-analyze"]))
        .stdout
        .is_empty()
    {
        nightlatch_test_support::runs_elsewhere(
            "systemd-analyze is not here; `make deb-test` asks the one of a system of its own",
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let installed = |name: &str| {
        let unit = repository().join(format!("dist/systemd/{name}.service.in"));
        let unit = std::fs::read_to_string(unit).unwrap();
        let file = folder.path().join(format!("{name}.service"));
        let unit = unit
            .replace("@sbindir@", "/usr/sbin")
            .replace("@bindir@", "/usr/bin")
            .replace("@localstatedir@", "/var");
        std::fs::write(&file, unit).unwrap();
        file
    };
    for (name, most) in [
        ("nightlatchd", 2.0),
        ("nightlatch-key", 2.0),
        ("nightlatch-agent", 1.5),
        ("nightlatch-agent-boot", 1.5),
        ("nightlatch-agent-hibernate", 1.0),
        ("nightlatch-card", 1.5),
        ("nightlatch-card-unlock@", 1.5),
    ] {
        let threshold = format!("--threshold={}", most * 10.0);
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--no-pager", &threshold]);
        text(analyze.arg(installed(name)));
    }
}

/// The installation of the card's agent, with what systemd would answer: its socket is made anew when it is not as the drop-in wants
/// it, and when it could not be made before the group was there.
#[test]
fn the_card_closes_pcscd_once() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stub = |name: &str, script: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    };
    stub(
        "systemctl",
        "case $1 in is-active) exit $ACTIVE ;; is-failed) exit $FAILED ;; show) echo 0660 ;; esac",
    );
    stub("stat", "echo $MODE");
    stub("systemd-sysusers", "echo made the user");
    stub("deb-systemd-invoke", "echo \"$@\"");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display());
    let run = |script: &str, word: &str, [active, failed, mode]: [&str; 3]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc"]);
        command.arg("mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec sh \"$@\"");
        command
            .arg("sh")
            .arg(repository().join("dist/debian").join(script));
        command.arg(word).env("PATH", &path);
        command
            .env("ACTIVE", active)
            .env("FAILED", failed)
            .env("MODE", mode);
        text(&mut command)
    };
    let restart = "restart pcscd.socket\n";
    for (answers, expected) in [
        // It listens for everybody; as wanted already; could not be made; an administrator has stopped it.
        (["0", "1", "666"], restart),
        (["0", "1", "660"], ""),
        (["3", "0", ""], restart),
        (["3", "1", ""], ""),
    ] {
        let said = run("nightlatch-card.postinst", "configure", answers);
        assert_eq!(said, format!("made the user\n{expected}"), "{answers:?}");
    }
    for (word, active, expected) in [
        ("remove", "0", restart),
        ("remove", "3", ""),
        ("purge", "0", ""),
        ("upgrade", "0", ""),
    ] {
        let said = run("nightlatch-card.postrm", word, [active, "1", "660"]);
        assert_eq!(said, expected, "{word}");
    }
}
