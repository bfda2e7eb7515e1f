//! Everything that happens to clients and their requests, with its reasons: the log, the record and the
//! signals are made of it.

#![deny(
    clippy::wildcard_enum_match_arm,
    reason = "an event that nobody decided on must not compile"
)]

pub mod quota;
mod recorded;
mod text;
mod words;

pub use recorded::RecordContent;
pub use text::{LogClass, LogFields, LogLine};
pub use words::decision_by_default;

use std::time::Duration;

use crate::boot_nonce::BootNonce;
use crate::checker::LastCheck;
use crate::guard::{GoodbyeKind, GuardAlarm, Passage, Suspicion};
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::secret_name::SecretName;
use crate::secret_rejection::RejectionReason;
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

/// The durability that a change must have before the next effects of the same client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Durable before anything that follows: it decides over a secret, or it is about to be acknowledged.
    Before,
    /// The same for what makes the server stricter, or has happened already: while the store fails, what
    /// follows goes on all the same. After a loss the next start sees [`Trust::None`].
    ///
    /// [`Trust::None`]: crate::client::saved::Trust::None
    BeforeUnlessFailing,
    /// Written with the next batch, one second from now at the latest. Losing it can only make the server
    /// stricter. Changes are written in the order in which they came: one that waits must never overwrite one
    /// of the same client that came after it.
    Soon,
}

/// The key that a peer has proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyRole {
    /// The key in the initramfs, which whoever holds the disk can copy.
    Boot,
    /// The key on the encrypted root, or the boot key with the nonce of the boot that is up: the machine itself.
    Host,
}

/// Claims of a machine in its request. None is proved: they may make the registry stricter, never more generous. The one
/// exception is a boot nonce that only root on the machine can know: `Registry::role_of`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RequestClaims {
    /// The boot nonce of the machine, if it sent one.
    pub boot: Option<BootNonce>,
    /// A rehearsal: the machine is up and tests its request.
    pub rehearsal: bool,
}

/// The reason of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// No approval is needed.
    NotNeeded,
    /// A person approved this very request.
    Approved,
    /// Nobody decided in time, and it is approved by default.
    ByDefault,
}

/// The reason of a refusal.
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
    /// A rehearsal with the boot key of a machine whose agent has a host key, and no person allowed one.
    RehearsalByBootKey,
    /// The boot that asks with the boot key is up, or over.
    BootIsUp,
    /// The machine was up when somebody asked with its boot key.
    MachineIsUp,
    /// Another boot of the machine is up, and does not know of the one that asked.
    OtherBootIsUp,
    /// The settings of its guard changed while it waited.
    GuardChanged,
    /// No client has this host key.
    UnknownHostKey,
    /// A boot key asked for a named secret.
    NamedByBootKey,
    /// The machine has no secret of this name.
    NoSuchSecret,
    /// The time of the secret is over.
    SecretExpired,
    /// The secret was replaced or removed after it was asked for.
    SecretChanged,
    /// A person would have to decide, and too many requests for named secrets wait already.
    TooManyWait,
    /// The machine became suspect after the named secret was granted.
    MachineIsSuspect,
}

/// The need for a person of a named secret that was put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutApproval {
    /// No request for it waits.
    None,
    /// Each request for it waits for a person.
    Needed,
    /// Each request for the value before waited, and none does now.
    Lifted,
}

impl PutApproval {
    /// `before` and `now`: whether each request waits for a person.
    pub(crate) const fn of(before: bool, now: bool) -> Self {
        match (before, now) {
            (_, true) => Self::Needed,
            (true, false) => Self::Lifted,
            (false, false) => Self::None,
        }
    }
}

/// The kind of an alarm. No alarm refuses a request.
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
    /// A rehearsal got the secret, and none was allowed: anybody with a copy of the image's keys can ask
    /// for it.
    Rehearsal,
    /// Its boot key was used while it was up.
    Impostor,
    /// Its secret was released, and it had been up all the time.
    ServedImpostor,
    /// Its secret was requested or released, and the boot that came up does not know of it, or none did.
    Unaccounted,
    /// A boot of it that was over is up beside a later one.
    Doubled,
    /// So many requests with its key wait for approval at once: all but one of them are somebody else's.
    SeveralWait(usize),
    /// Its agent refused a sealed secret that a server gave it.
    SecretRejected(RejectionReason),
    /// So many requests with unknown keys came within a minute.
    UnknownKeys(u32),
}

