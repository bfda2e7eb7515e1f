//! Draws the state. Pure: the same state gives the same screen, and drawing changes nothing.

mod brush;
mod details;
mod help;
mod lines;
mod panes;
mod table;

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use crate::monitor::draw::brush::Brush;
use crate::monitor::state::{Mode, State};
use crate::monitor::theme::Role;

/// Draws the whole screen on an empty buffer. Returns the position of the cursor if it is shown.
pub(crate) fn draw(state: &State, buffer: &mut Buffer) -> Option<Position> {
    let areas = state.areas();
    let mut brush = Brush::new(buffer, state.look);
    if areas.too_small {
        let text = "too small for the monitor";
        brush.text(0, 0, areas.body.width, text, Role::Plain);
        return None;
    }
    lines::title(&mut brush, state, &areas);
    if let Mode::Help(above) = state.mode {
        help::draw(&mut brush, &areas, above);
    } else {
        lines::warning(&mut brush, state, &areas);
        panes::requests(&mut brush, state, &areas);
        table::draw(&mut brush, state, &areas);
        details::draw(&mut brush, state, &areas);
        panes::log(&mut brush, state, &areas);
    }
    lines::bottom(&mut brush, state, &areas)
}
