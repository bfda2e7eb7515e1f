//! The scenarios, by what is different in them.

mod agent;
mod beside;
mod named_secrets;
mod network;
mod person;
mod secrets;
mod several;
mod stolen_key;
mod unlock;

use crate::scenario::Scenario;

/// All of them, in the order in which they are played.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(unlock::scenarios());
    all.extend(person::scenarios());
    all.extend(network::scenarios());
    all.extend(beside::scenarios());
    all.extend(secrets::scenarios());
    all.extend(several::scenarios());
    all.extend(agent::scenarios());
    all.extend(stolen_key::scenarios());
    all.extend(named_secrets::scenarios());
    all
}