impl From<Suspicion> for Alarm {
    fn from(reason: Suspicion) -> Self {
        match reason {
            Suspicion::Doubled => Self::Doubled,
            Suspicion::Impostor => Self::Impostor,
            Suspicion::ServedImpostor => Self::ServedImpostor,
        }
    }
}

impl From<GuardAlarm> for Alarm {
    fn from(alarm: GuardAlarm) -> Self {
        match alarm {
            GuardAlarm::Impostor => Self::Impostor,
            GuardAlarm::ServedImpostor => Self::ServedImpostor,
            GuardAlarm::Unaccounted => Self::Unaccounted,
            GuardAlarm::SecondRequest => Self::SecondRequest,
            GuardAlarm::Doubled => Self::Doubled,
        }
    }
}

/// Something that happened, with its reason: the words of the log, the audit and D-Bus.
///
/// [`Event::record`] makes a record of it, [`Event::log_line`] a line of the log; the server makes signals. None of these translations
/// has a wildcard arm: an event that one of them does not know must not compile.
///
/// A client that is gone still has its name: [`crate::registry::Registry::name`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "clients, requests and reasons say what they are by their types"
)]
pub enum Event {
    /// A client came into being (configured for the first time, or added).
    Added(ClientId),
    /// A client was removed, or left the configuration.
    Removed(ClientId, ClientName),
    /// A client was enabled.
    Enabled(ClientId),
    /// A client was disabled, with the reason.
    Disabled(ClientId, DisableReason),
    /// An alarm that belongs to no grant or refusal.
    Alarmed(Option<ClientId>, Alarm),
    /// A request waits for a decision of a person.
    NeedsApproval {
        client: ClientId,
        request: RequestId,
        /// `None` for the boot secret.
        secret: Option<SecretName>,
        /// The time of the decision without one.
        until: Monotonic,
        /// The decision without one.
        approved_by_default: bool,
    },
    /// A person decided on one request that waits.
    Decided {
        client: ClientId,
        request: RequestId,
        /// `None` for the boot secret.
        secret: Option<SecretName>,
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
        client: ClientId,
        request: RequestId,
        /// `None` for the boot secret.
        secret: Option<SecretName>,
        grant: Grant,
        /// The key that asked.
        role: KeyRole,
        rehearsal: bool,
        /// The way past the guard; `None` where no guard judged it, or a person decided.
        passage: Option<Passage>,
        /// The request came by Mandos's protocol, and the machine's initramfs speaks ours.
        downgrade: bool,
        /// The alarm that it raises.
        alarm: Option<Alarm>,
    },
    /// A request got `Answer::Refuse`.
    Refused {
        /// `None` for an unknown key.
        client: Option<ClientId>,
        request: RequestId,
        /// `None` for the boot secret.
        secret: Option<SecretName>,
        reason: Refusal,
        /// One of a flood of unknown keys, of which enough are recorded already.
        flood: bool,
        /// The alarm that it raises.
        alarm: Option<Alarm>,
    },
    /// A granted request lost its right before its delivery was reported.
    Revoked {
        client: ClientId,
        request: RequestId,
        /// `None` for the boot secret.
        secret: Option<SecretName>,
        reason: Refusal,
    },
    /// A request ended without an answer, because its peer went away while it waited.
    Abandoned {
        client: ClientId,
        request: RequestId,
        /// `None` for the boot secret.
        secret: Option<SecretName>,
    },
    /// The secret reached the client.
    Delivered {
        client: ClientId,
        request: RequestId,
        /// `None` for the boot secret.
        secret: Option<SecretName>,
        rehearsal: bool,
    },
    /// The secret was granted but could not be delivered.
    DeliveryFailed {
        client: ClientId,
        request: RequestId,
        /// `None` for the boot secret.
        secret: Option<SecretName>,
    },
    /// A check started.
    CheckStarted(ClientId),
    /// A running check gets the signal to stop. Its end is another event.
    CheckStopping(ClientId),
    /// A check ended.
    CheckFinished(ClientId, LastCheck),
    /// A proof of life that came otherwise than by a check.
    CheckedOk(ClientId),
    /// A request is held until then, while the agent is asked.
    Held {
        client: ClientId,
        request: RequestId,
        until: Monotonic,
    },
    /// An agent was heard for the first time: its guard is in force.
    Armed(ClientId),
    /// A sign of life.
    Heard(ClientId),
    /// The machine said goodbye; `window` is the longest time for an announced reboot, if it has one.
    SaidGoodbye {
        client: ClientId,
        kind: GoodbyeKind,
        window: Option<Duration>,
    },
    /// The agent was not heard when it should have been, or nothing was in the time for an announced reboot.
    Silent(ClientId),
    /// A person trusts a machine again that was suspect.
    Trusted(ClientId),
    /// Settings of a client changed: these keys of its section.
    Changed(ClientId, Vec<&'static str>),
    /// A named secret of a client has another value, or another policy.
    SecretPut {
        client: ClientId,
        name: SecretName,
        serial: u64,
        approval: PutApproval,
    },
    /// A named secret of a client was removed, or of a host key that no client has any more.
    SecretRemoved {
        client: Option<ClientId>,
        /// The host key that it was for.
        host: Option<KeyId>,
        name: SecretName,
    },
    /// The agent of a client refused a sealed secret.
    SecretRejected {
        client: ClientId,
        name: SecretName,
        reason: RejectionReason,
    },
    /// The tombstone of this client was dropped, because there are too many.
    TombstoneDropped(ClientName),
}

impl Event {
    /// The client and the request that it is about.
    pub const fn subject(&self) -> (Option<ClientId>, Option<RequestId>) {
        match *self {
            Self::Added(client)
            | Self::Removed(client, _)
            | Self::Enabled(client)
            | Self::Disabled(client, _)
            | Self::Denied(client)
            | Self::DenialLifted(client)
            | Self::RehearsalsAllowed(client, _)
            | Self::CheckStarted(client)
            | Self::CheckStopping(client)
            | Self::CheckFinished(client, _)
            | Self::CheckedOk(client)
            | Self::Armed(client)
            | Self::Heard(client)
            | Self::SaidGoodbye { client, .. }
            | Self::Silent(client)
            | Self::Trusted(client)
            | Self::Changed(client, _)
            | Self::SecretPut { client, .. }
            | Self::SecretRejected { client, .. } => (Some(client), None),
            Self::TombstoneDropped(_) => (None, None),
            Self::Alarmed(client, _) | Self::SecretRemoved { client, .. } => (client, None),
            Self::NeedsApproval {
                client, request, ..
            }
            | Self::Decided {
                client, request, ..
            }
            | Self::Held {
                client, request, ..
            }
            | Self::Granted {
                client, request, ..
            }
            | Self::Revoked {
                client, request, ..
            }
            | Self::Abandoned {
                client, request, ..
            }
            | Self::Delivered {
                client, request, ..
            }
            | Self::DeliveryFailed {
                client, request, ..
            } => (Some(client), Some(request)),
            Self::Refused {
                client, request, ..
            } => (client, Some(request)),
        }
    }

