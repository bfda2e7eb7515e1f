//! The sentences about requests that wait for a decision.

use super::{ClientFacts, at};
use crate::event::decision_by_default;
use crate::name::shell_word;
use crate::time::Wall;

/// A request that waits for a decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingRequestFacts {
    /// Its number, peer, time and boot, and its secret unless it is the boot secret.
    pub description: Option<String>,
    /// The time of the decision without a person.
    pub until: Option<Wall>,
    /// The decision without a person.
    pub approved_by_default: bool,
    /// It asks for a named secret.
    pub is_named: bool,
}

impl ClientFacts<'_> {
    /// A sentence about the pending requests and the command that decides; `None` without one.
    pub(super) fn pending_sentence(&self) -> Option<String> {
        let (name, word) = (self.name, shell_word(self.name));
        Some(match &self.pending[..] {
            [] => return None,
            [only] => {
                let which = only.description.as_ref();
                let which = which.map_or_else(String::new, |it| format!(": {it}"));
                let then = decision_by_default(only.approved_by_default);
                let when = only
                    .until
                    .map_or_else(String::new, |it| format!(" at {}", at(it)));
                format!(
                    "{name} has a pending request{which}. Without a decision it is {then}{when}. Decide with: \
                     nightlatch approve {word}, or nightlatch deny {word}."
                )
            }
            several => {
                let descriptions = several
                    .iter()
                    .map(|it| it.description.clone().unwrap_or_default());
                let named = several.iter().filter(|it| it.is_named).count();
                let descriptions: Vec<String> = descriptions.collect();
                format!("{}.", several_pending(name, &descriptions, named))
            }
        })
    }
}

/// Asks to decide on one of several pending requests of the client `name`, of which `named` are for named secrets.
pub fn several_pending(name: &str, descriptions: &[String], named: usize) -> String {
    format!(
        "{name} has {} pending requests{}: {}. Decide on one of them: nightlatch approve --request NUMBER {}",
        descriptions.len(),
        how_many_are_its_own(descriptions.len(), named),
        descriptions.join("; "),
        shell_word(name)
    )
}

/// A machine boots once at a time, and may ask for several named secrets. The rest of a sentence about `count` requests,
/// of which `named` are for named secrets.
pub fn how_many_are_its_own(count: usize, named: usize) -> String {
    match count.saturating_sub(named) {
        0 | 1 => String::new(),
        boots if boots == count => ", of which at most one is its own".to_owned(),
        boots => format!(", and at most one of the {boots} for its boot secret is its own"),
    }
}
