//! Names, hosts, commands and whatever else comes from outside never command the terminal.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use proptest::prelude::*;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Person, UTF8, client, waiting};
use crate::monitor::draw;
use crate::monitor::event::{ClientSignal, MonitorEvent, ServerKind, Size};

const ATTACK: &str = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\n\u{202e}\u{200b}z";

fn attacker(text: &str) -> ClientView {
    ClientView {
        path: ClientPath::of_name("attacker"),
        host: text.to_owned(),
        checker: text.to_owned(),
        key_id: text.to_owned(),
        fingerprint: text.to_owned(),
        ..waiting(text, false)
    }
}

/// Shows everything that an attacker can write somewhere.
fn show(text: &str, columns: u16) -> Person {
    let mut person = Person::at(UTF8, columns, 40);
    let about = ServerKind::Nightlatch(text.to_owned());
    person.sees(MonitorEvent::Connected(
        about,
        vec![attacker(text), client("b")],
    ));
    let path = ClientPath::of_name("attacker");
    person.sees(MonitorEvent::Signalled(
        path.clone(),
        ClientSignal::Rejected(text.to_owned()),
    ));
    person.sees(MonitorEvent::Signalled(
        path.clone(),
        ClientSignal::CheckerStarted(text.to_owned()),
    ));
    person.sees(MonitorEvent::Unknown {
        key_id: text.to_owned(),
        address: text.to_owned(),
    });
    person.presses("Enter");
    person.sees(MonitorEvent::Answered {
        path,
        reason: text.to_owned(),
        records: vec![
            serde_json::json!({ "record": { "time": text, "kind": text, "detail": text } })
                .to_string(),
        ],
    });
    person
}

#[test]
fn no_control_character_reaches_the_terminal() {
    for columns in [40, 80, 140] {
        let mut person = show(ATTACK, columns);
        for key in ["", "R", "/"] {
            if !key.is_empty() {
                person.presses(key);
            }
            let bytes = sent(&person);
            let text = String::from_utf8(bytes).unwrap();
            assert!(!text.contains("\u{1b}]"), "a title");
            assert!(!text.contains("[2J\u{9b}") && !text.contains('\u{9b}'));
            assert!(!text.contains(['\r', '\n', '\u{7}', '\u{202e}', '\u{200b}']));
            // Its letters are there, as letters.
            assert!(text.contains("]0;owned") || columns == 40, "{text}");
            person.presses("Esc");
        }
    }
}

/// The bytes of one whole frame.
fn sent(person: &Person) -> Vec<u8> {
    let buffer = person.buffer();
    let changes = Buffer::empty(buffer.area).diff(&buffer);
    let mut bytes = Vec::new();
    CrosstermBackend::new(&mut bytes)
        .draw(changes.into_iter())
        .unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_shown_without_control_characters(text in any::<String>(), columns in 1_u16..160) {
        let person = show(&text, columns);
        let buffer = person.buffer();
        for cell in buffer.content() {
            prop_assert!(!cell.symbol().contains(char::is_control));
        }
    }

    #[test]
    fn any_size_of_screen_can_be_drawn(columns in 0_u16..200, rows in 0_u16..60, keys in "[-+jkfbGgoOlwvm?/ay]{0,12}") {
        let mut person = show("name", 80);
        person.sees(MonitorEvent::Resized(Size { columns, rows }));
        person.types(&keys);
        person.buffer();
        // A terminal that is smaller than was heard of yet.
        let mut smaller = Buffer::empty(Rect::new(0, 0, columns / 2, rows / 2));
        draw::draw(&person.state, &mut smaller);
    }
}
