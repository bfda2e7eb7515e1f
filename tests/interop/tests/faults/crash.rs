//! SIGKILL at any moment: what was acknowledged is in the store that the dead server left behind and
//! holds in every later life, and the state always opens.
//!
//! A server that acknowledges before its commit is done fails this within a few lives.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nightlatch_core::client::saved::{ClientPresence, Saved};
use nightlatch_proto::tls::FetchError;
use nightlatch_store::{SqliteStore, Store};

use crate::fixture::{Machine, Server, ServerFolders};

/// The value of `PT1H` in the settings below.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// Lives of the server, one after another on the same state. `NIGHTLATCH_LIVES` asks for more.
const LIVES: usize = 100;

/// A small generator (splitmix64): the same seed gives the same lives but for the scheduler's part.
struct Random(u64);

impl Random {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % (most + 1)
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.up_to(times - 1) == 0
    }
}

/// The cause of a client's expiry, if it is never disabled.
#[derive(Clone, Copy, PartialEq)]
enum ExpiryKind {
    /// It expires within a second or two.
    Mayfly,
    /// It would, but has long enough after a delivery.
    Booting,
    /// Its checks succeed.
    Lasting,
}

impl ExpiryKind {
    fn settings(self) -> &'static str {
        match self {
            Self::Mayfly => {
                "timeout = PT1S\nextended_timeout = PT1S\ninterval = PT1S\nchecker = false"
            }
            Self::Booting => {
                "timeout = PT1S\nextended_timeout = PT1H\ninterval = PT1S\nchecker = false"
            }
            Self::Lasting => {
                "timeout = PT1H\nextended_timeout = PT1H\ninterval = PT1S\nchecker = true"
            }
        }
    }
}

/// The section of a client in `clients.conf`.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Section {
    Absent,
    Disabled,
    Enabled,
}

struct Client {
    machine: Machine,
    kind: ExpiryKind,
    section: Section,
    /// The server had a state of it before.
    known: bool,
    /// Acknowledged: it gets nothing.
    refused: bool,
    /// Acknowledged: it gets its secret.
    served: bool,
}

/// Counts of what was observed, so that a test without any observation fails.
#[derive(Default, Debug)]
struct Observations {
    disabled: usize,
    delivered: usize,
    reloaded: usize,
    unacknowledged: usize,
}

impl Client {
    /// The file is about to say something else of it; what may change by that is promised no more.
    fn rewrite(&mut self, section: Section) {
        match (self.section, section) {
            (Section::Absent, Section::Disabled) | (_, Section::Enabled) => self.refused = false,
            _ => {}
        }
        self.served &= section == Section::Enabled;
        self.section = section;
    }

    /// Learns from the log of a run whose file did not change.
    fn learn(&mut self, log: &[String]) {
        let client = format!("client=\"{}\"", self.machine.name);
        // The first delivery after it was enabled extends its deadline. Who enabled it is not known any more in
        // a later life, and one that comes back has its former state, perhaps with a release and without its extension.
        let mut first = false;
        for line in log.iter().filter(|line| line.contains(&client)) {
            if line.contains(" disabled client=") {
                (self.refused, self.served) = (true, false);
            } else if line.contains(" enabled client=") || line.contains("new client") {
                first = line.contains(" enabled client=") || !self.known;
                self.known = true;
                // In force is the file as it is now: what went before in this life is over.
                self.refused = self.section != Section::Enabled;
                self.served = !self.refused && self.kind == ExpiryKind::Lasting;
            } else if line.contains("secret delivered") && !self.refused {
                self.served |= match self.kind {
                    ExpiryKind::Mayfly => false,
                    ExpiryKind::Booting => first,
                    ExpiryKind::Lasting => true,
                };
                first = false;
            }
        }
    }

    /// Learns from the log of a run whose file was changed from `before` meanwhile.
    fn learn_changed(&mut self, before: Section, log: &[String]) {
        if !log
            .iter()
            .any(|line| line.contains("configuration reloaded"))
        {
            return;
        }
        if self.section != Section::Enabled {
            (self.refused, self.served) = (true, false);
        } else if before != Section::Enabled {
            self.learn(log);
        }
    }

    /// Compares the promises with the store of the killed server. A start would compute some of it again, and hide a
    /// loss.
    fn audit(&self, saved: &Saved) {
        let row = saved
            .clients
            .iter()
            .find(|row| row.name.as_str() == self.machine.name);
        let present = row.and_then(|row| match &row.presence {
            ClientPresence::Present(present) => Some(&present.state),
            ClientPresence::Removed => None,
        });
        let name = &self.machine.name;
        if self.refused {
            assert!(
                !present.is_some_and(|state| state.enabled),
                "{name} is enabled in the store: {present:?}"
            );
        }
        if self.served {
            let left = present
                .filter(|state| state.enabled)
                .and_then(|state| state.deadline);
            let left =
                left.unwrap_or_else(|| panic!("{name} is not enabled in the store: {present:?}"));
            assert!(
                left.remaining > AN_HOUR / 2,
                "{name} lost the time that it was given: {left:?}"
            );
        }
    }

    /// Asks, and compares with what was promised.
    fn probe(&self, port: u16) {
        if !self.refused && !self.served {
            return;
        }
        match self.machine.fetch(port) {
            Ok(()) => assert!(!self.refused, "{} came back", self.machine.name),
            Err(FetchError::Refused) => {
                assert!(!self.served, "{} was lost", self.machine.name);
            }
            Err(error) => panic!("{}: {error:?}", self.machine.name),
        }
    }
}

