//! Recovery from a lost state: which clients wait for a person or a proof, and when the state is trusted again.

use super::{ClientId, Registry};
use crate::client::saved::{Change, Trust};

impl Registry {
    /// Extent to which the state is trusted.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Number of clients that wait for a person or a proof because the state was lost.
    pub fn waiting_for_proof(&self) -> usize {
        self.waiting_for_proof.len()
    }

    /// Tombstones are as old as the rest of a lost state: a client that left while enabled waits for a proof when it
    /// comes back.
    pub(super) fn require_proof_of_tombstones(&mut self) {
        for tombstone in self.tombstones.require_proof() {
            self.persist(Change::PutTombstone(Box::new(tombstone)));
        }
    }

    /// Updates the trust after the configuration was applied. Once the clients of a lost state wait, the trust is
    /// partial, and it is full once none waits. It stays as it is while there are no clients, and partial while
    /// sections could not be read: clients of the lost state may still come.
    pub(super) fn update_trust(&mut self) {
        let now = match self.trust {
            Trust::Full => return,
            _ if self.is_complete
                && self.waiting_for_proof.is_empty()
                && self.clients.values().any(|it| !it.added) =>
            {
                Trust::Full
            }
            _ if self.clients.is_empty() && self.removed.is_empty() => return,
            _ => Trust::Partial,
        };
        if now != self.trust {
            self.trust = now;
            self.persist(Change::Trust(now));
        }
    }

    /// A person decided on the client, it proved its key, or it was removed.
    pub(super) fn end_wait_for_proof(&mut self, id: ClientId) {
        if self.waiting_for_proof.remove(&id) {
            self.update_trust();
        }
    }
}
