//! Saying goodbye to all servers side by side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use nightlatch_core::error_chain::format_error;
use nightlatch_core::guard::GoodbyeKind;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::{Goodbye, Request};
use nightlatch_sys::clock;

use crate::attempt::{Limits, attempt};
use crate::place::Place;
use crate::reporter::Reporter;

/// The time that all goodbyes together may take: nobody wants to wait for a server when a machine goes down.
const GOODBYE: Duration = Duration::from_secs(2);

/// Pause between two looks at whether a resume has been counted.
const LOOK: Duration = Duration::from_millis(10);

/// No heartbeat for this time after a goodbye, which it would take back. A machine that is still up then has not gone
/// down: a hibernation that failed, or a shutdown that a person has cancelled.
const HOLD: Duration = Duration::from_secs(60);

/// The result of a goodbye.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    /// The servers that accepted it.
    pub(crate) told: usize,
    /// The number of trusted servers.
    pub(crate) of: usize,
}

/// Says to all servers that the machine goes down. Takes [`GOODBYE`] at most.
pub(crate) fn say(reporter: &Arc<Reporter>, kind: GoodbyeKind) -> Told {
    let until = clock::now().mono.after(GOODBYE);
    // Right after a resume its count is not known yet, and an old one would make it look like a theft.
    while let Some(settled) = reporter.observe_sleeps(clock::now().mono) {
        let left = settled.since(clock::now().mono);
        if settled >= until {
            break;
        }
        thread::sleep(left.max(LOOK));
    }
    let now = clock::now().mono;
    let (ways, resumes) = {
        let mut state = reporter.state();
        state.schedule.hold(now.after(HOLD));
        let resumes = state.sleeps.sleeps().resumes;
        let ways = state.schedule.ways().into_iter();
        let ways = ways.map(|(key, places)| {
            let last = state.addresses.get(&key).copied();
            (key, last, places)
        });
        (ways.collect::<Vec<_>>(), resumes)
    };
    let of = ways.len();
    let (sender, answers) = channel();
    for (key, last, places) in ways {
        let (reporter, sender) = (Arc::clone(reporter), sender.clone());
        let goodbye = Request::Goodbye(Goodbye {
            boot: reporter.nonce(&key),
            resumes,
            kind,
        });
        let started = thread::Builder::new().name("goodbye".to_owned()).spawn({
            let reporter = Arc::clone(&reporter);
            move || say_to(&reporter, key, last, &places, &goodbye, until, &sender)
        });
        if let Err(error) = started {
            reporter
                .log
                .info(&format!("cannot start a thread: {error}"));
        }
    }
    drop(sender);
    let mut told = 0;
    loop {
        let left = until.since(clock::now().mono);
        // The channel ends with the last thread. A resolver may keep one for longer than anybody waits.
        if left.is_zero() || answers.recv_timeout(left).is_err() {
            return Told { told, of };
        }
        told += 1;
    }
}

/// Tries the address at which the server was last told, then all others.
fn say_to(
    reporter: &Reporter,
    server: KeyId,
    last: Option<SocketAddr>,
    places: &[Place],
    goodbye: &Request,
    until: Monotonic,
    answers: &Sender<()>,
) {
    let mut tried = Vec::new();
    let others = places
        .iter()
        .flat_map(|place| place.addresses().unwrap_or_default());
    for address in last.into_iter().chain(others) {
        if clock::now().mono >= until {
            return;
        }
        if tried.contains(&address) {
            continue;
        }
        tried.push(address);
        let only_to = |key| (key == server).then(|| goodbye.clone());
        match attempt(&reporter.tls, address, Limits::goodbye(until), only_to) {
            Ok(Some(_)) => {
                reporter.log.info(&format!(
                    "the server {server} knows that this machine goes down"
                ));
                // Nobody listens any more when it came too late.
                let _ = answers.send(());
                return;
            }
            Ok(None) => {}
            Err(error) => reporter.log.info(&format!(
                "cannot say goodbye to {server} at {address}: {}",
                format_error(&error)
            )),
        }
    }
}
