//! Lookup of clients by key id and by name.

use std::collections::HashMap;

use crate::event::ClientId;
use crate::key_id::KeyId;
use crate::name::ClientName;

/// Lookup tables of the clients in memory.
#[derive(Debug, Default)]
pub(super) struct Index {
    names: HashMap<ClientName, ClientId>,
    keys: HashMap<KeyId, Holders>,
}

/// The clients with one key, each with its place in the configuration. There should be only one.
#[derive(Debug)]
struct Holders {
    first: (u32, ClientId),
    others: Vec<(u32, ClientId)>,
}

impl Index {
    pub(super) fn by_key(&self, key: &KeyId) -> Option<ClientId> {
        self.keys.get(key).map(|holders| holders.first.1)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<ClientId> {
        self.names.get(name).copied()
    }

    /// `place` is the position in the configuration: of several clients with one key the first counts.
    pub(super) fn insert(
        &mut self,
        id: ClientId,
        name: &ClientName,
        key: Option<&KeyId>,
        place: u32,
    ) {
        self.names.insert(name.clone(), id);
        if let Some(key) = key {
            self.insert_key(id, key, place);
        }
    }

    fn insert_key(&mut self, id: ClientId, key: &KeyId, place: u32) {
        let mut new = (place, id);
        match self.keys.get_mut(key) {
            Some(holders) => {
                if new < holders.first {
                    std::mem::swap(&mut new, &mut holders.first);
                }
                holders.others.push(new);
            }
            None => {
                let alone = Holders {
                    first: new,
                    others: Vec::new(),
                };
                self.keys.insert(*key, alone);
            }
        }
    }

    pub(super) fn remove(&mut self, id: ClientId, name: &ClientName, key: Option<&KeyId>) {
        self.names.remove(name);
        if let Some(key) = key {
            self.remove_key(id, key);
        }
    }

    fn remove_key(&mut self, id: ClientId, key: &KeyId) {
        let Some(holders) = self.keys.get_mut(key) else {
            return;
        };
        holders.others.retain(|(_, other)| *other != id);
        if holders.first.1 != id {
            return;
        }
        match holders.others.iter().min().copied() {
            Some(next) => {
                holders.first = next;
                holders.others.retain(|other| *other != next);
            }
            None => {
                self.keys.remove(key);
            }
        }
    }

    /// All clients with this key.
    pub(super) fn holders(&self, key: &KeyId) -> impl Iterator<Item = ClientId> {
        let holders = self.keys.get(key).into_iter();
        holders
            .flat_map(|it| std::iter::once(it.first.1).chain(it.others.iter().map(|(_, id)| *id)))
    }

    /// Keys of several clients, each with the client that counts.
    pub(super) fn shared_keys(&self) -> impl Iterator<Item = (&KeyId, ClientId)> {
        let shared_keys = self.keys.iter().filter(|(_, it)| !it.others.is_empty());
        shared_keys.map(|(key, holders)| (key, holders.first.1))
    }

    /// Rebuilds the table of keys after places or keys have changed.
    pub(super) fn set_keys<'a>(
        &mut self,
        holders: impl Iterator<Item = (ClientId, Option<&'a KeyId>, u32)>,
    ) {
        self.keys.clear();
        for (id, key, place) in holders {
            if let Some(key) = key {
                self.insert_key(id, key, place);
            }
        }
    }
}
