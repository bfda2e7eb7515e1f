//! Without systemd: packages can be configured, and the init script fulfils the LSB.

use nightlatch_packages::system::TestSystem;

const SCRIPT: &str = "/etc/init.d/nightlatchd";
const LOG: &str = "/var/log/nightlatchd.log";

/// LSB, "Init Script Actions": the exit status of each action.
fn does(system: &TestSystem, action: &str, expected: i32) -> String {
    let done = system.try_run(&[SCRIPT, action]);
    let said =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(expected), "{action}: {said}");
    said
}

fn logged(system: &TestSystem, text: &str) {
    system.until(&format!("the log says: {text}"), |system| {
        let log = std::fs::read_to_string(system.file(LOG)).unwrap_or_default();
        log.contains(text)
    });
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn the_init_script_starts_reloads_and_stops_the_server() {
    let Some(system) = TestSystem::bare("bookworm") else {
        return;
    };
    system.install(&["nightlatch-server", "nightlatch", "nightlatch-client"]);
    assert_eq!(
        system
            .run(&["find", "/etc/nightlatch/keys", "-type", "f"])
            .lines()
            .count(),
        4
    );

    // Debian's own policy-rc.d forbids to start services in a chroot; what the package did does not matter here.
    system.try_run(&[SCRIPT, "stop"]);
    does(&system, "status", 3);
    does(&system, "reload", 7);
    does(&system, "try-restart", 0);
    does(&system, "status", 3);

    does(&system, "start", 0);
    does(&system, "start", 0);
    does(&system, "status", 0);
    logged(&system, "now listening");
    let owner = system.run(&["stat", "-c", "%U %a", LOG]);
    assert_eq!(owner, "root 600\n");
    let user = system.run(&["ps", "-o", "user:20=", "-C", "nightlatchd"]);
    assert_eq!(user, "_nightlatch\n");
    does(&system, "reload", 0);
    logged(&system, "configuration reloaded");

    let process = |system: &TestSystem| system.run(&["cat", "/run/nightlatchd.pid"]);
    let first = process(&system);
    does(&system, "restart", 0);
    assert_ne!(process(&system), first);

    // One that would not come back is not stopped.
    std::fs::write(system.file("/etc/nightlatch/clients.conf"), "nonsense\n").unwrap();
    let said = does(&system, "restart", 6);
    assert!(said.contains("/etc/nightlatch/clients.conf"), "{said}");
    does(&system, "status", 0);
    does(&system, "stop", 0);
    does(&system, "stop", 0);
    does(&system, "status", 3);
    does(&system, "start", 6);
    does(&system, "dance", 2);

    system.apt(&[
        "purge",
        "nightlatch-server",
        "nightlatch",
        "nightlatch-client",
    ]);
    let left = system.run(&[
        "find",
        "/etc",
        "/var",
        "-name",
        "*nightlatch*",
        "!",
        "-path",
        "/var/log/apt/*",
    ]);
    let left: Vec<&str> = left
        .lines()
        .filter(|path| !path.starts_with("/var/lib/systemd/"))
        .collect();
    assert_eq!(left, [""; 0]);
}
