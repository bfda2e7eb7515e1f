//! Events as lines of the log.

use super::{Alarm, Event, PutApproval, Refusal, decision_by_default};
use crate::checker::LastCheck;
use crate::duration::in_whole_seconds;
use crate::name::ClientName;
use crate::secret_name::SecretName;
use crate::settings::server::LogLevel;

/// An event as a line of the log. Its client and its request are added by the program.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say all")]
pub struct LogLine<'a> {
    /// `Debug` for what happens all the time, `Warning` for what an administrator should look at. Every release, refusal,
    /// disable and failed check shows at the default level (`Info`).
    pub level: LogLevel,
    pub message: &'static str,
    pub fields: LogFields<'a>,
}

/// Lines of the log that are counted together. Those about named secrets hide none about the boot secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogClass {
    /// The kind of event, one word.
    pub kind: &'static str,
    /// It is about a named secret.
    pub named: bool,
}

/// The named values of a line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "they are named as in the log")]
pub struct LogFields<'a> {
    /// A client that the registry has no more.
    pub client: Option<&'a ClientName>,
    /// A named secret.
    pub secret: Option<&'a SecretName>,
    pub serial: Option<u64>,
    pub reason: Option<&'static str>,
    /// The sentence of an alarm.
    pub why: Option<String>,
    pub status: Option<u8>,
    pub signal: Option<i32>,
    pub length: Option<String>,
    pub settings: Option<String>,
    pub without_answer: Option<&'static str>,
}

