//! A state that was lost: who waits for a person or a proof, and when that is over.

use super::{ClientId, Registry};
use crate::client::saved::{Change, Trust};

impl Registry {
    /// How far the state can be believed.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// How many clients wait for a person or a proof because the state was lost.
    pub fn unproved(&self) -> usize {
        self.unproved.len()
    }

    /// What is remembered of clients that left is as old as the rest: who was enabled waits when it comes
    /// back.
    pub(super) fn doubt_tombstones(&mut self) {
        for tombstone in self.tombstones.doubt() {
            self.persist(Change::Bury(Box::new(tombstone)));
        }
    }

    /// After the configuration was taken over: from now on the clients of a lost state know of it. It is
    /// over when none waits any more; as long as there are no clients, or sections that could not be read, somebody
    /// has not seen what was lost.
    pub(super) fn settle_trust(&mut self) {
        let now = match self.trust {
            Trust::Full => return,
            _ if self.is_whole
                && self.unproved.is_empty()
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

    /// A person decided on the client, or it was proved.
    pub(super) fn vouched_for(&mut self, id: ClientId) {
        if self.unproved.remove(&id) {
            self.settle_trust();
        }
    }
}
