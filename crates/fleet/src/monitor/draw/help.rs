//! The help, made from the table of keys.

use crate::monitor::draw::brush::Brush;
use crate::monitor::draw::layout::Areas;
use crate::monitor::draw::text::width;
use crate::monitor::draw::theme::Role;
use crate::monitor::keys::{BINDINGS, Binding, Group};

/// From so many columns on the groups stand in two columns.
const TWO: u16 = 76;
enum Line {
    Title(&'static str),
    Key(&'static Binding),
    Blank,
}

impl Line {
    fn keys_width(&self) -> u16 {
        match self {
            Self::Key(binding) => u16::try_from(width(&keys(binding))).unwrap_or(0),
            Self::Title(_) | Self::Blank => 0,
        }
    }
}

fn keys(binding: &Binding) -> String {
    let keys: Vec<String> = binding.keys().map(|key| key.to_string()).collect();
    keys.join(" ")
}

/// Lines that the help has on a screen so wide.
pub(crate) fn height(columns: u16) -> usize {
    let sides = sides(columns);
    sides.iter().map(Vec::len).max().unwrap_or(0)
}

/// Draws it, without the first `above` lines.
pub(crate) fn draw(brush: &mut Brush<'_>, areas: &Areas, above: usize) {
    let area = areas.body;
    let sides = sides(area.width);
    let count = u16::try_from(sides.len()).unwrap_or(1).max(1);
    let columns = area.width / count;
    for (side, x) in sides.iter().zip((1..).step_by(columns.into())) {
        let room = columns.saturating_sub(1);
        let keys_room = side.iter().map(Line::keys_width).max().unwrap_or(0) + 2;
        for (line, y) in side.iter().skip(above).zip(area.y..area.bottom()) {
            match line {
                Line::Title(title) => {
                    brush.text(x, y, room, title, Role::Active);
                }
                Line::Key(binding) => {
                    brush.text(x, y, room, &keys(binding), Role::Key);
                    let room = room.saturating_sub(keys_room);
                    brush.text(x + keys_room, y, room, binding.help, Role::Plain);
                }
                Line::Blank => {}
            }
        }
    }
}

/// The groups, side by side where there is room.
fn sides(columns: u16) -> Vec<Vec<Line>> {
    let groups: &[&[Group]] = if columns >= TWO {
        &[
            &[Group::Client, Group::View],
            &[Group::Move, Group::Program],
        ]
    } else {
        &[&Group::ALL]
    };
    groups.iter().map(|groups| lines(groups)).collect()
}

fn lines(groups: &[Group]) -> Vec<Line> {
    let mut lines = Vec::new();
    for group in groups {
        if !lines.is_empty() {
            lines.push(Line::Blank);
        }
        lines.push(Line::Title(group.title()));
        let own = BINDINGS.iter().filter(|binding| binding.group == *group);
        lines.extend(own.map(Line::Key));
    }
    lines
}
