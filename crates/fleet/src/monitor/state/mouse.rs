//! The effects of the mouse: it marks, scrolls and opens, and never changes a client.

use ratatui::layout::{Position, Rect};

use crate::monitor::event::{Button, Mouse};
use crate::monitor::state::{Mode, Pane, State};

/// Number of lines for one step of the wheel.
const WHEEL: isize = 3;

impl State {
    /// Handles an action of the mouse.
    pub(super) fn point(&mut self, mouse: Mouse) {
        match (&self.mode, mouse.what) {
            (Mode::Browse | Mode::Filter, Button::Press) => self.click(mouse),
            (Mode::Browse | Mode::Filter, Button::Up) => self.wheel(mouse, -WHEEL),
            (Mode::Browse | Mode::Filter, Button::Down) => self.wheel(mouse, WHEEL),
            (Mode::Help(_), Button::Press) => self.mode = Mode::Browse,
            // A question is answered on the keyboard.
            (Mode::Help(_) | Mode::Ask(..) | Mode::Choose, _) => {}
        }
    }

    fn click(&mut self, mouse: Mouse) {
        self.notice = None;
        let areas = self.areas();
        let at = Position::new(mouse.column, mouse.row);
        if areas.heading.contains(at) {
            if let Some(sort) = areas.columns.sort_at(mouse.column) {
                let (now, reversed) = self.fleet.order();
                self.fleet
                    .sort(sort, now == sort && !reversed, self.clock.wall);
            }
            return;
        }
        let Some((pane, area)) = self.pane_at(mouse) else {
            return;
        };
        self.focus = pane;
        let row = usize::from(mouse.row.saturating_sub(area.y));
        match pane {
            Pane::Requests => {
                let row = row + self.request.top;
                self.request.put(self.fleet.waiting(), row);
            }
            Pane::Clients => {
                let before = self.marked.client;
                let row = row + self.marked.top;
                self.marked.put(self.fleet.shown(), row);
                // A click on what is marked already is one on its details.
                let again = before.is_some() && self.fleet.shown().get(row).copied() == before;
                if again {
                    self.toggle_details();
                }
            }
            Pane::Details | Pane::Log => {}
        }
    }

    fn wheel(&mut self, mouse: Mouse, lines: isize) {
        if let Some((pane, _)) = self.pane_at(mouse) {
            self.step_in(pane, lines);
        }
    }

    fn pane_at(&self, mouse: Mouse) -> Option<(Pane, Rect)> {
        let areas = self.areas();
        let at = Position::new(mouse.column, mouse.row);
        let panes = [
            (Pane::Requests, areas.requests),
            (Pane::Clients, areas.table),
            (Pane::Details, areas.details),
            (Pane::Log, areas.log),
        ];
        panes.into_iter().find(|(_, area)| area.contains(at))
    }
}
