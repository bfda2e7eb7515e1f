//! Explains whether a client would get its secret now, why, and what to do about it.
//!
//! All sentences about this are made here, for the server and for tools that see no more than the properties of a stock
//! server. What a stock server does not show is `None`.

mod guard;
mod pending;
#[cfg(test)]
mod tests;

pub use guard::{GuardFacts, suspicion};
pub use pending::{PendingRequestFacts, how_many_are_its_own, several_pending};

use std::time::Duration;

use crate::calendar::DateTime;
use crate::checker::CheckStatus;
use crate::duration::in_whole_seconds;
use crate::event::{DisableReason, Grant, Refusal, decision_by_default};
use crate::guard::GuardState;
use crate::name::shell_word;
use crate::record::RecordKind;
use crate::registry::ReleaseForecast;
use crate::time::Wall;

/// The answer to a request of a client, if it came now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReleaseVerdict {
    /// It would get the secret.
    Released,
    /// It would wait for a person's decision.
    NeedsApproval,
    /// It would be refused.
    Refused,
}

impl ReleaseVerdict {
    /// The word on D-Bus.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::NeedsApproval => "asks",
            Self::Refused => "refused",
        }
    }

    /// The verdict with this word on D-Bus.
    pub fn by_word(word: &str) -> Option<Self> {
        [Self::Released, Self::NeedsApproval, Self::Refused]
            .into_iter()
            .find(|verdict| verdict.as_str() == word)
    }
}

/// The answer of `Explain` on D-Bus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// The answer to a request, if it came now.
    pub verdict: ReleaseVerdict,
    /// The reason, in one word.
    pub reason: String,
    /// Since when; `None` when that is not known.
    pub since: Option<Wall>,
    /// The time at which this ends by itself; `None` when it does not, or when that is not known.
    pub until: Option<Wall>,
    /// One paragraph for a person, with what to do.
    pub text: String,
}

/// A record of the audit log about the state of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateRecord {
    /// One of [`Self::KINDS`].
    pub kind: RecordKind,
    /// The time of the event.
    pub time: Wall,
    /// The author: `server`, `configuration`, or a user.
    pub who: Option<String>,
    /// The word of a [`DisableReason`].
    pub reason: Option<String>,
    /// The number of the request, where it is about one request only.
    pub request: Option<u64>,
}

impl StateRecord {
    /// The kinds of records that an explanation needs.
    pub const KINDS: &[RecordKind] = &[
        RecordKind::Enabled,
        RecordKind::Disabled,
        RecordKind::Expired,
        RecordKind::Denied,
    ];

    fn who(&self) -> &str {
        match self.who.as_deref() {
            None => "an administrator",
            Some("server") => "the server",
            Some("configuration") => "the configuration",
            Some(user) => user,
        }
    }

    fn is_reason(&self, reason: DisableReason) -> bool {
        self.reason.as_deref() == Some(reason.as_str())
    }
}

/// Facts about a client.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "the settings and times of a client, by the names that they have everywhere"
)]
pub struct ClientFacts<'a> {
    pub name: &'a str,
    pub enabled: bool,
    pub deadline: Option<Wall>,
    pub timeout: Duration,
    pub extended_timeout: Duration,
    pub interval: Duration,
    pub last_check: CheckStatus,
    pub last_checked_ok: Option<Wall>,
    pub created: Option<Wall>,
    pub last_enabled: Option<Wall>,
    pub approval_delay: Duration,
    pub approved_by_default: bool,
    /// True when it is disabled because the server's state was lost.
    pub needs_proof: bool,
    /// Its guard.
    pub guard: Option<GuardFacts>,
    /// The registry's answer to a request, and the end of that answer's validity.
    pub forecast: Option<(ReleaseForecast, Option<Wall>)>,
    /// Records of its name, oldest first.
    pub records: Option<&'a [StateRecord]>,
    pub pending: Vec<PendingRequestFacts>,
}

