//! `builtin:ping` of a real server, between hosts on one cable.
// unwrap in a test is the assertion itself, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::process::{Child, Stdio};

use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::netns::{Lan, NetnsHost};
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::{Home, TestServer};

/// Any port: the server is alone on its host.
const PORT: u16 = 4711;

/// Answers the echo requests to 10.9.0.2 in place of the kernel: from another address, with one bit of the payload
/// changed, or rightly.
const RESPONDER: &str = r#"
import socket, sys
raw = lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
requests, answers = raw(), raw()
answers.bind(("10.9.0.3" if sys.argv[1] == "other-address" else "10.9.0.2", 0))
print("ready", flush=True)
while True:
    packet, (source, _) = requests.recvfrom(2000)
    reply = bytearray(packet[(packet[0] & 15) * 4:])
    if reply[0] != 8 or source != "10.9.0.1":
        continue
    reply[0:4] = bytes(4)
    if sys.argv[1] == "other-token":
        reply[-1] ^= 1
    total = sum(int.from_bytes(reply[at:at + 2], "big") for at in range(0, len(reply), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    reply[2:4] = (total ^ 0xffff).to_bytes(2, "big")
    answers.sendto(bytes(reply), (source, 0))
"#;

/// Two hosts with IPv4 addresses, 10.9.0.1 of the server, and 10.9.0.2 and 10.9.0.3 of the machine, and with IPv6 ones.
fn lan() -> Option<Lan> {
    let lan = Lan::new("ping")?;
    lan.server
        .ip(&["addr", "add", "10.9.0.1/24", "dev", "srv0"]);
    // For the name localhost.
    lan.server.ip(&["addr", "add", "127.0.0.1/8", "dev", "lo"]);
    lan.server
        .ip(&["addr", "add", "fd09::1/64", "dev", "srv0", "nodad"]);
    for address in ["10.9.0.2/24", "10.9.0.3/24"] {
        lan.client.ip(&["addr", "add", address, "dev", "cli0"]);
    }
    lan.client
        .ip(&["addr", "add", "fd09::2/64", "dev", "cli0", "nodad"]);
    lan.client.wait_for_link_local("cli0");
    lan.server.wait_for_link_local("srv0");
    Some(lan)
}

fn set(host: &NetnsHost, setting: &str) {
    let mut sysctl = host.command("sysctl");
    let status = sysctl.args(["-q", "-w", setting]).status().unwrap();
    assert!(status.success(), "{setting}");
}

fn allow_pings(host: &NetnsHost) {
    set(host, "net.ipv4.ping_group_range=0 2147483647");
}

fn link_local(host: &NetnsHost, interface: &str) -> String {
    let shown = host.ip(&["-6", "-br", "addr", "show", "dev", interface]);
    let mut words = shown.split_whitespace();
    let address = words.find(|word| word.starts_with("fe80:")).unwrap();
    address.split('/').next().unwrap().to_owned()
}

/// Sections of one machine for every name and host.
fn sections(of: &[(&str, &str)]) -> String {
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"secret");
    let section = machine.section("checker = builtin:ping\ninterval = PT1S");
    of.iter()
        .map(|(name, host)| {
            section.replace("[tower]", &format!("[{name}]")).replace(
                "host = tower",
                &format!("host = {}", host.replace('%', "%%")),
            )
        })
        .collect()
}

fn start(lan: &Lan, of: &[(&str, &str)]) -> TestServer {
    let home = Home::new(&sections(of), None);
    TestServer::at_port(Project::Ours, home, &lan.server, PORT)
}

/// Waits for a line about the client `name` that has all of `parts`.
fn said(server: &TestServer, name: &str, parts: &[&str]) {
    let quoted = format!("{name:?}");
    server.running().wait_for(&parts.join(" "), |line| {
        let said = line.contains(&quoted) && parts.iter().all(|part| line.contains(part));
        said.then_some(())
    });
}

#[test]
fn a_machine_is_pinged_at_every_kind_of_address_and_fails_where_nobody_answers() {
    let Some(lan) = lan() else {
        return;
    };
    allow_pings(&lan.server);
    let scoped = format!("{}%srv0", link_local(&lan.client, "cli0"));
    let elsewhere = format!("{}%lo", link_local(&lan.client, "cli0"));
    let server = start(
        &lan,
        &[
            ("ipv4", "10.9.0.2"),
            ("ipv6", "fd09::2"),
            ("scoped", &scoped),
            ("named", "localhost"),
            ("absent", "10.9.0.77"),
            ("unreachable", "192.0.2.1"),
            ("elsewhere", &elsewhere),
            ("nameless", "nowhere.invalid"),
        ],
    );
    for name in ["ipv4", "ipv6", "scoped", "named"] {
        said(&server, name, &["check succeeded"]);
    }
    for (name, reason) in [
        ("absent", "it answered none of 5 pings"),
        ("unreachable", "cannot ping it"),
        ("elsewhere", "a ping failed"),
        ("nameless", "cannot look its host up"),
    ] {
        said(&server, name, &[reason]);
        said(&server, name, &["check failed", "status=1"]);
    }
    let log = server.running().log();
    for name in ["absent", "unreachable", "elsewhere", "nameless"] {
        let quoted = format!("{name:?}");
        let good = |line: &&String| line.contains(&quoted) && line.contains("check succeeded");
        assert_eq!(log.iter().find(good), None);
    }
    assert!(!log.iter().any(|line| line.contains("ping_group_range")));
    server.stop();
}

/// Ends with its owner.
struct Responder(Child);

impl Responder {
    fn start(host: &NetnsHost, how: &str) -> Self {
        let mut command = host.command("python3");
        let child = command
            .args(["-c", RESPONDER, how])
            .stdout(Stdio::piped())
            .spawn();
        let mut responder = Self(child.unwrap());
        let mut ready = [0; 6];
        let out = responder.0.stdout.as_mut().unwrap();
        std::io::Read::read_exact(out, &mut ready).unwrap();
        responder
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reply_from_another_address_or_to_another_request_is_no_answer() {
    let Some(lan) = lan() else {
        return;
    };
    allow_pings(&lan.server);
    set(&lan.client, "net.ipv4.icmp_echo_ignore_all=1");
    for (how, answered) in [
        ("other-address", false),
        ("other-token", false),
        ("right", true),
    ] {
        let responder = Responder::start(&lan.client, how);
        let server = start(&lan, &[("tower", "10.9.0.2")]);
        let ended = server.running().wait_for("a check", |line| {
            let ended = line.contains("check succeeded") || line.contains("check failed");
            ended.then(|| line.contains("succeeded"))
        });
        assert_eq!(ended, answered, "{how}");
        server.stop();
        drop(responder);
    }
}

#[test]
fn a_server_that_may_not_ping_says_how_to_allow_it_and_fails_every_check() {
    let Some(lan) = lan() else {
        return;
    };
    // As the kernel has it of itself.
    set(&lan.server, "net.ipv4.ping_group_range=1 0");
    let server = start(&lan, &[("tower", "10.9.0.2")]);
    server.running().wait_for("the warning", |line| {
        let parts = [
            "every check by builtin:ping fails",
            "net.ipv4.ping_group_range is \"1 0\"",
            "sysctl --system",
        ];
        let says = parts.iter().all(|part| line.contains(part));
        says.then_some(())
    });
    let mut failed = 0;
    server.running().wait_for("two failed checks", |line| {
        failed += usize::from(line.contains("check failed") && line.contains("status=127"));
        (failed == 2).then_some(())
    });
    let log = server.running().log();
    // Once, and not with each check.
    let warnings = log.iter().filter(|line| line.contains("may not ping"));
    assert_eq!(warnings.count(), 1, "{log:?}");
    assert!(!log.iter().any(|line| line.contains("check succeeded")));
    // No restart is needed.
    allow_pings(&lan.server);
    said(&server, "tower", &["check succeeded"]);
    server.stop();
}
