//! Notifications to the service manager (sd_notify(3)), and sockets from it (sd_listen_fds(3)).

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::ours;

use crate::fixture::{Machine, Server, ServerFolders, give};

/// Only a hang ever takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn new(fixture: &ServerFolders) -> Self {
        let place = fixture.file("notify");
        let socket = UnixDatagram::bind(&place).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server has given up being root when it speaks.
        give(&place);
        Self(socket)
    }

    /// The next message but those about the watchdog, as its assignments.
    fn hears(&self) -> Vec<String> {
        loop {
            let message = self.next();
            if message != ["WATCHDOG=1"] {
                return message;
            }
        }
    }

    fn next(&self) -> Vec<String> {
        let mut buffer = [0; 1024];
        let length = self.0.recv(&mut buffer).unwrap();
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        message.lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_service_manager_is_told_of_every_change() {
    let machine = Machine::new("a");
    let fixture = ServerFolders::new(&machine.section("checker = true"));
    let manager = Manager::new(&fixture);
    let mut command = fixture.command();
    command
        .env("NOTIFY_SOCKET", fixture.file("notify"))
        .env("WATCHDOG_USEC", "200000");
    let server = Server::spawn(&mut command);
    assert_eq!(manager.hears(), ["READY=1"]);
    machine.is_served(&server);
    while manager.next() != ["WATCHDOG=1"] {}

    for text in [
        Machine::new("b").section("checker = true"),
        "nonsense".to_owned(),
    ] {
        fixture.write_clients(&text);
        server.reload();
        let reloading = manager.hears();
        assert_eq!(reloading[0], "RELOADING=1");
        let since_boot = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
        assert!(since_boot.parse::<u64>().unwrap() > 0);
        assert_eq!(manager.hears(), ["READY=1"]);
    }

    let output = server.running.terminate();
    assert!(output.status.success());
    assert_eq!(manager.hears(), ["STOPPING=1"]);
}

#[test]
fn a_socket_of_the_service_manager_is_listened_on() {
    let machine = Machine::new("a");
    let fixture = ServerFolders::new(&machine.section("checker = true"));
    let socket = TcpListener::bind("[::1]:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    // As systemd does it: descriptor 3, for this very process, listening already.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"",
    ]);
    command.arg(ours("nightlatchd"));
    command.arg("--configdir").arg(fixture.conf());
    command.arg("--statedir").arg(fixture.state());
    command.args(["--no-dbus", "--no-zeroconf", "--port", "4711"]);
    let socket = Stdio::from(OwnedFd::from(socket));
    let running = RunningProgram::start_with("nightlatchd", &mut command, socket);
    let server = Server { running, port };
    server.says(&format!("port {port}"));
    machine.is_served(&server);
}
