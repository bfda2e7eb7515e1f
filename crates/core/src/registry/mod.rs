//! All clients: lookup by key id and by name, every event, and the time at which something is due next.
//!
//! A pure state machine: `handle_*` takes an event and the time, [`Registry::poll_action`] returns the resulting
//! actions in order, and [`Registry::poll_timeout`] the time of the next [`Registry::handle_timeout`].

mod action;
mod checks;
mod clients;
mod control;
mod decisions;
mod forecast;
mod identity;
mod index;
mod judge;
mod judgement;
mod life;
mod load;
mod named;
mod rehearsals;
mod reload;
mod requests;
mod timers;
mod tombstones;
mod trust;
mod unknown_keys;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

pub use action::{
    Action, CheckError, DeadlineTerms, DecisionError, RegistryLimits, Release, ReleasedSecret,
    RequestAnswer,
};
use checks::CheckQueue;
use clients::Clients;
pub use forecast::ReleaseForecast;
use index::{ClientKeys, Index};
pub use judge::PendingDecision;
pub use life::SignOfLife;
pub use load::{AddError, ConfiguredClients};
use named::NamedSecrets;
pub use named::{
    LEAST_APPROVAL_DELAY, MAX_SECRETS, NamedQuery, NamedSecretError, NamedSecretInfo, SecretPlace,
};
pub use rehearsals::MAX_REHEARSAL_PERMISSION;
pub use reload::{MassRemoval, mass_removal};
use requests::OpenRequest;
use timers::Timers;
use tombstones::TombstoneIndex;
use unknown_keys::UnknownKeyLimiter;

use crate::checker::Probe;
use crate::client::saved::{Change, SavedClient, Trust};
use crate::client::{Client, Timer};
use crate::deadline::Deadline;
use crate::event::{
    Alarm, ClientId, DisableReason, Durability, Event, Grant, Refusal, RequestClaims, RequestId,
};
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::time::{BootId, Monotonic, Now};

/// Capacity of the queue of actions that is given back: that of a start with many new clients.
const MANY_ACTIONS: usize = 4096;

/// All clients of the server.
///
/// Every `handle_*` first handles what was due before, so a late caller changes nothing: an expired client stays
/// expired.
#[derive(Debug)]
pub struct Registry {
    boot: BootId,
    clients: Clients,
    next_id: u32,
    index: Index,
    /// Clients that were removed at run time while still configured; they stay removed.
    removed: BTreeMap<ClientName, SavedClient>,
    /// Clients whose sections left the configuration.
    tombstones: TombstoneIndex,
    trust: Trust,
    /// False when a file with sections could not be used, so that clients may be missing.
    is_complete: bool,
    /// Clients that wait for a person or a proof because the state was lost.
    waiting_for_proof: BTreeSet<ClientId>,
    /// Clients that the current load or reload added without any saved state.
    new_clients: Vec<ClientId>,
    /// Names of removed clients, for events that are reported after the removal.
    removed_names: HashMap<ClientId, ClientName>,
    requests: HashMap<RequestId, OpenRequest>,
    named: NamedSecrets,
    check_queue: CheckQueue,
    check_on_release: bool,
    allow_rehearsals: bool,
    unknown_keys: UnknownKeyLimiter,
    timers: Timers,
    actions: VecDeque<Action>,
}

impl Registry {
    /// The next action to carry out; `None` when there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if self.actions.is_empty() && self.actions.capacity() > MANY_ACTIONS {
            self.actions.shrink_to_fit();
        }
        action
    }

    /// Time of the next [`Self::handle_timeout`]; `None` when nothing is scheduled.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        [self.timers.next(), self.unknown_keys.flood_end()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        if let Some(count) = self.unknown_keys.close(now.mono) {
            self.emit(Event::Alarmed(None, Alarm::UnknownKeys(count)));
        }
        while let Some((id, timer)) = self.timers.due(now.mono) {
            // Even when this is called late, nothing of a client is handled after its deadline.
            if self.expire(id, now) {
                continue;
            }
            match timer {
                Timer::Deadline => {}
                Timer::HoldEnds => self.handle_holds(id, now),
                Timer::ApprovalEnds => self.reconsider(id, now),
                Timer::Guard => self.handle_guard_due(id, now),
                Timer::Check => self.handle_check_due(id, now),
            }
        }
    }

    /// The client with this key; of several the first in the configuration.
    pub fn by_key(&self, key: &KeyId) -> Option<ClientId> {
        self.index.by_key(key)
    }

    /// The client whose machine is up when this key is proved.
    pub fn by_host_key(&self, key: &KeyId) -> Option<ClientId> {
        self.index.by_host_key(key)
    }

    /// The client of this name.
    pub fn by_name(&self, name: &str) -> Option<ClientId> {
        self.index.by_name(name)
    }

    /// The client with this handle; `None` once it is removed.
    pub fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(&id)
    }

    /// The name of the client with this handle, removed or not.
    pub fn name(&self, id: ClientId) -> Option<&ClientName> {
        match self.clients.get(&id) {
            Some(client) => Some(client.name()),
            None => self.removed_names.get(&id),
        }
    }

    /// The client's check with the current values filled in. `dbus_object_path` is the client's path on D-Bus, empty
    /// when it has none.
    pub fn probe(&self, id: ClientId, dbus_object_path: &str) -> Option<Probe> {
        let client = self.clients.get(&id)?;
        let variables = client.checker_variables(dbus_object_path);
        Some(client.settings.checker.probe(&variables))
    }

    /// All clients in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ClientId, &Client)> {
        self.clients.iter().map(|(id, client)| (*id, client))
    }

    fn push_action(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn emit(&mut self, event: Event) {
        self.push_action(Action::Event(event));
    }

    fn persist(&mut self, change: Change) {
        self.push_action(Action::Persist(change, Durability::Before));
    }

    fn persist_state(&mut self, id: ClientId, durability: Durability, now: Now) {
        if let Some(change) = self.state_change(id, now) {
            self.push_action(Action::Persist(change, durability));
        }
    }

    fn persist_row(&mut self, id: ClientId, now: Now) {
        if let Some(client) = self.clients.get(&id) {
            let row = Box::new(client.to_saved(self.boot, now));
            self.persist(Change::Put(row));
        }
    }

    fn state_change(&self, id: ClientId, now: Now) -> Option<Change> {
        let client = self.clients.get(&id)?;
        let state = Box::new(client.to_state(self.boot, now));
        Some(Change::State(client.name.clone(), state))
    }

    fn set_timer(&mut self, id: ClientId, timer: Timer, at: Option<Monotonic>) {
        if let Some(client) = self.clients.get_mut(&id) {
            self.timers.set(id, &mut client.timers, timer, at);
        }
    }

    /// Moves the deadline of an enabled client.
    fn set_deadline(&mut self, id: ClientId, deadline: Deadline) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.deadline = Some(deadline);
            self.timers
                .set(id, &mut client.timers, Timer::Deadline, Some(deadline.mono));
        }
    }

    /// Disables the client if its deadline has passed; true when it did.
    fn expire(&mut self, id: ClientId, now: Now) -> bool {
        let passed = self
            .clients
            .get(&id)
            .and_then(|client| client.deadline)
            .is_some_and(|deadline| deadline.passed(now));
        if passed {
            self.disable(id, DisableReason::Expired, now);
        }
        passed
    }
}

#[cfg(test)]
mod tests;
