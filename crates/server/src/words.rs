//! The decisions of the registry in words: a keyword for programs, a sentence for people.

use std::time::Duration;

use nightlatch_core::event::{Alarm, DisableReason, Grant, Refusal};

/// The reason of a grant, for programs.
pub(crate) fn grant(grant: Grant) -> &'static str {
    match grant {
        Grant::NotNeeded => "enabled",
        Grant::Approved => "approved",
        Grant::ByDefault => "approved-by-default",
    }
}

/// The reason of a refusal, for programs.
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

/// The reason of a refusal, for the log.
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

/// The reason of a disable, for programs.
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

/// The reason of a disable, for people.
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

/// The kind of an alarm, for programs.
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

/// An alarm, for people.
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

/// A length of time for people: `1d2h`, `5m30s`; what is shorter than a second is `0s`.
pub(crate) fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [
        (seconds / 86_400, 'd'),
        (seconds / 3600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let parts = units.iter().filter(|(count, _)| *count > 0);
    let text: String = parts
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() { "0s".into() } else { text }
}
