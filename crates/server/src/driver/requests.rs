//! The requests that were heard of, and those that wait for a person, with what tells one from the other.

use std::collections::HashMap;
use std::fmt;

use nightlatch_core::calendar::DateTime;
use nightlatch_core::event::{ClientId, RequestId};
use nightlatch_core::key_id::KeyId;
use nightlatch_core::name::ClientName;
use nightlatch_core::record::Entry;
use nightlatch_core::registry::Registry;
use nightlatch_core::time::Wall;
use nightlatch_sys::clock;
use tokio::sync::oneshot;

use super::Verdict;
use super::permit::Ticket;
use crate::session::{Asker, Peer};

/// A request that was heard of.
pub(super) struct Asked {
    pub(super) asker: Asker,
    pub(super) since: Wall,
    /// Its grant raised an alarm.
    pub(super) alarmed: bool,
    /// The entry of its grant, which a quota left out.
    pub(super) left_out: Option<Box<Entry>>,
    pub(super) answer: Option<oneshot::Sender<Verdict>>,
    pub(super) ticket: Ticket,
}

/// A request that waits for a person, as the person sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WaitingRequest {
    pub(crate) request: RequestId,
    pub(crate) client: ClientName,
    pub(crate) key: KeyId,
    pub(crate) peer: Peer,
    pub(crate) since: Wall,
    /// When it is decided without a person.
    pub(crate) until: Wall,
    pub(crate) approved_by_default: bool,
}

impl fmt::Display for WaitingRequest {
    /// Its number, from where, since when, of which boot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestId(number) = self.request;
        let since = DateTime::from(self.since).to_second(' ');
        write!(f, "{number} from {} since {since} UTC", self.peer.named())?;
        match &self.peer.words.boot {
            Some(boot) => write!(f, ", boot {boot}"),
            None => f.write_str(", boot not said"),
        }
    }
}

/// Says that a person must name one of `waiting`.
pub(crate) fn several(waiting: &[WaitingRequest]) -> String {
    let name = waiting.first().map_or("it", |it| it.client.as_str());
    let requests: Vec<String> = waiting.iter().map(ToString::to_string).collect();
    format!(
        "{} requests with the key of {name} wait, and all but one are not its own: {}. Decide on one of \
         them: nightlatch approve {name} --request NUMBER",
        waiting.len(),
        requests.join("; ")
    )
}

/// Those of `requests` that wait, of a client or of all.
pub(super) fn waiting(
    requests: &HashMap<RequestId, Asked>,
    registry: &Registry,
    of: Option<ClientId>,
) -> Vec<WaitingRequest> {
    let clients: Vec<ClientId> = match of {
        Some(client) => vec![client],
        None => registry
            .iter()
            .filter(|(_, client)| client.approval_pending())
            .map(|(id, _)| id)
            .collect(),
    };
    let of_client = |id| registry.waiting(id).map(move |it| (id, it));
    let waiting = clients.into_iter().flat_map(of_client);
    waiting
        .filter_map(|(id, (request, until))| {
            let client = registry.client(id)?;
            let asked = requests.get(&request)?;
            let now = clock::now();
            Some(WaitingRequest {
                request,
                client: client.name().clone(),
                key: asked.asker.key,
                peer: asked.asker.peer.clone(),
                since: asked.since,
                until: now.wall.after(until.since(now.mono)),
                approved_by_default: client.settings().approved_by_default,
            })
        })
        .collect()
}
