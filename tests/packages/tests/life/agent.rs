//! The agent under systemd and under an init script: what it says when the machine goes down, and when only the service
//! does. Its one server is an address where nobody listens: which goodbye it tries to say is in its log.

use nightlatch_packages::system::TestSystem;

const LOG: &str = "/var/log/nightlatch-agent.log";

/// A host key, and a server to trust.
const SET_UP: &str = "nightlatch keygen --dir /var/lib/nightlatch-agent/keys
    printf '%064d\\n' 1 > /etc/nightlatch/agent-trusted-servers
    printf '[agent]\\nconnect = 127.0.0.1:1\\n' > /etc/nightlatch/agent.conf";

fn log(system: &TestSystem) -> String {
    std::fs::read_to_string(system.file(LOG)).unwrap_or_default()
}

fn logged(system: &TestSystem, text: &str) {
    system.until(&format!("the log says: {text}"), |system| {
        log(system).contains(text)
    });
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn a_goodbye_is_said_when_systemd_stops_the_machine_and_not_when_it_stops_the_service() {
    for (verb, kind) in [
        ("reboot", "reboot"),
        ("poweroff", "poweroff"),
        ("halt", "poweroff"),
    ] {
        let Some(system) = TestSystem::booted("bookworm") else {
            return;
        };
        system.install(&["nightlatch-client", "nightlatch"]);
        let active = |system: &TestSystem| {
            let state = system.try_run(&["systemctl", "is-active", "nightlatch-agent"]);
            String::from_utf8_lossy(&state.stdout).trim().to_owned()
        };
        // Enabled, and not started without a host key.
        system.run(&["systemctl", "is-enabled", "nightlatch-agent"]);
        system.run(&["systemctl", "start", "nightlatch-agent"]);
        assert_eq!(active(&system), "inactive");

        system.sh(SET_UP);
        // The journal is gone when the machine is; and a service that stops slowly leaves time to read the log.
        system.sh(&format!(
            "mkdir -p /etc/systemd/system/nightlatch-agent.service.d
            printf '[Service]\\nStandardError=append:{LOG}\\n' > /etc/systemd/system/nightlatch-agent.service.d/log.conf
            printf '[Service]\\nExecStart=sleep infinity\\nExecStop=sleep 30\\n' > /etc/systemd/system/slow.service
            systemctl daemon-reload
            systemctl start slow nightlatch-agent"
        ));
        logged(&system, "cannot report to 127.0.0.1:1");
        let owners =
            "stat -c '%U %a' /var/lib/nightlatch-agent/keys /var/lib/nightlatch-agent/state/boots";
        assert_eq!(system.sh(owners), "root 700\n_nightlatch-agent 600\n");
        system.run(&["systemctl", "restart", "nightlatch-agent"]);
        system.run(&["systemctl", "stop", "nightlatch-agent"]);
        assert!(!log(&system).contains("goodbye"), "{}", log(&system));

        system.run(&["systemctl", "start", "nightlatch-agent"]);
        system.run(&["systemctl", "start", "nightlatch-agent-hibernate"]);
        logged(&system, "saying goodbye to all servers: hibernate");
        system.run(&["systemctl", verb, "--no-block"]);
        logged(&system, &format!("saying goodbye to all servers: {kind}"));
    }
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn the_init_script_says_goodbye_in_the_runlevels_that_stop_the_machine() {
    let Some(system) = TestSystem::bare("bookworm") else {
        return;
    };
    system.install(&["nightlatch-client", "nightlatch"]);
    // Nothing to do without a host key.
    system.sh("/etc/init.d/nightlatch-agent start");
    system.sh(SET_UP);
    for (runlevel, said) in [
        ("", None),
        ("RUNLEVEL=6", Some("saying goodbye to all servers: reboot")),
        (
            "RUNLEVEL=0",
            Some("saying goodbye to all servers: poweroff"),
        ),
    ] {
        system.sh("/etc/init.d/nightlatch-agent start && /etc/init.d/nightlatch-agent status");
        let user = system.run(&["ps", "-o", "user:20=", "-C", "nightlatch-agent"]);
        assert_eq!(user, "_nightlatch-agent\n");
        system.sh(&format!("{runlevel} /etc/init.d/nightlatch-agent stop"));
        match said {
            Some(said) => logged(&system, said),
            None => assert!(!log(&system).contains("goodbye"), "{}", log(&system)),
        }
    }
}
