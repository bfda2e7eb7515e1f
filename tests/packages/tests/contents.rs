//! The files in the packages, with their modes. `make deb-test` builds the packages first.

use std::process::Command;

use nightlatch_packages::debs::{PACKAGES, contents, file, folder};
use nightlatch_packages::{output, repository, text};

/// For root alone.
const PRIVATE: [&str; 5] = [
    "/etc/nightlatch/keys/",
    "/var/lib/nightlatch-agent/keys/",
    "/etc/nightlatch/plugins.d/",
    "/etc/nightlatch/plugin-helpers/",
    "/etc/nightlatch/clients.conf",
];

#[test]
#[ignore = "make deb-test builds the packages first"]
fn everything_belongs_to_root_and_has_the_least_mode_that_works() {
    for package in PACKAGES {
        for entry in contents(package) {
            assert_eq!(entry.owner, "root/root", "{package}: {entry:?}");
            let program = [
                "/bin/",
                "/sbin/",
                "/init.d/",
                "/hooks/",
                "/scripts/",
                "/modules.d/",
                "/network-hooks.d/",
            ];
            let modes: &[&str] = match entry.mode.chars().next() {
                Some('l') => &["lrwxrwxrwx"],
                Some('d') if PRIVATE.contains(&entry.path.as_str()) => &["drwx------"],
                Some('d') => &["drwxr-xr-x"],
                _ if PRIVATE.contains(&entry.path.as_str()) => &["-rw-------"],
                _ if program.iter().any(|part| entry.path.contains(part)) => {
                    &["-rwxr-xr-x", "-rw-r--r--"]
                }
                _ => &["-rw-r--r--"],
            };
            assert!(modes.contains(&entry.mode.as_str()), "{package}: {entry:?}");
        }
    }
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn each_package_has_what_it_is_for() {
    for (package, paths) in [
        (
            "nightlatch",
            vec!["/usr/bin/nightlatch", "/usr/share/man/man1/nightlatch.1.gz"],
        ),
        (
            "nightlatch-server",
            vec![
                "/usr/sbin/nightlatchd",
                "/lib/systemd/system/nightlatchd.service",
                "/usr/lib/sysusers.d/nightlatchd.conf",
                "/usr/lib/tmpfiles.d/nightlatchd.conf",
                "/usr/share/dbus-1/system.d/nightlatch.conf",
                "/etc/init.d/nightlatchd",
                "/usr/share/man/man8/nightlatchd.8.gz",
            ],
        ),
        (
            "nightlatch-client",
            vec![
                "/usr/sbin/nightlatch-boot",
                "/usr/sbin/nightlatch-agent",
                "/lib/systemd/system/nightlatch-agent.service",
                "/lib/systemd/system/nightlatch-agent-boot.service",
                "/lib/systemd/system/nightlatch-agent-hibernate.service",
                "/lib/systemd/system/nightlatch-secret@.service",
                "/lib/systemd/system/run-nightlatch-credentials.mount",
                "/usr/lib/sysusers.d/nightlatch-agent.conf",
                "/etc/init.d/nightlatch-agent",
                "/etc/nightlatch/agent.conf",
                "/usr/share/man/man8/nightlatch-agent.8.gz",
                "/usr/share/man/man5/agent.conf.5.gz",
                "/lib/systemd/system/nightlatch-key.socket",
                "/usr/share/initramfs-tools/conf-hooks.d/zz-nightlatch",
                "/usr/share/initramfs-tools/hooks/nightlatch",
                "/usr/lib/dracut/modules.d/90nightlatch/module-setup.sh",
                "/etc/nightlatch/client.conf",
            ],
        ),
        (
            "nightlatch-card",
            vec![
                "/usr/bin/nightlatch-card",
                "/lib/systemd/system/nightlatch-card.service",
                "/lib/systemd/system/nightlatch-card.socket",
                "/lib/systemd/system/nightlatch-card-control.socket",
                "/lib/systemd/system/nightlatch-card-unlock@.service",
                "/lib/systemd/system/pcscd.socket.d/nightlatch-card.conf",
                "/usr/lib/sysusers.d/nightlatch-card.conf",
                "/usr/share/polkit-1/rules.d/nightlatch-card.rules",
                "/etc/nightlatch/card.conf",
                "/etc/needrestart/conf.d/nightlatch-card.conf",
                "/usr/share/man/man5/card.conf.5.gz",
            ],
        ),
    ] {
        let contents = contents(package);
        for path in paths {
            assert!(
                contents.iter().any(|entry| entry.path == path),
                "{package}: {path}"
            );
        }
    }
}

/// The text of a script of a package.
fn script(package: &str, name: &str) -> String {
    let mut command = Command::new("dpkg-deb");
    command.arg("--info").arg(file(package)).arg(name);
    text(&mut command)
}

/// A restart locks the card, and the jobs of the night would wait for a person.
#[test]
#[ignore = "make deb-test builds the packages first"]
fn the_sockets_of_the_card_are_enabled_and_an_upgrade_does_not_restart_its_agent() {
    let installed = script("nightlatch-card", "postinst");
    assert!(installed.contains("systemd-sysusers nightlatch-card.conf"));
    for socket in ["nightlatch-card.socket", "nightlatch-card-control.socket"] {
        let enabled = format!("deb-systemd-helper enable '{socket}'");
        assert!(installed.contains(&enabled), "{installed}");
    }
    // pcscd is restarted, which takes no PIN from the agent.
    let started = installed
        .lines()
        .filter(|line| line.contains("deb-systemd-invoke") && !line.contains("pcscd.socket"));
    let started: Vec<&str> = started.map(str::trim).collect();
    let sockets = ["card-control.socket", "card.socket"].map(|name| format!("'nightlatch-{name}'"));
    assert_eq!(
        started,
        [format!(
            "deb-systemd-invoke start {} >/dev/null || true",
            sockets.join(" ")
        )]
    );
    let removed = script("nightlatch-card", "prerm");
    for (at, _) in removed.match_indices("deb-systemd-invoke stop") {
        let condition = removed[..at]
            .lines()
            .rev()
            .find(|line| line.contains("if "));
        assert!(
            condition.is_some_and(|line| line.contains("\"$1\" = remove")),
            "{removed}"
        );
    }
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn the_stock_names_lead_to_programs_of_ours() {
    let links = contents("nightlatch-mandos");
    for name in ["mandos", "mandos-ctl", "mandos-monitor", "mandos-keygen"] {
        let path = format!("/usr/sbin/{name}");
        let link = links.iter().find(|entry| entry.path == path);
        let target = link.and_then(|entry| entry.target.as_deref());
        assert!(
            matches!(target, Some("nightlatchd" | "../bin/nightlatch")),
            "{path}: {target:?}"
        );
    }
    let boot = links.iter().filter_map(|entry| entry.target.as_deref());
    assert_eq!(
        boot.filter(|target| target.ends_with("sbin/nightlatch-boot"))
            .count(),
        7
    );
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn lintian_has_nothing_to_say() {
    let changes = std::fs::read_dir(folder())
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let changes = changes
        .into_iter()
        .find(|path| path.extension().is_some_and(|kind| kind == "changes"));
    let said = output(
        Command::new("lintian")
            .args([
                "--allow-root",
                "--fail-on",
                "error,warning",
                "--tag-display-limit",
                "0",
            ])
            .arg(changes.expect("target/deb has no .changes: run `make deb` first")),
    );
    let said =
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.trim().is_empty(), "{said}");
}

/// strip(1) can undo what the linker did.
#[test]
#[ignore = "make deb-test builds the packages first"]
fn programs_keep_their_tables_read_only() {
    let folder = tempfile::tempdir().unwrap();
    for (package, program) in [
        ("nightlatch", "usr/bin/nightlatch"),
        ("nightlatch-server", "usr/sbin/nightlatchd"),
        ("nightlatch-client", "usr/sbin/nightlatch-boot"),
        ("nightlatch-client", "usr/sbin/nightlatch-agent"),
        ("nightlatch-card", "usr/bin/nightlatch-card"),
    ] {
        text(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(file(package))
                .arg(folder.path()),
        );
        let headers = text(
            Command::new("readelf")
                .arg("-ldW")
                .arg(folder.path().join(program)),
        );
        for wanted in ["GNU_RELRO", "BIND_NOW", "PIE"] {
            assert!(headers.contains(wanted), "{program} has no {wanted}");
        }
    }
}

/// The packages and `make install` read one list: they must have the same files.
#[test]
#[ignore = "make deb-test builds the packages first"]
fn make_install_puts_the_same_files_there_and_uninstall_takes_them_away() {
    let folder = tempfile::tempdir().unwrap();
    let make = |verb: &str| {
        text(
            Command::new("make")
                .current_dir(repository())
                .args([
                    "--no-print-directory",
                    verb,
                    "prefix=/usr",
                    "unitdir=/lib/systemd/system",
                ])
                .args(["zshcompletiondir=/usr/share/zsh/vendor-completions"])
                .arg("PACKAGES=server client card common mandos")
                .arg("libdir=/usr/lib/x86_64-linux-gnu")
                .arg(format!("DESTDIR={}", folder.path().display())),
        )
    };
    make("install");
    for package in PACKAGES {
        for entry in contents(package) {
            let plain = entry.path.trim_end_matches(".gz");
            // Files of debhelper, and folders, whose contents are listed instead.
            let added = ["changelog", "changelog.Debian", "copyright"];
            if added.iter().any(|name| plain.ends_with(name))
                || plain.contains("/share/lintian")
                || (plain.ends_with('/') && !plain.contains("/etc/nightlatch/"))
            {
                continue;
            }
            let here = folder.path().join(plain.trim_start_matches('/'));
            assert!(
                here.symlink_metadata().is_ok(),
                "{package} has {plain}, make install has not"
            );
        }
    }
    make("uninstall");
    let left = text(
        Command::new("find")
            .arg(folder.path())
            .args(["!", "-type", "d"]),
    );
    assert_eq!(left, "");
}
