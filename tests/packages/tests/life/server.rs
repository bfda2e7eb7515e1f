//! The server under a real systemd, with the settings that the package brings.

use nightlatch_packages::system::TestSystem;

/// A client that is checked by a ping, the default, every second.
const TOWER: &str = "[DEFAULT]
interval = PT1S
[tower]
key_id = f33fcbed11ed5e03073f6a55b86ffe92af0e24c045fb6e3b40547b3dc0c030ed
host = 127.0.0.1
secret =
\tRW5jcnlwdGVkIHRvIHRo
";

fn property(system: &TestSystem, name: &str) -> String {
    let name = format!("--property={name}");
    let value = system.run(&["systemctl", "show", "--value", &name, "nightlatchd"]);
    value.trim().to_owned()
}

/// Puts the text into clients.conf as an editor does: the file stays what it is.
fn configure(system: &TestSystem, text: &str) {
    std::fs::write(system.file("/etc/nightlatch/clients.conf"), text).unwrap();
}

fn checked(system: &TestSystem, result: &str) {
    system.until(&format!("the last check is {result}"), |system| {
        let shown = system.try_run(&["nightlatch", "show", "tower"]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let check = shown.lines().find(|line| line.contains("last check"));
        check.is_some_and(|line| line.contains(result))
    });
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn it_is_closed_to_two_point_zero_and_its_ping_works_under_exactly_these_settings() {
    let Some(system) = TestSystem::booted("bookworm") else {
        return;
    };
    system.install(&["nightlatch-server", "nightlatch", "fping"]);
    assert_eq!(property(&system, "ActiveState"), "active");
    system.run(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--threshold=20",
        "nightlatchd",
    ]);

    // It is not root, and has nothing but what a checker may get from its file.
    let status = format!("/proc/{}/status", property(&system, "MainPID"));
    let status = std::fs::read_to_string(system.file(&status)).unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}"))
            .trim()
            .to_owned()
    };
    let user = system.run(&["id", "-u", "_nightlatch"]);
    let user = user.trim();
    assert_eq!(of("Uid:"), [user; 4].join("\t"));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(of(set), "0000000000000000", "{set}");
    }

    // The reload reads the file as the server's user.
    configure(&system, TOWER);
    system.run(&["systemctl", "reload", "nightlatchd"]);
    checked(&system, "good");
    let said = system.run(&["journalctl", "--no-pager", "--unit=nightlatchd"]);
    assert!(!said.contains("cannot lock"), "{said}");

    // The ping would not work with less: this is what keeps the test honest.
    let more = "/run/systemd/system/nightlatchd.service.d";
    std::fs::create_dir_all(system.file(more)).unwrap();
    std::fs::write(
        system.file(more).join("more.conf"),
        "[Service]\nNoNewPrivileges=yes\n",
    )
    .unwrap();
    system.run(&["systemctl", "daemon-reload"]);
    system.run(&["systemctl", "restart", "nightlatchd"]);
    checked(&system, "failed");
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn it_comes_back_from_a_crash_but_not_from_what_a_person_must_mend() {
    let Some(system) = TestSystem::booted("bookworm") else {
        return;
    };
    system.install(&["nightlatch-server"]);
    let first = property(&system, "MainPID");
    system.run(&["kill", "-KILL", &first]);
    system.until("it was started again", |system| {
        let process = property(system, "MainPID");
        property(system, "ActiveState") == "active" && process != first && process != "0"
    });

    configure(&system, "this is no configuration\n");
    assert!(
        !system
            .try_run(&["systemctl", "restart", "nightlatchd"])
            .status
            .success()
    );
    assert_eq!(property(&system, "ActiveState"), "failed");
    assert_eq!(property(&system, "ExecMainStatus"), "78");
    let restarts = property(&system, "NRestarts");
    configure(&system, TOWER);
    system.run(&["systemctl", "start", "nightlatchd"]);
    assert_eq!(property(&system, "ActiveState"), "active");
    assert!(["0", "1"].contains(&restarts.as_str()), "{restarts}");
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn upgrading_and_removing_keep_what_is_the_administrators_and_purging_wipes_it() {
    let Some(system) = TestSystem::booted("bookworm") else {
        return;
    };
    system.install(&["nightlatch-server", "nightlatch"]);
    configure(&system, TOWER);
    system.run(&["systemctl", "reload", "nightlatchd"]);
    // At the very first start the bus has not read the package's policy yet: the server tries again.
    system.until("the server is on the bus", |system| {
        system
            .try_run(&["nightlatch", "disable", "tower"])
            .status
            .success()
    });
    let first = property(&system, "MainPID");
    let disabled = |system: &TestSystem| {
        system.until("tower is known, and disabled still", |system| {
            let list = system.try_run(&["nightlatch", "list"]);
            String::from_utf8_lossy(&list.stdout).contains("disabled")
        });
    };
    let kept = |system: &TestSystem| {
        let clients = system.file("/etc/nightlatch/clients.conf");
        assert_eq!(std::fs::read_to_string(clients).unwrap(), TOWER);
        let mode = system.run(&["stat", "-c", "%U:%G:%a", "/etc/nightlatch/clients.conf"]);
        assert_eq!(mode.trim(), "root:_nightlatch:640");
    };

    system.upgrade(&["nightlatch-server", "nightlatch"]);
    assert!(
        system
            .run(&["dpkg-query", "-W", "-f", "${Version}", "nightlatch-server"])
            .ends_with("+higher")
    );
    assert_ne!(
        property(&system, "MainPID"),
        first,
        "the new program was not started"
    );
    kept(&system);
    disabled(&system);

    system.apt(&["remove", "nightlatch-server"]);
    assert_eq!(property(&system, "ActiveState"), "inactive");
    kept(&system);
    assert!(system.file("/var/lib/nightlatch/nightlatch.db").exists());

    system.upgrade(&["nightlatch-server"]);
    assert_eq!(property(&system, "ActiveState"), "active");
    kept(&system);
    disabled(&system);

    std::fs::write(system.file("/etc/nightlatch/clients.d/more.conf"), "").unwrap();
    system.apt(&["purge", "nightlatch-server", "nightlatch"]);
    for path in [
        "/etc/nightlatch",
        "/var/lib/nightlatch",
        "/var/lib/nightlatch-mark",
        "/etc/init.d/nightlatchd",
    ] {
        assert!(!system.file(path).exists(), "{path} was left");
    }
    let units = system.run(&["find", "/etc/systemd", "-name", "nightlatch*"]);
    assert_eq!(units, "");
}
