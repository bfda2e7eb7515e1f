//! Records for the audit log: what the core says of an event, with who and where, as one line of JSON.
//!
//! `docs/dbus.md` describes the keys. Nothing of a secret is ever among them.

mod command;

use std::sync::Arc;

use nightlatch_core::calendar::DateTime;
use nightlatch_core::event::{Alarm, RecordContent};
use nightlatch_core::name::ClientName;
use nightlatch_core::record::RecordEntry;
use nightlatch_core::time::Wall;
use serde::Serialize;

use crate::session::SecretRequest;

pub(crate) use command::AlarmCommand;

/// Author of a change, as records name it.
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

/// The facts of a record that the server adds to what `core` decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) time: Wall,
    pub(crate) client: Option<&'a ClientName>,
    pub(crate) request: Option<&'a SecretRequest>,
    pub(crate) who: &'a Who,
}

/// An entry's text.
#[derive(Serialize, Default)]
struct RecordText<'a> {
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
    secret: Option<String>,
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

/// The entry that says this.
pub(crate) fn entry(content: RecordContent, context: Context<'_>) -> RecordEntry {
    let Context {
        time,
        client,
        request,
        who,
    } = context;
    let alarm = content.is_alarm();
    let text = RecordText {
        time: DateTime::from(time).to_rfc3339(),
        kind: content.kind.as_str(),
        client: client.map(ClientName::as_str),
        request: request.map(|request| request.id.0),
        key_id: request.map(|request| request.key.to_string()),
        peer: request.map(|request| request.address.to_string()),
        interface: request.and_then(SecretRequest::interface),
        boot: request
            .and_then(|request| request.claims.boot)
            .map(|boot| boot.to_string()),
        secret: content.secret.map(|name| name.to_string()),
        decision: content.decision,
        reason: content.reason,
        who: who.as_str(),
        alarm: content.alarm.map(Alarm::as_str),
        detail: content.detail,
    };
    // Text and numbers always make JSON.
    let json = serde_json::to_string(&text).unwrap_or_default();
    RecordEntry {
        time,
        kind: content.kind,
        client: client.cloned(),
        alarm,
        text: json.into(),
    }
}
