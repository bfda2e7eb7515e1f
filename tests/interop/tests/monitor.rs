//! `nightlatch monitor` on a real terminal, with a stock server: each key beside mandos-monitor, requests
//! of real machines, servers and buses that go and come back, and a terminal that is given back.

use std::process::Command;
use std::time::Duration;

use nightlatch_bus::block_on;
use nightlatch_bus::client::ClientView;
use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::client;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::process::PATIENCE;
use nightlatch_interop::programs::{Project, ours, peer};
use nightlatch_interop::screen::TmuxScreen;
use nightlatch_interop::server::{Home, TestServer};

/// A check that runs until it is stopped.
const LONG: &str = "checker = sleep 1000\ntimeout = PT1H\ninterval = PT1H";

/// The monitor of one side, for a terminal with colours and UTF-8.
fn monitor(project: Project, bus: &Bus) -> Command {
    let mut command = match project {
        Project::Ours => Command::new(ours("nightlatch")),
        Project::Stock => Command::new("/usr/bin/python3"),
    };
    match project {
        Project::Ours => command.arg("monitor"),
        Project::Stock => command.arg(peer("usr/sbin/mandos-monitor")),
    };
    command
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    command
}

fn ours_on(bus: &Bus) -> TmuxScreen {
    TmuxScreen::start(&monitor(Project::Ours, bus), 80, 24)
}

/// Waits until the server shows the client `name` as `wanted`; without one, that it is gone.
fn wait_for_client(site: &Administered, name: &str, wanted: impl Fn(Option<&ClientView>) -> bool) {
    block_on(async {
        let server = site.connect().await;
        let mut waited = Duration::ZERO;
        loop {
            let clients = server.clients().await.unwrap();
            let client = clients.iter().find(|client| client.name == name);
            if wanted(client) {
                return;
            }
            assert!(waited < PATIENCE, "never as wanted: {client:?}");
            const GLANCE: Duration = Duration::from_millis(20);
            std::thread::sleep(GLANCE);
            waited += GLANCE;
        }
    });
}

/// The keys of mandos-monitor(8), for either program and either server.
fn each_key_does_what_the_manual_says(project: Project, server: Project) {
    let sections = format!("{}{}", section("apple", LONG), section("pear", LONG));
    let site = Administered::start(server, &sections);
    let screen = TmuxScreen::start(&monitor(project, &site.bus), 80, 24);
    screen.wait_for_text("pear");
    let enabled = |client: Option<&ClientView>| client.is_some_and(|client| client.enabled);
    let running = |client: Option<&ClientView>| client.is_some_and(|client| client.checker_running);
    let is = |wanted: &dyn Fn(Option<&ClientView>) -> bool| wait_for_client(&site, "pear", wanted);

    // "j", Down, Ctrl-N move; the last client is the one that they end at.
    screen.press(&["j", "k", "Down", "Up", "C-n"]);
    // - "Disable client", + "Enable client".
    screen.press(&["-"]);
    is(&|client| !enabled(client));
    screen.press(&["+"]);
    is(&enabled);
    // S "Stop checker", s "Start new checker".
    screen.press(&["S"]);
    is(&|client| !running(client));
    screen.press(&["s"]);
    is(&running);
    // C "Checker OK".
    is(&|client| client.is_some_and(|client| client.last_checked_ok.is_none()));
    screen.press(&["C"]);
    is(&|client| client.is_some_and(|client| client.last_checked_ok.is_some()));
    // R "Remove"; only ours asks.
    screen.press(&["R"]);
    if project == Project::Ours {
        screen.wait_for_text("Really remove pear?");
        is(&|client| client.is_some());
        screen.press(&["y"]);
    }
    is(&|client| client.is_none());
    wait_for_client(&site, "apple", enabled);
    // q "Quit".
    screen.press(&["q"]);
    assert_eq!(screen.wait_for_end(), 0);
}

/// The other two keys of "Remove".
fn more_keys_remove(project: Project) {
    for key in ["_", "C-k"] {
        let site = Administered::start(Project::Stock, &section("pear", LONG));
        let screen = TmuxScreen::start(&monitor(project, &site.bus), 80, 24);
        screen.wait_for_text("pear");
        screen.press(&["Down", key]);
        if project == Project::Ours {
            screen.wait_for_text("Really remove pear?");
            screen.press(&["y"]);
        }
        wait_for_client(&site, "pear", |client| client.is_none());
    }
}

#[test]
fn more_keys_remove_in_mandos_monitor() {
    more_keys_remove(Project::Stock);
}

#[test]
fn more_keys_remove_in_nightlatch_monitor() {
    more_keys_remove(Project::Ours);
}

#[test]
fn each_key_does_what_the_manual_says_in_mandos_monitor_at_a_stock_server() {
    each_key_does_what_the_manual_says(Project::Stock, Project::Stock);
}

