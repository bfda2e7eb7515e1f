//! What a client would get if it asked now: the rules of a request, with no request made.

use super::{ClientId, Grant, Refusal, Registry};
use crate::client::{Client, Verdict};
use crate::time::{Now, Wall};

/// What a client would get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Its secret.
    Released(Grant),
    /// A person would be asked.
    Asks,
    /// Nothing.
    Refused(Refusal),
}

impl Registry {
    /// What the client would get at `now`, and when that ends by itself; `None` when it is gone.
    pub fn standing(&self, id: ClientId, now: Now) -> Option<(Standing, Option<Wall>)> {
        let client = self.clients.get(&id)?;
        let standing = match client.verdict(now.mono, now) {
            Verdict::Release(grant) => Standing::Released(grant),
            Verdict::Wait(_) => Standing::Asks,
            Verdict::Refuse(reason) => Standing::Refused(reason),
        };
        let until = match standing {
            Standing::Refused(Refusal::Denied) => denial_ends(client, now),
            _ => client.expires(),
        };
        Some((standing, until))
    }
}

/// When the denial in force ends. One of a client whose deadline comes first counts no longer than that.
fn denial_ends(client: &Client, now: Now) -> Option<Wall> {
    let until = client.denied?;
    let ends = now.wall.after(until.since(now.mono));
    Some(client.expires().map_or(ends, |expires| expires.min(ends)))
}
