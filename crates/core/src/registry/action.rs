//! The registry's output: actions that the caller carries out.

use std::sync::Arc;
use std::time::Duration;

use crate::client::saved::Change;
use crate::event::{ClientId, Durability, Event, Refusal, RequestId};
use crate::sealed_secret::SealedSecret;
use crate::secret::Secret;
use crate::secret_name::SecretName;
use crate::time::Monotonic;

/// An action for the caller. Actions are carried out in order; [`crate::outbox::Outbox`] decides which of them may run
/// before a change is durable.
#[derive(PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields are named by their types")]
pub enum Action {
    /// Write the change to the store, as durably as required.
    Persist(Change, Durability),
    /// Answer the request. No request is answered twice.
    Answer {
        request: RequestId,
        answer: RequestAnswer,
    },
    /// Do not send the secret any more for a request that was answered with [`RequestAnswer::Release`] and whose
    /// delivery has not been reported. It still reports. This precedes the [`Action::Persist`] of its cause, so as not
    /// to wait for the disk.
    Revoke { request: RequestId },
    /// Run the client's checker ([`super::Registry::probe`]) and report with
    /// [`super::Registry::handle_check_finished`].
    StartCheck { client: ClientId },
    /// Ask the client's agent for a heartbeat: something asks with its boot key.
    Poke { client: ClientId },
    /// Kill the client's running checker, its whole process group. It still reports.
    StopCheck { client: ClientId },
    /// Write the event to the log and the audit log, and signal it on D-Bus.
    Event(Event),
}

/// The deadline of an enabled client, and the settings that move it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeadlineTerms {
    /// The client is disabled at this time unless a check succeeds.
    pub deadline: Monotonic,
    /// A successful check moves the deadline to this long after it.
    pub timeout: Duration,
    /// Time between two checks.
    pub interval: Duration,
}

/// The secret that a granted request gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReleasedSecret {
    /// The boot secret.
    Boot(Arc<Secret>),
    /// A named secret.
    Named(Arc<SealedSecret>),
}

impl ReleasedSecret {
    /// The bytes for the machine.
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Boot(secret) => secret.expose(),
            Self::Named(sealed) => sealed.as_bytes(),
        }
    }

    /// Its name, and its serial: 0 for the boot secret.
    pub fn label(&self) -> (SecretName, u64) {
        match self {
            Self::Boot(_) => (SecretName::boot(), 0),
            Self::Named(sealed) => (sealed.header().name.clone(), sealed.header().serial),
        }
    }
}

/// The secret for a granted request, and the terms of its deadline.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are named by their types")]
pub struct Release {
    pub secret: ReleasedSecret,
    pub terms: DeadlineTerms,
}

/// The answer to a request.
#[expect(missing_docs, reason = "the fields are named in the sentence")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestAnswer {
    /// Send what [`super::Registry::release`] returns, then call [`super::Registry::handle_delivered`] or
    /// [`super::Registry::handle_delivery_failed`], one of them exactly once.
    Release(ClientId),
    /// A sign of life counts: the next one is expected after `next`; `window` is the longest time for an announced
    /// reboot.
    Alive {
        next: Duration,
        window: Option<Duration>,
    },
    /// Close the connection without sending a byte.
    Refuse(Refusal),
}

/// A check, or a declaration in its place, that can prove nothing. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckError {
    /// The agent of the machine is known.
    #[error(
        "its agent is its proof of life, and nothing else counts as long as its host key is known"
    )]
    HasAgent,
}

/// A decision that names no waiting request, or not exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecisionError {
    /// No request of the client waits. Approvals cannot be given in advance.
    #[error("no request waits for a decision")]
    NoneWaits,
    /// The person must name one of them by its number.
    #[error("several requests wait for a decision")]
    SeveralWait,
    /// It was decided before, its peer disconnected, or the number was never used.
    #[error("no request of this number waits for a decision")]
    NoSuchRequest,
}

/// Settings of the server that bound the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegistryLimits {
    /// Number of checkers that run at once; further checks are queued. 0 counts as 1.
    pub concurrent_checks: usize,
    /// True when each release starts a check, whose success raises [`crate::event::Alarm::StillAnswers`].
    pub check_on_release: bool,
    /// True when every machine may rehearse at any time without an alarm.
    pub allow_rehearsals: bool,
}