impl ClientFacts<'_> {
    /// Explains the state of the client at `now`.
    pub fn explain(&self, now: Wall) -> Explanation {
        let (forecast, until) = self
            .forecast
            .unwrap_or((self.derive_forecast(), self.deadline));
        match forecast {
            ReleaseForecast::Released(_) => self.released(until),
            ReleaseForecast::ReleasedAfterAsking(_, wait) => self.released_after(wait, until),
            ReleaseForecast::NeedsApproval | ReleaseForecast::NeedsPerson => {
                self.needs_decision(forecast, until)
            }
            ReleaseForecast::Refused(Refusal::Denied) => self.denied(until),
            ReleaseForecast::Refused(_) => self.disabled(now),
        }
    }

    /// The forecast from the settings alone: denials are not seen.
    fn derive_forecast(&self) -> ReleaseForecast {
        let suspect = self.guard.and_then(|guard| guard.suspicion_in_force());
        if !self.enabled {
            ReleaseForecast::Refused(Refusal::Disabled)
        } else if suspect.is_some() {
            ReleaseForecast::NeedsPerson
        } else if self.pending.iter().all(|it| it.is_named) && self.approval_delay.is_zero() {
            ReleaseForecast::Released(Grant::NotNeeded)
        } else {
            ReleaseForecast::NeedsApproval
        }
    }

    /// The newest record of these kinds about the client itself. Older ones than the client are about another client
    /// that had its name.
    fn last_record(&self, kinds: &[RecordKind]) -> Option<&StateRecord> {
        let is_about_it = |it: &&StateRecord| {
            kinds.contains(&it.kind)
                && it.request.is_none()
                && self.created.is_none_or(|created| created <= it.time)
        };
        self.records?.iter().rev().find(is_about_it)
    }

    fn released(&self, until: Option<Wall>) -> Explanation {
        let state = self.guard.map_or(GuardState::Unarmed, |guard| guard.state);
        let (reason, since, gets) = match state {
            GuardState::Leaving => (
                "announced",
                self.last_checked_ok,
                ", and a boot gets its secret at once",
            ),
            GuardState::Quiet | GuardState::Opened => (
                "agent-silent",
                self.last_checked_ok,
                ", and a boot gets its secret at once",
            ),
            GuardState::Off | GuardState::Unarmed | GuardState::Up => (
                "enabled",
                self.last_enabled,
                " and gets its secret without approval",
            ),
        };
        explanation(
            ReleaseVerdict::Released,
            (reason, since, until),
            format!(
                "{} is enabled{gets}.{} {}{}",
                self.name,
                self.guard_sentences(),
                self.outlook(),
                self.beside_a_release()
            ),
        )
    }

    /// It would be held so long while its agent is asked.
    fn released_after(&self, wait: Duration, until: Option<Wall>) -> Explanation {
        explanation(
            ReleaseVerdict::Released,
            ("agent-asked", self.last_enabled, until),
            format!(
                "{} is enabled, and its agent is asked when a boot requests its secret: the boot gets it after {}, unless \
                 the agent answers in that time that the machine is up.{} {}{}",
                self.name,
                at_least_a_second(wait),
                self.guard_sentences(),
                self.outlook(),
                self.beside_a_release()
            ),
        )
    }

    /// Requests for named secrets that wait although the boot secret needs no decision.
    fn beside_a_release(&self) -> String {
        let pending = self.pending_sentence();
        pending.map_or_else(String::new, |pending| format!(" {pending}"))
    }

    fn needs_decision(&self, forecast: ReleaseForecast, until: Option<Wall>) -> Explanation {
        let (reason, rule) = self.rule_of_decision(forecast);
        let name = self.name;
        let text = match self.pending_sentence() {
            None => format!(
                "{name} is enabled; {rule}. No request is pending.{} {}",
                self.guard_sentences(),
                self.outlook()
            ),
            Some(pending) => format!("{pending}{}", self.guard_sentences()),
        };
        // Without a decision of a person it ends with the first of them.
        let decided = self.pending.iter().filter_map(|it| it.until).min();
        let until = until.into_iter().chain(decided).min();
        explanation(
            ReleaseVerdict::NeedsApproval,
            (reason, self.last_enabled, until),
            text,
        )
    }

    /// The reason word for a person's decision, and the rule in words.
    fn rule_of_decision(&self, forecast: ReleaseForecast) -> (&'static str, String) {
        let suspect = self.guard.and_then(|guard| guard.suspicion_in_force());
        match (forecast, suspect) {
            (ReleaseForecast::NeedsPerson, Some(_)) => (
                "suspect",
                "a person decides on each request, and without a decision it is refused".to_owned(),
            ),
            (ReleaseForecast::NeedsPerson, None) => (
                "unannounced",
                "a person decides on a boot that was not announced (unannounced = approve), and without a decision it \
                 is refused"
                    .to_owned(),
            ),
            _ => {
                let then = decision_by_default(self.approved_by_default);
                let delay = in_whole_seconds(self.approval_delay);
                let rule = format!(
                    "a request needs approval, and is {then} without a decision within {delay}"
                );
                ("needs-approval", rule)
            }
        }
    }

    fn denied(&self, until: Option<Wall>) -> Explanation {
        let record = self.last_record(&[RecordKind::Denied]);
        let because = match record {
            Some(it) => format!("{} denied it at {}", it.who(), at(it.time)),
            None => "an administrator denied it".to_owned(),
        };
        let end = match until {
            Some(deadline) if self.deadline == until => {
                format!(
                    ", and its deadline, {}, comes before the denial ends",
                    at(deadline)
                )
            }
            Some(end) => format!(", and the denial ends at {}", at(end)),
            None => String::new(),
        };
        explanation(
            ReleaseVerdict::Refused,
            ("denied", record.map(|it| it.time), until),
            format!(
                "{} gets no secret: {because}{end}. To lift the denial, run: nightlatch approve {}.{}",
                self.name,
                shell_word(self.name),
                self.guard_sentences()
            ),
        )
    }

    fn disabled(&self, now: Wall) -> Explanation {
        let newest = self.last_record(&[
            RecordKind::Enabled,
            RecordKind::Disabled,
            RecordKind::Expired,
        ]);
        let cause = newest.filter(|it| it.kind != RecordKind::Enabled);
        let (reason, because) = match (cause, self.last_enabled) {
            _ if self.needs_proof => (
                "state-lost",
                format!(
                    "the server's state was lost or an older one was restored, so it may have been disabled before; it \
                     needs an administrator, or {}",
                    self.missing_proof()
                ),
            ),
            (Some(record), _) => self.recorded_cause(record),
            (None, None) => ("never-enabled", "it was never enabled".to_owned()),
            (None, Some(_)) if self.records.is_some() => (
                "disabled",
                "it was disabled, and the audit log does not say why".to_owned(),
            ),
            (None, Some(enabled)) => self.likely_cause(enabled, now),
        };
        let never_enabled_since = self.created.filter(|_| self.last_enabled.is_none());
        let since = cause.map(|it| it.time).or(never_enabled_since);
        explanation(
            ReleaseVerdict::Refused,
            (reason, since, None),
            format!(
                "{} gets no secret: {because}. When the machine is in order, run: nightlatch enable {}.{}",
                self.name,
                shell_word(self.name),
                self.guard_sentences()
            ),
        )
    }

    /// The reason word and the cause of its being disabled, from the record of that.
    fn recorded_cause(&self, record: &StateRecord) -> (&'static str, String) {
        let time = at(record.time);
        // A client that is disabled can be seen up again.
        let seen = match self.last_checked_ok {
            Some(later) if later > record.time => "it was not seen up in time".to_owned(),
            seen => last_seen(seen),
        };
        let terms = format!(
            "its timeout is {}, or {} after its secret was delivered",
            in_whole_seconds(self.timeout),
            in_whole_seconds(self.extended_timeout)
        );
        if record.is_reason(DisableReason::Remembered) {
            let cause = DisableReason::Remembered.sentence();
            return ("disabled", format!("{cause}, which was found at {time}"));
        }
        // The record has the time at which that was found, not the deadline.
        if record.is_reason(DisableReason::ExpiredWhileDown) {
            let because = format!(
                "its deadline passed before {time}, while the server was down or had no section for it: {seen}, and \
                 {terms}"
            );
            return ("expired", because);
        }
        if record.kind == RecordKind::Expired {
            let because = format!("its deadline passed at {time}: {seen}, and {terms}");
            return ("expired", because);
        }
        (
            "disabled",
            format!("{} disabled it at {time}", record.who()),
        )
    }

    /// The likely cause of its being disabled, from its last proof of life and its timeout.
    fn likely_cause(&self, enabled: Wall, now: Wall) -> (&'static str, String) {
        let proof = self.last_checked_ok.unwrap_or(enabled).max(enabled);
        let (reason, conclusion) = match now.since(proof) >= self.timeout {
            true => (
                "expired",
                "has passed since: either its deadline passed without a proof of life, or a person disabled it",
            ),
            false => (
                "disabled",
                "has not passed since, so that probably a person disabled it",
            ),
        };
        let because = format!(
            "it is disabled. It was last enabled at {}, {}, and its timeout of {} {conclusion}. This server does not \
             show more",
            at(enabled),
            last_seen(self.last_checked_ok),
            in_whole_seconds(self.timeout)
        );
        (reason, because)
    }

    /// The proof of life that a lost state asks for.
    fn missing_proof(&self) -> &'static str {
        match self.guard {
            Some(guard) if guard.has_host_key => "a sign of life of its agent",
            _ => "a check that proves its private key",
        }
    }

    /// The next deadline and the last check.
    fn outlook(&self) -> String {
        let deadline = self.deadline;
        let deadline =
            deadline.map_or_else(String::new, |it| format!("Next deadline {}. ", at(it)));
        if self.is_armed() {
            return format!("{deadline}No check runs: its agent is its proof of life.");
        }
        let check = match self.last_check {
            CheckStatus::Exited(0) => "Its last check succeeded".to_owned(),
            CheckStatus::Never => "No check has ended yet".to_owned(),
            CheckStatus::Exited(status) => format!("Its last check failed with status {status}"),
            CheckStatus::Crashed => "Its last check was killed".to_owned(),
        };
        let interval = in_whole_seconds(self.interval);
        format!("{deadline}{check}; a check runs every {interval}.")
    }
}

fn last_seen(proof: Option<Wall>) -> String {
    match proof {
        Some(seen) => format!("it was last seen up at {}", at(seen)),
        None => "it was never seen up".to_owned(),
    }
}

fn explanation(
    verdict: ReleaseVerdict,
    (reason, since, until): (&str, Option<Wall>, Option<Wall>),
    text: String,
) -> Explanation {
    Explanation {
        verdict,
        reason: reason.to_owned(),
        since,
        until,
        text,
    }
}

/// A length of time that is not shown as none.
fn at_least_a_second(length: Duration) -> String {
    in_whole_seconds(length.max(Duration::from_secs(1)))
}

/// To the second.
fn at(wall: Wall) -> String {
    DateTime::from(wall).to_string()
}
