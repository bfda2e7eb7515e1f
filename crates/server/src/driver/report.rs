//! Events as lines of the log, with their reasons.
//!
//! Every release, refusal, disable and failed check shows at the default level (info).

#![deny(clippy::wildcard_enum_match_arm)]

use nightlatch_core::checker::LastCheck;
use nightlatch_core::duration::in_whole_seconds;
use nightlatch_core::event::{ClientId, Event, decision_by_default};
use nightlatch_core::name::ClientName;
use tracing::{debug, info, warn};

use crate::session::SecretRequest;

/// An event with its client and its request.
#[derive(Clone, Debug)]
pub(crate) struct EventReport {
    pub(crate) event: Event,
    pub(crate) client: Option<(ClientId, ClientName)>,
    pub(crate) request: Option<SecretRequest>,
}

impl EventReport {
    pub(super) fn log(&self) {
        let client = self.client.as_ref().map_or("-", |(_, name)| name.as_str());
        match &self.event {
            Event::Added(_) => info!(client, "new client"),
            Event::Removed(..) => info!(client, "client removed"),
            Event::Enabled(_) => info!(client, "enabled"),
            Event::Disabled(_, reason) => warn!(client, reason = reason.sentence(), "disabled"),
            Event::Denied(_) => info!(client, "denied: all that waits, and what comes for a while"),
            Event::DenialLifted(_) => info!(client, "its denial was taken back"),
            Event::RehearsalsAllowed(_, length) if length.is_zero() => {
                info!(client, "rehearsals are allowed no more");
            }
            Event::RehearsalsAllowed(_, length) => {
                let length = in_whole_seconds(*length);
                info!(client, length, "rehearsals are allowed without an alarm");
            }
            Event::TombstoneDropped(name) => warn!(
                client = name.as_str(),
                "what was remembered of a client that left the configuration is dropped: too many have left"
            ),
            Event::CheckStopping(_) => debug!(client, "check told to stop"),
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
            Event::Changed(_, keys) => {
                info!(client, settings = keys.join(", "), "settings changed")
            }
            Event::Alarmed(_, alarm) => {
                warn!(client, why = alarm.sentence(), "alarm");
            }
            Event::NeedsApproval { .. }
            | Event::Decided { .. }
            | Event::Granted { .. }
            | Event::Refused { .. }
            | Event::Revoked { .. }
            | Event::Abandoned { .. }
            | Event::Delivered { .. }
            | Event::DeliveryFailed { .. } => self.log_request(client),
        }
    }

    fn log_request(&self, client: &str) {
        let request = self.request.as_ref();
        let peer = request.map(|it| tracing::field::display(it.address));
        let key_id = request.map(|it| tracing::field::display(it.key));
        let number = request.map(|it| it.id.0);
        match &self.event {
            Event::NeedsApproval {
                approved_by_default,
                ..
            } => {
                let then = decision_by_default(*approved_by_default);
                info!(
                    client,
                    request = number,
                    peer,
                    key_id,
                    without_answer = then,
                    "waits for approval"
                );
            }
            Event::Granted {
                alarm: Some(alarm),
                rehearsal,
                ..
            } => {
                let why = alarm.sentence();
                let granted = if *rehearsal { "rehearsed" } else { "granted" };
                warn!(client, peer, key_id, why, "alarm: {granted}");
            }
            Event::Granted { .. } => debug!(client, peer, key_id, "granted"),
            Event::Delivered { .. } => {
                if request.is_some_and(|it| it.greeting.rehearsal) {
                    info!(client, peer, key_id, "rehearsed");
                } else {
                    info!(client, peer, key_id, "secret delivered");
                }
            }
            Event::DeliveryFailed { .. } => {
                warn!(client, peer, key_id, "secret granted but not delivered");
            }
            Event::Refused {
                reason,
                alarm: Some(alarm),
                ..
            } => {
                let reason = reason.sentence();
                let why = alarm.sentence();
                warn!(client, peer, key_id, reason, why, "alarm: refused");
            }
            Event::Refused { reason, .. } => {
                info!(client, peer, key_id, reason = reason.sentence(), "refused");
            }
            Event::Revoked { reason, .. } => {
                warn!(
                    client,
                    peer,
                    key_id,
                    reason = reason.sentence(),
                    "release taken back"
                );
            }
            Event::Abandoned { .. } => {
                info!(
                    client,
                    request = number,
                    peer,
                    key_id,
                    "peer went away while it waited for approval"
                );
            }
            Event::Decided { approved, .. } => {
                let decided = if *approved { "approved" } else { "denied" };
                info!(client, request = number, peer, key_id, "{decided}");
            }
            // Not about a request: see `log`.
            Event::Added(_)
            | Event::Removed(..)
            | Event::Enabled(_)
            | Event::Disabled(..)
            | Event::Alarmed(..)
            | Event::Denied(_)
            | Event::DenialLifted(_)
            | Event::RehearsalsAllowed(..)
            | Event::CheckStarted(_)
            | Event::CheckStopping(_)
            | Event::CheckFinished(..)
            | Event::CheckedOk(_)
            | Event::TombstoneDropped(_)
            | Event::Changed(..) => {}
        }
    }
}
