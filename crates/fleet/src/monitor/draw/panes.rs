//! The requests that wait, and the log.

use ratatui::layout::Rect;

use nightlatch_core::event::decision_by_default;

use crate::monitor::draw::brush::Brush;
use crate::monitor::keys::{BINDINGS, Command};
use crate::monitor::layout::Areas;
use crate::monitor::state::log::Severity;
use crate::monitor::state::{Pane, State};
use crate::monitor::text::{Break, exactly, wrap};
use crate::monitor::theme::Role;

/// Draws the requests, with the keys that answer them.
pub(crate) fn requests(brush: &mut Brush<'_>, state: &State, areas: &Areas) {
    let area = areas.requests;
    if area.height == 0 {
        return;
    }
    let waiting = state.waiting();
    let title = format!(
        "Waiting for you: {}   {}: yes  {}: no",
        waiting.len(),
        key(Command::Yes),
        key(Command::No)
    );
    brush.rule(area.x, area.y - 1, area.width, &title, Role::Question);
    let now = state.clock.wall;
    let rows = waiting
        .iter()
        .skip(state.request.top)
        .take(areas.request_rows());
    for (id, y) in rows.zip(area.y..) {
        let Some(client) = state.fleet.get(*id) else {
            continue;
        };
        let when = client
            .decided_at()
            .map_or_else(String::new, |at| format!(" in {}", exactly(at.since(now))));
        let then = decision_by_default(client.granted_by_default());
        let suspect = match client.guard.suspect {
            Some(reason) => format!(", suspect ({})", reason.as_str()),
            None => String::new(),
        };
        let secret = match &client.guard.waiting_secrets[..] {
            "" => String::new(),
            names => format!(", named secret {names}"),
        };
        let text = format!("{then}{when}{secret}{suspect}");
        let columns = &areas.columns;
        let width = columns.name.width.min(area.width);
        brush.text(columns.name.x, y, width, &client.name, Role::Plain);
        let x = columns.name.x + width + 2;
        brush.text(x, y, area.width.saturating_sub(x), &text, Role::Question);
        if state.request.client == Some(*id) {
            brush.text(area.x, y, 1, brush.glyphs().mark, Role::Question);
            if state.focus == Pane::Requests {
                brush.mark(Rect {
                    y,
                    height: 1,
                    ..area
                });
            }
        }
    }
}

/// The first key of a command, as the table has it.
fn key(command: Command) -> String {
    let binding = BINDINGS.iter().find(|binding| binding.command == command);
    let key = binding.and_then(|binding| binding.keys().next());
    key.map_or_else(String::new, |key| key.to_string())
}

pub(crate) fn title_role(state: &State, pane: Pane) -> Role {
    if state.focus == pane {
        Role::Active
    } else {
        Role::Heading
    }
}

/// Columns of the time before a line of the log.
const TIME: u16 = 10;

/// Draws the log: the last lines that fit.
pub(crate) fn log(brush: &mut Brush<'_>, state: &State, areas: &Areas) {
    let area = areas.log;
    if area.height == 0 {
        return;
    }
    let mut title = "Log".to_owned();
    if state.log.verbose {
        title.push_str(", every check");
    }
    if state.log.below > 0 {
        title.push_str(&format!(", {} newer below", state.log.below));
    }
    let role = title_role(state, Pane::Log);
    brush.rule(area.x, area.y - 1, area.width, &title, role);
    let room = area.width.saturating_sub(TIME + 1);
    let charset = state.look.charset;
    let mut rows = Vec::new();
    for line in state.log.backwards() {
        let text = charset.clean(&line.text);
        let parts = match state.log.wrap {
            true => wrap(&text, room.into(), Break::Any),
            false => vec![&*text],
        };
        let role = match line.level {
            Severity::Info => Role::Plain,
            Severity::Warning => Role::Heading,
            Severity::Alarm => Role::Bad,
        };
        for (index, part) in parts.into_iter().enumerate().rev() {
            let time = if index == 0 {
                line.at.time_of_day()
            } else {
                String::new()
            };
            rows.push((time, part.to_owned(), role));
        }
        if rows.len() >= area.height.into() {
            break;
        }
    }
    rows.truncate(area.height.into());
    for ((time, text, role), y) in rows.into_iter().rev().zip(area.y..) {
        brush.text(area.x + 1, y, TIME - 1, &time, Role::Quiet);
        brush.text(area.x + TIME, y, room, &text, role);
    }
}
