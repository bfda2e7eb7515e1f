//! Explains the state of a client: the forecast of the registry, the time and the person from the audit log, and
//! the command that changes it.

use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_bus::moment;
use nightlatch_bus::own::ReleaseVerdict;
use nightlatch_core::calendar::DateTime;
use nightlatch_core::duration::in_whole_seconds;
use nightlatch_core::event::Refusal;
use nightlatch_core::record::{RecordKind, RecordLine};
use nightlatch_core::registry::ReleaseForecast;
use nightlatch_core::time::Wall;
use serde::Deserialize;
use zbus::Variant;

use super::wire::Map;
use crate::driver::{self, WaitingRequest};

/// The kinds of records that say why.
pub(super) const EXPLAINING_KINDS: &[RecordKind] = &[
    RecordKind::Enabled,
    RecordKind::Disabled,
    RecordKind::Expired,
    RecordKind::Denied,
];

/// The cause of a client's state, as the audit log has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reason {
    kind: RecordKind,
    time: Wall,
    who: Option<String>,
    reason: Option<String>,
}

/// The keys of a record that an explanation needs.
#[derive(Deserialize)]
struct StoredRecord {
    time: String,
    kind: String,
    who: Option<String>,
    reason: Option<String>,
}

impl Reason {
    fn who(&self) -> &str {
        self.who.as_deref().unwrap_or("somebody")
    }

    /// Of a record that the server wrote itself.
    pub(super) fn read(line: &RecordLine) -> Option<Self> {
        let text: StoredRecord = serde_json::from_str(&line.text).ok()?;
        let time = moment::parse(text.time.strip_suffix('Z')?).ok()??;
        Some(Self {
            kind: text.kind.parse().ok()?,
            time,
            who: text.who,
            reason: text.reason,
        })
    }
}

/// The answer to `Explain`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClientExplanation {
    verdict: ReleaseVerdict,
    reason: &'static str,
    since: Option<Wall>,
    until: Option<Wall>,
    text: String,
}

impl ClientExplanation {
    /// Of a client that looks like `view`, which would get `standing` for as long as `until`, and of which the
    /// record says `reasons`, oldest first.
    pub(super) fn new(
        view: &ClientView,
        standing: ReleaseForecast,
        until: Option<Wall>,
        reasons: &[Reason],
        waiting: &[WaitingRequest],
    ) -> Self {
        let last = |kinds: &[RecordKind]| reasons.iter().rev().find(|it| kinds.contains(&it.kind));
        match standing {
            ReleaseForecast::Refused(Refusal::Denied) => {
                denied(view, last(&[RecordKind::Denied]), until)
            }
            ReleaseForecast::Released(_) => enabled(view, until),
            ReleaseForecast::NeedsApproval => asks(view, until, waiting),
            ReleaseForecast::Refused(_) => {
                disabled(view, last(&[RecordKind::Disabled, RecordKind::Expired]))
            }
        }
    }

    /// As it goes to the bus.
    pub(super) fn to_dict(&self) -> Map<&'static str, Variant<'static>> {
        let mut dict = vec![
            ("verdict", Variant::from(self.verdict.as_str())),
            ("reason", Variant::from(self.reason)),
        ];
        let millis = |wall: Wall| Variant::from(wall.unix_micros().div_euclid(1000));
        dict.extend(self.since.map(|since| ("since", millis(since))));
        dict.extend(self.until.map(|until| ("until", millis(until))));
        dict.push(("text", Variant::from(self.text.clone())));
        Map(dict)
    }
}

