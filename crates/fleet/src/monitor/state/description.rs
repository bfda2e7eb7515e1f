//! The text of the details of one client: the reason for its state, its settings, its history.

use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_bus::moment;
use nightlatch_console::output::human::length;
use nightlatch_core::event::decision_by_default;
use nightlatch_core::time::Wall;

use crate::guard;
use crate::monitor::event::EventTime;
use crate::monitor::state::State;
use crate::monitor::text::{Break, ago, roughly, wrap};
use crate::monitor::theme::Role;
use crate::state::ClientState;
use crate::verbs::log::record::Record;

/// Columns for the labels.
pub(crate) const LABEL: u16 = 14;

pub(crate) struct DetailLine {
    pub(crate) label: &'static str,
    pub(crate) text: String,
    pub(crate) role: Role,
}

impl State {
    /// The lines of the details of the client that keys work on, for a pane of `width` columns.
    pub(crate) fn description(&self, width: u16) -> Vec<DetailLine> {
        lines(self, width)
    }
}

fn lines(state: &State, width: u16) -> Vec<DetailLine> {
    let Some((_, client)) = state.target() else {
        return Vec::new();
    };
    let room = usize::from(width.saturating_sub(LABEL + 1)).max(1);
    let mut lines = Vec::new();
    let mut put = |label: &'static str, text: &str, role: Role| {
        let clean = state.look.charset.clean(text);
        for (index, part) in wrap(&clean, room, Break::Words).into_iter().enumerate() {
            lines.push(DetailLine {
                label: if index == 0 { label } else { "" },
                text: part.to_owned(),
                role,
            });
        }
    };
    let standing = ClientState::of(client);
    put("State", standing.word(), Role::of(standing));
    put("Why", &reason(state, client), Role::Plain);
    if let Some(guard) = guard::line(client, |wall| date(wall, state.clock)) {
        put("Guard", &guard, Role::Plain);
    }
    if let Some(reason) = client.guard.suspect {
        put("Suspect", guard::suspicion(reason), Role::Bad);
    }
    for (label, text) in settings(client, state.clock) {
        put(label, &text, Role::Plain);
    }
    let records = state
        .details
        .as_ref()
        .and_then(|details| details.records.as_ref());
    if let Some(records) = records {
        // The newest first: it is what one looks for.
        for (index, record) in records.iter().rev().enumerate() {
            let label = if index == 0 { "History" } else { "" };
            let role = if record.alarm.is_some() {
                Role::Bad
            } else {
                Role::Plain
            };
            put(label, &sentence(record, state.clock), role);
        }
    }
    lines
}

/// The server's own reason, or what its properties say.
fn reason(state: &State, client: &ClientView) -> String {
    let server_reason = state
        .details
        .as_ref()
        .and_then(|details| details.reason.as_ref());
    server_reason
        .cloned()
        .unwrap_or_else(|| client.facts().explain(state.clock.wall).text)
}

fn settings(client: &ClientView, clock: EventTime) -> Vec<(&'static str, String)> {
    let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
    let at = |wall: Option<Wall>| wall.map_or("never".to_owned(), |wall| date(wall, clock));
    let check = match client.last_check {
        _ if client.has_agent() => "none: its agent is its proof of life".to_owned(),
        CheckStatus::Never => "none has ended".to_owned(),
        CheckStatus::Crashed => "was killed".to_owned(),
        CheckStatus::Exited(0) => "succeeded".to_owned(),
        CheckStatus::Exited(status) => format!("failed with exit status {status}"),
    };
    let running = if client.checker_running {
        ", one is running"
    } else {
        ""
    };
    let approval = if client.needs_person() {
        "asked for until its deadline, then refused".to_owned()
    } else if client.needs_approval() {
        let then = decision_by_default(client.approved_by_default);
        let delay = length(client.approval_delay);
        format!(
            "{then} after {delay}; a decision counts {}",
            length(client.approval_duration)
        )
    } else {
        "not asked for".to_owned()
    };
    let time = format!(
        "{} after a check, {} after a delivery",
        length(client.timeout),
        length(client.extended_timeout)
    );
    let deadline = client.expires.filter(|_| client.enabled);
    let deadline = deadline.map_or("none".to_owned(), |at| date(at, clock));
    vec![
        ("Host", or_none(&client.host)),
        ("Checker", or_none(&client.checker)),
        ("Checked", format!("every {}", length(client.interval))),
        ("Last check", format!("{check}{running}")),
        ("Last seen", at(client.last_checked_ok)),
        ("Deadline", deadline),
        ("Timeout", time),
        ("Approval", approval),
        ("Last asked", at(client.last_approval_request)),
        ("Last enabled", at(client.last_enabled)),
        ("Created", at(client.created)),
        ("Key ID", or_none(&client.key_id)),
        ("Fingerprint", or_none(&client.fingerprint)),
    ]
}

/// A point in time as the clocks here show it, and how far it is.
fn date(wall: Wall, clock: EventTime) -> String {
    let text = clock.local(wall).to_second(' ');
    if wall <= clock.wall {
        format!("{text}, {}", ago(clock.wall.since(wall)))
    } else {
        format!("{text}, in {}", roughly(wall.since(clock.wall)))
    }
}

fn sentence(record: &Record, clock: EventTime) -> String {
    let time = moment::parse(record.time.trim_end_matches('Z'))
        .ok()
        .flatten();
    let mut text = time.map_or_else(
        || record.time.clone(),
        |time| clock.local(time).to_second(' '),
    );
    text.push_str("  ");
    text.push_str(&record.kind);
    if let Some(alarm) = &record.alarm {
        text.push_str(&format!(" ALARM {alarm}"));
    }
    let more = [&record.reason, &record.detail].into_iter().flatten();
    for word in more {
        text.push_str(": ");
        text.push_str(word);
    }
    if let Some(peer) = &record.peer {
        text.push_str(&format!(", from {peer}"));
    }
    if let Some(who) = &record.who {
        text.push_str(&format!(", by {who}"));
    }
    text
}