#[test]
fn each_key_does_what_the_manual_says_in_mandos_monitor_at_ours() {
    each_key_does_what_the_manual_says(Project::Stock, Project::Ours);
}

#[test]
fn each_key_does_what_the_manual_says_in_nightlatch_monitor_at_a_stock_server() {
    each_key_does_what_the_manual_says(Project::Ours, Project::Stock);
}

#[test]
fn each_key_does_what_the_manual_says_in_nightlatch_monitor_at_ours() {
    each_key_does_what_the_manual_says(Project::Ours, Project::Ours);
}

/// "a: Approve", "d: Deny": a real machine gets its password, or nothing.
fn requests_are_answered(project: Project, server: Project, yes: &str, no: &str) {
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"sesame");
    let asks = "checker = true\napproval_delay = PT5M\napproval_duration = PT1M\napproved_by_default = False";
    // A server for each: an answer counts for a while, and who is refused asks again.
    for (key, said) in [(yes, "received its secret"), (no, "rejected")] {
        let site = Administered::start(server, &machine.section(asks));
        let screen = TmuxScreen::start(&monitor(project, &site.bus), 80, 24);
        screen.wait_for_text("tower");
        let asked = client::start(Project::Ours, &machine, &site.server.address());
        // Some seconds old: the stock server was seen to lose answers that came at once, and our
        // monitor does nothing to a client that has just come under the mark.
        let countdown = match project {
            Project::Stock => "enial in 0:04:5",
            Project::Ours => "refused in 4:5",
        };
        screen.wait_for("the request", |text| {
            let (_, seconds) = text.split_once(countdown)?;
            (!seconds.starts_with('9')).then_some(())
        });
        screen.press(&[key]);
        screen.wait_for_text(said);
        if key == yes {
            assert_eq!(asked.finish().stdout, b"sesame");
        }
    }
}

#[test]
fn requests_are_answered_in_mandos_monitor() {
    requests_are_answered(Project::Stock, Project::Stock, "a", "d");
}

#[test]
fn requests_are_answered_in_nightlatch_monitor_by_its_keys() {
    requests_are_answered(Project::Ours, Project::Stock, "a", "d");
}

#[test]
fn requests_are_answered_in_nightlatch_monitor_by_one_key() {
    requests_are_answered(Project::Ours, Project::Stock, "y", "n");
}

#[test]
fn requests_at_our_server_are_answered() {
    requests_are_answered(Project::Stock, Project::Ours, "a", "d");
    requests_are_answered(Project::Ours, Project::Ours, "y", "n");
}

#[test]
fn our_server_tells_why_and_what_was() {
    let site = Administered::start(Project::Ours, &section("apple", LONG));
    let screen = TmuxScreen::start(&monitor(Project::Ours, &site.bus), 132, 50);
    screen.wait_for_text("nightlatchd ");
    screen.press(&["Enter"]);
    let reason = block_on(async { site.connect().await.explain("apple").await.unwrap().text });
    let start: String = reason.split(' ').take(4).collect::<Vec<_>>().join(" ");
    screen.wait_for_text(&start);
    // An action now stands in the history with its author.
    screen.press(&["-"]);
    screen.wait_for("the entry in the history", |text| {
        let newest = text.lines().find(|line| line.contains("History"))?;
        (newest.contains("disabled") && text.contains("by uid ")).then_some(())
    });
}

/// The name of a server in our monitor.
fn name(server: Project) -> &'static str {
    match server {
        Project::Stock => "Mandos server",
        Project::Ours => "nightlatchd ",
    }
}

fn a_server_is_waited_for_and_missed(project: Project) {
    let bus = Bus::start();
    let screen = ours_on(&bus);
    screen.wait_for_text("Not connected: no server has the name");
    let mut home = Home::new(&section("apple", LONG), Some(bus.address()));
    home.on_bus();
    let server = TestServer::start(project, home);
    screen.wait_for_text(name(project));
    screen.wait_for_text("which has 1 client");
    // It dies without a word; what was last known stays, and nothing can be done to it.
    let home = server.kill();
    screen.wait_for_text("no server since");
    assert!(screen.text().contains("apple"));
    screen.press(&["-"]);
    screen.wait_for_text("not done: there is no server");
    let server = TestServer::start(project, home);
    screen.wait_for("it back", |text| {
        let title = text.lines().next()?;
        title.contains(name(project)).then_some(())
    });
    // It ends well.
    server.stop();
    screen.wait_for("its end", |text| {
        let title = text.lines().next()?;
        title.contains("no server since").then_some(())
    });
    screen.press(&["q"]);
    assert_eq!(screen.wait_for_end(), 0);
}

#[test]
fn a_stock_server_is_waited_for_and_missed() {
    a_server_is_waited_for_and_missed(Project::Stock);
}

