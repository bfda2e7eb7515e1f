//! The client on hosts of its own: network namespaces joined by a virtual cable. Needs root; says so
//! and passes where it is not.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside test functions"
)]

mod world;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use world::{Answer, Machine, PASSWORD, Server};

const STOCK: &str = "/usr/lib/x86_64-linux-gnu/mandos/plugins.d/mandos-client";

/// Tells this very program that it is the server in a namespace, and where the payload is.
const SERVE: &str = "NIGHTLATCH_TEST_SERVE";

const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const MDNS: u16 = 5353;

/// A host; its interface is called `wire`.
struct Host(String);

impl Host {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let host = Self(format!("nl-boot-{}-{count}", std::process::id()));
        ip(&["netns", "add", &host.0]);
        host.ip(&["link", "set", "lo", "up"]);
        // No search for duplicate addresses: a new link is usable at once.
        let setting = "net.ipv6.conf.default.accept_dad=0";
        let set = host.command("sysctl").args(["-qw", setting]).status();
        assert!(set.unwrap().success());
        host
    }

    fn ip(&self, arguments: &[&str]) -> String {
        ip(&[&["-n", &self.0], arguments].concat())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    fn cable_to(&self, other: &Self) {
        let ours = ["link", "add", "wire", "netns", &self.0, "type", "veth"];
        ip(&[&ours[..], &["peer", "name", "wire", "netns", &other.0]].concat());
        other.ip(&["link", "set", "wire", "up"]);
    }

    /// The flags that the interface has, without those that tell of the cable.
    fn flags(&self) -> String {
        let shown = self.ip(&["-o", "link", "show", "wire"]);
        let end = shown.find('>').unwrap();
        shown[shown.find('<').unwrap()..=end].to_owned()
    }

    fn client(&self, machine: &Machine, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_nightlatch-boot"));
        command
            .args(["client", "--retry", "1"])
            .args(machine.key_options())
            .args(["--network-hook-dir", "/nonexistent"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a server for `machine` that announces itself, and answers with its port.
    fn serve(&self, machine: &Machine) -> (Ended, u16) {
        let payload = machine.file("payload");
        std::fs::write(&payload, machine.payload()).unwrap();
        let myself = std::env::current_exe().unwrap();
        let mut child = self
            .command(myself.to_str().unwrap())
            .args(["--exact", "the_server_in_a_namespace", "--nocapture"])
            .env(SERVE, &payload)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ended = Ended(child);
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("port=")?.1.trim().parse().ok());
        (ended, port.unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.0])
            .status();
    }
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether namespaces can be made; says so when not.
fn possible() -> bool {
    let probe = Command::new("unshare")
        .args(["--net", "true"])
        .stderr(Stdio::null())
        .status();
    let possible = rustix::process::geteuid().is_root() && probe.is_ok_and(|s| s.success());
    if !possible {
        eprintln!("skipped: needs root and network namespaces");
    }
    possible
}

#[test]
fn the_server_in_a_namespace() {
    let Some(payload) = std::env::var_os(SERVE) else {
        return;
    };
    let payload = std::fs::read(payload).unwrap();
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _server = Server::on(listener, None, vec![Answer::Give(payload)]);
    println!("port={port}");
    announce(port);
}

/// Answers whatever is asked, in the group, until it is killed.
fn announce(port: u16) {
    let socket = UdpSocket::bind(("::", MDNS)).unwrap();
    let mut buffer = [0; 9000];
    let (index, own) = loop {
        let addresses = std::fs::read_to_string("/proc/net/if_inet6").unwrap();
        if let Some(line) = addresses.lines().find(|line| line.ends_with("wire")) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let own = u128::from_str_radix(fields[0], 16).unwrap();
            break (u32::from_str_radix(fields[1], 16).unwrap(), own);
        }
        std::thread::yield_now();
    };
    socket.join_multicast_v6(&GROUP, index).unwrap();
    let answer = answer(port, &own.to_be_bytes());
    let group = SocketAddrV6::new(GROUP, MDNS, 0, index);
    loop {
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        let is_query = length > 2 && buffer[2] & 0x80 == 0;
        if is_query {
            let _ = socket.send_to(&answer, group);
        }
    }
}

/// A response (RFC 6762, 18) with PTR, SRV and AAAA of a service.
fn answer(port: u16, own: &[u8; 16]) -> Vec<u8> {
    let name = |labels: &[&str]| -> Vec<u8> {
        let parts = labels.iter().flat_map(|label| {
            let length = u8::try_from(label.len()).unwrap();
            std::iter::once(length)
                .chain(label.bytes())
                .collect::<Vec<u8>>()
        });
        parts.chain([0]).collect()
    };
    let record = |owner: &[u8], kind: u8, class: [u8; 2], data: &[u8]| -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [owner, &[0, kind], &class, &[0, 0, 0, 120], &length, data].concat()
    };
    let service = name(&["_mandos", "_tcp", "local"]);
    let instance = name(&["Test", "_mandos", "_tcp", "local"]);
    let host = name(&["host", "local"]);
    let target = [&[0, 0, 0, 0], &port.to_be_bytes()[..], &host].concat();
    [
        vec![0, 0, 0x84, 0, 0, 0, 0, 3, 0, 0, 0, 0],
        record(&service, 12, [0, 1], &instance),
        record(&instance, 33, [0x80, 1], &target),
        record(&host, 28, [0x80, 1], own),
    ]
    .concat()
}

