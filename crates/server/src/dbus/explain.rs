//! Why a client stands as it does: may it have its secret now, since when, and what to do.

use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_bus::moment;
use nightlatch_bus::own::Verdict;
use nightlatch_core::record::{Kind, Line};
use nightlatch_core::time::Wall;
use serde::Deserialize;
use zbus::Variant;

use super::wire::Map;
use crate::words;

/// The kinds of records that say why.
pub(super) const TELLING: &[Kind] = &[
    Kind::Enabled,
    Kind::Disabled,
    Kind::Expired,
    Kind::Approved,
    Kind::Denied,
];

/// What a record says of why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reason {
    kind: Kind,
    time: Wall,
    who: Option<String>,
}

/// What is read of a record's text.
#[derive(Deserialize)]
struct Text {
    time: String,
    kind: String,
    who: Option<String>,
}

impl Reason {
    /// Of a record that the server wrote itself.
    pub(super) fn read(line: &Line) -> Option<Self> {
        let text: Text = serde_json::from_str(&line.text).ok()?;
        let time = moment::parse(text.time.strip_suffix('Z')?).ok()??;
        Some(Self {
            kind: text.kind.parse().ok()?,
            time,
            who: text.who,
        })
    }
}

impl Reason {
    fn who(&self) -> &str {
        self.who.as_deref().unwrap_or("somebody")
    }
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Explanation {
    verdict: Verdict,
    reason: &'static str,
    since: Option<Wall>,
    until: Option<Wall>,
    text: String,
}

impl Explanation {
    /// Of a client that stands like `view`, of which the record says `reasons`, oldest first.
    pub(super) fn new(view: &ClientView, reasons: &[Reason], now: Wall) -> Self {
        let last = |kinds: &[Kind]| reasons.iter().rev().find(|it| kinds.contains(&it.kind));
        if !view.enabled {
            return disabled(view, last(&[Kind::Disabled, Kind::Expired]));
        }
        let decided = last(&[Kind::Approved, Kind::Denied])
            .map(|it| (it, it.time.after(view.approval_duration)))
            .filter(|(_, until)| now <= *until);
        match decided {
            Some((decision, until)) => of_decision(view, decision, until),
            None if !view.approval_delay.is_zero() => asks(view),
            None => enabled(view),
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

fn disabled(view: &ClientView, why: Option<&Reason>) -> Explanation {
    let (reason, because) = match why {
        None if view.last_enabled.is_none() => ("never-enabled", "it was never enabled".to_owned()),
        None => (
            "disabled",
            "it was disabled, and the record does not say why".to_owned(),
        ),
        Some(why) if why.kind == Kind::Expired => {
            let seen = match view.last_checked_ok {
                Some(seen) => format!("it was last seen up at {}", at(seen)),
                None => "it was never seen up".to_owned(),
            };
            let timeout = words::length(view.timeout);
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
    Explanation {
        verdict: Verdict::Refused,
        reason,
        since: why.map(|why| why.time),
        until: None,
        text: format!(
            "It gets no secret: {because}. When the machine is as it should be: nightlatch enable {}.",
            view.name
        ),
    }
}

fn of_decision(view: &ClientView, decision: &Reason, until: Wall) -> Explanation {
    let (name, who) = (&view.name, decision.who());
    let (since, end) = (at(decision.time), at(until));
    let (verdict, reason, text) = if decision.kind == Kind::Approved {
        let text = format!(
            "It gets its secret until {end}: {who} approved it at {since}. To take that back: \
             nightlatch deny {name}."
        );
        (Verdict::Released, "approved", text)
    } else {
        let text = format!(
            "It gets no secret until {end}: {who} denied it at {since}. To let it in: \
             nightlatch approve {name}."
        );
        (Verdict::Refused, "denied", text)
    };
    Explanation {
        verdict,
        reason,
        since: Some(decision.time),
        until: Some(until),
        text,
    }
}

fn asks(view: &ClientView) -> Explanation {
    let name = &view.name;
    let delay = words::length(view.approval_delay);
    let then = if view.approved_by_default {
        "it gets its secret"
    } else {
        "it is refused"
    };
    let text = if view.approval_pending {
        format!(
            "A request of it waits for a person. Without an answer within {delay} {then}. Answer with: \
             nightlatch approve {name}, or nightlatch deny {name}."
        )
    } else {
        format!(
            "It is enabled, and when it asks, a person is asked. Without an answer within {delay} {then}. \
             It does not ask now."
        )
    };
    Explanation {
        verdict: Verdict::Asks,
        reason: "needs-approval",
        since: view.last_enabled,
        until: view.expires,
        text,
    }
}

fn enabled(view: &ClientView) -> Explanation {
    let until = view.expires.map(at).unwrap_or_default();
    let check = match view.last_check {
        CheckStatus::Exited(0) => "Its last check succeeded".to_owned(),
        CheckStatus::Never => "It was not checked yet".to_owned(),
        CheckStatus::Exited(status) => format!("Its last check failed with status {status}"),
        CheckStatus::Crashed => "Its last check was killed".to_owned(),
    };
    let interval = words::length(view.interval);
    Explanation {
        verdict: Verdict::Released,
        reason: "enabled",
        since: view.last_enabled,
        until: view.expires,
        text: format!(
            "It gets its secret at once when it asks: it is enabled and needs no approval. It will be \
             disabled at {until} unless it proves to be up before. {check}; it is checked every {interval}."
        ),
    }
}

/// For people, to the second.
fn at(wall: Wall) -> String {
    let whole = Wall::from_unix_micros(wall.unix_micros().div_euclid(1_000_000) * 1_000_000);
    format!("{} UTC", moment::print(Some(whole)).replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nightlatch_bus::names::ClientPath;

    use super::*;

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
        }
    }

    fn reason(kind: Kind, minutes_ago: i64) -> Reason {
        Reason {
            kind,
            time: Wall::from_unix_micros(NOW.unix_micros() - minutes_ago * MINUTE),
            who: Some("uid 0 (root)".to_owned()),
        }
    }

    fn explained(view: &ClientView, reasons: &[Reason]) -> (Verdict, &'static str, String) {
        let Explanation {
            verdict,
            reason,
            text,
            ..
        } = Explanation::new(view, reasons, NOW);
        (verdict, reason, text)
    }

    #[test]
    fn a_decision_counts_for_its_duration_and_the_last_one_wins() {
        let view = view();
        let (yes, no) = (reason(Kind::Approved, 2), reason(Kind::Denied, 1));
        let explain = |reasons: &[Reason]| {
            let (verdict, reason, _) = explained(&view, reasons);
            (verdict, reason)
        };
        assert_eq!(
            explain(std::slice::from_ref(&yes)),
            (Verdict::Released, "approved")
        );
        assert_eq!(
            explain(&[yes.clone(), no.clone()]),
            (Verdict::Refused, "denied")
        );
        let old = [reason(Kind::Denied, 3)];
        assert_eq!(explain(&old), (Verdict::Released, "enabled"));
    }

    #[test]
    fn who_disabled_it_or_that_its_time_ran_out_is_told() {
        let mut view = view();
        view.enabled = false;
        let (verdict, why, text) = explained(&view, &[reason(Kind::Disabled, 5)]);
        assert_eq!((verdict, why), (Verdict::Refused, "disabled"));
        assert!(
            text.contains("uid 0 (root) disabled it at 2023-11-14 22:08:20 UTC"),
            "{text}"
        );
        let reasons = [
            reason(Kind::Disabled, 9),
            reason(Kind::Enabled, 8),
            reason(Kind::Expired, 5),
        ];
        let (_, why, text) = explained(&view, &reasons);
        assert_eq!(why, "expired");
        assert!(
            text.contains("its timeout is 5m") && text.contains("nightlatch enable db"),
            "{text}"
        );
        view.last_enabled = None;
        assert_eq!(explained(&view, &[]).1, "never-enabled");
    }

    #[test]
    fn who_must_be_asked_is_asked() {
        let mut view = view();
        view.approval_delay = Duration::from_secs(60);
        let (verdict, why, text) = explained(&view, &[]);
        assert_eq!((verdict, why), (Verdict::Asks, "needs-approval"));
        assert!(text.contains("within 1m it is refused"), "{text}");
        view.approval_pending = true;
        let (_, _, text) = explained(&view, &[]);
        assert!(
            text.starts_with("A request of it waits for a person."),
            "{text}"
        );
    }
}
