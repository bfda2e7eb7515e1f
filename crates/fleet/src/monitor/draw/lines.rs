//! The first and the last line of the screen.

use ratatui::layout::Position;

use crate::monitor::draw::brush::Brush;
use crate::monitor::event::ServerKind;
use crate::monitor::fleet::filter;
use crate::monitor::keys::{BINDINGS, Binding, Group};
use crate::monitor::layout::Areas;
use crate::monitor::state::log::Severity;
use crate::monitor::state::{Choice, Mode, ServerConnection, State};
use crate::monitor::text::width;
use crate::monitor::theme::Role;
use crate::state::ClientState;

/// Columns between two hints.
const GAP: u16 = 2;

/// The server, and the number of clients in each state.
pub(crate) fn title(brush: &mut Brush<'_>, state: &State, areas: &Areas) {
    let area = areas.title;
    let end = brush.text(
        1,
        area.y,
        area.width.saturating_sub(1),
        "Nightlatch",
        Role::Active,
    );
    let (server, role) = match &state.link {
        ServerConnection::Looking => ("looking for a server".to_owned(), Role::Warning),
        ServerConnection::Up(ServerKind::Mandos) => ("Mandos server".to_owned(), Role::Plain),
        ServerConnection::Up(ServerKind::Nightlatch(version)) => {
            (format!("nightlatchd {version}"), Role::Plain)
        }
        ServerConnection::Down(_, since) => {
            let time = state.clock.local(*since).time_of_day();
            (format!("no server since {time}"), Role::Bad)
        }
    };
    let x = end + GAP;
    let end = brush.text(x, area.y, area.width.saturating_sub(x), &server, role);
    let x = end + GAP;
    let room = area.width.saturating_sub(x + 1);
    let counts = counts(state, room.into(), brush.glyphs().dot);
    brush.right(x, area.y, room, &counts, Role::Plain);
}

/// Draws the first of the server's warnings, cut to the line. The log has them whole.
pub(crate) fn warning(brush: &mut Brush<'_>, state: &State, areas: &Areas) {
    let area = areas.warning;
    let Some(first) = state.warnings.first().filter(|_| area.height > 0) else {
        return;
    };
    let text = match state.warnings.len() - 1 {
        0 => first.clone(),
        more => format!("({more} more below) {first}"),
    };
    brush.text(1, area.y, area.width.saturating_sub(2), &text, Role::Bad);
}

/// The number of clients, and of those in states that need attention, as far as they fit.
fn counts(state: &State, room: usize, dot: &str) -> String {
    let fleet = &state.fleet;
    let mut text = match fleet.len() {
        1 => "1 client".to_owned(),
        count => format!("{count} clients"),
    };
    // In the order of how soon a person should look.
    let standings = [
        ClientState::Waiting,
        ClientState::Suspect,
        ClientState::Failing,
        ClientState::Disabled,
    ];
    for standing in standings {
        let count = fleet.count(standing);
        let part = format!(" {dot} {count} {}", standing.word());
        if count > 0 && width(&text) + width(&part) <= room {
            text.push_str(&part);
        }
    }
    text
}

/// Draws a question, the filter that is typed, a notice or the hints. Returns the position of the cursor if it is shown.
pub(crate) fn bottom(brush: &mut Brush<'_>, state: &State, areas: &Areas) -> Option<Position> {
    let (y, columns) = (areas.bottom.y, areas.bottom.width.saturating_sub(2));
    match &state.mode {
        Mode::Ask(act, id) => {
            let name = state
                .fleet
                .get(*id)
                .map_or("", |client| client.name.as_str());
            let question = format!("Really {} {name}?", act.verb());
            // The name counts for more than the words about the keys.
            let all = "   y: yes, any other key: no";
            let answers = if width(&question) + width(all) <= columns.into() {
                all
            } else {
                "  y/n"
            };
            let answers_width = u16::try_from(width(answers)).unwrap_or(columns);
            let room = columns.saturating_sub(answers_width);
            let end = brush.text(1, y, room, &question, Role::Question);
            brush.text(end, y, answers_width, answers, Role::Question);
            None
        }
        Mode::Choose => {
            let question = state.choice.as_ref().map(Choice::question);
            let question = question.unwrap_or_default();
            let end = brush.text(1, y, columns, &question, Role::Question);
            let room = (columns + 1).saturating_sub(end);
            let answers = "   y: yes, Down: next, any other key: no";
            brush.text(end, y, room, answers, Role::Question);
            None
        }
        Mode::Filter => {
            let end = brush.text(1, y, columns, "/", Role::Key);
            let text = state.fleet.filter().text();
            let room = (columns + 1).saturating_sub(end);
            let cursor = brush.text(end, y, room, text, Role::Plain);
            let room = (columns + 1).saturating_sub(cursor + 3);
            brush.text(cursor + 3, y, room, filter::HELP, Role::Quiet);
            Some(Position::new(cursor.min(columns), y))
        }
        Mode::Browse | Mode::Help(_) => {
            if let Some(notice) = &state.notice {
                let role = match notice.level {
                    Severity::Info => Role::Plain,
                    Severity::Warning | Severity::Alarm => Role::Bad,
                };
                brush.text(1, y, columns, &notice.text, role);
            } else {
                hints(brush, y, columns);
            }
            None
        }
    }
}

/// The keys that have a word of their own, as many as fit: those of the program on the right.
fn hints(brush: &mut Brush<'_>, y: u16, columns: u16) {
    let program = |binding: &&Binding| binding.group == Group::Program;
    let named = || BINDINGS.iter().filter(|binding| !binding.hint.is_empty());
    let always: u16 = named().filter(program).map(hint_width).sum();
    let mut x = 1 + columns.saturating_sub(always - GAP);
    let end = x;
    for binding in named().filter(program) {
        x = hint(brush, x, y, binding);
    }
    x = 1;
    for binding in named().filter(|binding| !program(binding)) {
        if x + hint_width(binding) > end {
            return;
        }
        x = hint(brush, x, y, binding);
    }
}

fn hint_width(binding: &Binding) -> u16 {
    let key = binding
        .keys()
        .next()
        .map_or(0, |key| width(&key.to_string()));
    u16::try_from(key + 1 + width(binding.hint)).unwrap_or(u16::MAX - GAP) + GAP
}

/// Writes a key and its word. Gives where the next one begins.
fn hint(brush: &mut Brush<'_>, x: u16, y: u16, binding: &Binding) -> u16 {
    let key = binding
        .keys()
        .next()
        .map_or_else(String::new, |key| key.to_string());
    let end = x + hint_width(binding);
    let x = brush.text(x, y, end - x, &key, Role::Key);
    brush.text(
        x + 1,
        y,
        end.saturating_sub(x + 1),
        binding.hint,
        Role::Quiet,
    );
    end
}
