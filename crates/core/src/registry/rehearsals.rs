//! Permission to rehearse. A rehearsal without it raises an alarm: a request calls itself a rehearsal before anything
//! is proved, and so can anybody who copied the machine's keys.

use std::time::Duration;

use super::{ClientId, Event, Registry};
use crate::time::Now;

/// Longest time for which rehearsals can be allowed at once: a permission without an end would be forgotten.
pub const MAX_REHEARSAL_PERMISSION: Duration = Duration::from_secs(24 * 60 * 60);

impl Registry {
    /// An administrator allows the client to rehearse without an alarm for `length` from now, at most
    /// [`MAX_REHEARSAL_PERMISSION`]; zero ends the permission. It is not saved: a restart ends it too.
    pub fn handle_allow_rehearsals(&mut self, id: ClientId, length: Duration, now: Now) {
        self.handle_timeout(now);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let length = length.min(MAX_REHEARSAL_PERMISSION);
        client.rehearsals_until = (!length.is_zero()).then(|| now.mono.after(length));
        self.emit(Event::RehearsalsAllowed(id, length));
    }
}
