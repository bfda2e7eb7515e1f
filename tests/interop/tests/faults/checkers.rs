//! The environment of a checker: another user than the server, without the server's descriptors and secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::fixture::{Machine, ServerFolders};

/// A checker that inspects itself and the server; each line of `out` is a fault.
const PROBE: &str = r#"#!/bin/sh
exec >>OUT 2>&1
[ "$(id -u)" != SERVER_USER ] || echo "it is the server's user"
[ "$(id -u)" != 0 ] && [ "$(id -u)" != 65534 ] || echo "it is root or nobody"
[ "$(id -G | wc -w)" = 1 ] || echo "it has groups: $(id -G)"
for file in STATE/server-key.pem STATE/nightlatch.db CONF/clients.conf; do
    ! cat "$file" >/dev/null 2>&1 || echo "it reads $file"
done
! ls STATE >/dev/null 2>&1 || echo "it reads the state's folder"
server=$(pgrep -o -f -- "--statedir STATE")
for pid in $(pgrep -f -- "--statedir STATE"); do
    ! kill -0 "$pid" 2>/dev/null || echo "it may signal $pid of the server $server"
    ! ls "/proc/$pid/fd" >/dev/null 2>&1 || echo "it looks into $pid of the server $server"
done
grep -q '^NoNewPrivs:.1' /proc/self/status || echo "it may gain privileges"
[ "$(grep -cE '^Cap(Inh|Prm|Eff|Amb):.0+$' /proc/self/status)" = 4 ] || echo "it has capabilities"
[ "$(cut -d' ' -f6 /proc/$$/stat)" != "$(cut -d' ' -f6 "/proc/$server/stat")" ] || echo "it has the server's session"
env | grep -vE '^(PATH|LANG|SHELL|HOME|USER|LOGNAME|PWD|OLDPWD|SHLVL|_)='
[ "$(ls /proc/self/fd | wc -w)" = 4 ] || echo "it has descriptors: $(ls -l /proc/self/fd)"
echo done
"#;

#[test]
fn a_checker_has_nothing_of_the_server() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let machine = Machine::new("a");
    let fixture = ServerFolders::new("");
    // Any user may come as far as this.
    fs::set_permissions(fixture.file(""), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(fixture.state(), PermissionsExt::from_mode(0o700)).unwrap();
    let (out, probe) = (fixture.file("out"), fixture.file("probe"));
    fs::write(&out, "").unwrap();
    fs::set_permissions(&out, PermissionsExt::from_mode(0o666)).unwrap();
    let user = crate::fixture::service().unwrap().uid.to_string();
    let text = PROBE
        .replace("OUT", out.to_str().unwrap())
        .replace("STATE", fixture.state().to_str().unwrap())
        .replace("CONF", fixture.conf().to_str().unwrap())
        .replace("SERVER_USER", &user);
    fs::write(&probe, text).unwrap();
    fs::set_permissions(&probe, PermissionsExt::from_mode(0o755)).unwrap();
    let checker = format!("checker = exec {}\ninterval = PT1S", probe.display());
    fixture.write_clients(&machine.section(&checker));
    let mut command = fixture.command();
    command.arg("--debug").env("NIGHTLATCH_TEST_LEAK", "leaked");
    let server = crate::fixture::Server::spawn(&mut command);
    server.says("check succeeded");
    assert_eq!(
        fs::read_to_string(&out).unwrap().lines().next(),
        Some("done")
    );
    assert!(server.running.terminate().status.success());
}

#[test]
fn a_command_that_pings_may_and_no_other() {
    let may_open_raw = |name: &str| {
        format!(
            "checker = {name}() {{ grep -q '^CapEff:.*2000$' /proc/self/status; }}; {name}\ninterval = PT1S"
        )
    };
    if !nightlatch_test_support::is_root() {
        return;
    }
    for (name, outcome) in [("ping", "check succeeded"), ("other", "check failed")] {
        let fixture = ServerFolders::new(&Machine::new("a").section(&may_open_raw(name)));
        let server = fixture.start(&["--debug"]);
        server.says(outcome);
        assert!(server.running.terminate().status.success());
    }
}

#[test]
fn the_default_checker_pings_without_the_server_s_rights() {
    let fixture = ServerFolders::new(&Machine::new("a").section("interval = PT1S"));
    let server = fixture.start(&["--debug"]);
    server.says("check succeeded");
    assert!(server.running.terminate().status.success());
}

#[test]
fn the_server_is_never_nobody_and_takes_over_what_was_nobody_s() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let a = Machine::new("a");
    let fixture = ServerFolders::new(&a.section("checker = true\ninterval = PT1S"));
    let server = fixture.start(&["--debug"]);
    server.says("check succeeded");
    assert!(server.running.terminate().status.success());
    let give = |user| {
        for entry in fs::read_dir(fixture.state()).unwrap() {
            std::os::unix::fs::chown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
        }
        std::os::unix::fs::chown(fixture.state(), Some(user), Some(user)).unwrap();
    };
    give(65534);
    let server = fixture.start(&[]);
    a.is_served(&server);
    let status = fs::read_to_string(format!("/proc/{}/status", server.running.pid())).unwrap();
    assert!(!status.contains("\t65534"), "{status}");
    assert!(server.running.terminate().status.success());
    // Of anybody else it takes nothing.
    give(64_999);
    fixture.fails(74, &[]);
}

#[test]
fn a_server_whose_checkers_cannot_run_any_more_ends_and_says_so() {
    let fixture = ServerFolders::new(&Machine::new("a").section("checker = true\ninterval = PT1S"));
    let server = fixture.start(&["--debug"]);
    server.says("check succeeded");
    let children = format!("/proc/{0}/task/{0}/children", server.running.pid());
    let child = fs::read_to_string(children).unwrap();
    let child = child.trim().parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    let output = server.running.finish();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(71), "{said}");
}
