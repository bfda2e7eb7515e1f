//! The state of the screen. Only [`State::handle`] changes it: it takes an event with its time and returns orders.
//! Drawing only reads it.

mod choice;
mod commands;
mod description;
mod details;
pub(crate) mod log;
mod mouse;
mod server;

use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_core::time::Wall;

use crate::monitor::event::{ActionKind, EventTime, MonitorEvent, ScreenEffect, ServerKind, Size};
use crate::monitor::fleet::{ClientNumber, Fleet};
use crate::monitor::layout::{Areas, Parts, areas};
use crate::monitor::text::Charset;
use crate::monitor::theme::TerminalFeatures;

pub(crate) use choice::Choice;
pub(crate) use description::LABEL;
pub(crate) use details::{Details, RECORDS};
use log::{Log, Severity};

/// Time for which a notice stays at the bottom.
const NOTICE: Duration = Duration::from_secs(5);

/// For so long after the mark has moved by itself, keys that would change a client do nothing: the
/// person may have meant the client that stood there when they began to press.
const SETTLING: Duration = Duration::from_millis(700);

/// A part of the screen that keys can work on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pane {
    /// The requests that wait.
    Requests,
    /// The table of clients.
    Clients,
    Details,
    Log,
}

/// The connection to the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ServerConnection {
    Looking,
    /// It is there.
    Up(ServerKind),
    /// There is none: the reason, and the time since when. The last known state is shown.
    Down(String, Wall),
}

/// The meaning of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// As in the table of keys.
    Browse,
    /// They are the text of a filter.
    Filter,
    /// They move about in the help, of which so many lines are above the screen, or close it.
    Help(usize),
    /// They answer the question whether to carry out this action on this client.
    Ask(ActionKind, ClientNumber),
    /// They choose one of several requests: [`State::choice`].
    Choose,
}

/// A line at the bottom, for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Notice {
    pub(crate) level: Severity,
    pub(crate) text: String,
    until: Wall,
}

/// A mark in a list that may be longer than its place on the screen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListMark {
    /// The client that is marked.
    pub(crate) client: Option<ClientNumber>,
    /// The row it was last seen in: what comes to stand there is marked when it goes.
    row: usize,
    /// The first row on the screen.
    pub(crate) top: usize,
    /// The time of its last move, if the person did not cause it.
    moved: Option<Wall>,
}

/// The state of the screen.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) look: TerminalFeatures,
    pub(crate) size: Size,
    pub(crate) link: ServerConnection,
    /// The server's warnings.
    pub(crate) warnings: Vec<String>,
    pub(crate) fleet: Fleet,
    /// The mark in the table.
    pub(crate) marked: ListMark,
    /// The mark among the requests.
    pub(crate) request: ListMark,
    pub(crate) focus: Pane,
    pub(crate) mode: Mode,
    /// The requests of which one is to be chosen.
    pub(crate) choice: Option<Choice>,
    pub(crate) log: Log,
    pub(crate) details: Option<Details>,
    pub(crate) notice: Option<Notice>,
    /// The time of the last event.
    pub(crate) clock: EventTime,
    mouse: bool,
    /// Names of clients that were removed since the last second: a server that ends removes all.
    removed: Vec<String>,
    effects: Vec<ScreenEffect>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            look: TerminalFeatures {
                charset: Charset::Ascii,
                colour: false,
            },
            size: Size {
                columns: 80,
                rows: 24,
            },
            link: ServerConnection::Looking,
            warnings: Vec::new(),
            fleet: Fleet::default(),
            marked: ListMark::default(),
            request: ListMark::default(),
            focus: Pane::Clients,
            mode: Mode::Browse,
            choice: None,
            log: Log::default(),
            details: None,
            notice: None,
            clock: EventTime::default(),
            mouse: false,
            removed: Vec::new(),
            effects: Vec::new(),
        }
    }
}

