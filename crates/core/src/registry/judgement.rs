//! The judgement on one request at one moment.

use super::{Grant, Refusal};
use crate::client::Client;
use crate::guard::Passage;
use crate::time::{Monotonic, Now};

/// The outcome for a request, as things are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// It gets the secret.
    Release(Grant, Option<Passage>),
    Refuse(Refusal),
    /// The agent is asked until then.
    Hold(Monotonic),
    /// It waits for a person.
    Wait {
        until: Monotonic,
        /// The decision without a person.
        approved_by_default: bool,
    },
}

/// A person decides on this request only, at any time before the machine is disabled; no default does.
pub(super) fn wait_for_person(client: &Client, now: Now) -> Judgement {
    Judgement::Wait {
        until: client.deadline.map_or(now.mono, |deadline| deadline.mono),
        approved_by_default: false,
    }
}