#[test]
fn a_server_is_found_on_a_link_that_is_put_back_as_it_was() {
    if !possible() {
        return;
    }
    let (here, there) = (Host::new(), Host::new());
    here.cable_to(&there);
    let machine = Machine::new();
    let _server = there.serve(&machine);
    let before = here.flags();
    let output = here.client(&machine, &["--debug"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, PASSWORD, "{said}");
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
    client
        .stderr
        .as_mut()
        .unwrap()
        .read_exact(&mut [0])
        .unwrap();
    here.cable_to(&there);
    let _server = there.serve(&machine);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.stdout, PASSWORD);
}

#[test]
fn a_signal_puts_the_link_back_too() {
    if !possible() {
        return;
    }
    let (here, there) = (Host::new(), Host::new());
    here.cable_to(&there);
    let before = here.flags();
    let machine = Machine::new();
    let mut client = here.client(&machine, &["--debug"]).spawn().unwrap();
    let lines = BufReader::new(client.stderr.take().unwrap()).lines();
    let mut said = lines.map_while(Result::ok);
    assert!(said.any(|line| line.contains("searching")));
    assert_ne!(here.flags(), before);
    world::terminate(&client);
    said.for_each(drop);
    assert_eq!(client.wait().unwrap().signal(), Some(15));
    assert_eq!(here.flags(), before);
}

#[test]
fn a_server_without_a_route_is_reached_as_a_neighbour() {
    if !possible() {
        return;
    }
    let (here, there) = (Host::new(), Host::new());
    here.cable_to(&there);
    there.ip(&["addr", "add", "2001:db8::1/64", "dev", "wire"]);
    let machine = Machine::new();
    let (_server, port) = there.serve(&machine);
    let target = format!("[2001:db8::1]:{port}");
    let before = (here.flags(), here.ip(&["-6", "route"]));
    let arguments = ["--debug", "--interface", "wire", "--connect", &target];
    let output = here.client(&machine, &arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, PASSWORD, "{said}");
    assert!(said.contains("added a route"), "{said}");
    assert_eq!((here.flags(), here.ip(&["-6", "route"])), before);
}

/// "The network hook will be provided with a number of environment variables" (mandos-client(8mandos)).
#[test]
fn hooks_see_what_they_see_under_mandos() {
    if !possible() {
        return;
    }
    if !Path::new(STOCK).exists() {
        eprintln!("skipped: no mandos-client to compare with");
        return;
    }
    let (ours, arguments) = hooks_under(&[env!("CARGO_BIN_EXE_nightlatch-boot"), "client"]);
    let (stock, _) = hooks_under(&[STOCK]);
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

/// What two hooks saw at start and stop, and their arguments.
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
    let lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let mut said = lines.map_while(Result::ok);
    // With --debug both tell when they connect: the hooks are done then.
    assert!(said.any(|line| line.contains("127.0.0.1")));
    assert_eq!(read(".seen").len(), 2);
    world::terminate(&child.0);
    said.for_each(drop);
    assert_eq!(child.0.wait().unwrap().signal(), Some(15));
    (read(".seen"), read(".arguments"))
}
