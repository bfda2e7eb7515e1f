//! The scenarios, by what is different in them.

mod unlock;

use crate::scenario::Scenario;

/// All of them, in the order in which they are played.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(unlock::scenarios());
    all
}
