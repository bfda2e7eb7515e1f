//! What happened, as one line of the log each, with its reason.
//!
//! Every release, refusal, disable and failed check shows at the default level (info).

use nightlatch_core::client::saved::LastCheck;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::registry::{DisableReason, Event, Refusal};
use tracing::{debug, info, warn};

use crate::session::Peer;

/// Who asked, for the lines about a request.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) peer: Peer,
    pub(super) key: KeyId,
}

/// An event with what a reader wants to know beside it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) event: Event,
    pub(super) client: Option<String>,
    pub(super) asker: Option<Asker>,
}

impl Report {
    pub(super) fn log(&self) {
        let client = self.client.as_deref().unwrap_or("-");
        match &self.event {
            Event::Added(_) => info!(client, "new client"),
            Event::Removed(..) => info!(client, "client removed"),
            Event::Enabled(_) => info!(client, "enabled"),
            Event::Disabled(_, reason) => warn!(client, reason = disabled(*reason), "disabled"),
            Event::Decided { approved: true, .. } => info!(client, "approved"),
            Event::Decided { .. } => info!(client, "denied"),
            Event::CheckStarted(_) => debug!(client, "check started"),
            Event::CheckFinished(_, LastCheck::Exited(0)) => debug!(client, "check succeeded"),
            Event::CheckFinished(_, LastCheck::Exited(status)) => {
                info!(client, status, "check failed");
            }
            Event::CheckFinished(_, LastCheck::Signaled(signal)) => {
                info!(client, signal, "check killed");
            }
            Event::CheckFinished(_, LastCheck::None) => {}
            Event::CheckedOk(_) => info!(client, "declared alive"),
            Event::Changed(_) => info!(client, "settings changed"),
            event => self.log_request(client, event),
        }
    }

    fn log_request(&self, client: &str, event: &Event) {
        let peer = self
            .asker
            .as_ref()
            .map(|asker| asker.peer.address)
            .map(tracing::field::display);
        let key_id = self
            .asker
            .as_ref()
            .map(|asker| asker.key)
            .map(tracing::field::display);
        match event {
            Event::NeedsApproval {
                approved_by_default,
                ..
            } => {
                let then = if *approved_by_default {
                    "release"
                } else {
                    "refuse"
                };
                info!(
                    client,
                    peer,
                    key_id,
                    without_answer = then,
                    "waits for approval"
                );
            }
            Event::Granted { .. } => debug!(client, peer, key_id, "granted"),
            Event::Delivered { .. } => info!(client, peer, key_id, "secret delivered"),
            Event::DeliveryFailed { .. } => {
                warn!(client, peer, key_id, "secret granted but not delivered");
            }
            Event::Refused { reason, .. } => {
                info!(client, peer, key_id, reason = refused(*reason), "refused");
            }
            Event::Revoked { reason, .. } => {
                warn!(
                    client,
                    peer,
                    key_id,
                    reason = refused(*reason),
                    "release taken back"
                );
            }
            Event::Abandoned { .. } => {
                info!(
                    client,
                    peer, key_id, "peer went away while it waited for approval"
                );
            }
            event => debug!(client, ?event, "event"),
        }
    }
}

fn disabled(reason: DisableReason) -> &'static str {
    match reason {
        DisableReason::Expired => "its deadline passed without a proof of life",
        DisableReason::ExpiredWhileDown => {
            "its deadline passed while the server was down, and its last check had not succeeded"
        }
        DisableReason::Administrator => "an administrator disabled it",
        DisableReason::Configuration => "the configuration now says enabled = no",
    }
}

fn refused(reason: Refusal) -> &'static str {
    match reason {
        Refusal::UnknownKey => "unknown key",
        Refusal::Disabled => "client is disabled",
        Refusal::Denied => "denied",
        Refusal::ApprovalTimedOut => "approval timed out",
        Refusal::Removed => "client was removed",
    }
}
