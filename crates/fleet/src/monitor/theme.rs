//! Colours and other marks, by what they mean. The sixteen colours of the terminal are used, so that its
//! owner's choice of them holds; without colour, bold and reverse say the same.

use ratatui::style::{Color, Modifier, Style};
use serde::{Deserialize, Serialize};

use crate::monitor::text::Charset;
use crate::state::ClientState;

/// The abilities of the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TerminalFeatures {
    pub(crate) charset: Charset,
    /// True when it has colours, and NO_COLOR is not set.
    pub(crate) colour: bool,
}

/// The meaning of a text on the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Plain,
    /// Of less importance: lines, labels, the past.
    Quiet,
    Heading,
    /// A heading of the pane that the keys work on.
    Active,
    /// A key that can be pressed.
    Key,
    /// Without a fault.
    Good,
    /// Needs attention, but not at once.
    Warning,
    /// Needs attention at once, or is lost.
    Bad,
    /// A question to the person.
    Question,
}

/// Below this part of its window a client has missed a check with the usual settings.
const WARNING: f64 = 0.5;
/// Below this part of its window the time left is marked as urgent.
const BAD: f64 = 0.2;

impl Role {
    /// The role of a client's state.
    pub(crate) const fn of(standing: ClientState) -> Self {
        match standing {
            ClientState::Waiting => Self::Question,
            ClientState::Suspect | ClientState::Failing => Self::Bad,
            ClientState::Enabled => Self::Good,
            ClientState::Disabled => Self::Quiet,
        }
    }

    /// The role of the time left, as a part of its window from 0 to 1.
    pub(crate) fn of_part(part: f64) -> Self {
        if part < BAD {
            Self::Bad
        } else if part < WARNING {
            Self::Warning
        } else {
            Self::Good
        }
    }
}

impl TerminalFeatures {
    /// The style for a meaning.
    pub(crate) fn style(self, role: Role) -> Style {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let painted = |colour: Color| if self.colour { plain.fg(colour) } else { plain };
        match role {
            Role::Plain => plain,
            Role::Quiet if self.colour => plain.fg(Color::DarkGray),
            Role::Quiet => plain,
            Role::Heading | Role::Key => bold,
            Role::Active if self.colour => bold.fg(Color::Cyan),
            Role::Active => bold,
            Role::Good => painted(Color::Green),
            Role::Warning => painted(Color::Yellow),
            Role::Bad if self.colour => bold.fg(Color::Red),
            Role::Question if self.colour => bold.fg(Color::Yellow),
            Role::Bad | Role::Question => bold,
        }
    }

    /// The row that keys work on.
    pub(crate) fn marked(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}
