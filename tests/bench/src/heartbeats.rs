//! The agents of many machines: heartbeats at the pace that the server sets, unlocks of other machines beside them, and
//! a restart of the server.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nightlatch_core::boot_nonce::{BootNonce, BootSeed};
use nightlatch_core::key_id::KeyId;
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::{Home, TestServer};
use nightlatch_proto::priority::Priority;
use nightlatch_proto::release::{Accepted, Heartbeat, Request};
use nightlatch_proto::tls::{HostTls, RawKey, RawKeyKind, ReportError};

use crate::fleet::{BenchFleet, dial, quantile, section};
use crate::{Setup, clock, cpu, megabytes, memory};

/// Machines with an agent.
const AGENTS: usize = 100_000;

/// Machines without an agent, which boot one after the other.
const BOOTS: usize = 1500;

/// The time between two boots.
const BETWEEN_BOOTS: Duration = Duration::from_millis(200);

/// The time over which the first heartbeats are spread, so that about 800 come in a second, as later.
const FIRST: Duration = Duration::from_secs(125);

/// The time of one figure.
const MINUTE: Duration = Duration::from_secs(60);

/// Heartbeats under way at the same time.
const WORKERS: usize = 48;

/// The retries of an agent, as `crates/agent/src/schedule.rs` has them.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const SHORTEST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// No check disturbs the measurement.
const SETTINGS: &str = "checker = true\ninterval = PT1H\ntimeout = PT2H";

