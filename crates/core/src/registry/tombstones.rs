//! What is remembered of clients whose sections left the configuration: a disable must outlive an editor
//! that empties the file for a moment, and a section that comes back under another name.

use std::collections::{BTreeSet, HashMap};

use crate::client::deadline::restore;
use crate::client::saved::{Holder, Life, SavedClient, SavedDeadline, Tombstone};
use crate::settings::client::ClientConfig;
use crate::time::{BootId, Now, Wall};

/// So many are kept. Some 100 MB: a fleet that gives each short-lived machine keys of its own must not fill
/// the disk.
const MOST: usize = 100_000;

/// All tombstones, by what they belong to.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    by_holder: HashMap<Holder, Tombstone>,
    /// Those that may be dropped first: whoever left while enabled before the others, then the oldest.
    order: BTreeSet<(bool, Wall, Holder)>,
}

impl Tombstones {
    pub(super) fn new(all: Vec<Tombstone>) -> Self {
        let mut tombstones = Self::default();
        for tombstone in all {
            tombstones.put(tombstone);
        }
        tombstones
    }

    /// Puts one in; the one that has to go for it.
    pub(super) fn insert(&mut self, tombstone: Tombstone) -> Option<Tombstone> {
        self.put(tombstone);
        if self.by_holder.len() <= MOST {
            return None;
        }
        let (_, _, holder) = self.order.pop_first()?;
        self.by_holder.remove(&holder)
    }

    fn put(&mut self, tombstone: Tombstone) {
        let holder = tombstone.holder();
        self.remove(&holder);
        self.order.insert(order(&tombstone));
        self.by_holder.insert(holder, tombstone);
    }

    pub(super) fn remove(&mut self, holder: &Holder) -> Option<Tombstone> {
        let tombstone = self.by_holder.remove(holder)?;
        self.order.remove(&order(&tombstone));
        Some(tombstone)
    }

    /// Has everyone who left while enabled wait for a person or a proof; gives those that are changed.
    pub(super) fn doubt(&mut self) -> Vec<Tombstone> {
        let is_open = |it: &&Tombstone| !order(it).0;
        let open: Vec<Tombstone> = self.by_holder.values().filter(is_open).cloned().collect();
        let doubted = open.into_iter().map(|mut tombstone| {
            if let Life::Present(present) = &mut tombstone.client.life {
                present.state.enabled = false;
                present.state.deadline = None;
                present.state.needs_proof = true;
            }
            tombstone
        });
        let doubted: Vec<Tombstone> = doubted.collect();
        // The order is by how they stood: out with the old, in with the new.
        for tombstone in &doubted {
            let before = (false, tombstone.since, tombstone.holder());
            self.order.remove(&before);
            self.put(tombstone.clone());
        }
        doubted
    }

    /// Takes out what is remembered of this section's client. `is_new` when no known client goes on in it:
    /// then one that left without a key id may have left its name.
    pub(super) fn take(&mut self, config: &ClientConfig, is_new: bool) -> Option<Tombstone> {
        let by_key = config
            .settings
            .key_id
            .and_then(|key| self.remove(&Holder::Key(key)));
        by_key.or_else(|| {
            is_new
                .then(|| self.remove(&Holder::Name(config.name.clone())))
                .flatten()
        })
    }
}

fn order(tombstone: &Tombstone) -> (bool, Wall, Holder) {
    let stays_closed = match &tombstone.client.life {
        Life::Present(present) => !present.state.enabled,
        Life::Removed => true,
    };
    (stays_closed, tombstone.since, tombstone.holder())
}

/// `row` with everything that `other`, of the same holder, says against it.
pub(super) fn stricter(
    mut row: SavedClient,
    other: SavedClient,
    (boot, now): (BootId, Now),
) -> SavedClient {
    match (&mut row.life, other.life) {
        (Life::Present(mine), Life::Present(theirs)) => {
            if !theirs.state.enabled {
                mine.state.enabled = false;
                mine.state.deadline = None;
                mine.state.needs_proof &= theirs.state.needs_proof;
            }
            let denied = [mine.state.denied, theirs.state.denied];
            // By the moments at which they end: the wall clock may have been set between the two.
            let ends = |it: &SavedDeadline| restore(it, boot, now).0;
            mine.state.denied = denied.into_iter().flatten().max_by_key(ends);
        }
        (life, Life::Removed) => *life = Life::Removed,
        (Life::Removed, Life::Present(_)) => {}
    }
    row
}
