//! The client on hosts of its own: network namespaces joined by a virtual cable. Needs root; says so
//! and passes where it is not.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside test functions"
)]

#[path = "world/hosts.rs"]
mod hosts;
mod world;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hosts::{Ended, Host, joined, log_lines, possible, served};
use world::{Machine, PASSWORD, log_of_success};

/// The stock client, as `scripts/prepare test` unpacks it, or installed.
fn stock() -> Option<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers");
    let peers =
        std::env::var_os("NIGHTLATCH_PEERS").map_or_else(|| PathBuf::from(root), PathBuf::from);
    let place = "usr/lib/x86_64-linux-gnu/mandos/plugins.d/mandos-client";
    [peers, PathBuf::from("/")]
        .map(|root| root.join(place))
        .into_iter()
        .find(|path| path.exists())
}

#[test]
fn the_server_in_a_namespace() {
    hosts::serve_here();
}

#[test]
fn a_server_is_found_on_a_link_that_is_put_back_as_it_was() {
    let Some((here, machine, _server)) = served("wire") else {
        return;
    };
    let before = here.flags();
    let said = log_of_success(&mut here.client(&machine, &["--debug"]));
    assert_eq!(here.flags(), before, "{said}");
}

#[test]
fn an_interface_that_comes_late_is_waited_for() {
    if !possible() {
        return;
    }
    let (here, there) = (Host::new(), Host::new());
    let machine = Machine::new();
    let mut client = here
        .client(&machine, &["--interface", "wire"])
        .spawn()
        .unwrap();
    // It has said that it waits.
    world::wait_for_log(&mut client);
    here.cable_to(&there);
    let _server = there.serve(&machine);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.stdout, PASSWORD);
}

#[test]
fn a_signal_puts_the_link_back_too() {
    let Some((here, _there)) = joined("wire") else {
        return;
    };
    let before = here.flags();
    let machine = Machine::new();
    let mut client = here.client(&machine, &["--debug"]).spawn().unwrap();
    let mut said = log_lines(&mut client);
    assert!(said.any(|line| line.contains("searching")));
    assert_ne!(here.flags(), before);
    world::terminate(&client);
    said.for_each(drop);
    assert_eq!(client.wait().unwrap().signal(), Some(15));
    assert_eq!(here.flags(), before);
}

#[test]
fn a_server_without_a_route_is_reached_as_a_neighbour() {
    let Some((here, there)) = joined("wire") else {
        return;
    };
    there.ip(&["addr", "add", "2001:db8::1/64", "dev", "wire"]);
    let machine = Machine::new();
    let (_server, port) = there.serve(&machine);
    let target = format!("[2001:db8::1]:{port}");
    let before = (here.flags(), here.ip(&["-6", "route"]));
    let arguments = ["--debug", "--interface", "wire", "--connect", &target];
    let said = log_of_success(&mut here.client(&machine, &arguments));
    assert!(said.contains("added a route"), "{said}");
    assert_eq!((here.flags(), here.ip(&["-6", "route"])), before);
}

/// A route to the server itself would hide the router for ever.
#[test]
fn a_router_that_is_late_is_waited_for() {
    // Once the client can speak, it fails for want of a route alone.
    let mut speaks = false;
    late_router(move |here, line| {
        let spoke = std::mem::replace(&mut speaks, here.ip(&LINK_LOCAL).contains("fe80:"));
        line.contains("cannot connect") && spoke
    });
}

/// The client has made the server a neighbour by then.
#[test]
fn a_router_that_is_later_than_the_client_waits_is_used() {
    late_router(|_, line| line.contains("added a route"));
}

const LINK_LOCAL: [&str; 8] = [
    "-6",
    "addr",
    "show",
    "dev",
    "wire",
    "scope",
    "link",
    "-tentative",
];

