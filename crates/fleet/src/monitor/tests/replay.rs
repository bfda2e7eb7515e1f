//! Recordings play the same again.

use super::{Person, UTF8, client, failing, waiting};
use crate::monitor::event::Button;
use crate::monitor::event::{
    ActionKind, ActionRequest, ClientSignal, EventTime, MonitorEvent, Mouse, ServerKind, Size,
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
    let action = ActionRequest {
        act: ActionKind::Remove,
        path: path.clone(),
        name: "a".to_owned(),
        request: None,
    };
    let mut values: Vec<_> = client("a").values().collect();
    values.sort_by_key(|(property, _)| property.name());
    let events = [
        MonitorEvent::Started(UTF8, size),
        MonitorEvent::Key("Ctrl-K".parse().unwrap()),
        MonitorEvent::Mouse(Mouse {
            what: Button::Press,
            column: 1,
            row: 2,
        }),
        MonitorEvent::Resized(size),
        MonitorEvent::Passed,
        MonitorEvent::Connected(ServerKind::Mandos, vec![client("a"), waiting("b", true)]),
        MonitorEvent::Disconnected("why".to_owned()),
        MonitorEvent::Added(Box::new(failing("c", super::SECOND))),
        MonitorEvent::Removed(path.clone()),
        MonitorEvent::Changed(path.clone(), values),
        MonitorEvent::Signalled(path.clone(), ClientSignal::GotSecret),
        MonitorEvent::Unknown {
            key_id: "AB".to_owned(),
            address: "::1".to_owned(),
        },
        MonitorEvent::Recorded("{}".to_owned()),
        MonitorEvent::Answered {
            path,
            reason: "r".to_owned(),
            records: vec!["{}".to_owned()],
        },
        MonitorEvent::Failed(action, "why".to_owned()),
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
