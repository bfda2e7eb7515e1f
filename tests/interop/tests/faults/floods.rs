//! Peers that ask by the thousand: the log stays readable, and what concerns honest machines is in it.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nightlatch_sys::clock;

use crate::fixture::{Machine, Server, ServerFolders};

/// Connections of each kind. One line for each would be twice as many as there may be in all.
const TIMES: usize = 200;

/// So many lines may a minute's flood of all kinds at once cost, the server's own first words included.
const LINES: usize = 100;

/// A server with machines that it knows, and a key that it does not know.
struct Neighbourhood {
    off: Machine,
    good: Machine,
    asks: Machine,
    stranger: Machine,
    fixture: ServerFolders,
}

impl Neighbourhood {
    fn new() -> Self {
        let machine = Machine::new;
        let (off, good, asks) = (machine("off"), machine("good"), machine("late"));
        let sections = [
            off.section("enabled = no"),
            good.section("checker = false"),
            asks.section("enabled = no"),
        ];
        Self {
            fixture: ServerFolders::new(&sections.concat()),
            stranger: machine("stranger"),
            off,
            good,
            asks,
        }
    }
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect((Ipv6Addr::LOCALHOST, server.port)).unwrap();
    stream
        .set_read_timeout(Some(nightlatch_interop::process::PATIENCE))
        .unwrap();
    stream
}

/// Says `words` and waits until the server has closed.
fn says(server: &Server, words: &[u8]) {
    let mut stream = connect(server);
    let _ = stream.write_all(words);
    let _ = stream.shutdown(Shutdown::Write);
    // A reset is an end too.
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn a_flood_of_every_kind_leaves_a_short_log_with_every_honest_event_in_it() {
    let Neighbourhood {
        off,
        good,
        asks,
        stranger,
        fixture,
    } = Neighbourhood::new();
    let server = fixture.start(&["--debug"]);
    let before = server.running.log().len();
    let begun = clock::now().mono;
    for time in 0..TIMES {
        says(&server, b"");
        says(&server, b"9\r\n");
        says(&server, b"1\r\nthis is no TLS");
        assert!(stranger.fetch(server.port).is_err());
        assert!(off.fetch(server.port).is_err());
        if time == TIMES / 2 {
            good.is_served(&server);
            good.is_served(&server);
            asks.is_refused(&server, "client is disabled");
        }
    }
    let heard = server.running.log();
    let lines = heard.len() - before;
    // A slow machine needs more than one.
    let minutes = usize::try_from(clock::now().mono.since(begun).as_secs() / 60).unwrap() + 1;
    let most = LINES * minutes;
    assert!(lines <= most, "{lines} lines:\n{}", heard.join("\n"));
    let has = |parts: &[&str]| assert_logged(&heard, parts);
    has(&["secret delivered", &good.key_id]);
    has(&["alarm: granted", &good.key_id]);
    has(&["alarm: refused", "client=\"off\"", "it is disabled"]);
    has(&["alarm: refused", "client=\"late\""]);
    has(&["unknown key", &stranger.key_id]);
    let output = server.running.terminate();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for kind in ["greeting", "handshake", "unknown-key", "disabled"] {
        let told = said
            .lines()
            .any(|line| line.contains("left out") && line.contains(&format!("kind=\"{kind}\"")));
        assert!(
            told,
            "no number of those of kind {kind} at the end:\n{said}"
        );
    }
}

/// Connections a second, and for how long.
const A_SECOND: usize = 1_000;
const SECONDS: u64 = 60;

/// As many as there are kinds of connections.
const THREADS: usize = 4;

#[test]
#[ignore = "the long form: a minute in which both processors are busy"]
fn a_minute_of_a_thousand_connections_a_second_costs_a_hundred_lines() {
    let Neighbourhood {
        off,
        good,
        asks,
        stranger,
        fixture,
    } = Neighbourhood::new();
    let server = fixture.start(&["--debug"]);
    let before = server.running.log().len();
    let begun = clock::now().mono;
    let elapsed = || clock::now().mono.since(begun);
    let made = AtomicUsize::new(0);
    let over = || elapsed().as_secs() >= SECONDS;
    thread::scope(|scope| {
        for kind in 0..THREADS {
            let (server, made, stranger, off) = (&server, &made, &stranger, &off);
            scope.spawn(move || {
                while !over() {
                    match kind {
                        0 => says(server, b""),
                        1 => says(server, b"9\r\n"),
                        2 => says(server, b"1\r\nthis is no TLS"),
                        // Handshakes cost the most: few of them.
                        _ => {
                            assert!(stranger.fetch(server.port).is_err());
                            assert!(off.fetch(server.port).is_err());
                        }
                    }
                    let so_far = made.fetch_add(1, Ordering::Relaxed);
                    let due = Duration::from_secs(1) * so_far as u32 / A_SECOND as u32;
                    thread::sleep(due.saturating_sub(elapsed()));
                }
            });
        }
        // Honest machines meanwhile.
        thread::sleep(Duration::from_secs(SECONDS / 2));
        good.is_served(&server);
        good.is_served(&server);
        asks.is_refused(&server, "client is disabled");
    });
    let heard = server.running.log();
    let (lines, made) = (heard.len() - before, made.into_inner());
    println!("{made} connections in {:?}, {lines} lines", elapsed());
    assert!(lines <= LINES, "{lines} lines:\n{}", heard.join("\n"));
    for parts in [
        ["secret delivered", &*good.key_id],
        ["alarm: granted", &good.key_id],
        ["alarm: refused", &asks.key_id],
    ] {
        assert_logged(&heard, &parts);
    }
}

/// One line has all these parts.
fn assert_logged(log: &[String], parts: &[&str]) {
    let has_all = |line: &String| parts.iter().all(|part| line.contains(part));
    let found = log.iter().any(has_all);
    assert!(found, "{parts:?} in none of:\n{}", log.join("\n"));
}