impl State {
    /// Handles an event at `clock`; returns the effects to carry out.
    pub(crate) fn handle(&mut self, event: MonitorEvent, clock: EventTime) -> Vec<ScreenEffect> {
        self.clock = clock;
        let before = (self.marked.client, self.request.client);
        let mut by_person = false;
        match event {
            MonitorEvent::Started(look, size) => self.start(look, size),
            MonitorEvent::Resized(size) => self.size = size,
            MonitorEvent::Passed => self.pass(),
            MonitorEvent::Key(key) => {
                by_person = true;
                self.press(key);
            }
            MonitorEvent::Mouse(mouse) => {
                by_person = true;
                self.point(mouse);
            }
            event => self.handle_server_event(event),
        }
        self.settle();
        // Who saw an empty table meant nobody in it; an empty list of requests is not even there.
        let expected = by_person || before.0.is_none();
        self.marked.note_move(before.0, expected, clock.wall);
        self.request.note_move(before.1, by_person, clock.wall);
        self.follow_details();
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn areas(&self) -> Areas {
        areas(Parts {
            size: self.size,
            has_warnings: !self.warnings.is_empty(),
            waiting: self.waiting().len(),
            has_details: self.details.is_some(),
            has_log: self.log.open,
        })
    }

    /// The panes there are, from the top.
    pub(crate) fn panes(&self) -> Vec<Pane> {
        let there = [
            (Pane::Requests, !self.waiting().is_empty()),
            (Pane::Clients, true),
            (Pane::Details, self.details.is_some()),
            (Pane::Log, self.log.open),
        ];
        let there = there.into_iter().filter(|(_, there)| *there);
        there.map(|(pane, _)| pane).collect()
    }

    /// Requests that wait for a decision, the oldest first. Without a server nobody can decide.
    pub(crate) fn waiting(&self) -> &[ClientNumber] {
        match self.link {
            ServerConnection::Up(_) => self.fleet.waiting(),
            ServerConnection::Looking | ServerConnection::Down(..) => &[],
        }
    }

    /// The client that keys work on.
    pub(crate) fn target(&self) -> Option<(ClientNumber, &ClientView)> {
        let id = match self.focus {
            Pane::Requests => self.request.client?,
            _ => self.marked.client?,
        };
        Some((id, self.fleet.get(id)?))
    }

    fn start(&mut self, look: TerminalFeatures, size: Size) {
        self.look = look;
        self.size = size;
        self.mouse = true;
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("Nightlatch monitor {version}; q: quit, ?: help");
        self.note(Severity::Info, text);
    }

    /// Handles the passing of a second.
    fn pass(&mut self) {
        if self
            .notice
            .as_ref()
            .is_some_and(|notice| notice.until <= self.clock.wall)
        {
            self.notice = None;
        }
        self.fleet.pass_time(self.clock.wall);
        self.log_removed();
    }

    /// Mends marks and questions about clients that an event removed.
    fn settle(&mut self) {
        let areas = self.areas();
        self.marked.hold(
            self.fleet.shown(),
            |id| self.fleet.row(id),
            areas.table_rows(),
        );
        let waiting = self.waiting().to_vec();
        let row = |id| waiting.iter().position(|waiting| *waiting == id);
        self.request.hold(&waiting, row, areas.request_rows());
        if !self.panes().contains(&self.focus) {
            self.focus = Pane::Clients;
        }
        if let Mode::Ask(_, id) = self.mode
            && self.fleet.get(id).is_none()
        {
            self.mode = Mode::Browse;
        }
        self.settle_choice();
    }

    /// Adds a line to the log.
    fn note(&mut self, level: Severity, text: String) {
        self.log
            .push(self.clock.local(self.clock.wall), level, text);
    }

    /// Shows a notice at the bottom.
    fn show_notice(&mut self, level: Severity, text: impl Into<String>) {
        self.notice = Some(Notice {
            level,
            text: text.into(),
            until: self.clock.wall.after(NOTICE),
        });
    }
}

impl ListMark {
    /// Keeps the mark on a client of `list`, and its row on the screen.
    fn hold(
        &mut self,
        list: &[ClientNumber],
        row: impl Fn(ClientNumber) -> Option<usize>,
        rows: usize,
    ) {
        match self.client.and_then(row) {
            Some(row) => self.row = row,
            None => {
                self.row = self.row.min(list.len().saturating_sub(1));
                self.client = list.get(self.row).copied();
            }
        }
        let rows = rows.max(1);
        self.top = self.top.min(list.len().saturating_sub(rows));
        self.top = self
            .top
            .clamp((self.row + 1).saturating_sub(rows), self.row);
    }

    /// Notes a move of the mark since it was on `before`, and whether the person caused it.
    fn note_move(&mut self, before: Option<ClientNumber>, expected: bool, now: Wall) {
        if self.client != before {
            self.moved = (!expected).then_some(now);
        }
    }

    /// True when the mark has been at its place long enough for the person to have seen it.
    fn is_settled(&self, now: Wall) -> bool {
        // A clock that was set back settles nothing.
        self.moved
            .is_none_or(|moved| now < moved || now.since(moved) >= SETTLING)
    }

    /// Moves by `rows`, to the ends at most.
    fn step(&mut self, list: &[ClientNumber], rows: isize) {
        let last = list.len().saturating_sub(1);
        self.put(list, self.row.saturating_add_signed(rows).min(last));
    }

    /// Moves to a row.
    fn put(&mut self, list: &[ClientNumber], row: usize) {
        if let Some(id) = list.get(row) {
            self.client = Some(*id);
            self.row = row;
        }
    }
}