#[test]
fn our_server_is_waited_for_and_missed() {
    a_server_is_waited_for_and_missed(Project::Ours);
}

#[test]
fn a_bus_that_goes_and_comes_back_is_found_again() {
    let site = Administered::start(Project::Stock, &section("apple", LONG));
    let screen = ours_on(&site.bus);
    screen.wait_for_text("Mandos server");
    let Administered { server, bus } = site;
    let home = server.kill();
    let bus = bus.restart();
    screen.wait_for_text("no server since");
    let _server = TestServer::start(Project::Stock, home);
    screen.wait_for_text("Mandos server ");
    drop(bus);
    screen.wait_for_text("cannot connect to the system bus");
    screen.press(&["q"]);
    assert_eq!(screen.wait_for_end(), 0);
}

#[test]
fn without_colour_and_utf8_everything_is_there_in_ascii() {
    let sections = format!("{}{}", section("apple", LONG), section("pear", LONG));
    let site = Administered::start(Project::Stock, &sections);
    let mut command = monitor(Project::Ours, &site.bus);
    command.env("LC_ALL", "C").env("TERM", "vt100");
    let screen = TmuxScreen::start(&command, 80, 24);
    screen.wait_for_text("pear");
    for key in ["Enter", "?", "q", "R", "n", "/"] {
        screen.press(&[key]);
    }
    screen.type_text("app");
    screen.wait_for_text("1 of 1 for /app");
    let text = screen.text();
    assert!(text.is_ascii(), "{text}");
    assert!(!text.contains("  pear "), "{text}");
    assert!(text.contains("===="), "{text}");
}

#[test]
fn another_size_of_the_terminal_is_another_screen() {
    let site = Administered::start(Project::Stock, &section("apple", LONG));
    let screen = ours_on(&site.bus);
    screen.wait_for_text("Last seen");
    screen.resize(132, 40);
    screen.wait_for_text("Host");
    screen.resize(30, 8);
    screen.wait_for_text("too small for the monitor");
    screen.resize(60, 12);
    screen.wait_for_text("Time left");
}

#[test]
fn what_something_else_wrote_on_the_terminal_is_wiped_away() {
    let site = Administered::start(Project::Stock, &section("apple", LONG));
    let screen = ours_on(&site.bus);
    screen.wait_for_text("Mandos server");
    screen.write_over("kernel: something else entirely");
    screen.wait_for_text("something else");
    screen.press(&["C-l"]);
    screen.wait_for("a clean screen", |text| {
        (text.contains("apple") && !text.contains("something else")).then_some(())
    });
}

fn signal(signal: &str, pid: u32) {
    let pid = pid.to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn the_terminal_is_given_back_on_every_way_out() {
    let site = Administered::start(Project::Stock, &section("apple", LONG));
    for (way, status) in [
        ("q", 0),
        ("C-c", 0),
        ("TERM", 143),
        ("HUP", 129),
        ("INT", 130),
        ("QUIT", 131),
    ] {
        let screen = ours_on(&site.bus);
        screen.wait_for_text("Mandos server");
        assert_eq!(screen.modes(), (true, true), "{way}");
        match way {
            "q" | "C-c" => screen.press(&[way]),
            _ => signal(way, screen.pid()),
        }
        assert_eq!(screen.wait_for_end(), status, "{way}");
        screen.assert_given_back();
    }
}

#[test]
fn a_stopped_monitor_gives_the_terminal_back_and_takes_it_again() {
    let site = Administered::start(Project::Stock, &section("apple", LONG));
    let screen = ours_on(&site.bus);
    screen.wait_for_text("Mandos server");
    let pid = screen.pid();
    let stopped = |wanted: bool| {
        screen.wait_for("another state", |_| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            (stat.contains(") T ") == wanted).then_some(())
        });
    };
    for way in ["C-z", "TSTP"] {
        if way == "C-z" {
            screen.press(&[way]);
        } else {
            signal(way, pid);
        }
        stopped(true);
        assert_eq!(screen.modes(), (false, false), "{way}");
        signal("CONT", pid);
        screen.wait_for_text("Mandos server");
        screen.wait_for("the modes", |_| {
            (screen.modes() == (true, true)).then_some(())
        });
    }
    // Stopped without a chance to give anything back, as by kill -STOP: all is drawn again.
    signal("STOP", pid);
    stopped(true);
    signal("CONT", pid);
    screen.press(&["?"]);
    screen.wait_for_text("The marked client");
    screen.press(&["q", "q"]);
    assert_eq!(screen.wait_for_end(), 0);
    screen.assert_given_back();
}

#[test]
fn without_a_terminal_it_says_what_it_needs() {
    let bus = Bus::start();
    let output = monitor(Project::Ours, &bus).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the monitor needs a terminal"), "{said}");
}
