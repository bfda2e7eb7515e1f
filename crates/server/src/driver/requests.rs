//! The requests that are open, and those that wait for approval.

use std::collections::HashMap;
use std::fmt;

use nightlatch_core::calendar::DateTime;
use nightlatch_core::event::{ClientId, Refusal, RequestId};
use nightlatch_core::name::ClientName;
use nightlatch_core::record::RecordEntry;
use nightlatch_core::registry::Registry;
use nightlatch_core::time::{Monotonic, Wall};
use nightlatch_sys::clock;
use tokio::sync::oneshot;

use crate::session::{Permit, PermitState, SecretRequest, WaitNotifier};

/// A request that has not ended.
pub(super) struct RequestEntry {
    pub(super) request: SecretRequest,
    pub(super) since: Wall,
    /// Its grant raised an alarm.
    pub(super) alarmed: bool,
    /// The record of its grant, which a quota left out.
    pub(super) left_out: Option<Box<RecordEntry>>,
    /// Taken when it is decided.
    pub(super) answer: Option<oneshot::Sender<Result<Permit, Refusal>>>,
    pub(super) permit: PermitState,
    /// Tells the machine that it waits for approval.
    pub(super) waits: Option<WaitNotifier>,
}

impl RequestEntry {
    /// Tells the machine that a person decides, if it can be told.
    pub(super) fn waits_for_approval(&self, until: Monotonic) {
        if let Some(waits) = &self.waits {
            waits.send_replace(Some(until));
        }
    }
}

/// A request that waits for approval, as the administrator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WaitingRequest {
    pub(crate) request: SecretRequest,
    pub(crate) client: ClientName,
    pub(crate) since: Wall,
    /// The time at which it is decided without a person.
    pub(crate) until: Wall,
    pub(crate) approved_by_default: bool,
}

impl fmt::Display for WaitingRequest {
    /// Its number, its peer, its time, its boot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestId(number) = self.request.id;
        let since = DateTime::from(self.since);
        write!(f, "{number} from {} since {since}", self.request.peer())?;
        match &self.request.claims.boot {
            Some(boot) => write!(f, ", boot {boot}"),
            None => f.write_str(", boot unknown"),
        }
    }
}

/// Those of `requests` that wait, of a client or of all.
pub(super) fn waiting(
    requests: &HashMap<RequestId, RequestEntry>,
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
            let open = requests.get(&request)?;
            let now = clock::now();
            Some(WaitingRequest {
                request: open.request.clone(),
                client: client.name().clone(),
                since: open.since,
                until: now.wall.after(until.since(now.mono)),
                approved_by_default: client.settings().approved_by_default,
            })
        })
        .collect()
}