pub(crate) fn at_pace(setup: &Setup) {
    println!("\n## {AGENTS} machines with an agent, at the pace that the server sets\n");
    println!(
        "| when | heartbeats/s | failed | p99, ms | unlocks beside | failed | median, ms | p99, ms | processor, of one core | resident, MB | at most, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let new_key = |_| RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let keys: Vec<RawKey> = (0..AGENTS).map(new_key).collect();
    let booting = BenchFleet::new(BOOTS, &setup.ours, SETTINGS);
    let mut sections = booting.sections.clone();
    for (number, key) in keys.iter().enumerate() {
        let boot_key = format!("{:064x}", number + 1);
        let settings = format!("host_key_id = {}\n{SETTINGS}", key.key_id());
        sections += &section(&setup.ours, BOOTS + number, &boot_key, &settings);
    }
    let mut home = Home::new(&sections, None);
    home.quiet();
    home.set("check_on_release", "no");
    let running = start(home, 0);
    let load = Load::new(keys, &booting, &running);
    thread::scope(|scope| {
        for seed in 0..WORKERS {
            let jitter = Jitter(seed as u64);
            scope.spawn(|| load.report_until_stopped(jitter));
        }
        scope.spawn(|| load.boot_until_stopped());
        // Also when a figure cannot be taken.
        let _stop = Stop(&load.stopped);
        thread::sleep(FIRST - MINUTE);
        load.measure("the first heartbeats", &running);
        thread::sleep(FIRST / 2);
        load.measure("steady", &running);
        let port = running.port();
        let running = start(running.stop(), port);
        load.measure("after a restart", &running);
        load.measure("a minute later", &running);
    });
}

/// On loopback, at `port`, or any where it is 0.
fn start(home: Home, port: u16) -> TestServer {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    TestServer::start_on(Project::Ours, home, socket)
}

/// Ends the load when it is dropped.
struct Stop<'l>(&'l AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All machines, and what their requests came to since the start of the present figure.
struct Load<'f> {
    agents: Vec<RawKey>,
    booting: &'f BenchFleet,
    server: KeyId,
    port: u16,
    boot: BootNonce,
    due: Mutex<BinaryHeap<Reverse<DueReport>>>,
    heartbeats: Tally,
    unlocks: Tally,
    stopped: AtomicBool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct DueReport {
    at: Instant,
    agent: usize,
    failures: u32,
}

impl<'f> Load<'f> {
    fn new(agents: Vec<RawKey>, booting: &'f BenchFleet, server: &TestServer) -> Self {
        let key = server.key_id().parse().unwrap();
        let mut jitter = Jitter(u64::MAX);
        let start = clock();
        let due = (0..agents.len()).map(|agent| {
            let at = start + jitter.between(Duration::ZERO, FIRST);
            let failures = 0;
            Reverse(DueReport {
                at,
                agent,
                failures,
            })
        });
        Self {
            due: Mutex::new(due.collect()),
            agents,
            booting,
            server: key,
            port: server.port(),
            boot: BootNonce::new(&BootSeed::from_bytes([7; 32]), Some(&key)),
            heartbeats: Tally::default(),
            unlocks: Tally::default(),
            stopped: AtomicBool::new(false),
        }
    }

    fn measure(&self, when: &str, server: &TestServer) {
        let pid = server.running().pid();
        self.heartbeats.take();
        self.unlocks.take();
        let (used, start) = (cpu::of_itself(pid), clock());
        thread::sleep(MINUTE);
        let seconds = start.elapsed().as_secs_f64();
        let used = cpu::of_itself(pid) - used;
        let (beats, lost_beats) = self.heartbeats.take();
        let (unlocks, lost_unlocks) = self.unlocks.take();
        let millis = |sorted: &[Duration], part| quantile(sorted, part).as_secs_f64() * 1000.0;
        println!(
            "| {when} | {:.0} | {lost_beats} | {:.0} | {} | {lost_unlocks} | {:.0} | {:.0} | {:.0} % | {:.0} | {:.0} |",
            beats.len() as f64 / seconds,
            millis(&beats, 0.99),
            unlocks.len(),
            millis(&unlocks, 0.5),
            millis(&unlocks, 0.99),
            100.0 * used / seconds,
            megabytes(memory::resident(pid)),
            megabytes(memory::most_resident(pid)),
        );
    }

    fn report_until_stopped(&self, mut jitter: Jitter) {
        while !self.stopped.load(Ordering::Relaxed) {
            let Some(due) = self.next_due() else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            let start = clock();
            let result = self.report(due.agent);
            self.heartbeats
                .count(result.is_ok().then(|| start.elapsed()));
            let (delay, failures) = match result {
                Ok(Accepted { next, .. }) => (jitter.between(next / 2, next), 0),
                Err(_) => {
                    let most = FIRST_RETRY.saturating_mul(1 << due.failures.min(10));
                    let most = most.min(LAST_RETRY);
                    (jitter.between(SHORTEST_RETRY, most), due.failures + 1)
                }
            };
            lock(&self.due).push(Reverse(DueReport {
                at: clock() + delay,
                agent: due.agent,
                failures,
            }));
        }
    }

    fn next_due(&self) -> Option<DueReport> {
        let mut due = lock(&self.due);
        let is_due = due.peek().is_some_and(|Reverse(first)| first.at <= clock());
        is_due.then(|| due.pop())?.map(|Reverse(first)| first)
    }

    fn report(&self, agent: usize) -> Result<Accepted, ReportError> {
        let key = &self.agents[agent];
        let tls = HostTls::new(key, vec![self.server], &Priority::default()).unwrap();
        let io = |error: std::io::Error| ReportError::Server(error.into());
        let mut stream = dial(BOOTS + agent, self.port).map_err(io)?;
        let heartbeat = Heartbeat {
            boot: self.boot,
            resumes: 0,
            poke_port: None,
            earlier_boots: Vec::new(),
            poked: None,
            program: "nightlatch-bench".to_owned(),
            rejected: Vec::new(),
        };
        tls.connect(&mut stream)?
            .report(&Request::Heartbeat(heartbeat), &mut stream)
    }

    fn boot_until_stopped(&self) {
        for machine in (0..BOOTS).cycle() {
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let start = clock();
            let fetched = self.booting.fetch_one(machine, self.port);
            self.unlocks.count(fetched.is_ok().then(|| start.elapsed()));
            thread::sleep(BETWEEN_BOOTS.saturating_sub(start.elapsed()));
        }
    }
}

/// Requests that succeeded, with their durations, and the number of the others.
#[derive(Default)]
struct Tally {
    took: Mutex<Vec<Duration>>,
    failed: AtomicUsize,
}

impl Tally {
    fn count(&self, took: Option<Duration>) {
        match took {
            Some(took) => lock(&self.took).push(took),
            None => _ = self.failed.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The durations in ascending order; counts anew.
    fn take(&self) -> (Vec<Duration>, usize) {
        let mut took = std::mem::take(&mut *lock(&self.took));
        took.sort_unstable();
        (took, self.failed.swap(0, Ordering::Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A generator of delays (SplitMix64), the same in each run.
struct Jitter(u64);

impl Jitter {
    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let part = mixed as f64 / u64::MAX as f64;
        least + most.saturating_sub(least).mul_f64(part)
    }
}
