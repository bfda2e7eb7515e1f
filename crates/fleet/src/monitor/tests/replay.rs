//! Recordings play the same again.

use super::{Person, UTF8, client, failing, waiting};
use crate::monitor::event::Button;
use crate::monitor::event::{
    ActionKind, ClientAction, ClientSignal, Event, EventTime, Mouse, ServerKind, Size,
};
use crate::monitor::recording;
use crate::monitor::state::State;
use nightlatch_bus::names::ClientPath;

/// Plays a recording, and gives the screen at its end.
pub(super) fn play(recording: &str) -> Person {
    let mut state = State::default();
    let mut last = EventTime::default();
    for line in recording.lines() {
        let (at, event) = recording::read(line).unwrap();
        state.handle(event, at);
        last = at;
    }
    Person { state, clock: last }
}

#[test]
fn every_kind_of_event_is_read_as_it_is_written() {
    let path = ClientPath::of_name("a");
    let size = Size {
        columns: 80,
        rows: 24,
    };
    let action = ClientAction {
        act: ActionKind::Remove,
        path: path.clone(),
        name: "a".to_owned(),
        request: None,
    };
    let mut values: Vec<_> = client("a").values().collect();
    values.sort_by_key(|(property, _)| property.name());
    let events = [
        Event::Started(UTF8, size),
        Event::Key("Ctrl-K".parse().unwrap()),
        Event::Mouse(Mouse {
            what: Button::Press,
            column: 1,
            row: 2,
        }),
        Event::Resized(size),
        Event::Passed,
        Event::Connected(ServerKind::Mandos, vec![client("a"), waiting("b", true)]),
        Event::Disconnected("why".to_owned()),
        Event::Added(Box::new(failing("c", super::SECOND))),
        Event::Removed(path.clone()),
        Event::Changed(path.clone(), values),
        Event::Told(path.clone(), ClientSignal::GotSecret),
        Event::Unknown {
            key_id: "AB".to_owned(),
            address: "::1".to_owned(),
        },
        Event::Recorded("{}".to_owned()),
        Event::Answered {
            path,
            reason: "r".to_owned(),
            records: vec!["{}".to_owned()],
        },
        Event::Failed(action, "why".to_owned()),
    ];
    for event in events {
        let at = EventTime {
            wall: super::NOON,
            ahead: -3_600,
        };
        let mut line = Vec::new();
        recording::write(&mut line, at, &event).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(recording::read(line.trim_end()).unwrap(), (at, event));
    }
}
