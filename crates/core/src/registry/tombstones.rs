//! Tombstones of clients whose sections left the configuration: a disable must survive an editor that empties the file
//! for a moment, and a section that comes back under another name.

use std::collections::{BTreeSet, HashMap};

use crate::client::saved::{ClientPresence, SavedClient, SavedDeadline, StateOwner, Tombstone};
use crate::deadline::restore;
use crate::settings::client::ClientConfig;
use crate::time::{BootId, Now, Wall};

/// Some 100 MB: a fleet that gives each short-lived machine its own keys must not fill the disk.
const MAX_TOMBSTONES: usize = 100_000;

/// All tombstones by holder.
#[derive(Debug, Default)]
pub(super) struct TombstoneIndex {
    by_holder: HashMap<StateOwner, Tombstone>,
    /// The order in which they are dropped: those of clients that left while enabled first, then the oldest.
    order: BTreeSet<(bool, Wall, StateOwner)>,
}

impl TombstoneIndex {
    pub(super) fn new(all: Vec<Tombstone>) -> Self {
        let mut tombstones = Self::default();
        for tombstone in all {
            tombstones.put(tombstone);
        }
        tombstones
    }

    /// Adds a tombstone; returns the one that is dropped when there are too many.
    pub(super) fn insert(&mut self, tombstone: Tombstone) -> Option<Tombstone> {
        self.put(tombstone);
        if self.by_holder.len() <= MAX_TOMBSTONES {
            return None;
        }
        let (_, _, holder) = self.order.pop_first()?;
        self.by_holder.remove(&holder)
    }

    fn put(&mut self, tombstone: Tombstone) {
        let holder = tombstone.owner();
        self.remove(&holder);
        self.order.insert(drop_order(&tombstone));
        self.by_holder.insert(holder, tombstone);
    }

    pub(super) fn remove(&mut self, holder: &StateOwner) -> Option<Tombstone> {
        let tombstone = self.by_holder.remove(holder)?;
        self.order.remove(&drop_order(&tombstone));
        Some(tombstone)
    }

    /// Makes every client that left while enabled wait for a person or a proof; returns the changed tombstones.
    pub(super) fn require_proof(&mut self) -> Vec<Tombstone> {
        let left_enabled = |it: &&Tombstone| !drop_order(it).0;
        let enabled: Vec<Tombstone> = self
            .by_holder
            .values()
            .filter(left_enabled)
            .cloned()
            .collect();
        let changed = enabled.into_iter().map(|mut tombstone| {
            if let ClientPresence::Present(present) = &mut tombstone.client.presence {
                present.state.enabled = false;
                present.state.deadline = None;
                present.state.needs_proof = true;
            }
            tombstone
        });
        let changed: Vec<Tombstone> = changed.collect();
        // The order depends on the state, so each entry is replaced.
        for tombstone in &changed {
            let before = (false, tombstone.since, tombstone.owner());
            self.order.remove(&before);
            self.put(tombstone.clone());
        }
        changed
    }

    /// Removes the tombstone of this section's client. `is_new` is true when the section continues no known client:
    /// then a tombstone without a key id can match by name.
    pub(super) fn take(&mut self, config: &ClientConfig, is_new: bool) -> Option<Tombstone> {
        let by_key = config
            .settings
            .key_id
            .and_then(|key| self.remove(&StateOwner::Key(key)));
        by_key.or_else(|| {
            is_new
                .then(|| self.remove(&StateOwner::Name(config.name.clone())))
                .flatten()
        })
    }
}

fn drop_order(tombstone: &Tombstone) -> (bool, Wall, StateOwner) {
    let left_disabled = match &tombstone.client.presence {
        ClientPresence::Present(present) => !present.state.enabled,
        ClientPresence::Removed => true,
    };
    (left_disabled, tombstone.since, tombstone.owner())
}

/// `row` with the restrictions of `other`, of the same holder: removed, disabled or denied if either is. Its guard is
/// merged once the client has its keys: `Registry::merge_guard`.
pub(super) fn stricter(
    mut row: SavedClient,
    other: SavedClient,
    (boot, now): (BootId, Now),
) -> SavedClient {
    match (&mut row.presence, other.presence) {
        (ClientPresence::Present(mine), ClientPresence::Present(theirs)) => {
            if !theirs.state.enabled {
                mine.state.enabled = false;
                mine.state.deadline = None;
                mine.state.needs_proof &= theirs.state.needs_proof;
            }
            let denied = [mine.state.denied, theirs.state.denied];
            // Compared by their ends: the wall clock may have been set between the two.
            let ends = |it: &SavedDeadline| restore(it, boot, now).0;
            mine.state.denied = denied.into_iter().flatten().max_by_key(ends);
        }
        (presence, ClientPresence::Removed) => *presence = ClientPresence::Removed,
        (ClientPresence::Removed, ClientPresence::Present(_)) => {}
    }
    row
}
