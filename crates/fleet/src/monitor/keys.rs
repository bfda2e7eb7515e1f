//! The table of keys, from which key handling, help and hints are made.
//!
//! Every key of mandos-monitor keeps its meaning; only removing asks first.

use crate::monitor::event::ActionKind;
use crate::monitor::key::Key::{self, Char, Ctrl, Function, Meta, Named};
use crate::monitor::key::Named::{BackTab, Down, End, Enter, Esc, Home, PageDown, PageUp, Tab, Up};

/// A command of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Command {
    /// Answer the marked request with yes.
    Yes,
    /// Answer the marked request with no.
    No,
    /// Do this to the marked client; remove it after a question.
    Act(ActionKind),
    /// One line up.
    Up,
    /// One line down.
    Down,
    PageUp,
    PageDown,
    /// To the first line.
    First,
    /// To the last line.
    Last,
    NextPane,
    /// To the pane before.
    PreviousPane,
    /// Type a filter.
    Filter,
    /// Order by the next column.
    Sort,
    /// Turn the order round.
    Reverse,
    /// Show or hide the details.
    Details,
    /// Show or hide the log.
    Log,
    /// Break long log lines, or cut them.
    Wrap,
    /// Log more, or less.
    Verbose,
    /// Turn the reports of the mouse on or off.
    Mouse,
    /// Redraw everything.
    Redraw,
    /// Show the help.
    Help,
    /// Close what is open, else show the help.
    Close,
    /// Stop the program until the shell continues it.
    Suspend,
    /// End the program.
    Quit,
}

/// A section of the help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    Client,
    Move,
    View,
    Program,
}

impl Group {
    /// All, as the help has them.
    pub(crate) const ALL: [Self; 4] = [Self::Client, Self::Move, Self::View, Self::Program];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Client => "The marked client",
            Self::Move => "Moving",
            Self::View => "What is shown",
            Self::Program => "The program",
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) command: Command,
    /// The keys that do the same in mandos-monitor.
    pub(crate) mandos: &'static [Key],
    /// Keys that mandos-monitor does not have.
    pub(crate) more: &'static [Key],
    pub(crate) group: Group,
    pub(crate) help: &'static str,
    /// One word for the line of hints, or none.
    pub(crate) hint: &'static str,
}

impl Binding {
    /// All its keys, those of mandos-monitor first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.mandos.iter().chain(self.more).copied()
    }
}

/// The command of `key`, outside of questions and typing.
pub(crate) fn command(key: Key) -> Option<Command> {
    let bound = BINDINGS
        .iter()
        .find(|binding| binding.keys().any(|own| own == key));
    bound.map(|binding| binding.command)
}

