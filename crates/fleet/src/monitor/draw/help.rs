//! Draws the help.

use crate::monitor::draw::brush::Brush;
use crate::monitor::help::{HelpLine, keys, sides};
use crate::monitor::layout::Areas;
use crate::monitor::theme::Role;

/// Draws it, without the first `above` lines.
pub(crate) fn draw(brush: &mut Brush<'_>, areas: &Areas, above: usize) {
    let area = areas.body;
    let sides = sides(area.width);
    let count = u16::try_from(sides.len()).unwrap_or(1).max(1);
    let columns = area.width / count;
    for (side, x) in sides.iter().zip((1..).step_by(columns.into())) {
        let room = columns.saturating_sub(1);
        let keys_room = side.iter().map(HelpLine::keys_width).max().unwrap_or(0) + 2;
        for (line, y) in side.iter().skip(above).zip(area.y..area.bottom()) {
            match line {
                HelpLine::Title(title) => {
                    brush.text(x, y, room, title, Role::Active);
                }
                HelpLine::Key(binding) => {
                    brush.text(x, y, room, &keys(binding), Role::Key);
                    let room = room.saturating_sub(keys_room);
                    brush.text(x + keys_room, y, room, binding.help, Role::Plain);
                }
                HelpLine::Blank => {}
            }
        }
    }
}
