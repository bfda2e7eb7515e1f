//! The words for decisions, reasons and alarms: one for programs, a sentence for people.

use super::{Alarm, DisableReason, Grant, Refusal};

impl Grant {
    /// As in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotNeeded => "enabled",
            Self::Approved => "approved",
            Self::ByDefault => "approved-by-default",
        }
    }
}

/// The decision on a request when no person decides in time.
pub const fn decision_by_default(approved_by_default: bool) -> &'static str {
    if approved_by_default {
        "granted"
    } else {
        "refused"
    }
}

impl Refusal {
    /// As in the audit log, on D-Bus, and in the answer to a rehearsal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown-key",
            Self::Disabled => "disabled",
            Self::Denied => "denied",
            Self::ApprovalTimedOut => "approval-timed-out",
            Self::Removed => "removed",
            Self::RehearsalUnproved => "rehearsal-unproved",
            Self::RehearsalNeedsApproval => "rehearsal-needs-approval",
            Self::RehearsalByBootKey => "rehearsal-by-boot-key",
            Self::BootIsUp => "boot-is-up",
            Self::MachineIsUp => "machine-is-up",
            Self::OtherBootIsUp => "other-boot-is-up",
            Self::GuardChanged => "guard-changed",
            Self::UnknownHostKey => "unknown-host-key",
            Self::NamedByBootKey => "not-for-boot-key",
            Self::NoSuchSecret => "no-such-secret",
            Self::SecretExpired => "secret-expired",
            Self::SecretChanged => "secret-changed",
            Self::TooManyWait => "too-many-wait",
            Self::MachineIsSuspect => "machine-is-suspect",
        }
    }

    /// As in a line of the log.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown key",
            Self::Disabled => "client is disabled",
            Self::Denied => "denied",
            Self::ApprovalTimedOut => "approval timed out",
            Self::Removed => "client was removed",
            Self::RehearsalUnproved => {
                "it only rehearses, and was not seen up within its last two intervals"
            }
            Self::RehearsalNeedsApproval => "it only rehearses, and would need approval",
            Self::RehearsalByBootKey => {
                "it only rehearses, by the key in its initramfs, which no administrator has allowed"
            }
            Self::BootIsUp => "the boot that asks is up already, or over",
            Self::MachineIsUp => "the machine was up when its boot key was used",
            Self::OtherBootIsUp => "another boot of the machine is up, and knows nothing of it",
            Self::UnknownHostKey => "no section has this host_key_id",
            Self::NamedByBootKey => {
                "named secrets are for the agent of the machine, and the key in its initramfs asked for one"
            }
            Self::NoSuchSecret => "the machine has no secret of this name (nightlatch secret list)",
            Self::SecretExpired => "the secret has expired (nightlatch secret put)",
            Self::SecretChanged => {
                "the secret was replaced or removed after it was asked for; a machine asks again"
            }
            Self::MachineIsSuspect => {
                "the machine became suspect after it was granted; a machine asks again, and waits for approval"
            }
            Self::TooManyWait => {
                "it would need approval, and too many requests for named secrets wait already; a machine asks again"
            }
            Self::GuardChanged => {
                "its guard or host key changed while it waited; a machine asks again"
            }
        }
    }
}

impl DisableReason {
    /// As in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::ExpiredWhileDown => "expired-while-down",
            Self::Administrator => "administrator",
            Self::Configuration => "configuration",
            Self::Remembered => "remembered",
            Self::StateLost => "state-lost",
        }
    }

    /// As in a line of the log.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Expired => "its deadline passed without a proof of life",
            Self::ExpiredWhileDown => {
                "its deadline passed while the server was down, and its last check had not succeeded, or the server had been killed"
            }
            Self::Administrator => "an administrator disabled it",
            Self::Configuration => "the configuration now says enabled = no",
            Self::Remembered => "a client with its name or its key was disabled or removed before",
            Self::StateLost => {
                "the state was lost, or is older than it has been: whether it was disabled is not known"
            }
        }
    }
}

impl Alarm {
    /// As in the audit log, and for `alarm_command`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecondRequest => "second-request",
            Self::SameBoot => "same-boot",
            Self::StillAnswers => "still-answers",
            Self::Disabled => "disabled",
            Self::Rehearsal => "rehearsal",
            Self::Impostor => "impostor",
            Self::ServedImpostor => "served-impostor",
            Self::Unaccounted => "unaccounted",
            Self::Doubled => "doubled",
            Self::SeveralWait(_) => "several-wait",
            Self::SecretRejected(_) => "secret-rejected",
            Self::UnknownKeys(_) => "unknown-keys",
        }
    }

    /// The detail of its record, and its line of the log.
    pub fn sentence(self) -> String {
        match self {
            Self::SecondRequest => {
                "its secret was released before, or is being released now, and it was not seen up since"
                    .to_owned()
            }
            Self::SameBoot => "its secret was released before to the same boot".to_owned(),
            Self::StillAnswers => {
                "it still passes its check while something asked for its secret".to_owned()
            }
            Self::Disabled => "it is disabled, and something asked for its secret".to_owned(),
            Self::Rehearsal => {
                "a rehearsal got its secret, and no administrator had allowed one (nightlatch rehearsal)"
                    .to_owned()
            }
            Self::Impostor => {
                "its boot key was used while it was up: the key was copied; give it a new one (nightlatch unenroll, then nightlatch enroll)"
                    .to_owned()
            }
            Self::ServedImpostor => {
                "its secret was released to somebody else, for it had been up all the time: give it a new disk password and boot key now (nightlatch unenroll, then nightlatch enroll)"
                    .to_owned()
            }
            Self::Unaccounted => {
                "its secret was requested or released, and no boot of it has said since that it was the one: a boot that failed, or a thief"
                    .to_owned()
            }
            Self::Doubled => {
                "a boot of it that was over is up beside a later one: it was cloned, or a snapshot was put back"
                    .to_owned()
            }
            Self::SeveralWait(count) => {
                format!(
                    "{count} requests with its key are pending at once, and at most one is its own"
                )
            }
            Self::SecretRejected(reason) => {
                format!(
                    "its agent refused a named secret that a server gave it: {}",
                    reason.sentence()
                )
            }
            Self::UnknownKeys(count) => {
                format!("{count} requests with unknown keys within a minute")
            }
        }
    }

    /// The same kind of alarm, whatever its number.
    pub(crate) const fn without_number(self) -> Self {
        match self {
            Self::SeveralWait(_) => Self::SeveralWait(0),
            Self::UnknownKeys(_) => Self::UnknownKeys(0),
            Self::SecondRequest
            | Self::SameBoot
            | Self::StillAnswers
            | Self::Disabled
            | Self::Rehearsal
            | Self::Impostor
            | Self::ServedImpostor
            | Self::Unaccounted
            | Self::Doubled
            | Self::SecretRejected(_) => self,
        }
    }
}
