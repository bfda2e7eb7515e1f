//! Events of a server, and their lines in the log and the details.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};

use super::{Person, SECOND, UTF8, changed, client, failing, waiting};
use crate::monitor::event::{ClientSignal, MonitorEvent, ScreenEffect, ServerKind};

fn told(name: &str, told: ClientSignal) -> MonitorEvent {
    MonitorEvent::Signalled(ClientPath::of_name(name), told)
}

fn completed(exit: Option<u8>, signal: Option<u8>) -> ClientSignal {
    ClientSignal::CheckerCompleted {
        exit,
        signal,
        command: "ping".to_owned(),
    }
}

#[test]
fn what_mandos_monitor_logs_is_logged() {
    let mut person = Person::with(vec![client("a")]);
    let start = person.log().len();
    for event in [
        ClientSignal::GotSecret,
        ClientSignal::NeedApproval {
            milliseconds: 90_000,
            default: false,
        },
        ClientSignal::NeedApproval {
            milliseconds: 1_500,
            default: true,
        },
        ClientSignal::Rejected("Denied".to_owned()),
        completed(Some(3), None),
        completed(None, Some(9)),
        // Only where every check is logged.
        completed(Some(0), None),
        ClientSignal::CheckerStarted("ping".to_owned()),
    ] {
        person.sees(told("a", event));
    }
    person.sees(MonitorEvent::Unknown {
        key_id: "AB".to_owned(),
        address: "fe80::1".to_owned(),
    });
    assert_eq!(
        person.log()[start..],
        [
            "a received its secret",
            "a needs approval within 1 min 30 s",
            "a will get its secret in 1 s unless it is denied",
            "a was rejected: Denied",
            "A check of a failed with exit status 3: ping",
            "A check of a was killed by signal 9: ping",
            "A client with an unknown key asked from fe80::1: AB",
        ]
    );
    person.presses("v");
    person.sees(told("a", ClientSignal::CheckerStarted("ping".to_owned())));
    person.sees(told("a", completed(Some(0), None)));
    person.presses("v");
    assert_eq!(
        person.log()[start + 7..],
        [
            "Verbose mode: On",
            "A check of a began: ping",
            "A check of a succeeded",
            "Verbose mode: Off"
        ]
    );
}

#[test]
fn a_client_without_a_delay_needs_no_approval_whatever_its_default_decision_is() {
    for approved_by_default in [true, false] {
        let client = ClientView {
            approved_by_default,
            ..client("a")
        };
        let mut person = Person::with(vec![client]);
        person.presses("Enter");
        let lines = person.state.description(200);
        let text = |label| &lines.iter().find(|line| line.label == label).unwrap().text;
        assert!(
            text("Why").contains("enabled and gets its secret without approval."),
            "{}",
            text("Why")
        );
        assert_eq!(text("Approval"), "not asked for");
    }
}

#[test]
fn comings_goings_and_turns_are_logged() {
    let mut person = Person::with(vec![client("a")]);
    let start = person.log().len();
    person.sees(MonitorEvent::Added(Box::new(client("b"))));
    person.sees(changed(
        "b",
        Property::Enabled,
        PropertyValue::Boolean(false),
    ));
    person.sees(changed(
        "b",
        Property::Enabled,
        PropertyValue::Boolean(false),
    ));
    person.sees(changed(
        "b",
        Property::Enabled,
        PropertyValue::Boolean(true),
    ));
    person.sees(MonitorEvent::Removed(ClientPath::of_name("b")));
    person.waits(SECOND);
    assert_eq!(
        person.log()[start..],
        [
            "b was added",
            "b is disabled",
            "b is enabled",
            "b was removed"
        ]
    );
}

#[test]
fn a_server_that_ends_removes_all_and_that_is_one_line() {
    let mut person = Person::with((0..9).map(|n| client(&format!("c{n}"))).collect());
    let start = person.log().len();
    for n in 0..9 {
        person.sees(MonitorEvent::Removed(ClientPath::of_name(&format!("c{n}"))));
    }
    let why = "no server has the name";
    person.sees(MonitorEvent::Disconnected(why.to_owned()));
    person.waits(SECOND);
    person.sees(MonitorEvent::Disconnected(why.to_owned()));
    assert_eq!(
        person.log()[start..],
        ["Not connected: no server has the name"]
    );
}

