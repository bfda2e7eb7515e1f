//! Hosts on one machine: network namespaces joined by virtual cables, and a server that announces
//! itself in one of them. Needs root.
#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{BufRead, BufReader};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::world::{Answer, Machine, Server};

/// Tells this very program that it is the server in a namespace, and where the payload is.
const SERVE: &str = "NIGHTLATCH_TEST_SERVE";

const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const MDNS: u16 = 5353;

/// A host; its interface is called `wire`.
pub(crate) struct Host(pub(crate) String);

impl Host {
    pub(crate) fn new() -> Self {
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

    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        ip(&[&["-n", &self.0], arguments].concat())
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    pub(crate) fn cable_to(&self, other: &Self) {
        self.cable("wire", other, "wire");
        other.ip(&["link", "set", "wire", "up"]);
    }

    /// A link between two hosts: `end` here and `other_end` there, both down.
    pub(crate) fn cable(&self, end: &str, other: &Self, other_end: &str) {
        let ours = ["link", "add", end, "netns", &self.0, "type", "veth"];
        ip(&[&ours[..], &["peer", "name", other_end, "netns", &other.0]].concat());
    }

    /// The flags of the interface, without those of the cable.
    pub(crate) fn flags(&self) -> String {
        let shown = self.ip(&["-o", "link", "show", "wire"]);
        let end = shown.find('>').unwrap();
        shown[shown.find('<').unwrap()..=end].to_owned()
    }

    pub(crate) fn client(&self, machine: &Machine, arguments: &[&str]) -> Command {
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
    pub(crate) fn serve(&self, machine: &Machine) -> (Ended, u16) {
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

/// A host whose interface `end` is joined by a cable to the `wire` of another. `None` when namespaces cannot be made.
pub(crate) fn joined(end: &str) -> Option<(Host, Host)> {
    possible().then(|| {
        let (here, there) = (Host::new(), Host::new());
        here.cable(end, &there, "wire");
        there.ip(&["link", "set", "wire", "up"]);
        (here, there)
    })
}

/// Such a host, a machine to boot on it, and the server for it on the other host.
pub(crate) fn served(end: &str) -> Option<(Host, Machine, (Ended, Host))> {
    let (here, there) = joined(end)?;
    let machine = Machine::new();
    let (server, _port) = there.serve(&machine);
    Some((here, machine, (server, there)))
}

/// The lines of a client's log.
pub(crate) fn log_lines(client: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(client.stderr.take().unwrap()).lines();
    lines.map_while(Result::ok)
}

/// A process that does not outlive its test.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// True when namespaces can be made; prints a message otherwise.
pub(crate) fn possible() -> bool {
    let probe = Command::new("unshare")
        .args(["--net", "true"])
        .stderr(Stdio::null())
        .status();
    let possible = rustix::process::geteuid().is_root() && probe.is_ok_and(|s| s.success());
    if !possible {
        nightlatch_test_support::skipped("needs root and network namespaces");
    }
    possible
}

/// The server, in the process that [`Host::serve`] starts; elsewhere nothing.
pub(crate) fn serve_here() {
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