fn disabled(view: &ClientView, why: Option<&Reason>) -> ClientExplanation {
    let (reason, because) = match why {
        _ if view.needs_proof => (
            "state-lost",
            "the server's state was lost or an older one was restored, so it may have been disabled before; \
             it needs an administrator, or a check that proves its private key"
                .to_owned(),
        ),
        Some(why) if why.reason.as_deref() == Some("remembered") => (
            "disabled",
            format!(
                "it was disabled when its section left the configuration, and the section returned at {}",
                at(why.time)
            ),
        ),
        None if view.last_enabled.is_none() => ("never-enabled", "it was never enabled".to_owned()),
        None => (
            "disabled",
            "it was disabled, and the audit log no longer says why".to_owned(),
        ),
        Some(why) if why.kind == RecordKind::Expired => {
            let seen = match view.last_checked_ok {
                Some(seen) => format!("it was last seen up at {}", at(seen)),
                None => "it was never seen up".to_owned(),
            };
            let timeout = in_whole_seconds(view.timeout);
            let since = at(why.time);
            (
                "expired",
                format!("its deadline passed at {since}: {seen}, and its timeout is {timeout}"),
            )
        }
        Some(why) => {
            let (who, since) = (why.who(), at(why.time));
            ("disabled", format!("{who} disabled it at {since}"))
        }
    };
    ClientExplanation {
        verdict: ReleaseVerdict::Refused,
        reason,
        since: why.map(|why| why.time),
        until: None,
        text: format!(
            "{name} gets no secret: {because}. When the machine is in order, run: nightlatch enable {name}.",
            name = view.name
        ),
    }
}

fn denied(view: &ClientView, denial: Option<&Reason>, until: Option<Wall>) -> ClientExplanation {
    let name = &view.name;
    let end = until.map_or_else(|| "the denial ends".to_owned(), at);
    let because = match denial {
        Some(denial) => format!("{} denied it at {}", denial.who(), at(denial.time)),
        None => "somebody denied it".to_owned(),
    };
    ClientExplanation {
        verdict: ReleaseVerdict::Refused,
        reason: "denied",
        since: denial.map(|denial| denial.time),
        until,
        text: format!(
            "{name} gets no secret until {end}: {because}. To take the denial back, run: nightlatch approve {name}."
        ),
    }
}

fn asks(view: &ClientView, until: Option<Wall>, waiting: &[WaitingRequest]) -> ClientExplanation {
    let name = &view.name;
    let delay = in_whole_seconds(view.approval_delay);
    let then = if view.approved_by_default {
        "granted"
    } else {
        "refused"
    };
    let text = match waiting {
        [] => format!(
            "{name} is enabled; a request needs approval, and is {then} without a decision within {delay}. \
             No request is pending."
        ),
        [only] => format!(
            "{name} has a pending request: {only}. It is {then} without a decision within {delay}. Decide \
             with: nightlatch approve {name}, or nightlatch deny {name}."
        ),
        several => driver::several(several) + ".",
    };
    ClientExplanation {
        verdict: ReleaseVerdict::NeedsApproval,
        reason: "needs-approval",
        since: view.last_enabled,
        until,
        text,
    }
}

fn enabled(view: &ClientView, until: Option<Wall>) -> ClientExplanation {
    let end = until.map(at).unwrap_or_default();
    let check = match view.last_check {
        CheckStatus::Exited(0) => "Its last check succeeded".to_owned(),
        CheckStatus::Never => "No check has ended yet".to_owned(),
        CheckStatus::Exited(status) => format!("Its last check failed with status {status}"),
        CheckStatus::Crashed => "Its last check was killed".to_owned(),
    };
    let interval = in_whole_seconds(view.interval);
    ClientExplanation {
        verdict: ReleaseVerdict::Released,
        reason: "enabled",
        since: view.last_enabled,
        until,
        text: format!(
            "{} is enabled and gets its secret without approval. Next deadline {end}. {check}; a check runs \
             every {interval}.",
            view.name
        ),
    }
}

