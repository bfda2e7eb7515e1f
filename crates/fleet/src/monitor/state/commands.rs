//! The effects of keys.

use crate::monitor::event::{ActionKind, ActionRequest, ScreenEffect};
use crate::monitor::fleet::ClientNumber;
use crate::monitor::fleet::filter::Filter;
use crate::monitor::key::{Key, Named};
use crate::monitor::keys::{Command, command};
use crate::monitor::state::log::Severity;
use crate::monitor::state::{Details, Mode, Pane, ServerConnection, State};

/// Number of rows of a page that are still shown on the next page.
const OVERLAP: usize = 1;

impl State {
    /// A key was pressed.
    pub(super) fn press(&mut self, key: Key) {
        self.notice = None;
        match self.mode {
            Mode::Browse => {
                if let Some(command) = command(key) {
                    self.obey(command);
                }
            }
            Mode::Filter => self.type_filter(key),
            Mode::Help(above) => self.press_in_help(key, above),
            Mode::Ask(act, id) => self.answer(key, act, id),
            Mode::Choose => self.choose(key),
        }
    }

    /// Carries out the command of a key or of the mouse.
    pub(super) fn obey(&mut self, command: Command) {
        use Command as C;
        match command {
            C::Yes => self.decide(ActionKind::Approve),
            C::No => self.decide(ActionKind::Deny),
            C::Act(act) => self.act(act),
            C::Up => self.step(-1),
            C::Down => self.step(1),
            C::PageUp => self.step(-self.page()),
            C::PageDown => self.step(self.page()),
            C::First => self.step(isize::MIN),
            C::Last => self.step(isize::MAX),
            C::NextPane => self.turn(1),
            C::PreviousPane => self.turn(-1),
            C::Filter => self.mode = Mode::Filter,
            C::Sort => {
                let (sort, _) = self.fleet.order();
                self.fleet.sort(sort.next(), false, self.clock.wall);
            }
            C::Reverse => {
                let (sort, reversed) = self.fleet.order();
                self.fleet.sort(sort, !reversed, self.clock.wall);
            }
            C::Details => self.toggle_details(),
            C::Log => self.log.open = !self.log.open,
            C::Wrap => self.log.wrap = !self.log.wrap,
            C::Verbose => {
                self.log.verbose = !self.log.verbose;
                let text = if self.log.verbose { "On" } else { "Off" };
                self.note(Severity::Info, format!("Verbose mode: {text}"));
            }
            C::Mouse => self.toggle_mouse(),
            C::Redraw => self.effects.push(ScreenEffect::Redraw),
            C::Help => self.mode = Mode::Help(0),
            C::Close => self.close(),
            C::Suspend => self.effects.push(ScreenEffect::Suspend),
            C::Quit => self.effects.push(ScreenEffect::Quit),
        }
    }

    /// Orders an action on the marked client; a removal asks first.
    fn act(&mut self, act: ActionKind) {
        let pane = match self.focus {
            Pane::Requests => Pane::Requests,
            Pane::Clients | Pane::Details | Pane::Log => Pane::Clients,
        };
        match self.meant(pane) {
            Some(id) if act == ActionKind::Remove => self.mode = Mode::Ask(act, id),
            Some(id) => self.order(act, id),
            None => {}
        }
    }

    /// Decides on the marked request, whichever pane is in use.
    fn decide(&mut self, act: ActionKind) {
        if let Some(id) = self.meant(Pane::Requests) {
            self.order(act, id);
        }
    }

    /// The client at the mark of a list, if an order about it can reach a server and it is the one that the
    /// person sees there; otherwise says why not.
    fn meant(&mut self, pane: Pane) -> Option<ClientNumber> {
        if !self.is_connected() {
            return None;
        }
        let mark = match pane {
            Pane::Requests => self.request,
            Pane::Clients | Pane::Details | Pane::Log => self.marked,
        };
        if mark.client.is_none() {
            self.show_notice(Severity::Info, "nothing is marked");
        } else if !mark.is_settled(self.clock.wall) {
            let text = "not done: the mark has just moved by itself, press again if you mean it";
            self.show_notice(Severity::Warning, text);
            return None;
        }
        mark.client.filter(|id| self.must_be_shown(&[pane], *id))
    }

    /// True when the row of a client is on the screen, in one of these lists; otherwise says that it is not.
    fn must_be_shown(&mut self, lists: &[Pane], id: ClientNumber) -> bool {
        let areas = self.areas();
        let shown = lists.iter().any(|list| {
            let (row, top, rows) = match list {
                Pane::Requests => {
                    let row = self.waiting().iter().position(|waiting| *waiting == id);
                    (row, self.request.top, areas.request_rows())
                }
                Pane::Clients | Pane::Details | Pane::Log => {
                    (self.fleet.row(id), self.marked.top, areas.table_rows())
                }
            };
            row.is_some_and(|row| (top..top + rows).contains(&row))
        });
        if !shown {
            let text = "not done: its row is not on the screen; make the window larger";
            self.show_notice(Severity::Warning, text);
        }
        shown
    }

