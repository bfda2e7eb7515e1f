//! Whole stories: events in, orders and screens out. Nothing here has a clock, a terminal or a bus.

mod acting;
mod hostile;
mod replay;
mod screens;
mod telling;

use std::time::Duration;

use nightlatch_bus::client::{CheckStatus, ClientView, GuardView};
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_core::guard::GuardState;
use nightlatch_core::time::Wall;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::monitor::draw;
use crate::monitor::event::{EventTime, MonitorEvent, ScreenEffect, ServerKind, Size};
use crate::monitor::state::State;
use crate::monitor::text::Charset;
use crate::monitor::theme::TerminalFeatures;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// 2026-11-24 12:00:00 UTC.
pub(in crate::monitor) const NOON: Wall = Wall::from_unix_micros(1_795_521_600_000_000);

/// A person before a screen.
struct Person {
    state: State,
    clock: EventTime,
}

impl Person {
    /// A person who has just started the program, two hours ahead of UTC.
    fn at(look: TerminalFeatures, columns: u16, rows: u16) -> Self {
        let mut person = Self {
            state: State::default(),
            clock: EventTime {
                wall: NOON,
                ahead: 7_200,
            },
        };
        person.sees(MonitorEvent::Started(look, Size { columns, rows }));
        person
    }

    /// The same, with a screen as most have it, and a Mandos server with these clients.
    fn with(clients: Vec<ClientView>) -> Self {
        let mut person = Self::at(UTF8, 80, 24);
        person.sees(MonitorEvent::Connected(ServerKind::Mandos, clients));
        person.waits(SECOND);
        person
    }

    fn sees(&mut self, event: MonitorEvent) -> Vec<ScreenEffect> {
        self.state.handle(event, self.clock)
    }

    /// Presses keys, named and with spaces between.
    fn presses(&mut self, keys: &str) -> Vec<ScreenEffect> {
        let keys = keys.split(' ').map(|key| key.parse().unwrap());
        keys.flat_map(|key| self.sees(MonitorEvent::Key(key)))
            .collect()
    }

    fn types(&mut self, text: &str) {
        for c in text.chars() {
            self.sees(MonitorEvent::Key(crate::monitor::key::Key::Char(c)));
        }
    }

    /// Lets time pass, second by second.
    fn waits(&mut self, time: Duration) -> Vec<ScreenEffect> {
        let mut orders = Vec::new();
        for _ in 0..time.as_secs() {
            self.clock.wall = self.clock.wall.after(SECOND);
            orders.extend(self.sees(MonitorEvent::Passed));
        }
        orders
    }

    /// The content of the screen.
    fn buffer(&self) -> Buffer {
        let Size { columns, rows } = self.state.size;
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, rows));
        draw::draw(&self.state, &mut buffer);
        buffer
    }

    /// The lines of the screen, without spaces at the ends.
    fn screen(&self) -> String {
        let buffer = self.buffer();
        let mut text = String::new();
        for y in 0..buffer.area.height {
            let line: String = (0..buffer.area.width)
                .map(|x| buffer[(x, y)].symbol())
                .collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The names in the table, from the top.
    fn names(&self) -> Vec<&str> {
        let shown = self.state.fleet.shown().iter();
        shown
            .map(|id| self.state.fleet.get(*id).unwrap().name.as_str())
            .collect()
    }

    /// The name of the marked client.
    fn marked(&self) -> Option<&str> {
        let client = self.state.fleet.get(self.state.marked.client?)?;
        Some(&client.name)
    }

    fn log(&self) -> Vec<&str> {
        self.state.log.texts()
    }
}

const UTF8: TerminalFeatures = TerminalFeatures {
    charset: Charset::Utf8,
    colour: true,
};

/// A client that is up, and was proved to be at noon.
pub(in crate::monitor) fn client(name: &str) -> ClientView {
    ClientView {
        path: ClientPath::of_name(name),
        name: name.to_owned(),
        key_id: "B6A98D9CE9A2D9149288FA3DF42D377C3E42737AFDCDAF714E33C0A100B51060".to_owned(),
        fingerprint: "43A52A4F0817751E0569521C100A97BD0C6D9C15".to_owned(),
        host: format!("{name}.example.org"),
        checker: "fping -q -- %(host)s".to_owned(),
        enabled: true,
        expires: Some(NOON.after(5 * MINUTE)),
        timeout: 5 * MINUTE,
        extended_timeout: 15 * MINUTE,
        interval: 2 * MINUTE,
        checker_running: false,
        last_check: CheckStatus::Exited(0),
        last_checked_ok: Some(NOON),
        created: Some(Wall::from_unix_micros(1_767_225_600_000_000)),
        last_enabled: Some(Wall::from_unix_micros(1_795_435_200_000_000)),
        approval_pending: false,
        approved_by_default: true,
        approval_delay: Duration::ZERO,
        approval_duration: SECOND,
        last_approval_request: None,
        needs_proof: false,
        guard: GuardView::default(),
    }
}

/// A client whose agent was heard at noon.
fn agent(name: &str, state: GuardState) -> ClientView {
    ClientView {
        guard: GuardView {
            host_key_id: "5a".repeat(32),
            state: Some(state),
            pokeable: true,
            ..GuardView::default()
        },
        ..client(name)
    }
}

/// A client that nobody has proved to be up.
fn failing(name: &str, left: Duration) -> ClientView {
    ClientView {
        expires: Some(NOON.after(left)),
        last_check: CheckStatus::Exited(1),
        last_checked_ok: None,
        ..client(name)
    }
}

fn disabled(name: &str) -> ClientView {
    ClientView {
        enabled: false,
        expires: None,
        last_checked_ok: Some(Wall::from_unix_micros(1_795_348_800_000_000)),
        ..client(name)
    }
}

/// A client that asked at noon, and waits for half a minute.
fn waiting(name: &str, approved_by_default: bool) -> ClientView {
    ClientView {
        approval_pending: true,
        approved_by_default,
        approval_delay: 30 * SECOND,
        last_approval_request: Some(NOON),
        ..client(name)
    }
}

fn changed(name: &str, property: Property, value: PropertyValue) -> MonitorEvent {
    MonitorEvent::Changed(ClientPath::of_name(name), vec![(property, value)])
}
