//! Lookup of clients by key id and by name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::client::Client;
use crate::event::ClientId;
use crate::key_id::KeyId;
use crate::name::ClientName;

/// Lookup tables of the clients in memory.
#[derive(Debug, Default)]
pub(super) struct Index {
    names: HashMap<ClientName, ClientId>,
    keys: KeyTable,
    /// Host keys. One that is a boot key too finds nobody. Of several clients the first counts; no configuration has two.
    hosts: KeyTable,
}

/// Keys and their clients.
#[derive(Debug, Default)]
struct KeyTable(HashMap<KeyId, Holders>);

/// The keys of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientKeys<'a> {
    pub(super) boot: Option<&'a KeyId>,
    pub(super) host: Option<&'a KeyId>,
    /// The position in the configuration: of several clients with one boot key the first counts.
    pub(super) place: u32,
}

impl<'a> ClientKeys<'a> {
    pub(super) fn of(client: &'a Client) -> Self {
        Self {
            boot: client.settings.key_id.as_ref(),
            host: client.settings.host_key_id.as_ref(),
            place: client.place,
        }
    }
}

/// The clients with one key, each with its place in the configuration. There should be only one.
#[derive(Debug)]
struct Holders {
    first: (u32, ClientId),
    others: Vec<(u32, ClientId)>,
}

impl Index {
    pub(super) fn by_key(&self, key: &KeyId) -> Option<ClientId> {
        self.keys.first(key)
    }

    /// The client whose machine is up when this key is proved.
    pub(super) fn by_host_key(&self, key: &KeyId) -> Option<ClientId> {
        let is_boot_key = self.keys.0.contains_key(key);
        self.hosts.first(key).filter(|_| !is_boot_key)
    }

    /// Number of host keys.
    pub(super) fn hosts(&self) -> usize {
        self.hosts.0.len()
    }

    pub(super) fn by_name(&self, name: &str) -> Option<ClientId> {
        self.names.get(name).copied()
    }

    /// Adds a client with its keys.
    pub(super) fn insert(&mut self, id: ClientId, name: &ClientName, keys: ClientKeys<'_>) {
        self.names.insert(name.clone(), id);
        self.insert_keys(id, keys);
    }

    fn insert_keys(&mut self, id: ClientId, keys: ClientKeys<'_>) {
        if let Some(key) = keys.boot {
            self.keys.insert(*key, (keys.place, id));
        }
        if let Some(key) = keys.host {
            self.hosts.insert(*key, (keys.place, id));
        }
    }

    pub(super) fn remove(&mut self, id: ClientId, name: &ClientName, keys: ClientKeys<'_>) {
        self.names.remove(name);
        if let Some(key) = keys.boot {
            self.keys.remove(key, id);
        }
        if let Some(key) = keys.host {
            self.hosts.remove(key, id);
        }
    }

    /// All clients with this key.
    pub(super) fn holders(&self, key: &KeyId) -> impl Iterator<Item = ClientId> {
        let holders = self.keys.0.get(key).into_iter();
        holders
            .flat_map(|it| std::iter::once(it.first.1).chain(it.others.iter().map(|(_, id)| *id)))
    }

    /// Keys of several clients, each with the client that counts.
    pub(super) fn shared_keys(&self) -> impl Iterator<Item = (&KeyId, ClientId)> {
        let shared_keys = self.keys.0.iter().filter(|(_, it)| !it.others.is_empty());
        shared_keys.map(|(key, holders)| (key, holders.first.1))
    }

    /// Rebuilds the tables of keys after places or keys have changed.
    pub(super) fn set_keys<'a>(
        &mut self,
        holders: impl Iterator<Item = (ClientId, ClientKeys<'a>)>,
    ) {
        self.keys.0.clear();
        self.hosts.0.clear();
        for (id, keys) in holders {
            self.insert_keys(id, keys);
        }
    }
}

impl KeyTable {
    fn first(&self, key: &KeyId) -> Option<ClientId> {
        self.0.get(key).map(|holders| holders.first.1)
    }

    fn insert(&mut self, key: KeyId, mut new: (u32, ClientId)) {
        match self.0.entry(key) {
            Entry::Occupied(entry) => {
                let holders = entry.into_mut();
                if new < holders.first {
                    std::mem::swap(&mut new, &mut holders.first);
                }
                holders.others.push(new);
            }
            Entry::Vacant(entry) => {
                entry.insert(Holders {
                    first: new,
                    others: Vec::new(),
                });
            }
        }
    }

    fn remove(&mut self, key: &KeyId, id: ClientId) {
        let Some(holders) = self.0.get_mut(key) else {
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
                self.0.remove(key);
            }
        }
    }
}
