//! A server on a host of the network, ours or stock, with the bus and the Avahi that it needs.

use nightlatch_interop::avahi::Avahi;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::netns::NetnsHost;
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::server::{Home, TestServer};

use crate::guest::{Guest, PATIENCE};

/// A running server. Dropped in this order.
#[derive(Debug)]
pub struct Place {
    /// The server.
    pub server: TestServer,
    _avahi: Option<Avahi>,
    bus: Bus,
    /// Where it runs.
    pub host: NetnsHost,
}

/// The port of a server that is not announced: each host is alone with it.
pub const PORT: u16 = 4711;

impl Place {
    /// Starts it on `host` with these sections, and waits until it is announced. The stock one needs Avahi
    /// for that; ours does it itself.
    pub fn announced(project: Project, host: NetnsHost, sections: &str) -> Self {
        let bus = Bus::start();
        let avahi = (project == Project::Stock).then(|| Avahi::start(&host, &bus));
        let mut home = Home::new(sections, Some(bus.address()));
        home.on_bus();
        let server = TestServer::announced(project, home, &host);
        Self {
            server,
            _avahi: avahi,
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
            server,
            _avahi: None,
            bus,
            host,
        }
    }

    /// The bus on which it is administered.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Waits until our server has said `text`, while `guest` boots.
    pub fn wait_until_said(&self, guest: &Guest, text: &str) {
        let said = || {
            self.server
                .running()
                .log()
                .iter()
                .any(|line| line.contains(text))
        };
        wait_until(guest, &format!("the server to say {text:?}"), said);
    }

    /// Waits until our server has refused `guest` for this reason.
    pub fn wait_until_refused(&self, guest: &Guest, reason: &str) {
        self.wait_until_said(guest, reason);
    }

    /// Waits until `guest` has a connection to the server, or to the kernel in place of it.
    pub fn wait_until_connected(&self, guest: &Guest) {
        let port = format!("sport = :{}", self.server.port());
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

    /// How many releases our server has in its record.
    pub fn releases(&self) -> usize {
        let mut log = Command::new(ours("nightlatch"));
        log.args(["log", "--json", "--last", "1000"]);
        log.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address());
        let output = log.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "nightlatch log: {said}");
        let records = String::from_utf8(output.stdout).unwrap();
        records
            .lines()
            .filter(|line| line.contains("\"released\""))
            .count()
    }

    /// What our server has said of connections.
    pub fn connections(&self) -> Vec<String> {
        let mut log = self.server.running().log();
        log.retain(|line| line.contains("peer="));
        log
    }
}

/// Waits for what can only be looked for, for as long as a guest may take.
fn wait_until(guest: &Guest, what: &str, done: impl Fn() -> bool) {
    let limit = guest.now() + PATIENCE;
    while !done() {
        assert!(guest.now() < limit, "waited in vain for {what}");
        std::thread::sleep(GLANCE);
    }
}

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(100);
