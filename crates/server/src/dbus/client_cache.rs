//! The clients as last signalled on the bus: reads are answered from it, and it shows which properties an
//! event changed.

use std::collections::{BTreeMap, HashMap};

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_core::event::ClientId;
use nightlatch_core::time::Wall;
use zbus::ObjectPath;

use super::heartbeats::HeartbeatSignals;

/// All clients, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct ClientCache {
    clients: BTreeMap<ClientId, ClientView>,
    by_path: HashMap<ClientPath, ClientId>,
    by_name: HashMap<String, ClientId>,
    /// `LastCheckedOK` and `Expires` as last signalled, where they moved since.
    unsignalled: HashMap<ClientId, (Option<Wall>, Option<Wall>)>,
    heartbeats: HeartbeatSignals,
}

impl ClientCache {
    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientId, &ClientView)> {
        self.clients.iter().map(|(id, view)| (*id, view))
    }

    pub(super) fn get(&self, id: ClientId) -> Option<&ClientView> {
        self.clients.get(&id)
    }

    pub(super) fn by_path(&self, path: &str) -> Option<(ClientId, &ClientView)> {
        let path = ObjectPath::try_from(path).ok()?;
        let id = *self.by_path.get(&ClientPath::from(&path))?;
        Some((id, self.clients.get(&id)?))
    }

    pub(super) fn by_name(&self, name: &str) -> Option<(ClientId, &ClientView)> {
        let id = *self.by_name.get(name)?;
        Some((id, self.clients.get(&id)?))
    }

    /// Stores the state of a client; returns the one that was last signalled.
    pub(super) fn put(&mut self, id: ClientId, mut view: ClientView) -> Option<ClientView> {
        view.path = match self.clients.get(&id) {
            Some(before) => before.path.clone(),
            None => self.free_path(&view.path),
        };
        self.by_path.insert(view.path.clone(), id);
        self.by_name.insert(view.name.clone(), id);
        let mut signalled = self.clients.insert(id, view)?;
        if let Some(times) = self.unsignalled.remove(&id) {
            (signalled.last_checked_ok, signalled.expires) = times;
        }
        Some(signalled)
    }

    /// True where a heartbeat that made the stored state of `signalled` need not be signalled: a later one is.
    pub(super) fn delays(&mut self, id: ClientId, signalled: &ClientView) -> bool {
        let view = self.clients.get(&id);
        let delays = view.is_some_and(|view| self.heartbeats.may_wait(signalled, view));
        if delays {
            let times = (signalled.last_checked_ok, signalled.expires);
            self.unsignalled.insert(id, times);
        }
        delays
    }

    /// Removes a client; returns its last state.
    pub(super) fn remove(&mut self, id: ClientId) -> Option<ClientView> {
        let view = self.clients.remove(&id)?;
        self.unsignalled.remove(&id);
        self.by_path.remove(&view.path);
        // Another client of this name may have been added already.
        if self.by_name.get(&view.name) == Some(&id) {
            self.by_name.remove(&view.name);
        }
        Some(view)
    }

    /// `path`, with a number when another client has it: `a.b` and `a-b` are the same on the bus.
    fn free_path(&self, path: &ClientPath) -> ClientPath {
        let numbered = |number: u32| {
            let text = format!("{path}__{number}");
            ClientPath::from(&ObjectPath::from_string_unchecked(text))
        };
        let mut free = path.clone();
        let mut number = 2;
        while self.by_path.contains_key(&free) {
            free = numbered(number);
            number += 1;
        }
        free
    }
}
