//! The clients in memory, by their ids.

use std::collections::BTreeMap;

use crate::client::Client;
use crate::event::ClientId;

/// A map in the order of the ids. Each client has memory of its own: nodes of a tree that is filled in ascending order
/// stay half empty, and a hundred thousand empty places for clients are 50 MB.
#[derive(Debug, Default)]
pub(super) struct Clients(BTreeMap<ClientId, Box<Client>>);

impl Clients {
    pub(super) fn get(&self, id: &ClientId) -> Option<&Client> {
        self.0.get(id).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: &ClientId) -> Option<&mut Client> {
        self.0.get_mut(id).map(Box::as_mut)
    }

    pub(super) fn contains_key(&self, id: &ClientId) -> bool {
        self.0.contains_key(id)
    }

    pub(super) fn insert(&mut self, id: ClientId, client: Client) {
        self.0.insert(id, Box::new(client));
    }

    pub(super) fn remove(&mut self, id: &ClientId) -> Option<Client> {
        self.0.remove(id).map(|client| *client)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&ClientId, &Client)> + Clone {
        self.0.iter().map(|(id, client)| (id, &**client))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ClientId> {
        self.0.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Client> {
        self.0.values().map(Box::as_ref)
    }
}
