//! A server that offers its interface on a private bus, and the tools that administer it there.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output, Stdio};

use nightlatch_bus::proxy;

use crate::dbus::Bus;
use crate::peer_watch;
use crate::process::RunningProgram;
use crate::programs::{Project, ours, peer};
use crate::server::{Home, TestServer};

/// The server and its bus, ended on drop.
#[derive(Debug)]
pub struct Administered {
    /// The server under test.
    pub server: TestServer,
    /// Its D-Bus daemon.
    pub bus: Bus,
}

impl Administered {
    /// Starts a server with these sections as `clients.conf`, and waits until it listens.
    pub fn start(project: Project, sections: &str) -> Self {
        Self::start_with(project, sections, &[])
    }

    /// The same, with settings of the server.
    pub fn start_with(project: Project, sections: &str, settings: &[(&str, &str)]) -> Self {
        let (bus, home) = Self::home(sections, settings);
        let server = TestServer::start(project, home);
        wait_for_bus(&server, project);
        Self { server, bus }
    }

    /// The same, logging as by default: what a benchmark measures.
    pub fn quiet(project: Project, sections: &str) -> Self {
        let (bus, mut home) = Self::home(sections, &[]);
        home.quiet();
        // Shows when a server without log lines is ready: it may listen before it is on the bus.
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = TestServer::start_on(project, home, socket);
        let site = Self { server, bus };
        nightlatch_bus::block_on(async {
            let mut signals = site.connect().await.signals().await.unwrap();
            while !signals.server_is_running() {
                signals.next().await.expect("the bus is gone");
            }
        });
        site
    }

    fn home(sections: &str, settings: &[(&str, &str)]) -> (Bus, Home) {
        let bus = Bus::start();
        let mut home = Home::new(sections, Some(bus.address()));
        home.on_bus();
        for (key, value) in settings {
            home.set(key, value);
        }
        (bus, home)
    }

    /// Starts our server with what an earlier one left.
    pub fn start_again(home: Home, bus: Bus) -> Self {
        let server = TestServer::start(Project::Ours, home);
        wait_for_bus(&server, Project::Ours);
        Self { server, bus }
    }

    /// Connects to the server as our tools do.
    pub async fn connect(&self) -> proxy::MandosProxy {
        proxy::MandosProxy::connect_to(&self.bus.address())
            .await
            .unwrap()
    }

    /// Runs `nightlatch` with these arguments to its end.
    pub fn nightlatch(&self, arguments: &[&str]) -> Output {
        self.run(Command::new(ours("nightlatch")).args(arguments))
    }

    /// Runs the stock `mandos-ctl` with these arguments to its end.
    pub fn mandos_ctl(&self, arguments: &[&str]) -> Output {
        self.run(mandos_ctl().args(arguments))
    }

    /// Starts `nightlatch` with these arguments.
    pub fn start_nightlatch(&self, arguments: &[&str]) -> RunningProgram {
        let mut command = Command::new(ours("nightlatch"));
        command.args(arguments);
        RunningProgram::start("nightlatch", self.on_bus(&mut command))
    }

    /// Runs a program on this bus, with nothing on its standard input.
    pub fn run(&self, command: &mut Command) -> Output {
        let output = self.on_bus(command).stdin(Stdio::null()).output().unwrap();
        // A stock server that hangs is the peer's fault: see `peer_watch`.
        if String::from_utf8_lossy(&output.stderr).contains("the server did not answer") {
            peer_watch::report_stuck();
        }
        output
    }

    /// Lets a program find this bus as the system's.
    pub fn on_bus<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address())
    }
}

/// Ours listens first: no machine need wait for the bus.
fn wait_for_bus(server: &TestServer, project: Project) {
    if project == Project::Ours {
        let sentence = "administration over D-Bus";
        let said = |line: &str| line.contains(sentence).then_some(());
        server.running().wait_for(sentence, said);
    }
}

/// The stock `mandos-ctl`, by the Python that has its libraries.
pub fn mandos_ctl() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(peer("usr/sbin/mandos-ctl"));
    command
}

/// The section of a client that needs no machine: checks succeed unless `more` has another checker, and
/// nobody has its key.
pub fn section(name: &str, more: &str) -> String {
    let digest: u64 = name.bytes().fold(7, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let key_id = format!("{digest:016x}").repeat(4);
    let fingerprint = format!("{digest:020x}").repeat(2);
    let checker = if more.contains("checker =") {
        ""
    } else {
        "checker = true\n"
    };
    format!(
        "[{name}]\nkey_id = {key_id}\nfingerprint = {fingerprint}\nsecret = YWJj\n\
         host = {name}.example\n{checker}{more}\n"
    )
}
