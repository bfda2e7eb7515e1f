//! All clients: lookups by key id and by name, every event of their lives, the next deadline of all.
//!
//! A pure state machine: `handle_*` takes an event and the time, [`Registry::poll_action`] gives
//! what must be done, in order, [`Registry::poll_timeout`] says when to call
//! [`Registry::handle_timeout`] next. Nothing here decides by anything but its arguments.

mod action;
mod checks;
mod control;
mod decisions;
mod identity;
mod index;
mod load;
mod rehearsals;
mod reload;
mod requests;
mod standing;
mod strangers;
mod timers;
mod tombstones;
mod trust;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

pub use action::{Action, Answer, Limits, NotDecided, Terms};
use checks::Turns;
use index::Index;
pub use load::{AddError, Configured};
pub use rehearsals::LONGEST_REHEARSALS;
pub use reload::{Drops, drops};
use requests::Request;
pub use standing::Standing;
use strangers::Strangers;
use timers::Timers;
use tombstones::Tombstones;

use crate::checker::Probe;
use crate::client::saved::{Change, SavedClient, Trust};
use crate::client::{Client, Deadline, Timer};
use crate::event::{
    Alarm, Ask, ClientId, DisableReason, Durability, Event, Grant, Refusal, RequestId,
};
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::secret::Secret;
use crate::time::{BootId, Monotonic, Now};

/// All clients.
///
/// Every `handle_*` first does what was due before it, so a caller that is late changes nothing:
/// what had expired stays expired.
#[derive(Debug)]
pub struct Registry {
    boot: BootId,
    clients: BTreeMap<ClientId, Client>,
    next_id: u32,
    index: Index,
    /// Removed at run time and still configured: they stay removed.
    removed: BTreeMap<ClientName, SavedClient>,
    /// Clients whose sections left the configuration.
    tombstones: Tombstones,
    /// True when the state can be believed.
    trust: Trust,
    /// True when all sections of the configuration are known.
    is_whole: bool,
    /// The clients that wait for a person or a proof, because the state was lost.
    unproved: BTreeSet<ClientId>,
    /// Came by the last reading of the configuration, and known by nothing before.
    fresh: Vec<ClientId>,
    /// The names of clients that are gone, for what is still to be said about them.
    departed: HashMap<ClientId, ClientName>,
    requests: HashMap<RequestId, Request>,
    turns: Turns,
    check_on_release: bool,
    allow_rehearsals: bool,
    strangers: Strangers,
    timers: Timers,
    actions: VecDeque<Action>,
}

impl Registry {
    /// What must be done next; `None` when all is done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called next; `None` when nothing is due ever.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        [self.timers.next(), self.strangers.ends()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        if let Some(count) = self.strangers.close(now.mono) {
            self.tell(Event::Alarmed(None, Alarm::UnknownKeys(count)));
        }
        while let Some((id, timer)) = self.timers.due(now.mono) {
            // However late this comes, nothing else of a client comes after its deadline.
            if self.expire(id, now) {
                continue;
            }
            match timer {
                Timer::Deadline => {}
                Timer::ApprovalEnds => self.reconsider(id, now),
                Timer::Check => self.check_is_due(id, now),
            }
        }
    }

    /// The client that has this key. Of two the first in the configuration.
    pub fn by_key(&self, key: &KeyId) -> Option<ClientId> {
        self.index.by_key(key)
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
            None => self.departed.get(&id),
        }
    }

    /// The client's encrypted secret.
    pub fn secret(&self, id: ClientId) -> Option<Arc<Secret>> {
        Some(Arc::clone(&self.clients.get(&id)?.secret))
    }

    /// Until when the client may be away, if it is enabled: a moment, and the settings that give it.
    pub fn terms(&self, id: ClientId) -> Option<Terms> {
        let client = self.clients.get(&id)?;
        Some(Terms {
            until: client.deadline?.mono,
            timeout: client.settings.timeout,
            interval: client.settings.interval,
        })
    }

    /// The client's check, with what stands now filled in.
    /// `dbus_object_path` is the client's path on D-Bus, empty when it has none.
    pub fn probe(&self, id: ClientId, dbus_object_path: &str) -> Option<Probe> {
        let client = self.clients.get(&id)?;
        let variables = client.checker_variables(dbus_object_path);
        Some(client.settings.checker.probe(&variables))
    }

    /// All clients, in the order in which they came to be known.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ClientId, &Client)> {
        self.clients.iter().map(|(id, client)| (*id, client))
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn tell(&mut self, event: Event) {
        self.act(Action::Event(event));
    }

    fn persist(&mut self, change: Change) {
        self.act(Action::Persist(change, Durability::Before));
    }

    fn persist_state(&mut self, id: ClientId, durability: Durability, now: Now) {
        if let Some(change) = self.state_change(id, now) {
            self.act(Action::Persist(change, durability));
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

    /// Disables the client when its deadline has passed; says whether it did.
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
