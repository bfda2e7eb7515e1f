//! All clients, always in order: which there are, which are shown and where each stands.
//!
//! A change of one client costs a binary search and the moving of small numbers, however many there are.
//! Only choosing another order or filter looks at all of them.

pub(crate) mod filter;
pub(crate) mod order;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_core::time::Wall;

use filter::Filter;
use order::Sort;

use crate::state::ClientState;

/// A client as long as it is known. A number is never given to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ClientNumber(u64);

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    clients: HashMap<ClientNumber, ClientView>,
    paths: HashMap<ClientPath, ClientNumber>,
    last: u64,
    /// All, in order.
    all: Vec<ClientNumber>,
    /// Those of `all` that the filter shows; empty when it shows all.
    filtered: Vec<ClientNumber>,
    /// Requests that wait: the oldest first, so that a new one never takes another's place.
    waiting: Vec<ClientNumber>,
    counts: BTreeMap<ClientState, usize>,
    sort: Sort,
    reversed: bool,
    filter: Filter,
}

impl Fleet {
    /// Forgets all clients and takes these, in the order and with the filter of before.
    pub(crate) fn replace(&mut self, clients: Vec<ClientView>, now: Wall) {
        self.clients.clear();
        self.paths.clear();
        self.waiting.clear();
        self.counts.clear();
        for client in clients {
            // A server that tells of an object twice has one client there.
            if let Some(id) = self.paths.get(&client.path) {
                self.clients.insert(*id, client);
            } else {
                self.store(client);
            }
        }
        for client in self.clients.values() {
            *self.counts.entry(ClientState::of(client)).or_default() += 1;
        }
        self.waiting = self.asking();
        self.order_anew(now);
    }

    /// Adds a client, or takes its new picture.
    pub(crate) fn insert(&mut self, client: ClientView, now: Wall) -> ClientNumber {
        if let Some(id) = self.find(&client.path) {
            self.change(id, now, |known| *known = client);
            return id;
        }
        let id = self.store(client);
        self.enter(id, now);
        id
    }

    /// Forgets a client.
    pub(crate) fn remove(&mut self, path: &ClientPath) -> Option<ClientView> {
        let id = self.find(path)?;
        self.leave(id);
        self.waiting.retain(|waiting| *waiting != id);
        self.paths.remove(path);
        self.clients.remove(&id)
    }

    /// Applies `change` to a client, and moves it to its new place in each ordered list.
    pub(crate) fn change<T>(
        &mut self,
        id: ClientNumber,
        now: Wall,
        change: impl FnOnce(&mut ClientView) -> T,
    ) -> Option<T> {
        if !self.clients.contains_key(&id) {
            return None;
        }
        self.leave(id);
        let done = self.clients.get_mut(&id).map(change);
        self.enter(id, now);
        done
    }

    /// The client with this number, if it is still there.
    pub(crate) fn get(&self, id: ClientNumber) -> Option<&ClientView> {
        self.clients.get(&id)
    }

