//! Everything that is still to be done, in order: changes that wait for the store, and effects that wait for them.
//!
//! An effect waits for every change of its own client that came before it. Another client's do not hold
//! it up. While the store fails, only two things wait: a release, for what made the server more generous
//! ([`Durability`] says which changes these are), and the answer to an order. Everything else goes on, and
//! what waits stays bounded: of each client the last change counts.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::client::saved::{Change, Holder};
use crate::event::Durability;
use crate::name::ClientName;
use crate::record::Entry;

/// While the disk takes nothing, no more than so many records are kept for it, and as many alarms.
const MOST_UNWRITTEN: usize = 50_000;

/// Changes on their way into the store, and what may be done once they are there.
#[derive(Debug)]
pub struct Outbox<E> {
    unwritten: Unwritten,
    /// How many changes ever came, how many of them were taken, and how many are durable.
    came: u64,
    taken: u64,
    durable: u64,
    /// What the next effect of each client waits for.
    needs: HashMap<ClientName, Needs>,
    steps: VecDeque<Step<E>>,
    /// Changes that nothing waits for are written within a while all the same.
    urgent: bool,
    /// The last commit failed.
    failing: bool,
}

/// So many changes must be durable first.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    changes: u64,
    /// The same while the store fails.
    failing: u64,
}

#[derive(Debug)]
struct Step<E> {
    needs: Needs,
    /// It acknowledges what it waits for.
    acknowledges: bool,
    effect: E,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self {
            unwritten: Unwritten::default(),
            came: 0,
            taken: 0,
            durable: 0,
            needs: HashMap::new(),
            steps: VecDeque::new(),
            urgent: false,
            failing: false,
        }
    }
}

impl<E> Outbox<E> {
    /// `change` must be durable, as `durability` says, before what comes after it of the same client.
    pub fn persist(&mut self, change: Change, durability: Durability) {
        let client = change.client().cloned();
        self.unwritten.push(change);
        self.came += 1;
        match client {
            _ if durability == Durability::Soon => {}
            Some(client) => self.hold(client, durability),
            None => self.urgent = true,
        }
    }

    /// Puts an entry into the record. `false` when it is left out, because the store fails and has too many to
    /// write already. Alarms have room of their own.
    #[must_use]
    pub fn record(&mut self, entry: Entry) -> bool {
        let room = if entry.alarm { 2 } else { 1 };
        let is_too_much = self.failing && self.unwritten.records >= room * MOST_UNWRITTEN;
        if !is_too_much {
            self.persist(Change::Record(Box::new(entry)), Durability::Soon);
        }
        !is_too_much
    }

    /// All that is unwritten, of whomever, is to be as durable before what comes after this of `client`.
    pub fn hold(&mut self, client: ClientName, durability: Durability) {
        if durability == Durability::Soon {
            return;
        }
        self.urgent = true;
        let needs = self.needs.entry(client).or_default();
        needs.changes = self.came;
        if durability == Durability::Before {
            needs.failing = self.came;
        }
    }

    /// `effect` is to be done after everything before it of `client`; at once while the store fails.
    pub fn effect(&mut self, client: Option<&ClientName>, effect: E) {
        let (changes, failing) = (self.needs_of(client).changes, 0);
        self.push(Needs { changes, failing }, false, effect);
    }

    /// `effect` gives something away: while the store fails, what allowed it must be durable all the same.
    pub fn release(&mut self, client: Option<&ClientName>, effect: E) {
        self.push(self.needs_of(client), false, effect);
    }

    /// `effect` acknowledges what came before it of `client`, unless [`Self::failed`] gives it back first.
    pub fn acknowledge(&mut self, client: Option<&ClientName>, effect: E) {
        let changes = self.needs_of(client).changes;
        let failing = changes;
        self.push(Needs { changes, failing }, true, effect);
    }

    /// `effect` is to be done when everything that came before is durable.
    pub fn at_last(&mut self, effect: E) {
        self.urgent = true;
        let changes = self.came;
        let failing = changes;
        self.push(Needs { changes, failing }, false, effect);
    }

    fn push(&mut self, needs: Needs, acknowledges: bool, effect: E) {
        self.steps.push_back(Step {
            needs,
            acknowledges,
            effect,
        });
    }

    fn needs_of(&self, client: Option<&ClientName>) -> Needs {
        let needs = client.and_then(|client| self.needs.get(client));
        needs.copied().unwrap_or_default()
    }