/// For people, to the second.
fn at(wall: Wall) -> String {
    DateTime::from(wall).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nightlatch_bus::names::ClientPath;
    use nightlatch_core::event::RequestId;
    use nightlatch_core::key_id::KeyId;
    use nightlatch_core::name::ClientName;
    use nightlatch_proto::greeting::GreetingOptions;

    use super::*;
    use crate::session::SecretRequest;

    const MINUTE: i64 = 60_000_000;
    const NOW: Wall = Wall::from_unix_micros(1_700_000_000_000_000);

    fn view() -> ClientView {
        ClientView {
            path: ClientPath::of_name("db"),
            name: "db".to_owned(),
            key_id: String::new(),
            fingerprint: String::new(),
            host: String::new(),
            checker: String::new(),
            enabled: true,
            expires: Some(NOW.after(Duration::from_secs(300))),
            timeout: Duration::from_secs(300),
            extended_timeout: Duration::from_secs(900),
            interval: Duration::from_secs(120),
            checker_running: false,
            last_check: CheckStatus::Exited(0),
            last_checked_ok: Some(NOW),
            created: Some(NOW),
            last_enabled: Some(NOW),
            approval_pending: false,
            approved_by_default: false,
            approval_delay: Duration::ZERO,
            approval_duration: Duration::from_secs(120),
            last_approval_request: None,
            needs_proof: false,
        }
    }

    fn reason(kind: RecordKind, minutes_ago: i64) -> Reason {
        Reason {
            kind,
            time: Wall::from_unix_micros(NOW.unix_micros() - minutes_ago * MINUTE),
            who: Some("uid 0 (root)".to_owned()),
            reason: None,
        }
    }

    fn explained(
        view: &ClientView,
        standing: ReleaseForecast,
        reasons: &[Reason],
    ) -> (ReleaseVerdict, &'static str, String) {
        let ClientExplanation {
            verdict,
            reason,
            text,
            ..
        } = ClientExplanation::new(view, standing, view.expires, reasons, &[]);
        (verdict, reason, text)
    }

    #[test]
    fn who_decided_is_told() {
        let reasons = [reason(RecordKind::Denied, 1)];
        let denied = ReleaseForecast::Refused(Refusal::Denied);
        let (verdict, why, text) = explained(&view(), denied, &reasons);
        assert_eq!((verdict, why), (ReleaseVerdict::Refused, "denied"));
        assert!(text.contains("uid 0 (root) denied it"), "{text}");
        // What the record has no more is not invented.
        let (_, why, text) = explained(&view(), denied, &[]);
        assert_eq!(why, "denied");
        assert!(text.contains("somebody denied it"), "{text}");
    }

    #[test]
    fn who_disabled_it_or_that_its_time_ran_out_is_told() {
        let mut view = view();
        view.enabled = false;
        view.expires = None;
        let gone = ReleaseForecast::Refused(Refusal::Disabled);
        let (verdict, why, text) = explained(&view, gone, &[reason(RecordKind::Disabled, 5)]);
        assert_eq!((verdict, why), (ReleaseVerdict::Refused, "disabled"));
        assert!(
            text.contains("uid 0 (root) disabled it at 2023-11-14 22:08:20 UTC"),
            "{text}"
        );
        let reasons = [
            reason(RecordKind::Disabled, 9),
            reason(RecordKind::Enabled, 8),
            reason(RecordKind::Expired, 5),
        ];
        let (_, why, text) = explained(&view, gone, &reasons);
        assert_eq!(why, "expired");
        assert!(
            text.contains("its timeout is 5m") && text.contains("nightlatch enable db"),
            "{text}"
        );
        view.last_enabled = None;
        assert_eq!(explained(&view, gone, &[]).1, "never-enabled");
    }

    fn waiting(number: u64) -> WaitingRequest {
        WaitingRequest {
            request: SecretRequest {
                id: RequestId(number),
                key: KeyId::from_bytes([7; 32]).unwrap(),
                address: "192.0.2.7:4711".parse().unwrap(),
                greeting: GreetingOptions::default(),
            },
            client: ClientName::new("db").unwrap(),
            since: NOW,
            until: NOW,
            approved_by_default: false,
        }
    }

    #[test]
    fn who_must_be_asked_is_asked_and_who_asks_is_told_apart() {
        let mut view = view();
        view.approval_delay = Duration::from_secs(60);
        let asked = |waiting: &[WaitingRequest]| {
            let told =
                ClientExplanation::new(&view, ReleaseForecast::NeedsApproval, None, &[], waiting);
            assert_eq!(
                (told.verdict, told.reason),
                (ReleaseVerdict::NeedsApproval, "needs-approval")
            );
            told.text
        };
        let text = asked(&[]);
        assert!(
            text.contains("is refused without a decision within 1m"),
            "{text}"
        );
        let text = asked(&[waiting(4)]);
        assert!(
            text.starts_with("db has a pending request: 4 from 192.0.2.7:4711"),
            "{text}"
        );
        let text = asked(&[waiting(4), waiting(5)]);
        assert!(
            text.contains("; 5 from 192.0.2.7:4711")
                && text.contains("nightlatch approve db --request NUMBER"),
            "{text}"
        );
    }
}
