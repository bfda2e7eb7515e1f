//! Warnings about the whole server, shown over D-Bus for as long as they hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The subject of a warning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Topic {
    /// Configuration files that are not used.
    Configuration,
    /// A store that cannot be written.
    Store,
    /// Named secrets that cannot be read or used.
    NamedSecrets,
    /// Pings that the kernel does not allow.
    Ping,
}

/// The warnings in force. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(Arc<Mutex<BTreeMap<Topic, Vec<String>>>>);

impl Warnings {
    /// Replaces the warnings about `topic`. True when they are others than before.
    pub(crate) fn set(&self, topic: Topic, lines: Vec<String>) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = all.insert(topic, lines);
        old.as_ref().map_or(&[][..], Vec::as_slice) != all[&topic]
    }

    /// All warnings, a sentence each.
    pub(crate) fn all(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().flatten().cloned().collect()
    }
}
