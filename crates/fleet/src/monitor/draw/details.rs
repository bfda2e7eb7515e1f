//! Draws the details of one client.

use crate::monitor::draw::brush::Brush;
use crate::monitor::draw::panes::title_role;
use crate::monitor::layout::Areas;
use crate::monitor::state::{LABEL, Pane, State};
use crate::monitor::theme::Role;

pub(crate) fn draw(brush: &mut Brush<'_>, state: &State, areas: &Areas) {
    let area = areas.details;
    let Some(details) = &state.details else {
        return;
    };
    if area.height == 0 {
        return;
    }
    let name = state
        .target()
        .map_or("no client", |(_, client)| client.name.as_str());
    let role = title_role(state, Pane::Details);
    brush.rule(area.x, area.y - 1, area.width, name, role);
    let lines = state.description(area.width);
    for (line, y) in lines.iter().skip(details.above).zip(area.y..area.bottom()) {
        brush.text(area.x + 1, y, LABEL - 1, line.label, Role::Quiet);
        let room = area.width.saturating_sub(LABEL + 1);
        brush.text(area.x + LABEL, y, room, &line.text, line.role);
    }
}