    /// The named secret that it is about.
    pub const fn secret(&self) -> Option<&SecretName> {
        match self {
            Self::NeedsApproval { secret, .. }
            | Self::Decided { secret, .. }
            | Self::Granted { secret, .. }
            | Self::Refused { secret, .. }
            | Self::Revoked { secret, .. }
            | Self::Abandoned { secret, .. }
            | Self::Delivered { secret, .. }
            | Self::DeliveryFailed { secret, .. } => secret.as_ref(),
            Self::SecretPut { name, .. }
            | Self::SecretRemoved { name, .. }
            | Self::SecretRejected { name, .. } => Some(name),
            Self::Added(_)
            | Self::Removed(..)
            | Self::Enabled(_)
            | Self::Disabled(..)
            | Self::Alarmed(..)
            | Self::Denied(_)
            | Self::DenialLifted(_)
            | Self::RehearsalsAllowed(..)
            | Self::CheckStarted(_)
            | Self::CheckStopping(_)
            | Self::CheckFinished(..)
            | Self::CheckedOk(_)
            | Self::Held { .. }
            | Self::Armed(_)
            | Self::Heard(_)
            | Self::SaidGoodbye { .. }
            | Self::Silent(_)
            | Self::Trusted(_)
            | Self::Changed(..)
            | Self::TombstoneDropped(_) => None,
        }
    }
}

/// The reason why a client was disabled.
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
    /// A client with its name or its key was disabled or removed before: it was itself when its section left the
    /// configuration or had another name, or another section has or had its key.
    Remembered,
    /// The state was lost, or is older than it has been: whether it was disabled is not known.
    StateLost,
}
