//! Pending work in order: changes that wait for the store, and effects that wait for them.
//!
//! An effect waits for all earlier changes of its own client, not for those of others. While the store fails, only two
//! kinds of effects wait: a release, for changes that made the server more generous ([`Durability`] defines which
//! these are), and the acknowledgement of an order. All others proceed. The amount of waiting changes is bounded: of
//! each client only the last one is kept.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::client::saved::{Change, StateOwner};
use crate::event::Durability;
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::record::RecordEntry;
use crate::secret_name::SecretName;

/// Limit on unwritten records while the store fails; alarms have as many again.
const MAX_UNWRITTEN_RECORDS: usize = 50_000;

/// Room for entries that is kept. A start with a hundred thousand clients needs much more, once.
const KEPT_ROOM: usize = 1024;

/// Changes that are to be stored, and effects that wait for them.
#[derive(Debug)]
pub struct Outbox<E> {
    unwritten: Unwritten,
    /// Number of changes ever added, taken for a commit, and made durable.
    added: u64,
    taken: u64,
    durable: u64,
    /// The requirement of the next effect of each client.
    needs: HashMap<ClientName, Requirement>,
    pending_effects: VecDeque<PendingEffect<E>>,
    /// True when an effect waits for an unwritten change.
    urgent: bool,
    /// True when the last commit failed.
    failing: bool,
}

/// Number of changes that must be durable before an effect.
#[derive(Clone, Copy, Debug, Default)]
struct Requirement {
    changes: u64,
    /// Number of changes while the store fails.
    failing: u64,
    /// The same for a release of a named secret, beside `failing`.
    named: u64,
}

#[derive(Debug)]
struct PendingEffect<E> {
    needs: Requirement,
    /// True when it acknowledges the changes that it waits for.
    acknowledges: bool,
    effect: E,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self {
            unwritten: Unwritten::default(),
            added: 0,
            taken: 0,
            durable: 0,
            needs: HashMap::new(),
            pending_effects: VecDeque::new(),
            urgent: false,
            failing: false,
        }
    }
}

impl<E> Outbox<E> {
    /// Adds a change that must be as durable as `durability` before later effects of the same client.
    pub fn persist(&mut self, change: Change, durability: Durability) {
        let client = change.client().cloned();
        let is_named = matches!(change, Change::PutSecret { .. });
        self.unwritten.push(change);
        self.added += 1;
        match client {
            _ if durability == Durability::Soon => {}
            Some(client) if is_named => self.require_named(client, durability),
            Some(client) => self.require(client, durability),
            None => self.urgent = true,
        }
    }

    /// Adds an entry to the audit log. `false` when it is dropped because the store fails and has too many unwritten
    /// entries. Alarms have a limit of their own.
    #[must_use]
    pub fn record(&mut self, entry: RecordEntry) -> bool {
        let room = if entry.alarm { 2 } else { 1 };
        let is_too_much = self.failing && self.unwritten.records >= room * MAX_UNWRITTEN_RECORDS;
        if !is_too_much {
            self.persist(Change::Record(Box::new(entry)), Durability::Soon);
        }
        !is_too_much
    }

    /// Makes later effects of `client` wait for all unwritten changes of all clients, as `durability` requires.
    pub fn require(&mut self, client: ClientName, durability: Durability) {
        if durability == Durability::Soon {
            return;
        }
        self.urgent = true;
        let needs = self.needs.entry(client).or_default();
        needs.changes = self.added;
        if durability == Durability::Before {
            needs.failing = self.added;
        }
    }

    /// As [`Self::require`], after a named secret was put: while the store fails, only releases of named secrets wait for
    /// that. Whatever an administrator puts then, the machine gets the secret of its disk.
    fn require_named(&mut self, client: ClientName, durability: Durability) {
        if durability != Durability::Before {
            return self.require(client, durability);
        }
        self.require(client.clone(), Durability::BeforeUnlessFailing);
        if let Some(needs) = self.needs.get_mut(&client) {
            needs.named = self.added;
        }
    }

    /// Adds an effect that waits for earlier changes of `client`; while the store fails, it waits for none.
    pub fn effect(&mut self, client: Option<&ClientName>, effect: E) {
        let needs = Requirement {
            failing: 0,
            ..self.requirement_of(client)
        };
        self.push(needs, false, effect);
    }

    /// Adds an effect that releases a secret: even while the store fails, it waits for the changes that allowed it.
    pub fn release(&mut self, client: Option<&ClientName>, effect: E) {
        self.push(self.requirement_of(client), false, effect);
    }

    /// Adds an effect that releases a named secret: it also waits for the changes of named secrets.
    pub fn release_named(&mut self, client: Option<&ClientName>, effect: E) {
        let needs = self.requirement_of(client);
        let failing = needs.failing.max(needs.named);
        self.push(Requirement { failing, ..needs }, false, effect);
    }

    /// Adds an effect that acknowledges earlier changes of `client`, unless [`Self::failed`] returns it first.
    pub fn acknowledge(&mut self, client: Option<&ClientName>, effect: E) {
        let needs = self.requirement_of(client);
        let failing = needs.changes;
        self.push(Requirement { failing, ..needs }, true, effect);
    }

    /// Adds an effect that waits for all earlier changes.
    pub fn effect_after_all(&mut self, effect: E) {
        self.urgent = true;
        let needs = Requirement {
            changes: self.added,
            failing: self.added,
            named: 0,
        };
        self.push(needs, false, effect);
    }

