//! Rules over the facts. They give findings, each with the command that mends it. Pure.

mod agent;
mod machine;

use nightlatch_console::report::{Finding, Level};

use super::facts::DoctorFacts;

pub(super) use machine::CARD_PROGRAMS;

/// All findings, in the order in which they are mended: pcscd, the configuration, the agent, the card, then what may come in between.
pub(super) fn findings(facts: &DoctorFacts) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    machine::pcscd(facts, &mut findings);
    machine::conf(facts, &mut findings);
    agent::agent(facts, &mut findings);
    agent::unlock_units(facts, &mut findings);
    machine::other_agents(facts, &mut findings);
    machine::card_programs(facts, &mut findings);
    findings.0
}

/// The findings so far.
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, about: &str, said: impl Into<String>) {
        self.add(Level::Ok, about, said, None);
    }

    /// It works, and may do harm.
    fn doubtful(&mut self, about: &str, said: impl Into<String>, hint: impl Into<String>) {
        self.add(Level::Warning, about, said, Some(hint.into()));
    }

    /// It does not work, or is not safe.
    fn bad(&mut self, about: &str, said: impl Into<String>, hint: impl Into<String>) {
        self.add(Level::Failed, about, said, Some(hint.into()));
    }

    fn add(&mut self, level: Level, about: &str, said: impl Into<String>, hint: Option<String>) {
        self.0.push(Finding {
            level,
            about: about.to_owned(),
            said: said.into(),
            hint,
        });
    }
}

#[cfg(test)]
mod tests;
