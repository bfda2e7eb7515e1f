//! All clients: lookups by key id and by name, every event of their lives, the next deadline of all.
//!
//! A pure state machine: `handle_*` takes an event and the time, [`Registry::poll_action`] gives
//! what must be done, in order, [`Registry::poll_timeout`] says when to call
//! [`Registry::handle_timeout`] next. Nothing here decides by anything but its arguments.

use crate::client::saved::{Change, LastCheck, Saved};
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::settings::client::ClientConfig;
use crate::time::{BootId, Monotonic, Now};

/// Handle of a client in the registry; never reused while the program runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(u32);

/// Handle of one request for a secret, chosen by the caller, unique while the program runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What the caller must do, in the order given. What stands in a batch after a [`Action::Persist`]
/// may be carried out only when that change is durable.
#[derive(PartialEq, Eq, Debug)]
pub enum Action {
    /// Make this durable before anything that follows.
    Persist(Change),
    /// A proof of life: write it with the next batch, one second from now at the latest. Losing it
    /// can only shorten a deadline.
    PersistSoon(Change),
    /// The one answer to a request.
    Answer {
        /// Which request.
        request: RequestId,
        /// What it gets.
        answer: Answer,
    },
    /// A request that was answered with [`Answer::Release`], and whose delivery has not been
    /// reported yet, must not get the secret any more.
    Revoke {
        /// Which request.
        request: RequestId,
    },
    /// Run the client's checker ([`Registry::checker_command`]) and report with
    /// [`Registry::handle_check_finished`].
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

/// The answer to a request for a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Hand the client's secret over, then report [`Registry::handle_delivered`] or
    /// [`Registry::handle_delivery_failed`].
    Release(ClientId),
    /// Close without a byte.
    Refuse(Refusal),
}

/// Why a request gets nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No client has this key.
    UnknownKey,
    /// The client is disabled.
    Disabled,
    /// A person denied it.
    Denied,
    /// Nobody approved it in time, and it is not approved by default.
    ApprovalTimedOut,
    /// The client was removed while the request waited.
    Removed,
}

/// Something that happened, with its reason: the words of the log, the audit and D-Bus.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client came into being (configured for the first time, or added).
    Added(ClientId),
    /// A client is no more.
    Removed(ClientId, ClientName),
    /// A client was enabled.
    Enabled(ClientId),
    /// A client was disabled, and why.
    Disabled(ClientId, DisableReason),
    /// A request waits for a decision of a person.
    NeedsApproval {
        /// Whose.
        client: ClientId,
        /// Which request.
        request: RequestId,
        /// When it will be decided without one.
        until: Monotonic,
        /// What happens then.
        approved_by_default: bool,
    },
    /// A person decided, for `approval_duration`.
    Decided {
        /// On whom.
        client: ClientId,
        /// Yes or no.
        approved: bool,
    },
    /// A request got `Answer::Release`.
    Granted {
        /// Whose.
        client: ClientId,
        /// Which request.
        request: RequestId,
    },
    /// A request got `Answer::Refuse`.
    Refused {
        /// Whose, when the key is known.
        client: Option<ClientId>,
        /// Which request.
        request: RequestId,
        /// Why.
        reason: Refusal,
    },
    /// The secret reached the client.
    Delivered {
        /// Whose.
        client: ClientId,
        /// Which request.
        request: RequestId,
    },
    /// The secret was granted but could not be delivered.
    DeliveryFailed {
        /// Whose.
        client: ClientId,
        /// Which request.
        request: RequestId,
    },
    /// A check started.
    CheckStarted(ClientId),
    /// A check ended.
    CheckFinished(ClientId, LastCheck),
    /// A proof of life that came otherwise than by a check.
    CheckedOk(ClientId),
    /// Settings of a client changed.
    Changed(ClientId),
}

/// Why a client was disabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DisableReason {
    /// Its deadline passed.
    Expired,
    /// Its deadline passed while the server was down, and its last check had not succeeded.
    ExpiredWhileDown,
    /// An administrator disabled it.
    Administrator,
    /// The configuration file changed to `enabled = no`.
    Configuration,
}

/// What bounds the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// At most this many checkers run at once; the others wait their turn. At least 1.
    pub concurrent_checks: usize,
}

/// All clients.
#[derive(Debug)]
pub struct Registry {}

impl Registry {
    /// Merges what is configured with what was saved (mandos-behaviour 3.1 as changed by our
    /// decisions) and starts every client's life. `spread` picks a random delay from zero up to its
    /// argument: first checks are spread over the interval by it.
    pub fn load(
        configured: Vec<ClientConfig>,
        saved: Saved,
        limits: Limits,
        boot: BootId,
        now: Now,
        spread: &mut dyn FnMut(std::time::Duration) -> std::time::Duration,
    ) -> Self {
        let _ = (configured, saved, limits, boot, now, spread);
        Self {}
    }

    /// What must be done next; `None` when all is done.
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }

    /// When [`Self::handle_timeout`] must be called next; `None` when nothing is due ever.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        None
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        let _ = now;
    }

    /// A peer that proved to hold the key `key` asks for its secret.
    pub fn handle_request(&mut self, request: RequestId, key: &KeyId, now: Now) {
        let _ = (request, key, now);
    }
}
