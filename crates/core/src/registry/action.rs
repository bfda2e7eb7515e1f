//! What goes out of the registry: what the caller must do.

use std::time::Duration;

use crate::client::saved::Change;
use crate::event::{ClientId, Durability, Event, Refusal, RequestId};
use crate::time::Monotonic;

/// What the caller must do, in the order given. [`crate::outbox::Outbox`] tells what may be done before a change
/// is durable.
#[derive(PartialEq, Eq, Debug)]
pub enum Action {
    /// Make this durable.
    Persist(Change, Durability),
    /// The one answer to a request.
    Answer {
        /// Which request.
        request: RequestId,
        /// What it gets.
        answer: Answer,
    },
    /// A request that was answered with [`Answer::Release`], and whose delivery has not been
    /// reported yet, must not get the secret any more. It still reports. This comes before the
    /// [`Action::Persist`] of its cause, so as not to wait for the disk.
    Revoke {
        /// Which request.
        request: RequestId,
    },
    /// Run the client's checker ([`super::Registry::probe`]) and report with
    /// [`super::Registry::handle_check_finished`].
    StartCheck {
        /// Whose.
        client: ClientId,
    },
    /// Kill the client's running checker, its whole process group. It still reports.
    StopCheck {
        /// Whose.
        client: ClientId,
    },
    /// Something people may want to know: a log line, an audit record, a D-Bus signal.
    Event(Event),
}

/// How long a client may be away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// When it is disabled, if no check succeeds any more.
    pub until: Monotonic,
    /// What each check that succeeds gives it.
    pub timeout: Duration,
    /// The time between two checks.
    pub interval: Duration,
}

/// The answer to a request for a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Hand the client's secret over, then report [`super::Registry::handle_delivered`] or
    /// [`super::Registry::handle_delivery_failed`], one of them exactly once.
    Release(ClientId),
    /// Close without a byte.
    Refuse(Refusal),
}

/// Why nothing was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotDecided {
    /// None of the client's requests waits, and no approval is given ahead.
    #[error("no request waits for a decision")]
    NoneWaits,
    /// Only the person can know which one is meant.
    #[error("several requests wait for a decision")]
    SeveralWait,
    /// It was decided, its peer went away, or it never was.
    #[error("no request of this number waits for a decision")]
    NoSuchRequest,
}

/// What bounds the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// At most this many checkers run at once; the others wait their turn. At least 1.
    pub concurrent_checks: usize,
    /// Whether each release starts a check: one that succeeds is an alarm.
    pub check_on_release: bool,
    /// Any machine may rehearse at any time without an alarm.
    pub allow_rehearsals: bool,
}