/// The state that the server would load at its next start, read from a copy.
fn left_behind(fixture: &ServerFolders) -> Saved {
    let copy = tempfile::tempdir().unwrap();
    let Ok(files) = std::fs::read_dir(fixture.state()) else {
        return Saved::default();
    };
    for file in files {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    SqliteStore::open(copy.path()).unwrap().load().unwrap()
}

fn file(clients: &[Client]) -> String {
    let section = |client: &Client| match client.section {
        Section::Absent => String::new(),
        Section::Disabled => client
            .machine
            .section(&format!("{}\nenabled = no", client.kind.settings())),
        Section::Enabled => client.machine.section(client.kind.settings()),
    };
    clients.iter().map(section).collect()
}

/// Asks for everybody's secret again and again.
fn hammer(clients: &[Client], port: u16, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for client in clients {
            let _ = client.machine.fetch(port);
        }
    }
}

/// Ends [`hammer`] when it is dropped, by a failure too: a scope waits for its threads.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets the server live for a moment under requests, changes the file meanwhile, and kills it.
fn live(
    fixture: &ServerFolders,
    clients: &mut [Client],
    server: Server,
    random: &mut Random,
) -> Vec<String> {
    let before: Vec<Section> = clients.iter().map(|client| client.section).collect();
    let changes = !random.once_in(3);
    if changes {
        // A configuration that drops most clients is refused, which is not this test's subject.
        let known = before.iter().filter(|it| **it != Section::Absent).count();
        let mut may_go = known / 2;
        for client in clients.iter_mut() {
            let section = match random.up_to(9) {
                0 if client.section == Section::Absent => Section::Absent,
                0 if may_go > 0 => {
                    may_go -= 1;
                    Section::Absent
                }
                0 => client.section,
                1 => Section::Disabled,
                2..5 => Section::Enabled,
                _ => client.section,
            };
            if section != client.section {
                client.rewrite(section);
            }
        }
    }
    let text = file(clients);
    // As often as not it dies as soon as it has given its word.
    let waits = random.once_in(2);
    let moment = Duration::from_micros(random.up_to(if waits { 300 } else { 40_000 }));
    let stop = AtomicBool::new(false);
    let port = server.port;
    let asking = &*clients;
    let output = thread::scope(|scope| {
        scope.spawn(|| hammer(asking, port, &stop));
        let stop = Stop(&stop);
        if changes {
            fixture.write_clients(&text);
            server.reload();
            if waits {
                server.says("configuration reloaded");
            }
        }
        // The moment is the test's subject: any length of it is right.
        thread::sleep(moment);
        server.kill();
        drop(stop);
        server.running.finish()
    });
    let log = String::from_utf8_lossy(&output.stderr);
    let log: Vec<String> = log.lines().map(str::to_owned).collect();
    for (client, before) in clients.iter_mut().zip(before) {
        if client.section == before {
            client.learn(&log);
        } else {
            client.learn_changed(before, &log);
        }
    }
    log
}

/// A life that is over before it has said that it listens, as often as not.
fn stillborn(fixture: &ServerFolders, clients: &mut [Client], random: &mut Random) {
    let server = Server::spawn(&mut fixture.command());
    thread::sleep(Duration::from_micros(random.up_to(25_000)));
    server.kill();
    let output = server.running.finish();
    let log = String::from_utf8_lossy(&output.stderr);
    let log: Vec<String> = log.lines().map(str::to_owned).collect();
    clients.iter_mut().for_each(|client| client.learn(&log));
}

fn audit(fixture: &ServerFolders, clients: &[Client]) {
    let saved = left_behind(fixture);
    clients.iter().for_each(|client| client.audit(&saved));
}

fn count(seen: &mut Observations, log: &[String]) {
    let lines = |what: &str| log.iter().filter(|line| line.contains(what)).count();
    seen.disabled += lines(" disabled client=");
    seen.delivered += lines("secret delivered");
    seen.reloaded += lines("configuration reloaded");
    seen.unacknowledged += usize::from(lines("configuration reloaded") == 0);
}

#[test]
fn nothing_acknowledged_is_lost_when_it_is_killed() {
    let seed = match std::env::var("NIGHTLATCH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().hash_one(LIVES),
    };
    // Shown when the test fails.
    println!("NIGHTLATCH_SEED={seed}");
    let mut random = Random(seed);
    let kinds = [
        ExpiryKind::Mayfly,
        ExpiryKind::Mayfly,
        ExpiryKind::Booting,
        ExpiryKind::Lasting,
        ExpiryKind::Lasting,
        ExpiryKind::Lasting,
    ];
    let mut clients: Vec<Client> = (0..)
        .zip(kinds)
        .map(|(number, kind)| Client {
            machine: Machine::new(&format!("c{number}")),
            kind,
            section: Section::Enabled,
            known: false,
            refused: false,
            served: false,
        })
        .collect();
    let fixture = ServerFolders::new(&file(&clients));
    let mut seen = Observations::default();
    let lives = std::env::var("NIGHTLATCH_LIVES").map_or(LIVES, |it| it.parse().unwrap());
    for life in 0..lives {
        if random.once_in(8) {
            stillborn(&fixture, &mut clients, &mut random);
            audit(&fixture, &clients);
            continue;
        }
        println!("life {life}");
        let server = fixture.start(&[]);
        clients.iter().for_each(|client| client.probe(server.port));
        let log = live(&fixture, &mut clients, server, &mut random);
        count(&mut seen, &log);
        audit(&fixture, &clients);
    }
    println!("{seen:?}");
    assert!(seen.disabled > 0 && seen.delivered > 0 && seen.reloaded > 0);
}
