//! A server on a host of the network, ours or stock, with its D-Bus and Avahi.

use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_interop::avahi::Avahi;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::netns::NetnsHost;
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::server::{Home, TestServer, open_to_ours};
use serde_json::Value;

use crate::guest::{Guest, PATIENCE};
use crate::images::GuestMachine;
use crate::making::SERVER_KEY;

/// A server and what it needs. Dropped in this order.
#[derive(Debug)]
pub struct ServerSite {
    /// None while it is away.
    server: Option<TestServer>,
    /// What it has said before it was away.
    earlier: Vec<String>,
    _avahi: Option<Avahi>,
    bus: Bus,
    pub host: NetnsHost,
}

/// The port of a server that is not announced: each host is alone with it.
pub const PORT: u16 = 4711;

impl ServerSite {
    /// Starts it on `host` with these sections, and waits until it is announced. The stock one needs Avahi
    /// for that; ours does it itself.
    pub fn announced(project: Project, host: NetnsHost, sections: &str) -> Self {
        let bus = Bus::start();
        let avahi = (project == Project::Stock).then(|| Avahi::start(&host, &bus));
        let mut home = Home::new(sections, Some(bus.address()));
        home.on_bus();
        let server = TestServer::announced(project, home, &host);
        Self {
            server: Some(server),
            earlier: Vec::new(),
            _avahi: avahi,
            bus,
            host,
        }
    }

    /// Starts our server that `machine` trusts on `host` with these sections, and waits until it is announced.
    pub fn trusted_by(machine: &GuestMachine, host: NetnsHost, sections: &str) -> Self {
        let bus = Bus::start();
        let mut home = Home::new(sections, Some(bus.address()));
        home.on_bus();
        // Its section has a checker that always succeeds.
        home.set("check_on_release", "no");
        // It is where it was when it is started again.
        home.set("port", &PORT.to_string());
        // A server that finds its key and no state has lost its state, and trusts nobody.
        let home = TestServer::at_port(Project::Ours, home, &host, PORT).stop();
        let key = home.state().join(SERVER_KEY);
        std::fs::copy(machine.file(SERVER_KEY), &key).unwrap();
        open_to_ours(&key);
        // It reads the section anew when it is no longer root.
        open_to_ours(&home.conf().join("clients.conf"));
        let server = TestServer::announced(Project::Ours, home, &host);
        Self {
            server: Some(server),
            earlier: Vec::new(),
            _avahi: None,
            bus,
            host,
        }
    }

    /// Starts it on `host` at [`PORT`], not announced.
    pub fn unannounced(project: Project, host: NetnsHost, sections: &str) -> Self {
        let bus = Bus::start();
        let home = Home::new(sections, Some(bus.address()));
        let server = TestServer::at_port(project, home, &host, PORT);
        Self {
            server: Some(server),
            earlier: Vec::new(),
            _avahi: None,
            bus,
            host,
        }
    }

    /// The server itself.
    ///
    /// # Panics
    /// While it is away.
    pub fn server(&self) -> &TestServer {
        self.server.as_ref().expect("the server is away")
    }

    /// All that it has said, before it was away too.
    pub fn log(&self) -> Vec<String> {
        let now = self.server.iter().flat_map(|it| it.running().log());
        self.earlier.iter().cloned().chain(now).collect()
    }

    /// Stops our server, which is announced, does this with its folders, and starts it again.
    pub fn while_away(&mut self, act: impl FnOnce(&Home)) {
        let server = self.server.take().expect("it is away already");
        self.earlier.extend(server.running().log());
        let home = server.stop();
        act(&home);
        self.server = Some(TestServer::announced(Project::Ours, home, &self.host));
    }

    /// The bus on which it is administered.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Waits until our server has said `text`, while `guest` boots.
    pub fn wait_until_logged(&self, guest: &Guest, text: &str) {
        let logged = || {
            self.server()
                .running()
                .log()
                .iter()
                .any(|line| line.contains(text))
        };
        wait_until(guest, &format!("the server to say {text:?}"), logged);
    }

    /// Waits for a line of our server's log with all of `parts`, from line `first` on, while `guest` runs; returns
    /// the number of the line after it.
    pub fn next_logged(&self, guest: &Guest, first: usize, parts: &[&str]) -> usize {
        let mut after = None;
        let found = |line: &String| parts.iter().all(|part| line.contains(part));
        wait_until(guest, &format!("the server to say {parts:?}"), || {
            let log = self.server().running().log();
            let at = log.iter().skip(first).position(found);
            after = at.map(|at| first + at + 1);
            after.is_some()
        });
        after.expect("waited for it")
    }

    /// Waits for what can only be looked for, for as long as `guest` may take.
    pub fn wait_until(&self, guest: &Guest, what: &str, done: impl FnMut() -> bool) {
        wait_until(guest, what, done);
    }

    /// The number of lines that our server has logged.
    pub fn log_lines(&self) -> usize {
        self.server().running().log().len()
    }

    /// Waits until our server has refused `guest` for this reason.
    pub fn wait_until_refused(&self, guest: &Guest, reason: &str) {
        self.wait_until_logged(guest, reason);
    }

    /// Waits until `guest` has a connection to the server, or to the kernel in place of it.
    pub fn wait_until_connected(&self, guest: &Guest) {
        let port = format!("sport = :{}", self.server().port());
        let connected = || {
            let mut ss = self.host.command("ss");
            let output = ss
                .args(["-Htn", "state", "established", &port])
                .output()
                .unwrap();
            !output.stdout.is_empty()
        };
        wait_until(guest, "it to connect", connected);
    }

    /// The number of releases in the audit log of our server.
    pub fn releases(&self) -> usize {
        let records = self.records();
        let released = |record: &&Value| record["kind"] == "released";
        records.iter().filter(released).count()
    }

    /// The audit log of our server, the oldest record first.
    pub fn records(&self) -> Vec<Value> {
        let log = self.nightlatch(&["log", "--json", "--last", "1000"]);
        let lines = log.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["record"].clone()
        });
        lines.collect()
    }

    /// What our server knows of its only client, as `nightlatch list --json` prints it.
    pub fn client(&self) -> Value {
        let list: Value = serde_json::from_str(&self.nightlatch(&["list", "--json"])).unwrap();
        list[0].clone()
    }

    /// The output of `nightlatch` with these arguments.
    ///
    /// # Panics
    /// When it fails.
    pub fn nightlatch(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(ours("nightlatch"));
        command.args(arguments);
        self.run(command)
    }

    /// The output of a program on the server's bus.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, mut command: Command) -> String {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The log lines of our server about connections.
    pub fn connections(&self) -> Vec<String> {
        let mut log = self.server().running().log();
        log.retain(|line| line.contains("peer="));
        log
    }
}

/// Waits for what can only be looked for, for as long as a guest may take.
fn wait_until(guest: &Guest, what: &str, mut done: impl FnMut() -> bool) {
    let limit = guest.now() + PATIENCE;
    while !done() {
        assert!(guest.now() < limit, "waited in vain for {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
