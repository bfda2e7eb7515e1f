//! What is played: the table of scenarios, and the stage that each is given.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::Arguments;
use crate::figures::Figures;
use crate::guest::{Guest, Plan};
use crate::images::{Machine, Suite, Who};
use crate::scenarios;

/// A scenario.
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in a sentence.
    pub shows: String,
    /// Whether the short form has it.
    pub short: bool,
    /// The machines it needs.
    pub machines: Vec<Who>,
    /// How many guests it runs at a time.
    pub guests: u8,
    /// Plays it; panics when something is not as it should be.
    pub play: Box<dyn Fn(&Stage<'_>) + Send + Sync>,
}

/// Where one scenario is played.
#[derive(Debug)]
pub struct Stage<'a> {
    /// What the guests run.
    pub suite: Suite,
    /// What was measured.
    pub figures: &'a Figures,
    /// Where logs of this scenario go.
    pub logs: PathBuf,
    /// Which are there.
    pub machines: &'a HashMap<Who, Machine>,
}

impl Scenario {
    /// A scenario of the long form with one guest, which has our client.
    pub fn new(name: &str, shows: &str, play: impl Fn(&Stage<'_>) + Send + Sync + 'static) -> Self {
        Self {
            name: name.to_owned(),
            shows: shows.to_owned(),
            short: false,
            machines: vec![Who::Ours],
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
    pub fn with(mut self, machines: &[Who], guests: u8) -> Self {
        self.machines = machines.to_vec();
        self.guests = guests;
        self
    }
}

impl Stage<'_> {
    /// The machine.
    pub fn machine(&self, who: Who) -> &Machine {
        &self.machines[&who]
    }

    /// Switches a guest on; its console's log is called `name`.
    pub fn start(&self, name: &str, plan: Plan<'_>) -> Guest {
        plan.start(&self.logs.join(format!("{name}.console")))
    }

    /// Lets time pass, where the delay is what is tested.
    pub fn let_pass(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Those that are asked for.
pub fn choose(arguments: &Arguments) -> Vec<Scenario> {
    let mut all = scenarios::all();
    all.retain(|scenario| {
        let named = |part: &String| scenario.name.contains(part.as_str());
        let wanted = arguments.only.is_empty() || arguments.only.iter().any(named);
        wanted && (scenario.short || !arguments.short)
    });
    all
}
