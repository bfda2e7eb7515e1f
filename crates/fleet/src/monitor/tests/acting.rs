//! Actions of a person, and the orders for them.

use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};

use super::{Person, SECOND, changed, client, disabled, failing, waiting};
use crate::monitor::event::{
    ActionKind, ActionRequest, Button, MonitorEvent, Mouse, ScreenEffect, Size,
};
use crate::monitor::state::Pane;

fn action(act: ActionKind, name: &str) -> ScreenEffect {
    ScreenEffect::Do(ActionRequest {
        act,
        path: ClientPath::of_name(name),
        name: name.to_owned(),
        request: None,
    })
}

fn action_on(act: ActionKind, name: &str, request: u64) -> ScreenEffect {
    match action(act, name) {
        ScreenEffect::Do(action) => ScreenEffect::Do(ActionRequest {
            request: Some(request),
            ..action
        }),
        other => other,
    }
}

#[test]
fn each_key_of_mandos_monitor_orders_what_it_says_of_the_marked_client() {
    let mut person = Person::with(vec![client("a"), client("b"), client("c")]);
    person.presses("Down");
    for (key, act) in [
        ("a", ActionKind::Approve),
        ("d", ActionKind::Deny),
        ("+", ActionKind::Enable),
        ("-", ActionKind::Disable),
        ("s", ActionKind::StartChecker),
        ("S", ActionKind::StopChecker),
        ("C", ActionKind::CheckedOk),
    ] {
        assert_eq!(person.presses(key), [action(act, "b")], "{key}");
    }
    assert_eq!(person.presses("Ctrl-L"), [ScreenEffect::Redraw]);
    assert_eq!(person.presses("Q"), [ScreenEffect::Quit]);
}

#[test]
fn removing_asks_first_and_only_yes_is_yes() {
    let mut person = Person::with(vec![client("a"), client("b")]);
    for key in ["R", "_", "Ctrl-K"] {
        assert_eq!(person.presses(key), []);
        assert!(
            person
                .screen()
                .contains("Really remove a?   y: yes, any other key: no")
        );
        assert_eq!(person.presses("y"), [action(ActionKind::Remove, "a")]);
    }
    for no in ["n", "Esc", "Enter", "R", "q", "-"] {
        assert_eq!(person.presses("R"), []);
        assert_eq!(person.presses(no), [], "{no}");
    }
}

#[test]
fn a_question_about_a_client_that_went_is_asked_no_more() {
    let mut person = Person::with(vec![client("a"), client("b")]);
    person.presses("R");
    person.sees(MonitorEvent::Removed(ClientPath::of_name("a")));
    assert_eq!(person.presses("y"), []);
}

#[test]
fn the_oldest_request_is_answered_by_one_key_from_anywhere() {
    let mut person = Person::with(vec![client("a"), waiting("b", false), client("c")]);
    assert_eq!(person.presses("y"), [action(ActionKind::Approve, "b")]);
    assert_eq!(person.presses("n"), [action(ActionKind::Deny, "b")]);
    assert_eq!(person.marked(), Some("a"));
    // The request of another comes below it, and another can be chosen.
    person.sees(MonitorEvent::Added(Box::new(waiting("aa", true))));
    person.waits(SECOND);
    assert_eq!(person.presses("y"), [action(ActionKind::Approve, "b")]);
    person.presses("Shift-Tab Down");
    assert_eq!(person.state.focus, Pane::Requests);
    assert_eq!(person.presses("n"), [action(ActionKind::Deny, "aa")]);
    assert_eq!(person.presses("a"), [action(ActionKind::Approve, "aa")]);
}

#[test]
fn of_several_requests_the_one_on_the_screen_is_decided_on() {
    let mut person = Person::with(vec![client("a"), waiting("b", false)]);
    let asked = |act| {
        let ScreenEffect::Do(action) = action(act, "b") else {
            unreachable!("a deed")
        };
        let from = |peer: &str| peer.to_owned();
        let requests = vec![
            (481_516, from("[fe80::1%eth0]:4711")),
            (481_517, from("192.0.2.9:1")),
        ];
        MonitorEvent::Several(action, requests)
    };
    person.sees(asked(ActionKind::Approve));
    let shown = "1/2 481516 from [fe80::1%eth0]:4711: approve b?";
    assert!(person.screen().contains(shown), "{}", person.screen());
    assert_eq!(person.presses("y"), [], "it has just come");
    person.waits(SECOND);
    assert_eq!(
        person.presses("y"),
        [action_on(ActionKind::Approve, "b", 481_516)]
    );
    person.sees(asked(ActionKind::Deny));
    person.waits(SECOND);
    assert_eq!(person.presses("Down"), []);
    assert!(person.screen().contains("2/2 481517 from 192.0.2.9:1"));
    assert_eq!(
        person.presses("y"),
        [action_on(ActionKind::Deny, "b", 481_517)]
    );
    for no in ["n", "Esc", "a", "q"] {
        person.sees(asked(ActionKind::Approve));
        person.waits(SECOND);
        assert_eq!(person.presses(no), [], "{no}");
        assert!(person.screen().contains("not done"), "{no}");
    }
}

