//! The text of the help, made from the table of keys.

use crate::monitor::keys::{BINDINGS, Binding, Group};
use crate::monitor::text::width;

/// Least width of the screen, in characters, for two columns of groups.
const TWO: u16 = 76;

pub(crate) enum HelpLine {
    Title(&'static str),
    Key(&'static Binding),
    Blank,
}

impl HelpLine {
    pub(crate) fn keys_width(&self) -> u16 {
        match self {
            Self::Key(binding) => u16::try_from(width(&keys(binding))).unwrap_or(0),
            Self::Title(_) | Self::Blank => 0,
        }
    }
}

pub(crate) fn keys(binding: &Binding) -> String {
    let keys: Vec<String> = binding.keys().map(|key| key.to_string()).collect();
    keys.join(" ")
}

/// Number of lines of the help on a screen of `columns` characters.
pub(crate) fn height(columns: u16) -> usize {
    let sides = sides(columns);
    sides.iter().map(Vec::len).max().unwrap_or(0)
}

/// The groups, side by side where there is room.
pub(crate) fn sides(columns: u16) -> Vec<Vec<HelpLine>> {
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

fn lines(groups: &[Group]) -> Vec<HelpLine> {
    let mut lines = Vec::new();
    for group in groups {
        if !lines.is_empty() {
            lines.push(HelpLine::Blank);
        }
        lines.push(HelpLine::Title(group.title()));
        let own = BINDINGS.iter().filter(|binding| binding.group == *group);
        lines.extend(own.map(HelpLine::Key));
    }
    lines
}
