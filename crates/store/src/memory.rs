//! A store in memory, for tests of what stands above a store: it keeps the contract while its
//! process lives, and fails when told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nightlatch_core::client::saved::{Change, Life, Saved, SavedClient};
use nightlatch_core::name::ClientName;

use crate::{Store, StoreError};

/// A store in memory. A clone is the same store, as if opened again.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    clients: HashMap<ClientName, SavedClient>,
    commits: usize,
    failing: bool,
}

impl MemoryStore {
    /// From now on every commit fails as on a full disk, or succeeds again.
    pub fn set_failing(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// How many commits have succeeded.
    pub fn commits(&self) -> usize {
        self.lock().commits
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Saved, StoreError> {
        Ok(Saved {
            clients: self.lock().clients.values().cloned().collect(),
        })
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.failing {
            return Err(StoreError::Full("memory".into()));
        }
        changes
            .iter()
            .for_each(|change| apply(&mut inner.clients, change));
        inner.commits += 1;
        Ok(())
    }
}

fn apply(clients: &mut HashMap<ClientName, SavedClient>, change: &Change) {
    match change {
        Change::Put(client) => {
            clients.insert(client.name.clone(), (**client).clone());
        }
        Change::State(name, state) => {
            if let Some(client) = clients.get_mut(name)
                && let Life::Present(present) = &mut client.life
            {
                present.state = (**state).clone();
            }
        }
        Change::Forget(name) => {
            clients.remove(name);
        }
    }
}