    /// Somebody waits for what is unwritten.
    pub fn hurry(&mut self) {
        self.urgent = true;
    }

    /// The effects that nothing holds up any more, in order.
    pub fn ready(&mut self) -> Vec<E> {
        let (durable, failing) = (self.durable, self.failing);
        let mut ready = Vec::new();
        let mut kept = VecDeque::new();
        for step in self.steps.drain(..) {
            let needs = if failing {
                step.needs.failing
            } else {
                step.needs.changes
            };
            if needs <= durable {
                ready.push(step.effect);
            } else {
                kept.push_back(step);
            }
        }
        self.steps = kept;
        ready
    }

    /// Whether something waits for the store.
    pub fn is_urgent(&self) -> bool {
        self.urgent && self.is_unwritten()
    }

    /// Whether anything is unwritten.
    pub fn is_unwritten(&self) -> bool {
        !self.unwritten.changes.is_empty()
    }

    /// How many entries of the record are unwritten.
    pub fn unwritten_records(&self) -> usize {
        self.unwritten.records
    }

    /// All unwritten changes, to be committed in one transaction.
    pub fn take(&mut self) -> Vec<Change> {
        self.urgent = false;
        self.taken = self.came;
        self.unwritten.take()
    }

    /// What [`Self::take`] gave is durable.
    pub fn committed(&mut self) {
        self.failing = false;
        self.durable = self.taken;
        let durable = self.durable;
        self.needs.retain(|_, needs| needs.changes > durable);
    }

    /// What [`Self::take`] gave could not be written, and is to be tried again before the rest. Gives back what
    /// was to acknowledge something: it is in force, but not durable.
    #[must_use]
    pub fn failed(&mut self, changes: Vec<Change>) -> Vec<E> {
        let later = self.unwritten.take();
        for change in changes.into_iter().chain(later) {
            self.unwritten.push(change);
        }
        self.urgent = true;
        self.failing = true;
        let steps = std::mem::take(&mut self.steps).into_iter();
        let (acknowledgements, others): (Vec<_>, _) = steps.partition(|step| step.acknowledges);
        self.steps = others.into();
        acknowledgements.into_iter().map(|it| it.effect).collect()
    }

    /// True from a commit that failed to the next one that did not.
    pub fn is_failing(&self) -> bool {
        self.failing
    }
}

/// Changes in order. One that another one makes void is not kept: a disk may be full for days, while ten
/// thousand clients are checked every two minutes.
#[derive(Debug, Default)]
struct Unwritten {
    changes: BTreeMap<u64, Change>,
    next: u64,
    /// Where the change of each thing is.
    places: HashMap<Thing, u64>,
    records: usize,
}

/// What a change replaces all of.
#[derive(PartialEq, Eq, Hash, Debug)]
enum Thing {
    Row(ClientName),
    State(ClientName),
    Tombstone(Holder),
    Trust,
    DropRecords,
}

impl Unwritten {
    fn push(&mut self, change: Change) {
        let thing = match &change {
            Change::Put(row) => {
                // A row holds its state.
                self.forget(&Thing::State(row.name.clone()));
                Some(Thing::Row(row.name.clone()))
            }
            Change::Forget(name) => {
                self.forget(&Thing::State(name.clone()));
                Some(Thing::Row(name.clone()))
            }
            Change::State(name, _) => Some(Thing::State(name.clone())),
            Change::Bury(tombstone) => Some(Thing::Tombstone(tombstone.holder())),
            Change::Unbury(holder) => Some(Thing::Tombstone(holder.clone())),
            Change::Trust(_) => Some(Thing::Trust),
            Change::DropRecords(_) => Some(Thing::DropRecords),
            Change::Record(_) => {
                self.records += 1;
                None
            }
        };
        if let Some(thing) = thing {
            self.forget(&thing);
            self.places.insert(thing, self.next);
        }
        self.changes.insert(self.next, change);
        self.next += 1;
    }

    fn forget(&mut self, thing: &Thing) {
        if let Some(place) = self.places.remove(thing) {
            self.changes.remove(&place);
        }
    }

    fn take(&mut self) -> Vec<Change> {
        self.places.clear();
        self.records = 0;
        std::mem::take(&mut self.changes).into_values().collect()
    }
}

#[cfg(test)]
mod tests;
