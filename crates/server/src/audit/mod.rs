//! What goes into the record: an event of the registry, with who and where, as one line of JSON.
//!
//! `docs/dbus.md` describes the keys. Nothing of a secret is ever among them.

#![deny(clippy::wildcard_enum_match_arm)]

mod command;
mod settings;

use std::sync::Arc;

use nightlatch_core::calendar::DateTime;
use nightlatch_core::checker::LastCheck;
use nightlatch_core::event::quota::Class;
use nightlatch_core::event::{Alarm, Event};
use nightlatch_core::name::ClientName;
use nightlatch_core::record::{Entry, Kind};
use nightlatch_core::settings::client::ClientSettings;
use nightlatch_core::time::Wall;
use serde::Serialize;

use crate::session::SecretRequest;
use crate::words;

pub(crate) use command::AlarmCommand;

/// Who gave an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// Nobody: the server by its rules.
    Server,
    /// The configuration, read at the start or anew.
    Configuration,
    /// Somebody on the bus, in words: `uid 0 (root)`.
    User(Arc<str>),
}

impl Who {
    fn as_str(&self) -> &str {
        match self {
            Self::Server => "server",
            Self::Configuration => "configuration",
            Self::User(user) => user,
        }
    }
}

/// What is known beside the event itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) time: Wall,
    pub(crate) client: Option<&'a ClientName>,
    /// The client's settings now.
    pub(crate) settings: Option<&'a ClientSettings>,
    pub(crate) request: Option<&'a SecretRequest>,
    pub(crate) who: &'a Who,
}

/// An entry's text.
#[derive(Serialize, Default)]
struct Text<'a> {
    time: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    who: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// What an event says beside its kind.
#[derive(Default)]
struct Says {
    decision: Option<&'static str>,
    reason: Option<&'static str>,
    alarm: Option<Alarm>,
    detail: Option<String>,
}

const RELEASE: Option<&str> = Some("release");
const REFUSE: Option<&str> = Some("refuse");

/// The entry for an event; `None` for what is not recorded.
pub(crate) fn entry(event: &Event, context: Context<'_>) -> Option<Entry> {
    let kind = event.kind()?;
    Some(write(kind, says(event, context.settings), context))
}

/// The entry that stands for those of `class` that a quota leaves out from now on.
pub(crate) fn left_out_until(until: Wall, class: &Class, context: Context<'_>) -> Entry {
    let (kind, until) = (class.kind, timestamp(until));
    let detail = format!("more entries of the kind {kind} are counted only, until {until}");
    of_class(detail, class, context)
}

/// The entry with the number of those that were left out.
pub(crate) fn left_out(count: u64, class: &Class, context: Context<'_>) -> Entry {
    let detail = format!(
        "entries of the kind {} that were left out: {count}",
        class.kind
    );
    of_class(detail, class, context)
}

/// It is an alarm when they were alarms.
fn of_class(detail: String, class: &Class, context: Context<'_>) -> Entry {
    let says = Says {
        alarm: class.alarm,
        detail: Some(detail),
        ..Says::default()
    };
    write(Kind::LeftOut, says, context)
}

/// An entry of the server itself.
pub(crate) fn of_server(kind: Kind, detail: String, context: Context<'_>) -> Entry {
    let says = Says {
        detail: Some(detail),
        ..Says::default()
    };
    write(kind, says, context)
}

/// The word by which repeats of an event about one client are told as one; `None` for an event that no person
/// must see at once.
pub(crate) fn calls_for_a_person(event: &Event) -> Option<&'static str> {
    if let Event::NeedsApproval { .. } = event {
        return Some(Kind::Waits.as_str());
    }
    event.alarm().map(words::alarm)
}

fn says(event: &Event, client: Option<&ClientSettings>) -> Says {
    let mut says = Says {
        alarm: event.alarm(),
        ..Says::default()
    };
    match event {
        Event::Granted { grant, .. } => {
            says.decision = RELEASE;
            says.reason = Some(words::grant(*grant));
        }
        Event::Refused { reason, .. } | Event::Revoked { reason, .. } => {
            says.decision = REFUSE;
            says.reason = Some(words::refusal(*reason));
        }
        Event::NeedsApproval {
            approved_by_default,
            ..
        } => {
            says.decision = Some("ask");
            let then = if *approved_by_default {
                "released"
            } else {
                "refused"
            };
            says.detail = Some(format!("without an answer it will be {then}"));
        }
        Event::Denied(_) => {
            says.detail = Some("all requests, for its approval_duration".to_owned());
        }
        Event::RehearsalsAllowed(_, length) => {
            says.detail = Some(match length.is_zero() {
                true => "no more".to_owned(),
                false => format!("without an alarm, for {} from now", words::length(*length)),
            });
        }
        Event::Disabled(_, reason) => says.reason = Some(words::disabled(*reason)),
        Event::CheckFinished(_, LastCheck::Exited(status)) => {
            says.detail = Some(format!("exit status {status}"));
        }
        Event::CheckFinished(_, LastCheck::Signaled(signal)) => {
            says.detail = Some(format!("killed by signal {signal}"));
        }
        Event::Changed(_, keys) => {
            let settings = keys.iter().map(|key| settings::value(client, key));
            says.detail = Some(settings.collect::<Vec<_>>().join("; "));
        }
        Event::TombstoneDropped(name) => {
            says.detail = Some(format!(
                "what was remembered of {name}, which left the configuration, is dropped: too many have left"
            ));
        }
        // Their kind says all of it.
        Event::DeliveryFailed { .. }
        | Event::Abandoned { .. }
        | Event::DenialLifted(_)
        | Event::Decided { .. }
        | Event::Alarmed(..)
        | Event::CheckedOk(_)
        | Event::Added(_)
        | Event::Removed(..)
        | Event::Enabled(_)
        | Event::Delivered { .. }
        | Event::CheckStarted(_)
        | Event::CheckStopping(_)
        | Event::CheckFinished(_, LastCheck::None) => {}
    }
    if let Some(alarm) = says.alarm {
        says.detail = Some(words::alarm_sentence(alarm));
    }
    says
}

fn write(kind: Kind, says: Says, context: Context<'_>) -> Entry {
    let Context {
        time,
        client,
        request,
        who,
        ..
    } = context;
    let text = Text {
        time: timestamp(time),
        kind: kind.as_str(),
        client: client.map(ClientName::as_str),
        request: request.map(|request| request.id.0),
        key_id: request.map(|request| request.key.to_string()),
        peer: request.map(|request| request.address.to_string()),
        interface: request.and_then(SecretRequest::interface),
        boot: request
            .and_then(|request| request.greeting.boot)
            .map(|boot| boot.to_string()),
        decision: says.decision,
        reason: says.reason,
        who: who.as_str(),
        alarm: says.alarm.map(words::alarm),
        detail: says.detail,
    };
    // Text and numbers always make JSON.
    let json = serde_json::to_string(&text).unwrap_or_default();
    Entry {
        time,
        kind,
        client: client.cloned(),
        alarm: text.alarm.is_some() || kind == Kind::Lost,
        text: json.into(),
    }
}

/// RFC 3339, UTC, to the microsecond.
pub(crate) fn timestamp(wall: Wall) -> String {
    DateTime::from(wall).to_rfc3339()
}