#[test]
fn a_request_for_a_named_secret_is_asked_about_even_when_it_is_the_only_one() {
    let mut person = Person::with(vec![client("a"), waiting("b", false)]);
    let ScreenEffect::Do(act) = action(ActionKind::Approve, "b") else {
        unreachable!("a deed")
    };
    let request = (481_516, "192.0.2.9:1 for the secret db".to_owned());
    person.sees(MonitorEvent::Several(act, vec![request]));
    let screen = person.screen();
    for shown in [
        "1/1 481516 from 192.0.2.9:1 for the secret db: approve b?",
        "the pending request of b is for a named secret",
    ] {
        assert!(screen.contains(shown), "{screen}");
    }
    person.waits(SECOND);
    assert_eq!(
        person.presses("y"),
        [action_on(ActionKind::Approve, "b", 481_516)]
    );
}

#[test]
fn a_request_that_does_not_fit_the_screen_is_not_decided_on() {
    let mut person = Person::with(vec![waiting("b", false)]);
    person.sees(MonitorEvent::Resized(crate::monitor::event::Size {
        columns: 30,
        rows: 24,
    }));
    let ScreenEffect::Do(action) = action(ActionKind::Approve, "b") else {
        unreachable!("a deed")
    };
    let peers = ["[fe80::5054:ff:fe12:3456%eth0]:4711", "192.0.2.9:1"];
    let requests = peers
        .iter()
        .zip(1..)
        .map(|(peer, number)| (number, (*peer).to_owned()));
    person.sees(MonitorEvent::Several(action, requests.collect()));
    person.waits(SECOND);
    assert_eq!(person.presses("y"), []);
}

#[test]
fn nothing_is_done_to_a_client_that_has_just_come_under_the_mark() {
    let mut person = Person::with(vec![waiting("a", false), waiting("b", false)]);
    // The answer of somebody else takes the first request away.
    person.sees(changed(
        "a",
        Property::ApprovalPending,
        PropertyValue::Boolean(false),
    ));
    assert_eq!(person.presses("y"), []);
    assert!(person.screen().contains("the mark has just moved"));
    person.waits(SECOND);
    assert_eq!(person.presses("y"), [action(ActionKind::Approve, "b")]);
    // The same in the table.
    person.sees(MonitorEvent::Removed(ClientPath::of_name("a")));
    assert_eq!(person.presses("-"), []);
    // A person who moves the mark knows where it is.
    person.sees(MonitorEvent::Added(Box::new(client("c"))));
    assert_eq!(person.presses("Down -"), [action(ActionKind::Disable, "c")]);
}

#[test]
fn without_a_server_nothing_is_ordered() {
    let mut person = Person::with(vec![client("a")]);
    person.sees(MonitorEvent::Disconnected("it went".to_owned()));
    person.waits(SECOND);
    assert_eq!(person.presses("-"), []);
    assert!(person.screen().contains("not done: there is no server"));
    assert!(person.screen().contains("no server since 14:00:01"));
}

#[test]
fn the_mark_stays_on_its_client_wherever_that_goes() {
    let mut person = Person::with(vec![client("b"), client("d"), failing("f", SECOND)]);
    person.presses("Down");
    assert_eq!(person.marked(), Some("d"));
    person.sees(MonitorEvent::Added(Box::new(client("c"))));
    person.presses("o O");
    person.presses("/");
    person.types("d");
    person.presses("Enter");
    assert_eq!(person.marked(), Some("d"));
}

#[test]
fn the_table_is_ordered_by_name_state_and_deadline_both_ways() {
    let mut person = Person::with(vec![
        disabled("a"),
        client("b"),
        failing("c", SECOND),
        waiting("d", true),
    ]);
    assert_eq!(person.names(), ["a", "b", "c", "d"]);
    person.presses("o");
    assert_eq!(person.names(), ["d", "c", "b", "a"]);
    person.presses("o");
    assert_eq!(person.names(), ["c", "b", "d", "a"]);
    person.presses("O");
    assert_eq!(person.names(), ["a", "d", "b", "c"]);
    person.presses("o");
    assert_eq!(person.names(), ["a", "b", "c", "d"]);
}

#[test]
fn a_filter_works_while_it_is_typed_and_escape_ends_it() {
    let names = ["web-1", "WEB-2", "db"];
    let mut clients: Vec<_> = names.map(client).into();
    clients.push(disabled("web-3"));
    let mut person = Person::with(clients);
    person.presses("/");
    person.types("web");
    assert_eq!(person.names(), ["WEB-2", "web-1", "web-3"]);
    person.types(" is:dis");
    assert_eq!(person.names(), ["web-3"]);
    // Keys are text there, and no orders.
    assert_eq!(person.presses("- R q"), []);
    assert_eq!(person.names(), [""; 0]);
    person.presses("Ctrl-U Enter");
    assert_eq!(person.names().len(), 4);
    person.presses("/");
    person.types("db");
    person.presses("Enter Esc");
    assert_eq!(person.names().len(), 4);
}

