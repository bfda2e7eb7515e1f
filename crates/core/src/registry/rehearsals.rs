//! When a rehearsal is expected. One that is not raises an alarm: the word is said before anything is proved,
//! and whoever copied a machine's keys can say it.

use std::time::Duration;

use super::{ClientId, Event, Registry};
use crate::time::Now;

/// Rehearsals are allowed for no longer at once: what is allowed for ever is forgotten.
pub const LONGEST_REHEARSALS: Duration = Duration::from_secs(24 * 60 * 60);

impl Registry {
    /// An administrator allows the client to rehearse without an alarm, for `length` from now, which is no
    /// longer than [`LONGEST_REHEARSALS`]; zero ends it. It is not saved: a restart ends it as well.
    pub fn handle_allow_rehearsals(&mut self, id: ClientId, length: Duration, now: Now) {
        self.handle_timeout(now);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let length = length.min(LONGEST_REHEARSALS);
        client.rehearsals_until = (!length.is_zero()).then(|| now.mono.after(length));
        self.tell(Event::RehearsalsAllowed(id, length));
    }
}