/// The client gets its password behind a router that comes once `is_time`, by a line that the client says.
fn late_router(mut is_time: impl FnMut(&Host, &str) -> bool) {
    let Some((here, there)) = joined("wire") else {
        return;
    };
    // No host on the cable has the address of another interface (RFC 4861, 7.2.3).
    there.ip(&["link", "set", "lo", "up"]);
    there.ip(&["addr", "add", "2001:db8:1::1/128", "dev", "lo"]);
    there.ip(&["addr", "add", "2001:db8::1/64", "dev", "wire", "nodad"]);
    here.ip(&["addr", "add", "2001:db8::5/64", "dev", "wire", "nodad"]);
    let machine = Machine::new();
    let (_server, port) = there.serve(&machine);
    let target = format!("[2001:db8:1::1]:{port}");
    let options = ["--debug", "--retry", "1", "--interface", "wire"];
    let mut client = here.client(&machine, &[&options[..], &["--connect", &target]].concat());
    let mut client = client.spawn().unwrap();
    let mut said = log_lines(&mut client);
    assert!(said.any(|line| is_time(&here, &line)));
    here.ip(&[
        "-6",
        "route",
        "add",
        "default",
        "via",
        "2001:db8::1",
        "dev",
        "wire",
    ]);
    said.for_each(drop);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.stdout, PASSWORD);
}

/// "The network hook will be provided with a number of environment variables" (mandos-client(8mandos)).
#[test]
fn hooks_see_what_they_see_under_mandos() {
    if !possible() {
        return;
    }
    let Some(stock) = stock() else {
        nightlatch_test_support::skipped("needs the stock mandos-client (scripts/prepare test)");
        return;
    };
    let (ours, arguments) = hooks_under(&[env!("CARGO_BIN_EXE_nightlatch-boot"), "client"]);
    let (stock, _) = hooks_under(&[stock.to_str().unwrap()]);
    assert_eq!(ours[..2], stock[..2]);
    // Mandos cuts the port off CONNECT before the hooks are stopped.
    let stock_stop: Vec<String> = stock[2..]
        .iter()
        .map(|line| line.replace("127.0.0.1 ", "127.0.0.1:9 "))
        .collect();
    assert_eq!(ours[2..], stock_stop);
    // The argument is documented and missing there.
    assert_eq!(arguments, ["start", "start", "stop", "stop"]);
}