    /// True with a server; otherwise shows that there is none.
    pub(super) fn is_connected(&mut self) -> bool {
        let connected = matches!(self.link, ServerConnection::Up(_));
        if !connected {
            self.show_notice(Severity::Warning, "not done: there is no server");
        }
        connected
    }

    fn order(&mut self, act: ActionKind, id: ClientNumber) {
        if let Some(client) = self.fleet.get(id) {
            self.effects.push(ScreenEffect::Do(ActionRequest {
                act,
                path: client.path.clone(),
                name: client.name.clone(),
                request: None,
            }));
        }
    }

    /// An answer to a question: only `y` is yes.
    fn answer(&mut self, key: Key, act: ActionKind, id: ClientNumber) {
        self.mode = Mode::Browse;
        if matches!(key, Key::Char('y' | 'Y')) {
            if self.is_connected() && self.must_be_shown(&[Pane::Requests, Pane::Clients], id) {
                self.order(act, id);
            }
        } else {
            self.show_notice(Severity::Info, "not done");
        }
    }

    fn type_filter(&mut self, key: Key) {
        let mut text = self.fleet.filter().text().to_owned();
        match key {
            Key::Named(Named::Enter) => {
                self.mode = Mode::Browse;
                return;
            }
            Key::Named(Named::Esc) | Key::Ctrl('c') => {
                self.mode = Mode::Browse;
                text.clear();
            }
            Key::Named(Named::Up) => return self.obey(Command::Up),
            Key::Named(Named::Down) => return self.obey(Command::Down),
            Key::Named(Named::Backspace) | Key::Ctrl('h') => {
                text.pop();
            }
            Key::Ctrl('u') => text.clear(),
            Key::Char(c) => text.push(c),
            _ => return,
        }
        self.fleet.show(Filter::new(&text), self.clock.wall);
    }

    fn press_in_help(&mut self, key: Key, above: usize) {
        let areas = self.areas();
        let last = areas.help_lines.saturating_sub(areas.help_rows());
        let page = areas.help_rows().saturating_sub(OVERLAP).max(1);
        self.mode = match command(key) {
            Some(Command::Up) => Mode::Help(above.saturating_sub(1)),
            Some(Command::Down) => Mode::Help((above + 1).min(last)),
            Some(Command::PageUp) => Mode::Help(above.saturating_sub(page)),
            Some(Command::PageDown) => Mode::Help((above + page).min(last)),
            Some(Command::First) => Mode::Help(0),
            Some(Command::Last) => Mode::Help(last),
            Some(Command::Redraw) => {
                self.effects.push(ScreenEffect::Redraw);
                Mode::Help(above)
            }
            _ => Mode::Browse,
        };
    }

    /// Moves in the pane that keys work on.
    pub(super) fn step(&mut self, rows: isize) {
        self.step_in(self.focus, rows);
    }

    /// Moves in a pane.
    pub(super) fn step_in(&mut self, pane: Pane, rows: isize) {
        match pane {
            Pane::Requests => self.request.step(self.fleet.waiting(), rows),
            Pane::Clients => self.marked.step(self.fleet.shown(), rows),
            Pane::Log => self.log.scroll(rows.saturating_neg()),
            Pane::Details => {
                if let Some(details) = &mut self.details {
                    details.above = details.above.saturating_add_signed(rows);
                }
            }
        }
    }

    /// Rows of a page.
    fn page(&self) -> isize {
        let areas = self.areas();
        let rows = match self.focus {
            Pane::Requests => areas.request_rows(),
            Pane::Clients => areas.table_rows(),
            Pane::Details => areas.details_rows(),
            Pane::Log => areas.log_rows(),
        };
        isize::try_from(rows.saturating_sub(OVERLAP).max(1)).unwrap_or(1)
    }

    /// Gives the keys to another pane, `by` panes further.
    fn turn(&mut self, by: isize) {
        let panes = self.panes();
        let at = panes.iter().position(|pane| *pane == self.focus);
        let next = at.unwrap_or(0).wrapping_add_signed(by);
        // One before the first is the largest number: the last pane.
        let next = if next == usize::MAX {
            panes.len() - 1
        } else {
            next % panes.len()
        };
        self.focus = panes[next];
    }

    /// Closes the last thing that was opened; with nothing open, shows the help, as mandos-monitor does.
    fn close(&mut self) {
        if self.details.is_some() {
            self.details = None;
        } else if !self.fleet.filter().text().is_empty() {
            self.fleet.show(Filter::default(), self.clock.wall);
        } else {
            self.mode = Mode::Help(0);
        }
    }

    pub(super) fn toggle_details(&mut self) {
        self.details = match self.details {
            Some(_) => None,
            None => Some(Details::default()),
        };
    }

    fn toggle_mouse(&mut self) {
        self.mouse = !self.mouse;
        self.effects.push(ScreenEffect::Mouse(self.mouse));
        let text = if self.mouse {
            "the mouse works here; to select text, hold Shift"
        } else {
            "the mouse is left to the terminal"
        };
        self.show_notice(Severity::Info, text);
    }
}