impl Event {
    /// Its line of the log; `None` for what is not logged.
    pub fn log_line(&self) -> Option<LogLine<'_>> {
        use LogLevel::{Debug, Info, Warning};
        let none = LogFields::default;
        let because = |reason: Refusal| LogFields {
            reason: Some(reason.sentence()),
            ..none()
        };
        let (level, message, fields) = match self {
            Self::Added(_) => (Info, "new client", none()),
            Self::Removed(..) => (Info, "client removed", none()),
            Self::Enabled(_) => (Info, "enabled", none()),
            Self::Disabled(_, reason) => {
                let reason = Some(reason.sentence());
                (Warning, "disabled", LogFields { reason, ..none() })
            }
            Self::Alarmed(_, alarm) => (Warning, "alarm", LogFields::of_alarm(*alarm)),
            Self::NeedsApproval {
                approved_by_default,
                ..
            } => {
                let without_answer = Some(decision_by_default(*approved_by_default));
                let fields = LogFields {
                    without_answer,
                    ..none()
                };
                (Info, "waits for approval", fields)
            }
            Self::Decided { approved: true, .. } => (Info, "approved", none()),
            Self::Decided {
                approved: false, ..
            } => (Info, "denied", none()),
            Self::Denied(_) => (
                Info,
                "denied: all that waits, and what comes for a while",
                none(),
            ),
            Self::DenialLifted(_) => (Info, "its denial was lifted", none()),
            Self::RehearsalsAllowed(_, length) if length.is_zero() => {
                (Info, "rehearsals are allowed no more", none())
            }
            Self::RehearsalsAllowed(_, length) => {
                let length = Some(in_whole_seconds(*length));
                let fields = LogFields { length, ..none() };
                (Info, "rehearsals are allowed without an alarm", fields)
            }
            Self::Granted {
                alarm: Some(alarm),
                rehearsal,
                ..
            } => {
                let message = match rehearsal {
                    true => "alarm: rehearsed",
                    false => "alarm: granted",
                };
                (Warning, message, LogFields::of_alarm(*alarm))
            }
            Self::Granted { alarm: None, .. } => (Debug, "granted", none()),
            Self::Refused {
                reason,
                alarm: Some(alarm),
                ..
            } => {
                let fields = LogFields {
                    why: Some(alarm.sentence()),
                    ..because(*reason)
                };
                (Warning, "alarm: refused", fields)
            }
            Self::Refused {
                reason,
                alarm: None,
                ..
            } => (Info, "refused", because(*reason)),
            Self::Revoked { reason, .. } => (Warning, "release taken back", because(*reason)),
            Self::Abandoned { .. } => (Info, "peer went away while it waited", none()),
            Self::Delivered {
                rehearsal: true, ..
            } => (Info, "rehearsed", none()),
            Self::Delivered {
                rehearsal: false, ..
            } => (Info, "secret delivered", none()),
            Self::DeliveryFailed { .. } => (Warning, "secret granted but not delivered", none()),
            Self::CheckStarted(_) => (Debug, "check started", none()),
            Self::CheckStopping(_) => (Debug, "check told to stop", none()),
            Self::CheckFinished(_, LastCheck::None) => return None,
            Self::CheckFinished(_, LastCheck::Exited(0)) => (Debug, "check succeeded", none()),
            Self::CheckFinished(_, LastCheck::Exited(status)) => {
                let status = Some(*status);
                (Info, "check failed", LogFields { status, ..none() })
            }
            Self::CheckFinished(_, LastCheck::Signaled(signal)) => {
                let signal = Some(*signal);
                (Info, "check killed", LogFields { signal, ..none() })
            }
            Self::CheckedOk(_) => (Info, "declared alive", none()),
            Self::Changed(_, keys) => {
                let settings = Some(keys.join(", "));
                (Info, "settings changed", LogFields { settings, ..none() })
            }
            Self::Held { .. } => (Info, "held while its agent is asked", none()),
            Self::Armed(_) => (Info, "its agent was heard", none()),
            Self::Heard(_) => (Debug, "heard", none()),
            Self::SaidGoodbye { kind, window, .. } => {
                let fields = LogFields {
                    reason: Some(kind.as_str()),
                    length: window.map(in_whole_seconds),
                    ..none()
                };
                (Info, "said goodbye", fields)
            }
            Self::Silent(_) => (Info, "its agent is silent", none()),
            Self::Trusted(_) => (Info, "trusted again", none()),
            Self::SecretPut {
                serial, approval, ..
            } => {
                let fields = LogFields {
                    serial: Some(*serial),
                    ..none()
                };
                let message = match approval {
                    PutApproval::Needed => "named secret put; each request for it needs approval",
                    PutApproval::Lifted => "named secret put; approval lifted",
                    PutApproval::None => "named secret put",
                };
                (Info, message, fields)
            }
            Self::SecretRemoved { .. } => (Info, "named secret removed", none()),
            Self::SecretRejected { reason, .. } => {
                let fields = LogFields {
                    reason: Some(reason.as_str()),
                    ..LogFields::of_alarm(Alarm::SecretRejected(*reason))
                };
                (Warning, "alarm: its agent refused a named secret", fields)
            }
            Self::TombstoneDropped(name) => {
                let client = Some(name);
                let message = "what was remembered of a client that left the configuration is dropped: too many have left";
                (Warning, message, LogFields { client, ..none() })
            }
        };
        Some(LogLine {
            level,
            message,
            fields: LogFields {
                secret: self.secret(),
                ..fields
            },
        })
    }

    /// The class of its line of the log, for a quota; `None` for what no peer can cause at will.
    pub fn log_class(&self) -> Option<LogClass> {
        let named = self.secret().is_some();
        self.log_kind().map(|kind| LogClass { kind, named })
    }

    fn log_kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Refused {
                alarm: Some(alarm), ..
            } => alarm.as_str(),
            Self::Refused { reason, .. } | Self::Revoked { reason, .. } => reason.as_str(),
            Self::Granted { alarm, .. } => alarm.map_or("granted", Alarm::as_str),
            Self::Alarmed(Some(_), alarm) => alarm.as_str(),
            Self::NeedsApproval { .. } => "waits",
            Self::Abandoned { .. } => "abandoned",
            Self::Held { .. } => "held",
            Self::SecretRejected { .. } => "secret-rejected",
            Self::SaidGoodbye { .. } => "goodbye",
            Self::Silent(_) => "silent",
            Self::Delivered { .. } => "delivered",
            Self::DeliveryFailed { .. } => "undelivered",
            // A machine decides when its check fails, and `check_on_release` starts one for each release.
            Self::CheckFinished(_, result) if *result != LastCheck::Exited(0) => "check-failed",
            // The registry reports unknown keys by their number only, twice a minute.
            Self::Alarmed(None, _)
            | Self::Added(_)
            | Self::Removed(..)
            | Self::Enabled(_)
            | Self::Disabled(..)
            | Self::Decided { .. }
            | Self::Denied(_)
            | Self::DenialLifted(_)
            | Self::RehearsalsAllowed(..)
            | Self::CheckStarted(_)
            | Self::CheckStopping(_)
            | Self::CheckFinished(..)
            | Self::CheckedOk(_)
            | Self::Armed(_)
            | Self::Heard(_)
            | Self::Trusted(_)
            | Self::TombstoneDropped(_)
            | Self::SecretPut { .. }
            | Self::SecretRemoved { .. }
            | Self::Changed(..) => return None,
        })
    }
}