#[test]
fn a_server_that_comes_back_is_shown_with_the_mark_where_it_was() {
    let mut person = Person::with(vec![client("a"), client("b")]);
    person.presses("Down");
    person.sees(MonitorEvent::Disconnected("it went".to_owned()));
    assert!(person.screen().contains("b.example") || person.names() == ["a", "b"]);
    let clients = vec![client("a"), client("aa"), client("b")];
    person.sees(MonitorEvent::Connected(ServerKind::Mandos, clients));
    assert_eq!(person.marked(), Some("b"));
    assert!(person.screen().contains("Mandos server"));
}

#[test]
fn a_change_of_nobody_known_changes_nothing() {
    let mut person = Person::with(vec![client("a")]);
    let before = person.screen();
    person.sees(changed(
        "b",
        Property::Enabled,
        PropertyValue::Boolean(false),
    ));
    person.sees(told("b", ClientSignal::GotSecret));
    person.sees(MonitorEvent::Removed(ClientPath::of_name("b")));
    assert_eq!(person.screen(), before);
}

#[test]
fn the_log_keeps_the_last_thousand_lines() {
    let mut person = Person::with(vec![client("a")]);
    for n in 0..1_500 {
        person.sees(told("a", ClientSignal::Rejected(format!("{n}"))));
    }
    assert_eq!(person.log().len(), 1_000);
    assert_eq!(person.log().last(), Some(&"a was rejected: 1499"));
    // A pane that was scrolled back stays where it is.
    person.presses("Tab PageUp");
    let before = person.screen();
    person.sees(told("a", ClientSignal::Rejected("new".to_owned())));
    let logged = |screen: &str| {
        screen
            .lines()
            .skip(16)
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(logged(&person.screen())[..6], logged(&before)[..6]);
}

/// A line as `docs/dbus.md` has it.
fn record(seq: u64, kind: &str, more: &str) -> String {
    let time = "2026-11-24T11:59:30.000001Z";
    let hash = "0".repeat(64);
    format!(
        r#"{{"seq":{seq},"hash":"{hash}","record":{{"time":"{time}","kind":"{kind}","client":"a"{more}}}}}"#
    )
}

#[test]
fn details_ask_for_reasons_once_and_show_them() {
    let mut person = Person::at(UTF8, 80, 40);
    let about = ServerKind::Nightlatch("0.1.0".to_owned());
    let clients = vec![failing("a", SECOND * 90), client("b"), client("c")];
    person.sees(MonitorEvent::Connected(about, clients));
    let ask = |name: &str| ScreenEffect::Ask(ClientPath::of_name(name), name.to_owned());
    assert_eq!(person.presses("Enter"), [ask("a")]);
    // Who moves on does not ask again before there is an answer.
    assert_eq!(person.presses("Down Down Up Up"), []);
    let more = r#","reason":"its checker failed","who":"server""#;
    let answer = MonitorEvent::Answered {
        path: ClientPath::of_name("a"),
        reason: "It answered no check for an hour.".to_owned(),
        records: vec![record(1, "check-failed", more), "no record".to_owned()],
    };
    assert_eq!(person.sees(answer), [ask("a")]);
    let screen = person.screen();
    assert!(
        screen.contains("It answered no check for an hour."),
        "{screen}"
    );
    person.presses("Tab End");
    let screen = person.screen();
    assert!(screen.contains("2026-11-24 13:59:30  check-failed: its checker failed, by server"));
    // A record that comes is at once the newest; one of an alarm is in the log too.
    let more = r#","alarm":"same-boot","detail":"it asked twice""#;
    person.sees(MonitorEvent::Recorded(record(2, "alarm", more)));
    assert!(
        person
            .screen()
            .contains("alarm ALARM same-boot: it asked twice")
    );
    assert_eq!(
        person.log().last(),
        Some(&"ALARM same-boot: a: it asked twice")
    );
    // What is not understood is passed over.
    person.sees(MonitorEvent::Recorded("{}".to_owned()));
}

#[test]
fn a_mandos_server_is_never_asked_for_reasons() {
    let mut person = Person::with(vec![client("a"), waiting("b", false)]);
    assert_eq!(person.presses("Enter Down"), []);
    let lines = person.state.description(200);
    let why = lines.iter().find(|line| line.label == "Why").unwrap();
    assert!(
        why.text
            .contains("Without a decision it is refused at 2026-11-24 12:00:30 UTC."),
        "{}",
        why.text
    );
}
