//! Reboots are held up by the unit that the package brings, with systemd's own logind to take the lock.

use nightlatch_packages::system::TestSystem;

/// The inhibitors of shutdowns (systemd-inhibit(1)).
fn locks(system: &TestSystem) -> String {
    system.run(&["systemd-inhibit", "--list", "--no-pager", "--no-legend"])
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn a_reboot_is_held_up_while_the_machine_would_not_come_back() {
    let Some(system) = TestSystem::booted("bookworm") else {
        return;
    };
    system.install(&["nightlatch-client", "nightlatch"]);
    // Not unless it is asked for.
    system.run(&["systemctl", "start", "nightlatch-inhibit"]);
    system.until("it ends by itself", |system| {
        let state = system.try_run(&["systemctl", "is-active", "nightlatch-inhibit"]);
        state.stdout == b"inactive\n"
    });
    assert!(!locks(&system).contains("Nightlatch"));

    system.sh("sed -i 's/^;inhibit = no/inhibit = yes/' /etc/nightlatch/client.conf");
    // There is no server: nobody would unlock it.
    system.run(&["systemctl", "start", "nightlatch-inhibit"]);
    system.until("the lock is held", |system| {
        let log = system.try_run(&["journalctl", "--no-pager", "--unit=nightlatch-inhibit"]);
        String::from_utf8_lossy(&log.stdout).contains("reboots are held up: ")
    });
    let held = locks(&system);
    assert!(
        held.contains("Nightlatch") && held.contains("block"),
        "{held}"
    );
    let refused = system.try_run(&["systemctl", "reboot", "--check-inhibitors=yes"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("Nightlatch"),
        "{said}"
    );

    // However it ends, nothing is left behind that a person would have to find.
    system.run(&["systemctl", "kill", "--signal=KILL", "nightlatch-inhibit"]);
    system.until("the lock is gone", |system| {
        !locks(system).contains("Nightlatch")
    });
}
