//! The table of clients. Only the rows on the screen are made.

use ratatui::layout::Rect;

use nightlatch_bus::client::ClientView;

use crate::monitor::draw::brush::Brush;
use crate::monitor::draw::panes::title_role;
use crate::monitor::fleet::order::{Sort, time_left};
use crate::monitor::layout::{Areas, Column};
use crate::monitor::state::{Pane, ServerConnection, State};
use crate::monitor::text::{ago, roughly};
use crate::monitor::theme::Role;
use crate::state::ClientState;

/// Draws heading and rows.
pub(crate) fn draw(brush: &mut Brush<'_>, state: &State, areas: &Areas) {
    heading(brush, state, areas);
    let shown = state.fleet.shown();
    if shown.is_empty() {
        nothing(brush, state, areas.table);
        return;
    }
    let rows = shown.iter().skip(state.marked.top).take(areas.table_rows());
    for (id, y) in rows.zip(areas.table.y..) {
        let Some(client) = state.fleet.get(*id) else {
            continue;
        };
        row(brush, state, areas, client, y);
        if state.marked.client != Some(*id) {
            continue;
        }
        let line = Rect {
            y,
            height: 1,
            ..areas.table
        };
        brush.text(line.x, y, 1, brush.glyphs().mark, Role::Active);
        if state.focus == Pane::Clients {
            brush.mark(line);
        }
    }
}

fn heading(brush: &mut Brush<'_>, state: &State, areas: &Areas) {
    let y = areas.heading.y;
    let (sort, reversed) = state.fleet.order();
    let arrow = match reversed {
        false => brush.glyphs().rising,
        true => brush.glyphs().falling,
    };
    let mut title = |column: Column, word: &str, own: Option<Sort>| {
        let (text, role) = match own {
            Some(own) if own == sort => {
                (format!("{word} {arrow}"), title_role(state, Pane::Clients))
            }
            _ => (word.to_owned(), Role::Heading),
        };
        brush.text(column.x, y, column.width, &text, role)
    };
    let columns = &areas.columns;
    title(columns.host, "Host", None);
    title(columns.state, "State", Some(Sort::State));
    let time = Column {
        x: columns.bar.x,
        width: columns.left.x + columns.left.width - columns.bar.x,
    };
    let word = if columns.bar.width > 0 {
        "Time left"
    } else {
        "Left"
    };
    title(time, word, Some(Sort::Deadline));
    title(columns.seen, "Last seen", None);
    let end = title(columns.name, "Name", Some(Sort::Name));
    let room = (columns.name.x + columns.name.width).saturating_sub(end + 2);
    brush.text(end + 2, y, room, &position(state, areas), Role::Quiet);
}

/// The position of the mark in a table that is longer than the screen, and the number of hidden clients.
fn position(state: &State, areas: &Areas) -> String {
    let fleet = &state.fleet;
    let filter = fleet.filter().text();
    let shown = fleet.shown().len();
    let row = state.marked.client.and_then(|id| fleet.row(id));
    let row = row.map_or(0, |row| row + 1);
    if filter.is_empty() {
        let all_there = shown <= areas.table_rows();
        return if all_there {
            String::new()
        } else {
            format!("{row} of {shown}")
        };
    }
    format!("{row} of {shown} for /{filter}")
}

fn row(brush: &mut Brush<'_>, state: &State, areas: &Areas, client: &ClientView, y: u16) {
    let columns = &areas.columns;
    let standing = ClientState::of(client);
    // What was last known is no more than that.
    let known = matches!(state.link, ServerConnection::Up(_));
    let role = |role| if known { role } else { Role::Quiet };
    let quiet = standing == ClientState::Disabled;
    let text = role(if quiet { Role::Quiet } else { Role::Plain });
    let mut put =
        |column: Column, word: &str, role| brush.text(column.x, y, column.width, word, role);
    put(columns.name, &client.name, text);
    put(columns.host, &client.host, role(Role::Quiet));
    put(columns.state, standing.word(), role(Role::of(standing)));
    let now = state.clock.wall;
    let seen = client.last_checked_ok;
    let seen = seen.map_or("never".to_owned(), |seen| ago(now.since(seen)));
    put(columns.seen, &seen, role(Role::Quiet));
    if let Some((left, part)) = time_left(client, now).filter(|_| known) {
        brush.bar(columns.bar.x, y, columns.bar.width, part);
        let role = match Role::of_part(part) {
            Role::Bad => Role::Bad,
            _ => Role::Plain,
        };
        brush.right(columns.left.x, y, columns.left.width, &roughly(left), role);
    }
}

/// Draws the reason for an empty table.
fn nothing(brush: &mut Brush<'_>, state: &State, area: Rect) {
    let lines = match &state.link {
        ServerConnection::Looking => ["Looking for a server.".to_owned(), String::new()],
        ServerConnection::Down(why, _) => [
            format!("Not connected: {why}."),
            "The connection is tried again until it works.".to_owned(),
        ],
        ServerConnection::Up(_) if state.fleet.len() == 0 => {
            ["This server has no clients.".to_owned(), String::new()]
        }
        ServerConnection::Up(_) => [
            "No client matches.".to_owned(),
            "Esc shows all again.".to_owned(),
        ],
    };
    let room = area.width.saturating_sub(4);
    for (line, y) in lines.iter().zip((area.y..area.bottom()).skip(1)) {
        brush.text(area.x + 2, y, room, line, Role::Quiet);
    }
}