impl LogFields<'_> {
    fn of_alarm(alarm: Alarm) -> Self {
        Self {
            why: Some(alarm.sentence()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ClientId, Grant, KeyRole, RequestId};
    use crate::guard::{GuardAlarm, Suspicion};

    const CLIENT: ClientId = ClientId::for_tests(1);
    const REQUEST: RequestId = RequestId(1);

    fn line(event: &Event) -> (LogLevel, &'static str, Option<&'static str>) {
        let line = event.log_line().unwrap();
        (
            line.level,
            line.message,
            event.log_class().map(|it| it.kind),
        )
    }

    #[test]
    fn a_failed_check_is_logged_within_a_quota_and_a_successful_one_at_debug() {
        let finished = |result| line(&Event::CheckFinished(CLIENT, result));
        assert_eq!(
            finished(LastCheck::Exited(0)),
            (LogLevel::Debug, "check succeeded", None)
        );
        assert_eq!(
            finished(LastCheck::Exited(1)),
            (LogLevel::Info, "check failed", Some("check-failed"))
        );
        assert_eq!(
            finished(LastCheck::Signaled(9)),
            (LogLevel::Info, "check killed", Some("check-failed"))
        );
    }

    #[test]
    fn an_alarm_makes_a_warning_of_a_grant_and_of_a_refusal() {
        let refused = |alarm| Event::Refused {
            client: Some(CLIENT),
            request: REQUEST,
            secret: None,
            reason: Refusal::Disabled,
            flood: false,
            alarm,
        };
        assert_eq!(
            line(&refused(None)),
            (LogLevel::Info, "refused", Some("disabled"))
        );
        let alarmed = refused(Some(Alarm::Disabled));
        assert_eq!(
            line(&alarmed),
            (LogLevel::Warning, "alarm: refused", Some("disabled"))
        );
        let fields = alarmed.log_line().unwrap().fields;
        assert_eq!(fields.reason, Some("client is disabled"));
        assert_eq!(fields.why, Some(Alarm::Disabled.sentence()));
        let granted = |alarm| Event::Granted {
            client: CLIENT,
            request: REQUEST,
            secret: None,
            grant: Grant::NotNeeded,
            role: KeyRole::Boot,
            rehearsal: true,
            passage: None,
            downgrade: false,
            alarm,
        };
        assert_eq!(
            line(&granted(None)),
            (LogLevel::Debug, "granted", Some("granted"))
        );
        assert_eq!(
            line(&granted(Some(Alarm::Rehearsal))),
            (LogLevel::Warning, "alarm: rehearsed", Some("rehearsal"))
        );
    }

    #[test]
    fn a_delivered_rehearsal_is_not_called_a_delivered_secret() {
        let delivered = |rehearsal| Event::Delivered {
            client: CLIENT,
            request: REQUEST,
            secret: None,
            rehearsal,
        };
        let message = |event: Event| line(&event).1;
        assert_eq!(message(delivered(true)), "rehearsed");
        assert_eq!(message(delivered(false)), "secret delivered");
    }

    #[test]
    fn a_suspicion_has_the_word_of_its_alarm() {
        for (reason, alarm) in [
            (Suspicion::Doubled, GuardAlarm::Doubled),
            (Suspicion::Impostor, GuardAlarm::Impostor),
            (Suspicion::ServedImpostor, GuardAlarm::ServedImpostor),
        ] {
            assert_eq!(reason.as_str(), Alarm::from(alarm).as_str());
        }
    }
}