    /// As [`Self::acknowledge`], for earlier changes of all clients.
    pub fn acknowledge_all(&mut self, effect: E) {
        self.urgent = true;
        let needs = Requirement {
            changes: self.added,
            failing: self.added,
            named: 0,
        };
        self.push(needs, true, effect);
    }

    fn push(&mut self, needs: Requirement, acknowledges: bool, effect: E) {
        self.pending_effects.push_back(PendingEffect {
            needs,
            acknowledges,
            effect,
        });
    }

    fn requirement_of(&self, client: Option<&ClientName>) -> Requirement {
        let needs = client.and_then(|client| self.needs.get(client));
        needs.copied().unwrap_or_default()
    }

    /// Marks the unwritten changes as urgent.
    pub fn mark_urgent(&mut self) {
        self.urgent = true;
    }

    /// Removes and returns the effects that wait for nothing more, in order.
    pub fn ready(&mut self) -> Vec<E> {
        let (durable, failing) = (self.durable, self.failing);
        let mut ready = Vec::new();
        let mut kept = VecDeque::new();
        for pending in self.pending_effects.drain(..) {
            let needs = if failing {
                pending.needs.failing
            } else {
                pending.needs.changes
            };
            if needs <= durable {
                ready.push(pending.effect);
            } else {
                kept.push_back(pending);
            }
        }
        self.pending_effects = kept;
        ready
    }

    /// True when unwritten changes are urgent.
    pub fn is_urgent(&self) -> bool {
        self.urgent && self.is_unwritten()
    }

    /// True when any change is unwritten.
    pub fn is_unwritten(&self) -> bool {
        !self.unwritten.changes.is_empty()
    }

    /// Number of unwritten entries of the audit log.
    pub fn unwritten_records(&self) -> usize {
        self.unwritten.records
    }

    /// Takes all unwritten changes, to be committed in one transaction.
    pub fn take(&mut self) -> Vec<Change> {
        self.urgent = false;
        self.taken = self.added;
        self.unwritten.take()
    }

    /// The changes that [`Self::take`] returned are durable.
    pub fn committed(&mut self) {
        self.failing = false;
        self.durable = self.taken;
        let durable = self.durable;
        self.needs.retain(|_, needs| needs.changes > durable);
        self.needs.shrink_to(KEPT_ROOM);
    }

    /// The changes that [`Self::take`] returned could not be written, and are tried again before later ones. Returns
    /// the pending acknowledgements: their changes are in force but not durable.
    #[must_use]
    pub fn failed(&mut self, changes: Vec<Change>) -> Vec<E> {
        let later = self.unwritten.take();
        for change in changes.into_iter().chain(later) {
            self.unwritten.push(change);
        }
        self.urgent = true;
        self.failing = true;
        let pending_effects = std::mem::take(&mut self.pending_effects).into_iter();
        let (acknowledgements, others): (Vec<_>, _) =
            pending_effects.partition(|pending| pending.acknowledges);
        self.pending_effects = others.into();
        acknowledgements.into_iter().map(|it| it.effect).collect()
    }

    /// True from a commit that failed to the next one that did not.
    pub fn is_failing(&self) -> bool {
        self.failing
    }
}

/// Changes in order. A change that a later one replaces is dropped: a disk may be full for days, while ten thousand
/// clients are checked every two minutes.
#[derive(Debug, Default)]
struct Unwritten {
    changes: BTreeMap<u64, Change>,
    next: u64,
    /// Position of the change of each target.
    positions: HashMap<ChangeTarget, u64>,
    records: usize,
}

/// The part of the store that a change replaces.
#[derive(PartialEq, Eq, Hash, Debug)]
enum ChangeTarget {
    Row(ClientName),
    State(ClientName),
    Tombstone(StateOwner),
    Secret(KeyId, SecretName),
    Trust,
    DropRecords,
}

impl Unwritten {
    fn push(&mut self, change: Change) {
        let target = match &change {
            Change::Put(row) => {
                // A row contains the state.
                self.drop_replaced(&ChangeTarget::State(row.name.clone()));
                Some(ChangeTarget::Row(row.name.clone()))
            }
            Change::Forget(name) => {
                self.drop_replaced(&ChangeTarget::State(name.clone()));
                Some(ChangeTarget::Row(name.clone()))
            }
            Change::State(name, _) => Some(ChangeTarget::State(name.clone())),
            Change::PutTombstone(tombstone) => Some(ChangeTarget::Tombstone(tombstone.owner())),
            Change::DeleteTombstone(holder) => Some(ChangeTarget::Tombstone(holder.clone())),
            Change::PutSecret { secret, .. } => {
                Some(ChangeTarget::Secret(secret.host, secret.name.clone()))
            }
            Change::DeleteSecret(host, name) => Some(ChangeTarget::Secret(*host, name.clone())),
            // Kept in its place: what was put before must be written before, and deleted by it.
            Change::ForgetSecrets => None,
            Change::Trust(_) => Some(ChangeTarget::Trust),
            Change::DropRecords(_) => Some(ChangeTarget::DropRecords),
            Change::Record(_) => {
                self.records += 1;
                None
            }
        };
        if let Some(target) = target {
            self.drop_replaced(&target);
            self.positions.insert(target, self.next);
        }
        self.changes.insert(self.next, change);
        self.next += 1;
    }

    fn drop_replaced(&mut self, target: &ChangeTarget) {
        if let Some(place) = self.positions.remove(target) {
            self.changes.remove(&place);
        }
    }

    fn take(&mut self) -> Vec<Change> {
        self.positions.clear();
        self.positions.shrink_to(KEPT_ROOM);
        self.records = 0;
        std::mem::take(&mut self.changes).into_values().collect()
    }
}

#[cfg(test)]
mod tests;
