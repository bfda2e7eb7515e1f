//! The requests that are open, and those that wait for approval.

use std::collections::HashMap;
use std::fmt;

use nightlatch_core::calendar::DateTime;
use nightlatch_core::event::{ClientId, Refusal, RequestId};
use nightlatch_core::name::ClientName;
use nightlatch_core::record::RecordEntry;
use nightlatch_core::registry::{PendingDecision, Registry};
use nightlatch_core::time::{Monotonic, Wall};
use nightlatch_proto::release::Token;
use nightlatch_sys::clock;
use tokio::sync::oneshot;

use crate::session::{LifeAnswer, Permit, PermitState, SecretRequest, WaitNotifier};

/// A request that has not ended.
pub(super) struct RequestEntry {
    pub(super) request: SecretRequest,
    pub(super) since: Wall,
    /// Its grant raised an alarm.
    pub(super) alarmed: bool,
    /// The record of its grant, which a quota left out.
    pub(super) left_out: Option<Box<RecordEntry>>,
    /// Taken when it is decided.
    pub(super) answer: Option<Answerer>,
    pub(super) permit: PermitState,
    /// Tells the machine that it waits for approval.
    pub(super) waits: Option<WaitNotifier>,
}

/// Takes the decision.
pub(super) enum Answerer {
    /// On a request for a secret.
    Secret(oneshot::Sender<Result<Permit, Refusal>>),
    /// On a sign of life of this client, whose token has been chosen.
    Life(
        oneshot::Sender<Result<LifeAnswer, Refusal>>,
        Token,
        Option<ClientId>,
    ),
}

impl RequestEntry {
    pub(super) fn new(
        request: SecretRequest,
        answer: Answerer,
        waits: Option<WaitNotifier>,
        since: Wall,
    ) -> Self {
        Self {
            request,
            since,
            alarmed: false,
            left_out: None,
            answer: Some(answer),
            permit: PermitState::default(),
            waits,
        }
    }

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
    /// Its number, its peer, its time, its boot, and its secret unless it is that of the disk.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestId(number) = self.request.id;
        let since = DateTime::from(self.since);
        write!(f, "{number} from {} since {since}", self.request.peer())?;
        match &self.request.claims.boot {
            Some(boot) => write!(f, ", boot {boot}")?,
            None => f.write_str(", boot unknown")?,
        }
        match &self.request.secret {
            Some(name) => write!(f, ", for the secret {name}"),
            None => Ok(()),
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
    let now = clock::now();
    let of_client = |id| registry.waiting(id, now).map(move |it| (id, it));
    let waiting = clients.into_iter().flat_map(of_client);
    waiting
        .filter_map(|(id, pending)| {
            let PendingDecision {
                request,
                until,
                approved_by_default,
            } = pending;
            let client = registry.client(id)?;
            let open = requests.get(&request)?;
            Some(WaitingRequest {
                request: open.request.clone(),
                client: client.name().clone(),
                since: open.since,
                until: now.wall.after(until.since(now.mono)),
                approved_by_default,
            })
        })
        .collect()
}
