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
