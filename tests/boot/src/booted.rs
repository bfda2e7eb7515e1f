//! A guest with systemd and our agent, beside the server that the agent reports to.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::guest::{Guest, GuestConfig};
use crate::images::{BootSystem, GuestMachine, MachineKind};
use crate::lan::GuestNetwork;
use crate::scenario::ScenarioContext;
use crate::server::ServerSite;

/// Long times, so that nothing changes by itself.
const SETTINGS: &str = "interval = PT12H\ntimeout = P1D\nextended_timeout = P1D";

/// The guest and the server. Dropped in this order.
#[derive(Debug)]
pub struct BootedSite<'a> {
    pub guest: Guest,
    pub place: ServerSite,
    pub lan: GuestNetwork,
    pub machine: &'a GuestMachine,
    /// The folder for the log of the server.
    logs: PathBuf,
}

impl<'a> BootedSite<'a> {
    /// Starts both, and waits until the root is open and the server has heard the agent for the first time.
    pub fn start(context: &'a ScenarioContext<'_>) -> Self {
        let lan = GuestNetwork::new();
        let machine = context.machine(MachineKind::Booted);
        let host = lan.host("server");
        let place = ServerSite::trusted_by(machine, host, &machine.section(SETTINGS));
        let config = GuestConfig::new(machine, BootSystem::InitramfsTools, lan.tap());
        let guest = context.start("guest", config);
        let site = Self {
            guest,
            place,
            lan,
            machine,
            logs: context.logs.clone(),
        };
        let opened = site.guest.wait_for_root();
        site.next_logged(0, &["its agent was heard"]);
        context.measurements.add_note(format!(
            "a root with systemd was open after {:.1} s, and its agent was heard after {:.1} s ({:.1} s of processor time)",
            opened.as_secs_f64(),
            site.guest.now().as_secs_f64(),
            site.guest.cpu()
        ));
        site
    }

    /// Waits until another boot has opened its root and its agent was heard, from line `first` of the server's log on;
    /// returns the number of the line after.
    pub fn wait_until_up_again(&self, first: usize) -> usize {
        self.guest.wait_for_root();
        let delivered = self.next_logged(first, &["secret delivered"]);
        let heard = self.next_logged(delivered, &[" heard "]);
        self.wait_for_client("guard_state", &Value::from("up"));
        heard
    }

    /// Waits for a line of the server's log: see [`ServerSite::next_logged`].
    pub fn next_logged(&self, first: usize, parts: &[&str]) -> usize {
        self.place.next_logged(&self.guest, first, parts)
    }

    /// Waits until the server tells this of the machine.
    pub fn wait_for_client(&self, key: &str, value: &Value) {
        self.place
            .wait_until(&self.guest, &format!("{key} to be {value}"), || {
                self.place.client()[key] == *value
            });
    }

    /// Gives the machine's section these settings too.
    pub fn configure(&self, settings: &str) {
        let section = self.machine.section(&format!("{SETTINGS}\n{settings}"));
        self.place.server().home().configure(&section);
        self.place.nightlatch(&["reload"]);
    }

    /// Ends the suspicion, as an administrator does who has looked at it.
    pub fn trust(&self) {
        let name = self.machine.name();
        self.place.nightlatch(&["trust", name, "--yes"]);
        assert_eq!(self.place.client()["suspect"], Value::Null);
    }

    /// The number of records now: what comes later is a new one.
    pub fn record_count(&self) -> usize {
        self.place.records().len()
    }

    /// The records after the first `count`.
    pub fn records_after(&self, count: usize) -> Vec<Value> {
        self.place.records().split_off(count)
    }
}

impl Drop for BootedSite<'_> {
    fn drop(&mut self) {
        let log = self.place.log().join("\n");
        let _ = std::fs::write(self.logs.join("server.log"), log);
    }
}

/// The time of a record in its day.
///
/// # Panics
/// When it has none in the form of RFC 3339.
pub fn time_of(record: &Value) -> Duration {
    let text = record["time"].as_str().expect("a record has a time");
    let (_, time) = text.split_once('T').expect("a date and a time");
    let mut parts = time.trim_end_matches('Z').split(':');
    let mut next = || -> f64 { parts.next().unwrap().parse().unwrap() };
    let (hours, minutes, seconds) = (next(), next(), next());
    Duration::from_secs_f64((hours * 60.0 + minutes) * 60.0 + seconds)
}

/// Seconds from one record to a later one, over midnight too.
pub fn seconds_between(earlier: &Value, later: &Value) -> f64 {
    const DAY: f64 = 86_400.0;
    let difference = time_of(later).as_secs_f64() - time_of(earlier).as_secs_f64();
    difference.rem_euclid(DAY)
}