/// The table. Its order is that of the help, and of the hints.
#[rustfmt::skip]
pub(crate) const BINDINGS: [Binding; 31] = {
    use ActionKind as A;
    use Command as C;
    use Group as G;
    const fn b(
        command: Command,
        mandos: &'static [Key],
        more: &'static [Key],
        group: Group,
        help: &'static str,
        hint: &'static str,
    ) -> Binding {
        Binding { command, mandos, more, group, help, hint }
    }
    [
        b(C::Yes, &[], &[Char('y')], G::Client, "Yes to the marked request", ""),
        b(C::No, &[], &[Char('n')], G::Client, "No to the marked request", ""),
        b(C::Act(A::Approve), &[Char('a')], &[], G::Client, "Approve", "approve"),
        b(C::Act(A::Deny), &[Char('d')], &[], G::Client, "Deny", "deny"),
        b(C::Act(A::Enable), &[Char('+')], &[], G::Client, "Enable", "enable"),
        b(C::Act(A::Disable), &[Char('-')], &[], G::Client, "Disable", "disable"),
        b(C::Act(A::Remove), &[Char('R'), Char('_'), Ctrl('k')], &[], G::Client, "Remove; asks first", ""),
        b(C::Act(A::StartChecker), &[Char('s')], &[], G::Client, "Start a check now", ""),
        b(C::Act(A::StopChecker), &[Char('S')], &[], G::Client, "Stop the check", ""),
        b(C::Act(A::CheckedOk), &[Char('C')], &[], G::Client, "It is up: restart its time", ""),
        b(C::Up, &[Named(Up), Ctrl('p'), Char('k')], &[], G::Move, "Up", ""),
        b(C::Down, &[Named(Down), Ctrl('n'), Char('j')], &[], G::Move, "Down", ""),
        b(C::PageUp, &[Named(PageUp), Meta('v'), Char('b')], &[], G::Move, "Page up", ""),
        b(C::PageDown, &[Named(PageDown), Ctrl('v'), Char(' '), Char('f')], &[], G::Move, "Page down", ""),
        b(C::First, &[], &[Named(Home), Char('g')], G::Move, "First", ""),
        b(C::Last, &[], &[Named(End), Char('G')], G::Move, "Last", ""),
        b(C::NextPane, &[Named(Tab)], &[], G::Move, "Next pane", ""),
        b(C::PreviousPane, &[], &[Named(BackTab)], G::Move, "Pane before", ""),
        b(C::Filter, &[], &[Char('/')], G::View, "Filter", "filter"),
        b(C::Sort, &[], &[Char('o')], G::View, "Order by another column", "order"),
        b(C::Reverse, &[], &[Char('O')], G::View, "Turn the order round", ""),
        b(C::Details, &[], &[Named(Enter)], G::View, "Details", "details"),
        b(C::Log, &[Char('l'), Char('D')], &[], G::View, "Log", ""),
        b(C::Wrap, &[Char('w'), Char('i')], &[], G::View, "Wrap log lines", ""),
        b(C::Verbose, &[Char('v')], &[], G::View, "Log every check", ""),
        b(C::Mouse, &[], &[Char('m')], G::View, "Mouse", ""),
        b(C::Redraw, &[Ctrl('l')], &[], G::Program, "Redraw", ""),
        b(C::Help, &[Char('?'), Function(1)], &[], G::Program, "This help", "help"),
        b(C::Close, &[Named(Esc)], &[], G::Program, "Close, or help", ""),
        b(C::Suspend, &[], &[Ctrl('z')], G::Program, "Suspend", ""),
        b(C::Quit, &[Char('q'), Char('Q')], &[Ctrl('c')], G::Program, "Quit", "quit"),
    ]
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_and_no_command_stands_in_the_table_twice() {
        let mut keys = HashSet::new();
        let mut commands = HashSet::new();
        for binding in &BINDINGS {
            assert!(commands.insert(binding.command), "{:?}", binding.command);
            for key in binding.keys() {
                assert!(keys.insert(key), "{key}");
            }
        }
    }

    /// Every key of mandos-monitor 1.8.16, and what it does there.
    #[test]
    fn every_key_of_mandos_monitor_is_kept() {
        let expected = "
            q:Quit Q:Quit Ctrl-L:Redraw ?:Help F1:Help Esc:Close l:Log D:Log Tab:NextPane w:Wrap i:Wrap
            v:Verbose Up:Up Ctrl-P:Up k:Up Down:Down Ctrl-N:Down j:Down PageUp:PageUp Meta-V:PageUp
            b:PageUp PageDown:PageDown Ctrl-V:PageDown Space:PageDown f:PageDown +:Enable -:Disable
            a:Approve d:Deny R:Remove _:Remove Ctrl-K:Remove s:StartChecker S:StopChecker C:CheckedOk";
        let mut kept = 0;
        for pair in expected.split_whitespace() {
            let (key, name) = pair.split_once(':').unwrap();
            let bound = command(key.parse().unwrap());
            let done = match bound.unwrap() {
                Command::Act(action) => format!("{action:?}"),
                other => format!("{other:?}"),
            };
            assert_eq!(done, name, "{key}");
            kept += 1;
        }
        let marked: usize = BINDINGS.iter().map(|binding| binding.mandos.len()).sum();
        assert_eq!(
            kept, marked,
            "the table credits mandos-monitor with other keys"
        );
    }

    #[test]
    fn every_group_has_lines_and_every_line_says_something() {
        for group in Group::ALL {
            assert!(BINDINGS.iter().any(|binding| binding.group == group));
        }
        assert!(BINDINGS.iter().all(|binding| !binding.help.is_empty()));
    }

    #[test]
    fn the_manual_has_every_line() {
        let page = include_str!("../../../../docs/man/nightlatch-monitor.1.md");
        for binding in &BINDINGS {
            let keys: Vec<String> = binding.keys().map(|key| format!("`{key}`")).collect();
            let item = format!("- {}\n\n  {}.\n", keys.join(", "), binding.help);
            assert!(page.contains(&item), "the manual has no\n{item}");
        }
    }
}
