//! Everything that happens to clients and their requests, with its reasons: the log, the record and the
//! signals are made of it.

pub mod quota;
mod recorded;
mod text;

pub use recorded::RecordContent;

use std::time::Duration;

use crate::checker::LastCheck;
use crate::name::ClientName;
use crate::time::Monotonic;

/// Handle of a client in the registry; never reused while the program runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub(crate) u32);

#[cfg(test)]
impl ClientId {
    pub(crate) const fn for_tests(number: u32) -> Self {
        Self(number)
    }
}

/// Handle of one request for a secret, chosen by the caller, unique while the program runs. People decide
/// by it: a peer that comes back is a new request with another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// How durable a change must be before what comes after it of the same client is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Durable before anything that follows: it decides over a secret, or it is about to be acknowledged.
    Before,
    /// The same for what makes the server stricter, or has happened already: while the store fails, what
    /// follows goes on all the same. Losing it is told at the next start by [`Trust::None`].
    ///
    /// [`Trust::None`]: crate::client::saved::Trust::None
    BeforeUnlessFailing,
    /// Written with the next batch, one second from now at the latest. Losing it can only make the server
    /// stricter. Changes are written in the order in which they came: one that waits must never overwrite one
    /// of the same client that came after it.
    Soon,
}

/// How a machine asks. None of it is proved: it may make the registry stricter, never more generous.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// Which boot of the machine is asking, a random number, when it says so.
    pub boot: Option<[u8; 16]>,
    /// The machine is up and only tries whether it would get its secret.
    pub rehearsal: bool,
}

/// Why a request gets the secret of an enabled client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// Nobody need approve it.
    NotNeeded,
    /// A person approved this very request.
    Approved,
    /// Nobody decided in time, and it is approved by default.
    ByDefault,
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
    /// A rehearsal of a machine that was not proved to be up just now.
    RehearsalUnproved,
    /// A rehearsal of a machine that a person would have to approve.
    RehearsalNeedsApproval,
}

/// What an administrator should look at. It refuses nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Alarm {
    /// The secret was released before, or is being released now, and the machine not proved to be up
    /// since.
    SecondRequest,
    /// The secret was released before to the same boot of the machine.
    SameBoot,
    /// The machine still passed its check while something asked for its secret.
    StillAnswers,
    /// A client asked for its secret although it is disabled.
    Disabled,
    /// A rehearsal got the secret, and nobody had allowed one: whoever copied the keys of the image can ask
    /// for it.
    Rehearsal,
    /// So many requests with its key wait for approval at once: all but one of them are somebody else's.
    SeveralWait(usize),
    /// So many requests with unknown keys came within a minute.
    UnknownKeys(u32),
}

/// Something that happened, with its reason: the words of the log, the audit and D-Bus.
///
/// [`Event::record`] makes a record of it; the server makes a line of the log and signals. None of these translations
/// has a wildcard arm: an event that one of them does not know must not compile.
///
/// A client that is gone still has its name: [`crate::registry::Registry::name`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A client came into being (configured for the first time, or added).
    Added(ClientId),
    /// A client is no more.
    Removed(ClientId, ClientName),
    /// A client was enabled.
    Enabled(ClientId),
    /// A client was disabled, and why.
    Disabled(ClientId, DisableReason),
    /// Something that an administrator should look at, beside what is told of a grant.
    Alarmed(Option<ClientId>, Alarm),
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
    /// A person decided on one request that waits.
    Decided {
        /// Whose.
        client: ClientId,
        /// Which request.
        request: RequestId,
        /// Yes or no.
        approved: bool,
    },
    /// A person denied all requests of a client, for its `approval_duration`.
    Denied(ClientId),
    /// A person took such a denial back before its end.
    DenialLifted(ClientId),
    /// A person allows rehearsals without an alarm for this long from now; none any more when it is zero.
    RehearsalsAllowed(ClientId, Duration),
    /// A request got `Answer::Release`. This comes before the answer.
    Granted {
        /// Whose.
        client: ClientId,
        /// Which request.
        request: RequestId,
        /// Why.
        grant: Grant,
        /// It is a rehearsal.
        rehearsal: bool,
        /// What is suspicious about it.
        alarm: Option<Alarm>,
    },
    /// A request got `Answer::Refuse`.
    Refused {
        /// Whose, when the key is known.
        client: Option<ClientId>,
        /// Which request.
        request: RequestId,
        /// Why.
        reason: Refusal,
        /// One of a flood of unknown keys: enough were told already.
        flood: bool,
        /// What is suspicious about it.
        alarm: Option<Alarm>,
    },
    /// A granted request lost its right before its delivery was reported.
    Revoked {
        /// Whose.
        client: ClientId,
        /// Which request.
        request: RequestId,
        /// Why.
        reason: Refusal,
    },
    /// A request ended without an answer, because its peer went away while it waited.
    Abandoned {
        /// Whose.
        client: ClientId,
        /// Which request.
        request: RequestId,
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
    /// A running check was told to stop. It still ends.
    CheckStopping(ClientId),
    /// A check ended.
    CheckFinished(ClientId, LastCheck),
    /// A proof of life that came otherwise than by a check.
    CheckedOk(ClientId),
    /// Settings of a client changed: these keys of its section.
    Changed(ClientId, Vec<&'static str>),
    /// What was remembered of a client that left the configuration was dropped, for there are too many.
    TombstoneDropped(ClientName),
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
    /// It was disabled when its section left the configuration.
    Remembered,
    /// The state was lost, or is older than it has been: whether it was disabled is not known.
    StateLost,
}