    /// The number of the client at `path`.
    pub(crate) fn find(&self, path: &ClientPath) -> Option<ClientNumber> {
        self.paths.get(path).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Number of clients in this state.
    pub(crate) fn count(&self, standing: ClientState) -> usize {
        self.counts.get(&standing).copied().unwrap_or(0)
    }

    /// Those that are shown, in order.
    pub(crate) fn shown(&self) -> &[ClientNumber] {
        if self.filter.is_empty() {
            &self.all
        } else {
            &self.filtered
        }
    }

    /// The row that a client is in, among those shown.
    pub(crate) fn row(&self, id: ClientNumber) -> Option<usize> {
        let client = self.clients.get(&id)?;
        let row = self.place(self.shown(), client);
        (self.shown().get(row) == Some(&id)).then_some(row)
    }

    /// Those whose request waits for a decision, the oldest first.
    pub(crate) fn waiting(&self) -> &[ClientNumber] {
        &self.waiting
    }

    /// The order, and true when it is reversed.
    pub(crate) const fn order(&self) -> (Sort, bool) {
        (self.sort, self.reversed)
    }

    /// Chooses an order.
    pub(crate) fn sort(&mut self, sort: Sort, reversed: bool, now: Wall) {
        self.sort = sort;
        self.reversed = reversed;
        self.order_anew(now);
    }

    pub(crate) const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Chooses what is shown.
    pub(crate) fn show(&mut self, filter: Filter, now: Wall) {
        self.filter = filter;
        self.filter_anew(now);
    }

    /// Looks again at a filter that time changes.
    pub(crate) fn pass_time(&mut self, now: Wall) {
        if self.filter.looks_at_time() {
            self.filter_anew(now);
        }
    }

    fn store(&mut self, client: ClientView) -> ClientNumber {
        self.last += 1;
        let id = ClientNumber(self.last);
        self.paths.insert(client.path.clone(), id);
        self.clients.insert(id, client);
        id
    }

    /// Inserts a client into each ordered list.
    fn enter(&mut self, id: ClientNumber, now: Wall) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let at = self.place(&self.all, client);
        let filtered = self.filter.shows(client, now);
        let at_filtered = self.place(&self.filtered, client);
        let standing = ClientState::of(client);
        self.all.insert(at, id);
        if filtered && !self.filter.is_empty() {
            self.filtered.insert(at_filtered, id);
        }
        *self.counts.entry(standing).or_default() += 1;
        let waits = self.waiting.contains(&id);
        if standing == ClientState::Waiting && !waits {
            self.waiting.push(id);
        } else if standing != ClientState::Waiting && waits {
            self.waiting.retain(|waiting| *waiting != id);
        }
    }

    /// Removes a client, before it is changed, from each ordered list. Its request keeps its place until the change is
    /// known.
    fn leave(&mut self, id: ClientNumber) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let at = self.place(&self.all, client);
        let at_filtered = self.place(&self.filtered, client);
        if let Some(count) = self.counts.get_mut(&ClientState::of(client)) {
            *count -= 1;
        }
        for (list, at) in [(&mut self.all, at), (&mut self.filtered, at_filtered)] {
            if list.get(at) == Some(&id) {
                list.remove(at);
            }
        }
    }

    /// The index of `client` in an ordered list, or the one at which it is to be inserted.
    fn place(&self, list: &[ClientNumber], client: &ClientView) -> usize {
        list.partition_point(|other| {
            let other = self.clients.get(other);
            other.is_some_and(|other| self.compare(other, client).is_lt())
        })
    }

    fn compare(&self, a: &ClientView, b: &ClientView) -> std::cmp::Ordering {
        let order = self.sort.compare(a, b);
        if self.reversed {
            order.reverse()
        } else {
            order
        }
    }

    fn order_anew(&mut self, now: Wall) {
        let mut clients: Vec<(&ClientNumber, &ClientView)> = self.clients.iter().collect();
        clients.sort_unstable_by(|(_, a), (_, b)| self.compare(a, b));
        self.all = clients.into_iter().map(|(id, _)| *id).collect();
        self.filter_anew(now);
    }

    fn filter_anew(&mut self, now: Wall) {
        self.filtered.clear();
        if self.filter.is_empty() {
            return;
        }
        let shows = |id: &&ClientNumber| {
            let client = self.clients.get(id);
            client.is_some_and(|client| self.filter.shows(client, now))
        };
        self.filtered = self.all.iter().filter(shows).copied().collect();
    }

    /// All whose request waits, the oldest first.
    fn asking(&self) -> Vec<ClientNumber> {
        let waits = |(_, client): &(&ClientNumber, &ClientView)| {
            ClientState::of(client) == ClientState::Waiting
        };
        let mut waiting: Vec<(&ClientNumber, &ClientView)> =
            self.clients.iter().filter(waits).collect();
        waiting.sort_by_key(|(id, client)| (client.last_approval_request, **id));
        waiting.into_iter().map(|(id, _)| *id).collect()
    }
}
