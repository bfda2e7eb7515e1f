//! The kind and the alarm of an event in the record.

use super::{Alarm, DisableReason, Durability, Event};
use crate::checker::LastCheck;
use crate::record::Kind;

impl Event {
    /// The kind of its entry; `None` for what is not recorded.
    pub const fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Granted {
                rehearsal: true, ..
            } => Kind::Rehearsed,
            Self::Granted { .. } => Kind::Released,
            // The alarm has their number.
            Self::Refused { flood: true, .. } => return None,
            Self::Refused { .. } => Kind::Refused,
            Self::Revoked { .. } => Kind::Revoked,
            Self::NeedsApproval { .. } => Kind::Waits,
            Self::DeliveryFailed { .. } => Kind::Undelivered,
            Self::Abandoned { .. } => Kind::Abandoned,
            Self::Decided { approved: true, .. } => Kind::Approved,
            Self::Decided { .. } | Self::Denied(_) => Kind::Denied,
            Self::DenialLifted(_) => Kind::DenialLifted,
            Self::RehearsalsAllowed(..) => Kind::RehearsalsAllowed,
            Self::Disabled(_, DisableReason::Expired | DisableReason::ExpiredWhileDown) => {
                Kind::Expired
            }
            Self::Disabled(
                _,
                DisableReason::Administrator
                | DisableReason::Configuration
                | DisableReason::Remembered
                | DisableReason::StateLost,
            ) => Kind::Disabled,
            Self::Alarmed(..) => Kind::Alarm,
            Self::CheckFinished(_, LastCheck::Exited(1..) | LastCheck::Signaled(_)) => {
                Kind::CheckFailed
            }
            Self::Changed(..) => Kind::Changed,
            Self::CheckedOk(_) => Kind::CheckedOk,
            Self::TombstoneDropped(_) => Kind::Lost,
            Self::Added(_) => Kind::Added,
            Self::Removed(..) => Kind::Removed,
            Self::Enabled(_) => Kind::Enabled,
            // A release is recorded when it is granted, before the secret leaves.
            Self::Delivered { .. }
            | Self::CheckStarted(_)
            | Self::CheckStopping(_)
            | Self::CheckFinished(_, LastCheck::None | LastCheck::Exited(0)) => return None,
        })
    }

    /// How durable its entry, and all else that is unwritten of its client, must be before what comes after it:
    /// no secret leaves before that is in the record. Where a quota leaves the entry out, the rest is as durable.
    pub const fn durability(&self) -> Durability {
        match self {
            Self::Granted { .. } => Durability::BeforeUnlessFailing,
            Self::Added(_)
            | Self::Removed(..)
            | Self::Enabled(_)
            | Self::Disabled(..)
            | Self::Alarmed(..)
            | Self::NeedsApproval { .. }
            | Self::Decided { .. }
            | Self::Denied(_)
            | Self::DenialLifted(_)
            | Self::RehearsalsAllowed(..)
            | Self::Refused { .. }
            | Self::Revoked { .. }
            | Self::Abandoned { .. }
            | Self::Delivered { .. }
            | Self::DeliveryFailed { .. }
            | Self::CheckStarted(_)
            | Self::CheckStopping(_)
            | Self::CheckFinished(..)
            | Self::CheckedOk(_)
            | Self::TombstoneDropped(_)
            | Self::Changed(..) => Durability::Soon,
        }
    }

    /// The alarm that it raises, if any.
    pub const fn alarm(&self) -> Option<Alarm> {
        match self {
            Self::Granted { alarm, .. } | Self::Refused { alarm, .. } => *alarm,
            Self::Alarmed(_, alarm) => Some(*alarm),
            Self::Added(_)
            | Self::Removed(..)
            | Self::Enabled(_)
            | Self::Disabled(..)
            | Self::NeedsApproval { .. }
            | Self::Decided { .. }
            | Self::Denied(_)
            | Self::DenialLifted(_)
            | Self::RehearsalsAllowed(..)
            | Self::Revoked { .. }
            | Self::Abandoned { .. }
            | Self::Delivered { .. }
            | Self::DeliveryFailed { .. }
            | Self::CheckStarted(_)
            | Self::CheckStopping(_)
            | Self::CheckFinished(..)
            | Self::CheckedOk(_)
            | Self::TombstoneDropped(_)
            | Self::Changed(..) => None,
        }
    }
}

impl Alarm {
    /// The same kind of alarm, whatever its number.
    pub(crate) const fn without_number(self) -> Self {
        match self {
            Self::SeveralWait(_) => Self::SeveralWait(0),
            Self::UnknownKeys(_) => Self::UnknownKeys(0),
            Self::SecondRequest
            | Self::SameBoot
            | Self::StillAnswers
            | Self::Disabled
            | Self::Rehearsal => self,
        }
    }
}
