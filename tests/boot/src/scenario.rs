//! The table of scenarios, and the context of each.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::BootTestArguments;
use crate::guest::{Guest, GuestConfig};
use crate::images::{DebianRelease, GuestMachine, MachineKind};
use crate::measurements::Measurements;
use crate::scenarios;

/// One test with guests.
pub struct Scenario {
    pub name: String,
    pub description: String,
    /// Part of the short form.
    pub short: bool,
    /// The machines it needs.
    pub machines: Vec<MachineKind>,
    /// Guests at a time.
    pub guests: u8,
    /// Plays it; panics when something is not as it should be.
    pub play: Box<dyn Fn(&ScenarioContext<'_>) + Send + Sync>,
}

/// The context of a running scenario.
#[derive(Debug)]
pub struct ScenarioContext<'a> {
    pub suite: DebianRelease,
    pub measurements: &'a Measurements,
    /// The folder for its logs.
    pub logs: PathBuf,
    pub machines: &'a HashMap<MachineKind, GuestMachine>,
}

impl Scenario {
    /// A scenario of the long form with one guest, which has our client.
    pub fn new(
        name: &str,
        description: &str,
        play: impl Fn(&ScenarioContext<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            short: false,
            machines: vec![MachineKind::Ours],
            guests: 1,
            play: Box::new(play),
        }
    }

    /// In the short form too.
    #[must_use]
    pub fn short(mut self) -> Self {
        self.short = true;
        self
    }

    /// With these machines, of which `guests` run at a time.
    #[must_use]
    pub fn with(mut self, machines: &[MachineKind], guests: u8) -> Self {
        self.machines = machines.to_vec();
        self.guests = guests;
        self
    }
}

impl ScenarioContext<'_> {
    pub fn machine(&self, kind: MachineKind) -> &GuestMachine {
        &self.machines[&kind]
    }

    /// Switches a guest on; its console's log is called `name`.
    pub fn start(&self, name: &str, plan: GuestConfig<'_>) -> Guest {
        plan.start(&self.logs.join(format!("{name}.console")))
    }

    /// Lets time pass, where the delay is what is tested.
    pub fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Those that are asked for.
pub fn choose(arguments: &BootTestArguments) -> Vec<Scenario> {
    let mut all = scenarios::all();
    all.retain(|scenario| {
        let named = |part: &String| scenario.name.contains(part.as_str());
        let wanted = arguments.only.is_empty() || arguments.only.iter().any(named);
        wanted && (scenario.short || !arguments.short)
    });
    all
}
