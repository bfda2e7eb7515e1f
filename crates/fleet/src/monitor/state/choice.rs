//! Choosing one of several requests of a client: one at a time is on the screen, and only that one can be decided on.

use crate::monitor::event::{ActionKind, ActionRequest, ScreenEffect};
use crate::monitor::key::{Key, Named};
use crate::monitor::state::log::Severity;
use crate::monitor::state::{Mode, SETTLING, State};
use crate::monitor::text::width;
use nightlatch_core::time::Wall;

/// The requests of which one is to be chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    action: ActionRequest,
    /// The number and the address of each.
    requests: Vec<(u64, String)>,
    /// The one on the screen.
    at: usize,
    /// Time of the question.
    since: Wall,
}

impl Choice {
    /// The question about the request that is on the screen.
    pub(crate) fn question(&self) -> String {
        let (number, peer) = self.shown();
        let place = format!("{}/{}", self.at + 1, self.requests.len());
        let (verb, name) = (self.action.act.verb(), &self.action.name);
        format!("{place} {number} from {peer}: {verb} {name}?")
    }

    fn shown(&self) -> (u64, &str) {
        let shown = self.requests.get(self.at);
        shown.map_or((0, ""), |(number, peer)| (*number, peer))
    }
}

impl State {
    /// Several requests wait where one was to be decided on, or one for a named secret.
    pub(super) fn ask_which(&mut self, action: ActionRequest, requests: Vec<(u64, String)>) {
        let name = action.name.clone();
        let (found, wait) = match requests.len() {
            1 => (
                format!("the pending request of {name} is for a named secret"),
                format!("the request of {name} is for a named secret"),
            ),
            count => (
                format!("{name} has {count} pending requests, and a decision is for one"),
                format!("{count} requests of {name} wait"),
            ),
        };
        self.note(Severity::Warning, found);
        if self.mode != Mode::Browse
            || !matches!(action.act, ActionKind::Approve | ActionKind::Deny)
        {
            let text = format!("not done: {wait}, press again to choose");
            return self.show_notice(Severity::Warning, text);
        }
        self.notice = None;
        self.mode = Mode::Choose;
        self.choice = Some(Choice {
            action,
            requests,
            at: 0,
            since: self.clock.wall,
        });
    }

    /// A key while one of several requests is to be chosen: only `y` decides, on what is on the screen.
    pub(super) fn choose(&mut self, key: Key) {
        let Some(mut choice) = self.choice.take() else {
            self.mode = Mode::Browse;
            return;
        };
        let (last, now) = (choice.requests.len().saturating_sub(1), self.clock.wall);
        match key {
            Key::Named(Named::Up) | Key::Char('k') => choice.at = choice.at.saturating_sub(1),
            Key::Named(Named::Down) | Key::Char('j') => choice.at = (choice.at + 1).min(last),
            Key::Char('y' | 'Y') if !self.is_shown_whole(&choice) => {
                self.mode = Mode::Browse;
                return self.show_notice(
                    Severity::Warning,
                    "not done: the request does not fit the screen",
                );
            }
            // It came by itself: the person may have meant what was there before.
            Key::Char('y' | 'Y') if now < choice.since || now.since(choice.since) < SETTLING => {}
            Key::Char('y' | 'Y') => {
                self.mode = Mode::Browse;
                if self.is_connected() {
                    let request = Some(choice.shown().0);
                    self.effects.push(ScreenEffect::Do(ActionRequest {
                        request,
                        ..choice.action
                    }));
                }
                return;
            }
            _ => {
                self.mode = Mode::Browse;
                return self.show_notice(Severity::Info, "not done");
            }
        }
        self.choice = Some(choice);
    }

    fn is_shown_whole(&self, choice: &Choice) -> bool {
        let areas = self.areas();
        let columns = usize::from(areas.bottom.width.saturating_sub(2));
        areas.bottom.height > 0 && width(&choice.question()) <= columns
    }

    /// Ends the question when its client is gone.
    pub(super) fn settle_choice(&mut self) {
        if self.mode != Mode::Choose {
            self.choice = None;
            return;
        }
        let path = self.choice.as_ref().map(|choice| &choice.action.path);
        if path.is_none_or(|path| self.fleet.find(path).is_none()) {
            self.mode = Mode::Browse;
            self.choice = None;
        }
    }
}
