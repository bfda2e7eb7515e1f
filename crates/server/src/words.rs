//! The words for what the registry decided: one for programs, one sentence for people.

use nightlatch_core::event::{Alarm, DisableReason, Grant, Refusal};

/// Why a request gets the secret.
pub(crate) fn grant(grant: Grant) -> &'static str {
    match grant {
        Grant::NotNeeded => "enabled",
        Grant::Approved => "approved",
        Grant::ByDefault => "approved-by-default",
    }
}

/// Why a request gets nothing.
pub(crate) fn refusal(reason: Refusal) -> &'static str {
    match reason {
        Refusal::UnknownKey => "unknown-key",
        Refusal::Disabled => "disabled",
        Refusal::Denied => "denied",
        Refusal::ApprovalTimedOut => "approval-timed-out",
        Refusal::Removed => "removed",
        Refusal::RehearsalUnproved => "rehearsal-unproved",
        Refusal::RehearsalNeedsApproval => "rehearsal-needs-approval",
    }
}

/// The same, for a line of the log.
pub(crate) fn refusal_sentence(reason: Refusal) -> &'static str {
    match reason {
        Refusal::UnknownKey => "unknown key",
        Refusal::Disabled => "client is disabled",
        Refusal::Denied => "denied",
        Refusal::ApprovalTimedOut => "approval timed out",
        Refusal::Removed => "client was removed",
        Refusal::RehearsalUnproved => {
            "it only rehearses, and was not seen up within its last two intervals"
        }
        Refusal::RehearsalNeedsApproval => "it only rehearses, and would need approval",
    }
}

/// Why a client was disabled.
pub(crate) fn disabled(reason: DisableReason) -> &'static str {
    match reason {
        DisableReason::Expired => "expired",
        DisableReason::ExpiredWhileDown => "expired-while-down",
        DisableReason::Administrator => "administrator",
        DisableReason::Configuration => "configuration",
        DisableReason::Remembered => "remembered",
        DisableReason::StateLost => "state-lost",
    }
}

/// The same, for people.
pub(crate) fn disabled_sentence(reason: DisableReason) -> &'static str {
    match reason {
        DisableReason::Expired => "its deadline passed without a proof of life",
        DisableReason::ExpiredWhileDown => {
            "its deadline passed while the server was down, and its last check had not succeeded, or the server had been killed"
        }
        DisableReason::Administrator => "an administrator disabled it",
        DisableReason::Configuration => "the configuration now says enabled = no",
        DisableReason::Remembered => {
            "it was disabled when its section left the configuration, or under another name"
        }
        DisableReason::StateLost => {
            "the state was lost, or is older than it has been: whether it was disabled is not known"
        }
    }
}

/// What kind of alarm.
pub(crate) fn alarm(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::SecondRequest => "second-request",
        Alarm::SameBoot => "same-boot",
        Alarm::StillAnswers => "still-answers",
        Alarm::Disabled => "disabled",
        Alarm::Rehearsal => "rehearsal",
        Alarm::SeveralWait(_) => "several-wait",
        Alarm::UnknownKeys(_) => "unknown-keys",
    }
}

/// The same, for people.
pub(crate) fn alarm_sentence(alarm: Alarm) -> String {
    match alarm {
        Alarm::SecondRequest => {
            "its secret was released before, or is being released now, and it was not seen up since"
                .to_owned()
        }
        Alarm::SameBoot => "its secret was released before to the same boot".to_owned(),
        Alarm::StillAnswers => {
            "it still passes its check while something asked for its secret".to_owned()
        }
        Alarm::Disabled => "it is disabled, and something asked for its secret".to_owned(),
        Alarm::Rehearsal => {
            "a rehearsal got its secret, and no administrator had allowed one (nightlatch rehearsal)"
                .to_owned()
        }
        Alarm::SeveralWait(count) => {
            format!(
                "{count} requests with its key wait for approval at once: all but one are not its own"
            )
        }
        Alarm::UnknownKeys(count) => {
            format!("{count} requests with unknown keys within a minute")
        }
    }
}
