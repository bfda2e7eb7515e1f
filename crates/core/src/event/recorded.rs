//! The record of an event: its kind, its text, whether it is an alarm, and how durable it must be. Who gave the order,
//! where a request came from, and when, are added by the program.
//!
//! One `match` without a wildcard decides all of it: an event that is new does not compile before it is decided.

use super::{Alarm, DisableReason, Durability, Event, KeyRole, PutApproval};
use crate::checker::LastCheck;
use crate::duration::in_whole_seconds;
use crate::guard::Passage;
use crate::record::RecordKind;
use crate::secret_name::SecretName;
use crate::settings::client::{ClientSettings, Setting};

/// The content of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordContent {
    /// The kind of the record.
    pub kind: RecordKind,
    /// `release`, `refuse` or `ask`, where it is about a request.
    pub decision: Option<&'static str>,
    /// The reason, in a word.
    pub reason: Option<&'static str>,
    /// The named secret that it is about.
    pub secret: Option<SecretName>,
    /// The alarm that the event raises.
    pub alarm: Option<Alarm>,
    /// A sentence for people.
    pub detail: Option<String>,
    /// The durability of the record, and of all else that is unwritten of its client, before what comes after it: no
    /// secret leaves before that is in the record. Where a quota leaves the record out, the rest is as durable.
    pub durability: Durability,
}

impl RecordContent {
    /// A record that needs no more than its kind.
    const fn of(kind: RecordKind) -> Self {
        Self {
            kind,
            decision: None,
            reason: None,
            secret: None,
            alarm: None,
            detail: None,
            durability: Durability::Soon,
        }
    }

    /// A record with a sentence, and nothing else to decide.
    pub fn with_detail(kind: RecordKind, detail: String) -> Self {
        Self {
            detail: Some(detail),
            ..Self::of(kind)
        }
    }

    fn with_reason(kind: RecordKind, decision: &'static str, reason: &'static str) -> Self {
        Self {
            decision: Some(decision),
            reason: Some(reason),
            ..Self::of(kind)
        }
    }

    /// True for what an administrator should look at.
    pub const fn is_alarm(&self) -> bool {
        self.alarm.is_some() || self.kind.is_alarm()
    }

    /// The word by which repeats of an event about one client reach a person as one; `None` for an event that no
    /// person must see at once.
    pub const fn calls_for_person(&self) -> Option<&'static str> {
        match self.alarm {
            Some(alarm) => Some(alarm.as_str()),
            None if self.kind.calls_for_person() => Some(self.kind.as_str()),
            None => None,
        }
    }
}

