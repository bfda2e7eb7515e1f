//! The boot client with several `--connect` options, against real servers: whatever some of them do, the right one
//! gives the password at once. And names that resolve late, slowly, or to several addresses.
//!
//! At once means: before the client has given any silent one up, which it does after twenty seconds.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use nightlatch_interop::client;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::netns::{NetnsHost, available};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::{Home, TestServer};
use tempfile::TempDir;

const UP: &str = "checker = true";

const PORT: u16 = 4711;

/// Nobody listens there.
const REFUSING: &str = "[::1]:1";

/// The name of a server. `.test` is nobody's (RFC 2606).
const NAME: &str = "home.test";

fn machine() -> TestMachine {
    TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password")
}

fn home(machine: &TestMachine) -> Home {
    Home::new(&machine.section(UP), None)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A client that connects to `servers`, side by side.
fn connecting(machine: &TestMachine, servers: &[&str]) -> std::process::Command {
    let mut command = client::command(Project::Ours, machine);
    command.args(["--debug", "--interface", "none"]);
    for server in servers {
        command.args(["--connect", server]);
    }
    command
}

fn has_given_up(said: &str, server: &str) -> bool {
    said.contains(&format!("{server}: "))
}

#[test]
fn a_server_that_hangs_and_one_that_refuses_hold_up_no_other() {
    let machine = machine();
    let server = TestServer::start(Project::Ours, home(&machine));
    // The kernel accepts connections; nobody ever answers on them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    let right = format!("[::1]:{}", server.port());
    let mut order = [silent.as_str(), REFUSING, right.as_str()];
    for _ in 0..order.len() {
        let mut command = connecting(&machine, &order);
        let output = RunningProgram::start("client", &mut command).finish();
        let told = said(&output);
        assert_eq!(output.stdout, machine.password, "{told}");
        assert!(!has_given_up(&told, &silent), "{order:?}\n{told}");
        order.rotate_left(1);
    }
}

#[test]
fn a_server_that_starts_later_is_found_beside_others_that_fail() {
    let machine = machine();
    let late = TcpListener::bind("[::1]:0").unwrap();
    let port = late.local_addr().unwrap().port();
    drop(late);
    let right = format!("[::1]:{port}");
    let mut command = connecting(&machine, &[&right, REFUSING]);
    let client = RunningProgram::start("client", &mut command);
    for refusing in [right.as_str(), REFUSING] {
        client.wait_for("that it is refused", |line| {
            (line.contains(&format!("{refusing}: ")) && line.contains("refused")).then_some(())
        });
    }
    let listener = TcpListener::bind(&right).unwrap();
    let _server = TestServer::start_on(Project::Ours, home(&machine), listener);
    let output = client.finish();
    assert_eq!(output.stdout, machine.password, "{}", said(&output));
}

/// A host with a server and its own idea of names: the file of its resolver begins empty.
struct HostWithResolver {
    folder: TempDir,
    host: NetnsHost,
    machine: TestMachine,
    server: TestServer,
}

/// The files that say how names resolve, laid over those of this host: an initramfs has no others.
const LAY: &str = r#"set -e
for file in resolv.conf hosts nsswitch.conf; do
    mount --bind "$0/$file" "/etc/$file"
done
exec "$@""#;

impl HostWithResolver {
    /// `None`, and said so, without root.
    fn new() -> Option<Self> {
        if !available() {
            nightlatch_test_support::skipped("needs root and network namespaces");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("resolv.conf", ""),
            ("hosts", ""),
            ("nsswitch.conf", "hosts: files dns\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let host = NetnsHost::new("names");
        let machine = machine();
        let server = TestServer::at_port(Project::Ours, home(&machine), &host, PORT);
        Some(Self {
            folder,
            host,
            machine,
            server,
        })
    }

    fn resolver_file(&self) -> PathBuf {
        self.folder.path().join("resolv.conf")
    }

    /// The network has brought a resolver.
    fn bring_resolver(&self) {
        fs::write(self.resolver_file(), "nameserver 127.0.0.1\n").unwrap();
    }

    fn name_server(&self, what: &[&str]) -> RunningProgram {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_name_server"));
        command.args(what);
        let running = RunningProgram::start("name server", &mut command);
        running.wait_for("that it listens", |line| {
            line.contains("listening").then_some(())
        });
        running
    }

    fn client(&self, servers: &[&str]) -> RunningProgram {
        let plain = connecting(&self.machine, servers);
        let mut command = self.host.command("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", LAY])
            .arg::<&Path>(self.folder.path())
            .arg(plain.get_program())
            .args(plain.get_args());
        RunningProgram::start("client", &mut command)
    }

    fn assert_has_password(&self, client: RunningProgram) -> String {
        let output = client.finish();
        let said = said(&output);
        assert_eq!(output.stdout, self.machine.password, "{said}");
        said
    }
}

#[test]
fn a_name_resolves_when_the_network_brings_a_resolver() {
    let Some(fixture) = HostWithResolver::new() else {
        return;
    };
    let client = fixture.client(&[&format!("{NAME}:{PORT}")]);
    client.wait_for("that there is no resolver", |line| {
        line.contains("/etc/resolv.conf names no resolver")
            .then_some(())
    });
    let _names = fixture.name_server(&[&format!("{NAME}=127.0.0.1")]);
    fixture.bring_resolver();
    fixture.assert_has_password(client);
}

#[test]
fn a_name_that_nobody_knows_yet_resolves_when_somebody_does() {
    let Some(fixture) = HostWithResolver::new() else {
        return;
    };
    fixture.bring_resolver();
    let before = fixture.name_server(&["other.test=127.0.0.1"]);
    let client = fixture.client(&[&format!("{NAME}:{PORT}")]);
    client.wait_for("that the name is unknown", |line| {
        line.contains("cannot resolve the name").then_some(())
    });
    before.kill();
    let _names = fixture.name_server(&[&format!("{NAME}=127.0.0.1")]);
    fixture.assert_has_password(client);
}

#[test]
fn a_resolver_that_never_answers_holds_up_no_other_server() {
    let Some(fixture) = HostWithResolver::new() else {
        return;
    };
    fixture.bring_resolver();
    let _names = fixture.name_server(&["SILENT"]);
    let name = format!("{NAME}:{PORT}");
    let right = format!("127.0.0.1:{PORT}");
    let said = fixture.assert_has_password(fixture.client(&[&name, &right]));
    assert!(!has_given_up(&said, &name), "{said}");
}

/// The other address is silent: the kernel has a hardware address for it, and no host uses it.
#[test]
fn each_address_of_a_name_is_tried_beside_the_others() {
    let Some(fixture) = HostWithResolver::new() else {
        return;
    };
    fixture.bring_resolver();
    fixture.host.ip(&[
        "link", "add", "nobody", "type", "veth", "peer", "name", "nowhere",
    ]);
    fixture.host.ip(&["link", "set", "nobody", "up"]);
    fixture.host.ip(&["link", "set", "nowhere", "up"]);
    fixture
        .host
        .ip(&["addr", "add", "192.0.2.1/24", "dev", "nobody"]);
    for silent in ["192.0.2.8", "192.0.2.9"] {
        let mac = "02:00:00:00:00:99";
        fixture.host.ip(&[
            "neigh",
            "add",
            silent,
            "lladdr",
            mac,
            "dev",
            "nobody",
            "nud",
            "permanent",
        ]);
    }
    let addresses = ["192.0.2.8", "127.0.0.1", "192.0.2.9"];
    let names: Vec<String> = addresses.iter().map(|it| format!("{NAME}={it}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let _names = fixture.name_server(&names);
    let said = fixture.assert_has_password(fixture.client(&[&format!("{NAME}:{PORT}")]));
    for silent in ["192.0.2.8", "192.0.2.9"] {
        let at = format!("{silent}:{PORT}");
        assert!(said.contains(&format!("trying {at}")), "{said}");
        assert!(!has_given_up(&said, &at), "{said}");
    }
    assert_eq!(fixture.server.port(), PORT);
}
