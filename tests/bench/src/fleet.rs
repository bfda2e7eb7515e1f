//! Many machines, each with a TLS key of its own, played by this program: a process for each would
//! measure the machine that runs the benchmark.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nightlatch_core::boot_nonce::BootSeed;
use nightlatch_interop::machine::TestMachine;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{BootTls, FetchError, RawKey, RawKeyKind};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::clock;

/// More than any payload here has.
const MAX_PAYLOAD: usize = 1 << 20;

/// Enough for a handshake; ten thousand threads must fit.
const STACK: usize = 512 << 10;

/// The results of many requests.
pub(crate) struct FetchResults {
    /// Durations of the successful requests, in ascending order.
    pub(crate) took: Vec<Duration>,
    /// Number of requests without a secret.
    pub(crate) failed: usize,
}

/// Machines that can all ask at once.
pub(crate) struct BenchFleet {
    machines: Vec<BootTls>,
    /// Their sections of `clients.conf`.
    pub(crate) sections: String,
}

impl BenchFleet {
    /// `count` machines with the payload of `template`, which no more is done with than to fetch it.
    pub(crate) fn new(count: usize, template: &TestMachine, settings: &str) -> Self {
        let mut sections = String::new();
        let mut machines = Vec::with_capacity(count);
        for number in 0..count {
            let key = RawKey::generate(RawKeyKind::Ed25519).unwrap();
            sections += &section(template, number, &key.key_id().to_string(), settings);
            machines.push(
                BootTls::new(
                    key,
                    Vec::new(),
                    &Priority::default(),
                    BootSeed::from_bytes([7; 32]),
                )
                .unwrap(),
            );
        }
        Self { machines, sections }
    }

    /// `requests` fetches, `at_a_time` side by side. A machine that gets nothing asks again at once.
    pub(crate) fn fetch(&self, port: u16, requests: usize, at_a_time: usize) -> FetchResults {
        let next = AtomicUsize::new(0);
        let failed = AtomicUsize::new(0);
        let each = || {
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return took;
                }
                let start = clock();
                while self.fetch_one(number % self.machines.len(), port).is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                took.push(start.elapsed());
            }
        };
        let mut took: Vec<Duration> = thread::scope(|scope| {
            let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(each)).collect();
            let took = workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap());
            took.collect()
        });
        took.sort_unstable();
        let failed = failed.into_inner();
        FetchResults { took, failed }
    }

    /// Every machine asks once, all at the same moment.
    pub(crate) fn burst(&self, port: u16) -> FetchResults {
        let ready = Barrier::new(self.machines.len());
        let one = &|number| {
            ready.wait();
            let start = clock();
            self.fetch_one(number, port).map(|()| start.elapsed())
        };
        thread::scope(|scope| {
            let all: Vec<_> = (0..self.machines.len())
                .map(|number| {
                    let small = thread::Builder::new().stack_size(STACK);
                    small.spawn_scoped(scope, move || one(number)).unwrap()
                })
                .collect();
            let mut failed = 0;
            let mut took = Vec::new();
            for asked in all {
                match asked.join().unwrap() {
                    Ok(time) => took.push(time),
                    Err(_) => failed += 1,
                }
            }
            took.sort_unstable();
            FetchResults { took, failed }
        })
    }

    pub(crate) fn fetch_one(&self, number: usize, port: u16) -> Result<(), FetchError> {
        let mut stream = dial(number, port)?;
        let fetched = self.machines[number].fetch(&mut stream, MAX_PAYLOAD)?;
        assert!(!fetched.payload.is_empty());
        Ok(())
    }
}

/// Connects from an address of its own in 127.0.0.0/8: a server's limit for one address is for one
/// machine, not for a fleet.
pub(crate) fn dial(number: usize, port: u16) -> io::Result<TcpStream> {
    let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number as u32);
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&stream, &SocketAddr::from((from, 0)))?;
    connect(&stream, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(stream.into())
}

/// The section of `template` under another name and with another key.
pub(crate) fn section(
    template: &TestMachine,
    number: usize,
    key_id: &str,
    settings: &str,
) -> String {
    let name = format!("[{}", template.name);
    let section = template.section(settings);
    let section = section.replacen(&name, &format!("{name}{number}"), 1);
    section.replacen(template.key_id(), key_id, 1)
}

/// The time that `part` of all were done within.
pub(crate) fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * part).round() as usize)
        .copied()
        .unwrap_or_default()
}