impl Event {
    /// Its record, where `settings` are those of its client after the event; `None` for what is not recorded.
    pub fn record(&self, settings: Option<&ClientSettings>) -> Option<RecordContent> {
        let mut content = match self {
            Self::Granted {
                grant,
                role,
                rehearsal,
                passage,
                downgrade,
                alarm,
                ..
            } => {
                let kind = match rehearsal {
                    true => RecordKind::Rehearsed,
                    false => RecordKind::Released,
                };
                RecordContent {
                    alarm: *alarm,
                    detail: release_detail(*role, *passage, *downgrade),
                    durability: Durability::BeforeUnlessFailing,
                    ..RecordContent::with_reason(kind, "release", grant.as_str())
                }
            }
            // The alarm has their number.
            Self::Refused { flood: true, .. } => return None,
            Self::Refused { reason, alarm, .. } => RecordContent {
                alarm: *alarm,
                ..RecordContent::with_reason(RecordKind::Refused, "refuse", reason.as_str())
            },
            Self::Revoked { reason, .. } => {
                RecordContent::with_reason(RecordKind::Revoked, "refuse", reason.as_str())
            }
            Self::NeedsApproval {
                approved_by_default,
                ..
            } => {
                let then = match approved_by_default {
                    true => "released",
                    false => "refused",
                };
                RecordContent {
                    decision: Some("ask"),
                    detail: Some(format!("without an answer it will be {then}")),
                    ..RecordContent::of(RecordKind::Waits)
                }
            }
            Self::DeliveryFailed { .. } => RecordContent::of(RecordKind::Undelivered),
            Self::Abandoned { .. } => RecordContent::of(RecordKind::Abandoned),
            Self::Decided { approved: true, .. } => RecordContent::of(RecordKind::Approved),
            Self::Decided {
                approved: false, ..
            } => RecordContent::of(RecordKind::Denied),
            Self::Denied(_) => {
                let detail = "all requests, for its approval_duration".to_owned();
                RecordContent::with_detail(RecordKind::Denied, detail)
            }
            Self::DenialLifted(_) => RecordContent::of(RecordKind::DenialLifted),
            Self::RehearsalsAllowed(_, length) => {
                let detail = match length.is_zero() {
                    true => "no more".to_owned(),
                    false => {
                        let length = in_whole_seconds(*length);
                        format!("without an alarm, for {length} from now")
                    }
                };
                RecordContent::with_detail(RecordKind::RehearsalsAllowed, detail)
            }
            Self::Disabled(_, reason) => {
                let kind = match reason {
                    DisableReason::Expired | DisableReason::ExpiredWhileDown => RecordKind::Expired,
                    DisableReason::Administrator
                    | DisableReason::Configuration
                    | DisableReason::Remembered
                    | DisableReason::StateLost => RecordKind::Disabled,
                };
                RecordContent {
                    reason: Some(reason.as_str()),
                    ..RecordContent::of(kind)
                }
            }
            Self::Alarmed(_, alarm) => RecordContent {
                alarm: Some(*alarm),
                ..RecordContent::of(RecordKind::Alarm)
            },
            Self::CheckFinished(_, LastCheck::Exited(status @ 1..)) => {
                RecordContent::with_detail(RecordKind::CheckFailed, format!("exit status {status}"))
            }
            Self::CheckFinished(_, LastCheck::Signaled(signal)) => {
                let detail = format!("killed by signal {signal}");
                RecordContent::with_detail(RecordKind::CheckFailed, detail)
            }
            Self::Changed(_, keys) => {
                let changes: Vec<_> = keys.iter().map(|key| with_value(key, settings)).collect();
                RecordContent::with_detail(RecordKind::Changed, changes.join("; "))
            }
            Self::CheckedOk(_) => RecordContent::of(RecordKind::CheckedOk),
            Self::Held { .. } => RecordContent::of(RecordKind::Held),
            Self::Armed(_) => RecordContent::of(RecordKind::Armed),
            Self::SaidGoodbye { kind, window, .. } => {
                let window = window.map(in_whole_seconds);
                let detail = match window {
                    Some(window) => format!("{}, expected back within {window}", kind.as_str()),
                    None => kind.as_str().to_owned(),
                };
                RecordContent::with_detail(RecordKind::Goodbye, detail)
            }
            Self::Silent(_) => RecordContent::of(RecordKind::Silent),
            Self::Trusted(_) => RecordContent::of(RecordKind::Trusted),
            Self::SecretPut {
                serial, approval, ..
            } => {
                let approval = match approval {
                    PutApproval::Needed => "; each request for it needs approval",
                    PutApproval::Lifted => "; approval lifted",
                    PutApproval::None => "",
                };
                let detail = format!("serial {serial}{approval}");
                RecordContent::with_detail(RecordKind::SecretPut, detail)
            }
            Self::SecretRemoved {
                client: None,
                host: Some(host),
                ..
            } => RecordContent::with_detail(
                RecordKind::SecretRemoved,
                format!("of the host key {host}, which no client has"),
            ),
            Self::SecretRemoved { .. } => RecordContent::of(RecordKind::SecretRemoved),
            Self::SecretRejected { reason, .. } => RecordContent {
                // The agent tells it once, and forgets it with the answer.
                durability: Durability::BeforeUnlessFailing,
                reason: Some(reason.as_str()),
                alarm: Some(Alarm::SecretRejected(*reason)),
                ..RecordContent::of(RecordKind::SecretRejected)
            },
            Self::TombstoneDropped(name) => {
                let detail = format!(
                    "what was remembered of {name}, which left the configuration, is dropped: too many have left"
                );
                RecordContent::with_detail(RecordKind::Lost, detail)
            }
            Self::Added(_) => RecordContent::of(RecordKind::Added),
            Self::Removed(..) => RecordContent::of(RecordKind::Removed),
            Self::Enabled(_) => RecordContent::of(RecordKind::Enabled),
            // A release is recorded when it is granted, before the secret leaves.
            Self::Delivered { .. }
            | Self::Heard(_)
            | Self::CheckStarted(_)
            | Self::CheckStopping(_)
            | Self::CheckFinished(_, LastCheck::None | LastCheck::Exited(0)) => return None,
        };
        content.secret = self.secret().cloned();
        if let Some(alarm) = content.alarm {
            let sentence = alarm.sentence();
            content.detail = Some(match content.detail {
                Some(detail) => format!("{sentence}; {detail}"),
                None => sentence,
            });
        }
        Some(content)
    }
}

/// The way past the guard, where a release has one that a person should know of.
fn release_detail(role: KeyRole, passage: Option<Passage>, downgrade: bool) -> Option<String> {
    let passage = match (role, passage) {
        (KeyRole::Host, _) => Some("to the machine that is up"),
        (KeyRole::Boot, Some(Passage::Announced)) => Some("announced"),
        (KeyRole::Boot, Some(Passage::Retry)) => Some("a boot that asks again"),
        (KeyRole::Boot, Some(Passage::Unannounced)) => {
            Some("not announced, and its agent did not say that the machine is up")
        }
        (KeyRole::Boot, Some(Passage::Unarmed) | None) => None,
    };
    let downgrade = downgrade.then_some("by Mandos's protocol, although its initramfs speaks ours");
    let parts: Vec<&str> = passage.into_iter().chain(downgrade).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `timeout = 10m`; the key alone for the secret, and where the value is not known any more.
fn with_value(key: &str, settings: Option<&ClientSettings>) -> String {
    let setting = Setting::by_key(key).zip(settings);
    match setting.and_then(|(setting, settings)| setting.value(settings).for_people()) {
        Some(value) => format!("{key} = {value}"),
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_its_value_and_a_secret_has_none() {
        let settings = ClientSettings::default();
        let value = |setting: &Setting| with_value(setting.key(), Some(&settings));
        let values: Vec<_> = Setting::ALL.iter().map(value).collect();
        assert_eq!(
            values.join("; "),
            "key_id; fingerprint; host = ; checker = fping -q -- %(host)s; timeout = 5m; extended_timeout = 15m; \
             interval = 2m; approval_delay = 0s; approval_duration = 1s; approved_by_default = yes; enabled = yes; \
             host_key_id; guard = yes; unannounced = release; guard_wait = 3s; reboot_window = 10m; host_openpgp"
        );
        assert_eq!(with_value("secret", Some(&settings)), "secret");
        assert_eq!(with_value("timeout", None), "timeout");
    }
}