#[test]
fn the_mouse_marks_scrolls_and_sorts_but_never_changes_a_client() {
    let mut person = Person::with((0..40).map(|n| client(&format!("c{n:02}"))).collect());
    let mouse = |what, column, row| MonitorEvent::Mouse(Mouse { what, column, row });
    assert_eq!(person.sees(mouse(Button::Press, 5, 4)), []);
    assert_eq!(person.marked(), Some("c02"));
    person.sees(mouse(Button::Down, 5, 4));
    assert_eq!(person.marked(), Some("c05"));
    // A click on what is marked opens its details.
    person.sees(mouse(Button::Press, 5, 7));
    assert!(person.state.details.is_some());
    let state_heading = person.state.areas().columns.state.x;
    person.sees(mouse(Button::Press, state_heading, 1));
    person.sees(mouse(Button::Press, state_heading, 1));
    assert!(person.state.fleet.order().1);
    for row in 0..24 {
        for column in 0..80 {
            let orders = person.sees(mouse(Button::Press, column, row));
            assert!(
                !orders
                    .iter()
                    .any(|order| matches!(order, ScreenEffect::Do(_)))
            );
        }
    }
}

#[test]
fn panes_take_turns_in_a_circle() {
    let mut person = Person::with(vec![waiting("a", true)]);
    person.presses("Enter");
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(person.state.focus);
        person.presses("Tab");
    }
    let expected = [Pane::Clients, Pane::Details, Pane::Log, Pane::Requests];
    assert_eq!(seen, expected);
    assert_eq!(person.state.focus, Pane::Clients);
    // A pane that goes takes the keys with it.
    person.presses("Tab Enter");
    assert_eq!(person.state.focus, Pane::Clients);
}

#[test]
fn the_help_is_opened_scrolled_and_closed() {
    let mut person = Person::with(vec![client("a")]);
    person.sees(MonitorEvent::Resized(crate::monitor::event::Size {
        columns: 60,
        rows: 12,
    }));
    for key in ["?", "F1", "Esc"] {
        person.presses(key);
        assert!(person.screen().contains("The marked client"), "{key}");
        person.presses("End");
        assert!(person.screen().contains("Quit"));
        assert_eq!(person.presses("q"), []);
        assert!(!person.screen().contains("Quit"));
    }
}

/// The names in the rows of the screen, not those in the first and the last line.
fn is_on_screen(screen: &str, name: &str) -> bool {
    let lines: Vec<&str> = screen.lines().collect();
    let last = lines.len().saturating_sub(1);
    let rows = lines
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(at, _)| *at < last);
    rows.map(|(_, line)| line).any(|line| line.contains(name))
}

#[test]
fn no_key_changes_a_client_whose_row_is_not_on_the_screen_at_any_size() {
    const KEYS: &str = "y n a d + - s S C";
    let names: Vec<String> = (0..30).map(|n| format!("host{n:02}")).collect();
    let mut ordered = 0;
    for (columns, rows) in
        (0..14).flat_map(|rows| [0, 20, 39, 40, 79, 120, 200].map(|it| (it, rows)))
    {
        for (keys, asks) in [
            ("Down", 0),
            ("End", 3),
            ("Enter End", 20),
            ("l Enter End", 20),
            ("Shift-Tab Down End", 20),
            ("/ h o s t 2 Enter End", 9),
        ] {
            let clients = names.iter().enumerate().map(|(n, name)| {
                if n < asks {
                    waiting(name, false)
                } else {
                    client(name)
                }
            });
            let mut person = Person::with(clients.collect());
            // What a larger screen showed may be out of sight on a smaller one.
            person.presses(keys);
            person.sees(MonitorEvent::Resized(Size { columns, rows }));
            person.waits(SECOND);
            let screen = person.screen();
            let mut check = |orders: Vec<ScreenEffect>| {
                for order in orders {
                    if let ScreenEffect::Do(action) = order {
                        ordered += 1;
                        let seen = is_on_screen(&screen, &action.name);
                        assert!(seen, "{columns}x{rows} {keys}: {action:?} on\n{screen}");
                    }
                }
            };
            for key in KEYS.split(' ') {
                check(person.presses(key));
            }
            check(person.presses("R y"));
        }
    }
    assert!(ordered > 100, "{ordered}");
}

#[test]
fn a_question_whose_row_went_out_of_sight_is_not_answered_with_yes() {
    let mut person = Person::with(vec![client("a")]);
    person.presses("R");
    person.sees(MonitorEvent::Resized(Size {
        columns: 20,
        rows: 5,
    }));
    assert_eq!(person.presses("y"), []);
}

#[test]
fn a_question_on_a_narrow_screen_has_the_name_in_it() {
    let mut person = Person::with(vec![client("database-1")]);
    person.sees(MonitorEvent::Resized(Size {
        columns: 40,
        rows: 12,
    }));
    person.presses("R");
    assert!(person.screen().contains("Really remove database-1?  y/n"));
}