/// The environment and arguments of two hooks at start and stop.
fn hooks_under(program: &[&str]) -> (Vec<String>, Vec<String>) {
    let host = Host::new();
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\n\
        echo \"NAME $MODE $DEVICE $VERBOSITY $DELAY $CONNECT $(id -u) $(id -g)\" >> \"$MANDOSNETHOOKDIR/.seen\"\n\
        echo \"$1\" >> \"$MANDOSNETHOOKDIR/.arguments\"\n";
    for (name, mode) in [
        ("b-hook", 0o755),
        ("A_hook.sh", 0o755),
        ("plain", 0o644),
        ("no hook", 0o755),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, script.replace("NAME", name)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = host.command(program[0]);
    let child = command
        .args(&program[1..])
        .args(machine.key_options())
        .args([
            "--interface",
            "lo,none",
            "--retry",
            "1",
            "--debug",
            "--delay",
            "0.5",
            "--connect",
            "127.0.0.1:9",
        ])
        .arg("--network-hook-dir")
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let read = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let mut said = log_lines(&mut child.0);
    // With --debug both log the connection: the hooks are done then.
    assert!(said.any(|line| line.contains("127.0.0.1")));
    assert_eq!(read(".seen").len(), 2);
    world::terminate(&child.0);
    said.for_each(drop);
    assert_eq!(child.0.wait().unwrap().signal(), Some(15));
    (read(".seen"), read(".arguments"))
}

/// A folder with this hook in it.
fn hook(script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hook");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// The log of a client with these hooks, which is ended once it has tried to connect.
fn said_with_hooks(hooks: &Path) -> String {
    let machine = Machine::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nightlatch-boot"));
    command
        .arg("client")
        .args(machine.key_options())
        .args(["--interface", "none", "--connect", "127.0.0.1:9"])
        .arg("--network-hook-dir")
        .arg(hooks)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = Ended(command.spawn().unwrap());
    let mut said = String::new();
    for line in log_lines(&mut child.0) {
        let tried = line.contains("127.0.0.1:9");
        said += &(line + "\n");
        if tried {
            world::terminate(&child.0);
        }
    }
    assert_eq!(child.0.wait().unwrap().signal(), Some(15), "{said}");
    said
}

#[test]
fn a_hook_that_others_can_change_is_not_run() {
    let folder = hook("echo HOOK RAN");
    assert!(said_with_hooks(folder.path()).contains("HOOK RAN"));
    let path = folder.path().join("hook");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&path, 0o775);
    let said = said_with_hooks(folder.path());
    assert!(!said.contains("HOOK RAN"), "{said}");
    assert!(
        said.contains("leaving out a network hook: others can write to"),
        "{said}"
    );
    mode(&path, 0o755);
    mode(folder.path(), 0o1777);
    let said = said_with_hooks(folder.path());
    assert!(!said.contains("HOOK RAN"), "{said}");
    assert!(
        said.contains("no network hooks are run: others can write to"),
        "{said}"
    );
}

#[test]
fn a_hook_that_says_too_much_is_cut_off_and_goes_on() {
    let folder = hook(
        "[ $1 = stop ] || { head -c 1000000 /dev/zero | tr '\\0' 'x'; echo; } 2>/dev/null; echo END > \"$MANDOSNETHOOKDIR/.end\"",
    );
    let said = said_with_hooks(folder.path());
    assert!(
        said.contains("says too much: the rest is left out"),
        "{}",
        said.len()
    );
    assert!(said.len() < 80_000, "{}", said.len());
    assert!(folder.path().join(".end").exists());
}

// Whatever hangs, the client ends, and all that the hook has started too.
#[test]
fn a_hook_that_hangs_is_ended_with_its_children() {
    let script = "[ $1 = start ] || { sleep 1000 & echo $! > \"$MANDOSNETHOOKDIR/.child\"; wait; }";
    let folder = hook(script);
    let said = said_with_hooks(folder.path());
    assert!(
        said.contains("has not ended after 10 s, and was ended"),
        "{said}"
    );
    let child = std::fs::read_to_string(folder.path().join(".child")).unwrap();
    // It was sent SIGKILL, which takes effect when the processor comes to it; whoever is to reap it may not have done so yet.
    let status = format!("/proc/{}/status", child.trim());
    let runs = || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        status.starts_with("Name:\tsleep\n") && !status.contains("State:\tZ")
    };
    for _ in 0..3000 {
        if !runs() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the hook's child runs on");
}

#[test]
fn an_interface_that_does_not_exist_is_named_and_others_are_used_after_a_while() {
    let Some((here, machine, _server)) = served("wire") else {
        return;
    };
    let before = here.flags();
    let said = log_of_success(&mut here.client(&machine, &["--interface", "00"]));
    assert!(
        said.contains("does not exist: 00; without it, others are used after 30 s"),
        "{said}"
    );
    assert!(
        said.contains("still without 00: using other network interfaces"),
        "{said}"
    );
    assert_eq!(here.flags(), before);
}

#[test]
fn behind_none_no_other_interface_is_ever_used() {
    if !possible() {
        return;
    }
    let here = Host::new();
    let machine = Machine::new();
    let mut client = here
        .client(&machine, &["--interface", "00,none"])
        .spawn()
        .unwrap();
    let said = log_lines(&mut client).find(|line| line.contains("00"));
    world::terminate(&client);
    client.wait().unwrap();
    assert!(said.unwrap().ends_with("does not exist: 00"));
}

#[test]
fn want_of_a_link_local_address_is_told_with_its_reason() {
    let Some((here, _there)) = joined("wire") else {
        return;
    };
    let set = here
        .command("sysctl")
        .args(["-qw", "net.ipv6.conf.wire.disable_ipv6=1"])
        .status();
    assert!(set.unwrap().success());
    let machine = Machine::new();
    let mut client = here.client(&machine, &[]).spawn().unwrap();
    let mut lines = log_lines(&mut client);
    let expected = "interface wire has no IPv6 link-local address (IPv6 is disabled there: \
                    disable_ipv6=1), and no IPv4 address: no server can be found there";
    assert!(lines.any(|line| line.contains(expected)));
    here.ip(&["addr", "add", "192.0.2.2/24", "dev", "wire"]);
    assert!(lines.any(|line| line.contains("searching there over IPv4 only")));
    world::terminate(&client);
    client.wait().unwrap();
}
