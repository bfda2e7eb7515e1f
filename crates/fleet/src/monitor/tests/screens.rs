//! Screens as a person sees them, kept as files beside this one. After a change that is meant, write them
//! anew: `NIGHTLATCH_WRITE_SCREENS=1 cargo test -p nightlatch-fleet screens`, and look at each.

use std::fs;
use std::path::Path;

use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_bus::names::ClientPath;
use nightlatch_core::guard::{GuardState, Suspicion};

use super::replay::play;
use super::{MINUTE, Person, SECOND, UTF8, agent, client, disabled, failing, waiting};
use crate::monitor::event::{ClientSignal, MonitorEvent, ServerKind};
use crate::monitor::text::Charset;
use crate::monitor::theme::TerminalFeatures;

/// With this variable the screens are written and not compared.
const WRITE: &str = "NIGHTLATCH_WRITE_SCREENS";

fn assert_screen(name: &str, person: &Person) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/monitor/tests/screens");
    let file = folder.join(name).with_extension("txt");
    let screen = person.screen();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, screen).unwrap();
        return;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        screen == expected,
        "{name} is another screen now; expected:\n{expected}\nfound:\n{screen}"
    );
}

/// Some of each kind.
fn fleet() -> Vec<ClientView> {
    vec![
        client("mail"),
        client("web-1"),
        ClientView {
            expires: Some(super::NOON.after(2 * MINUTE)),
            last_checked_ok: Some(super::NOON),
            last_check: CheckStatus::Exited(1),
            ..client("web-2")
        },
        failing("build", 40 * SECOND),
        disabled("old-router"),
        ClientView {
            last_check: CheckStatus::Never,
            last_checked_ok: None,
            timeout: 100 * MINUTE,
            expires: Some(super::NOON.after(90 * MINUTE)),
            ..client("nas")
        },
        waiting("db-1", false),
        waiting("db-2", true),
    ]
}

/// A person at such a screen, some seconds after some things happened.
fn at(look: TerminalFeatures, columns: u16, rows: u16) -> Person {
    let mut person = Person::at(look, columns, rows);
    person.sees(MonitorEvent::Connected(ServerKind::Mandos, fleet()));
    let path = ClientPath::of_name("db-1");
    let told = ClientSignal::NeedApproval {
        milliseconds: 30_000,
        default: false,
    };
    person.sees(MonitorEvent::Signalled(path, told));
    person.waits(7 * SECOND);
    person
}

const ASCII: TerminalFeatures = TerminalFeatures {
    charset: Charset::Ascii,
    colour: false,
};

#[test]
fn at_the_start() {
    let mut person = Person::at(UTF8, 80, 24);
    assert_screen("start", &person);
    person.sees(MonitorEvent::Disconnected(
        "no server has the name se.recompile.Mandos".to_owned(),
    ));
    assert_screen("no-server", &person);
    person.sees(MonitorEvent::Connected(ServerKind::Mandos, Vec::new()));
    assert_screen("no-clients", &person);
}

#[test]
fn a_fleet() {
    assert_screen("fleet", &at(UTF8, 80, 24));
    assert_screen("fleet-ascii", &at(ASCII, 80, 24));
    assert_screen("fleet-small", &at(UTF8, 40, 12));
    assert_screen("fleet-wide", &at(UTF8, 132, 30));
}

#[test]
fn a_server_with_something_to_mend() {
    let mut person = at(UTF8, 80, 24);
    let lost = "the server's state was lost, or is older than it has been: 3 clients get nothing until each is \
                enabled (nightlatch enable) or a check proves its private key";
    let full = "the state cannot be written: no space left on device";
    person.sees(MonitorEvent::Warned(vec![lost.to_owned(), full.to_owned()]));
    assert_screen("warnings", &person);
    // It is told once.
    let lines = person.log().len();
    person.sees(MonitorEvent::Warned(vec![lost.to_owned()]));
    assert_eq!(person.log().len(), lines);
    assert!(person.screen().contains("the server's state was lost"));
    person.sees(MonitorEvent::Warned(Vec::new()));
    let body = person.screen();
    let below = |text: &str| {
        text.lines()
            .nth(1)
            .is_some_and(|line| line.contains("lost"))
    };
    assert!(!below(&body), "{body}");
}

#[test]
fn the_help() {
    let mut person = at(UTF8, 80, 24);
    person.presses("?");
    assert_screen("help", &person);
}

#[test]
fn details() {
    let mut person = at(UTF8, 80, 24);
    person.presses("Enter");
    assert_screen("details", &person);
    let mut person = at(UTF8, 132, 30);
    person.presses("Enter");
    assert_screen("details-wide", &person);
}

/// A request of a suspect waits, a further one reboots, and the agent of a third is silent.
#[test]
fn a_fleet_with_agents() {
    let mut asks = waiting("db-1", true);
    asks.guard = agent("db-1", GuardState::Up).guard;
    asks.guard.suspect = Some(Suspicion::Impostor);
    let mut reboots = agent("web-1", GuardState::Leaving);
    reboots.guard.leaving_until = Some(super::NOON.after(4 * MINUTE));
    let mut known = agent("web-3", GuardState::Up);
    known.guard.suspect = Some(Suspicion::ServedImpostor);
    let clients = vec![asks, reboots, agent("web-2", GuardState::Quiet), known];
    let mut person = Person::at(UTF8, 80, 24);
    let server = ServerKind::Nightlatch("1.0".to_owned());
    person.sees(MonitorEvent::Connected(server, clients));
    person.waits(7 * SECOND);
    person.presses("Enter");
    assert_screen("guard", &person);
    person.presses("/");
    person.types("is:suspect");
    person.presses("Enter");
    assert_eq!(person.names(), ["db-1", "web-3"]);
}

#[test]
fn a_question() {
    let mut person = at(UTF8, 80, 24);
    person.presses("R");
    assert_screen("remove", &person);
}

#[test]
fn a_filter() {
    let mut person = at(UTF8, 80, 24);
    person.presses("/");
    person.types("is:wait");
    assert_screen("filter", &person);
    person.types("x");
    person.presses("Enter");
    assert_screen("filter-nothing", &person);
}

#[test]
fn a_server_that_went() {
    let mut person = at(UTF8, 80, 24);
    person.sees(MonitorEvent::Disconnected(
        "no server has the name se.recompile.Mandos".to_owned(),
    ));
    person.waits(4 * SECOND);
    assert_screen("gone", &person);
}

/// An hour with a stock server: recorded with `--record`.
#[test]
fn a_recording_of_a_mandos_server() {
    assert_screen("recording", &play(include_str!("recordings/mandos.jsonl")));
}

#[test]
fn without_colour_there_is_none() {
    let mut person = at(ASCII, 80, 24);
    for key in ["Enter", "?", "q", "R"] {
        person.presses(key);
        for cell in person.buffer().content() {
            assert_eq!(cell.fg, ratatui::style::Color::Reset);
            assert_eq!(cell.bg, ratatui::style::Color::Reset);
            assert!(cell.symbol().is_ascii());
        }
    }
}
