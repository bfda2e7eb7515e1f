//! What holds for the whole server until somebody mends it: told over D-Bus for as long as it is true.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What a warning is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Topic {
    /// Files of the configuration that are not used.
    Configuration,
    /// A store that takes nothing.
    Store,
}

/// The warnings in force. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(Arc<Mutex<BTreeMap<Topic, Vec<String>>>>);

impl Warnings {
    /// Replaces what is said about `topic`.
    pub(crate) fn set(&self, topic: Topic, lines: Vec<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(topic, lines);
    }

    /// All of them, a sentence each.
    pub(crate) fn all(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().flatten().cloned().collect()
    }
}
