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
    let name = &view.name;
    let (reason, because) = match why {
        None if view.last_enabled.is_none() => ("never-enabled", "it was never enabled".to_owned()),
        Some(why) if why.kind == Kind::Expired => {
            let seen = match view.last_checked_ok {
                Some(seen) => format!("it was last seen up at {}", at(seen)),
                None => "it was never seen up".to_owned(),
            };
            let since = at(why.time);
            let timeout = words::length(view.timeout);
            (
                "expired",
                format!("{since} its deadline passed: {seen}, and its timeout is {timeout}"),
            )
        }
        Some(why) => {
            let who = why.who.as_deref().unwrap_or("somebody");
            ("disabled", format!("{} {who} disabled it", at(why.time)))
        }
        None => (
            "disabled",
            "it was disabled, and the record does not say why".to_owned(),
        ),
    };
    Explanation {
        verdict: Verdict::Refused,
        reason,
        since: why.map(|why| why.time),
        until: None,
        text: format!(
            "{name} may not have its secret: {because}. If the machine is where it belongs and nobody \
             tampered with it: nightlatch enable {name}"
        ),
    }
}

fn of_decision(view: &ClientView, decision: &Reason, until: Wall) -> Explanation {
    let name = &view.name;
    let who = decision.who.as_deref().unwrap_or("somebody");
    let (since, end) = (at(decision.time), at(until));
    let approved = decision.kind == Kind::Approved;
    let (verdict, reason, text) = if approved {
        (
            Verdict::Released,
            "approved",
            format!(
                "{name} may have its secret until {end}: {since} {who} approved it. To take that back: nightlatch deny {name}"
            ),
        )
    } else {
        (
            Verdict::Refused,
            "denied",
            format!(
                "{name} may not have its secret until {end}: {since} {who} denied it. To let it in: nightlatch approve {name}"
            ),
        )
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
    let waits = if view.approval_pending {
        format!("It waits now: nightlatch approve {name}, or nightlatch deny {name}")
    } else {
        "It does not ask now".to_owned()
    };
    Explanation {
        verdict: Verdict::Asks,
        reason: "needs-approval",
        since: view.last_enabled,
        until: view.expires,
        text: format!(
            "{name} is enabled, and a person is asked: within {delay} somebody can approve or deny it, \
             else {then}. {waits}"
        ),
    }
}

fn enabled(view: &ClientView) -> Explanation {
    let name = &view.name;
    let until = view.expires.map(at).unwrap_or_default();
    let check = match view.last_check {
        CheckStatus::Exited(0) => "Its last check succeeded".to_owned(),
        CheckStatus::Never => "It was not checked yet".to_owned(),
        CheckStatus::Exited(status) => format!("Its last check failed with status {status}"),
        CheckStatus::Crashed => "Its last check was killed".to_owned(),
    };
    let next = words::length(view.interval);
    Explanation {
        verdict: Verdict::Released,
        reason: "enabled",
        since: view.last_enabled,
        until: view.expires,
        text: format!(
            "{name} may have its secret: it is enabled until {until} unless it is seen up before. {check}; \
             it is checked every {next}"
        ),
    }
}

/// For people, to the second.
fn at(wall: Wall) -> String {
    let whole = Wall::from_unix_micros(wall.unix_micros().div_euclid(1_000_000) * 1_000_000);
    format!("{} UTC", moment::print(Some(whole)).replacen('T', " ", 1))
}
