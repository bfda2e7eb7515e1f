//! Asks the trusted servers for a named secret, one after the other: where each was last told first, then the other
//! places, the best first. Where a server lets the request wait, the others are asked beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::local::LocalAnswer;
use nightlatch_proto::release::ReasonWord;
use nightlatch_sys::clock;

use super::asker::{Asker, Line, PassEvent, ServerAnswer};
use super::connections::Connections;
use super::limits::SearchLimit;
use crate::place::Place;
use crate::reporter::Reporter;

/// The time between two lines that say that a server is being asked.
const SIGN: Duration = Duration::from_secs(5);

/// While the request waits at a server, the others are asked again after this time: those that were not reached, and those
/// that have refused it without a person's denial.
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);

/// The same after a server was lost at which the request waited.
const ASK_LOST: Duration = Duration::from_secs(10);

/// The caller is gone, or does not read.
#[derive(Debug)]
pub(super) struct CallerGone;

/// A pass over the trusted servers for one secret. No server can keep the secret of another one from the machine: while the
/// request waits at one, the others are asked, and the first answers come first. Its drop ends all requests.
pub(super) struct Pass<'a> {
    reporter: &'a Arc<Reporter>,
    name: &'a SecretName,
    connections: &'a Arc<Connections>,
    tell: &'a mut dyn FnMut(&LocalAnswer) -> Result<(), CallerGone>,
    /// The servers that have answered.
    answered: BTreeSet<KeyId>,
    /// Those of them that are not asked again, at present.
    settled: BTreeSet<KeyId>,
    /// Those whose refusal no person has decided on.
    may_ask_again: BTreeSet<KeyId>,
    /// The askers at work, by their numbers.
    askers: BTreeMap<u64, PassAsker>,
    last_number: u64,
    /// A thread finds out the next addresses, or asks at one.
    step: Step,
    /// The servers that were lost while the request waited there, and where.
    lost: BTreeMap<KeyId, SocketAddr>,
    tried: BTreeSet<SocketAddr>,
    addresses: VecDeque<SocketAddr>,
    places: VecDeque<Place>,
    servers: usize,
    limit: SearchLimit,
    ask_again: Monotonic,
    sender: Sender<PassEvent>,
    events: Receiver<PassEvent>,
}

/// An asker at work.
struct PassAsker {
    line: Arc<Line>,
    /// The server at which the request waits.
    waits_at: Option<KeyId>,
}

/// The present step of the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Idle,
    Resolving,
    /// The asker with this number has not heard of its server yet.
    Asking(u64),
}

/// An answer, with the key of its server and the address.
type Answer = (KeyId, SocketAddr, ServerAnswer);

impl<'a> Pass<'a> {
    /// `tell` gives the caller lines about what is done.
    pub(super) fn new(
        reporter: &'a Arc<Reporter>,
        name: &'a SecretName,
        connections: &'a Arc<Connections>,
        tell: &'a mut dyn FnMut(&LocalAnswer) -> Result<(), CallerGone>,
    ) -> Self {
        let now = clock::now().mono;
        let (sender, events) = mpsc::channel();
        let servers = reporter.state().schedule.server_count();
        let mut pass = Self {
            reporter,
            name,
            connections,
            tell,
            answered: BTreeSet::new(),
            settled: BTreeSet::new(),
            may_ask_again: BTreeSet::new(),
            askers: BTreeMap::new(),
            last_number: 0,
            step: Step::Idle,
            lost: BTreeMap::new(),
            tried: BTreeSet::new(),
            addresses: VecDeque::new(),
            places: VecDeque::new(),
            servers,
            limit: SearchLimit::new(now),
            ask_again: now,
            sender,
            events,
        };
        pass.search(now);
        pass
    }

    /// The next answer of a server; `None` when there is none left to ask.
    pub(super) fn next(&mut self) -> Result<Option<Answer>, CallerGone> {
        while self.settled.len() < self.servers {
            if self.step == Step::Idle {
                self.go_on()?;
            }
            if self.step == Step::Idle && self.askers.is_empty() {
                break;
            }
            match self.events.recv_timeout(SIGN) {
                Ok(event) => {
                    if let Some(answer) = self.handle(event)? {
                        return Ok(Some(answer));
                    }
                }
                Err(_) => self.sign()?,
            }
        }
        Ok(None)
    }

    /// The trusted servers that have not answered.
    pub(super) fn unreached(&self) -> usize {
        self.servers.saturating_sub(self.answered.len())
    }

    /// True when a server was lost while the request waited there.
    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Begins a search, or goes on with one that was cut off by its limit.
    fn search(&mut self, now: Monotonic) {
        if self.addresses.is_empty() && self.places.is_empty() {
            self.tried.clear();
            let state = self.reporter.state();
            self.places = state.schedule.best_places().into();
            let known = self.known();
            let told = state.addresses.iter();
            let told = told.filter(|(server, _)| !known.contains(*server));
            self.addresses = told.map(|(_, address)| *address).collect();
        }
        for address in self.lost.values() {
            self.tried.remove(address);
            self.addresses.push_front(*address);
        }
        self.limit = SearchLimit::new(now);
        self.ask_again = now.after(ASK_AGAIN);
    }

    /// The servers that are not to be asked now.
    fn known(&self) -> BTreeSet<KeyId> {
        let waiting = self.askers.values().filter_map(|asker| asker.waits_at);
        self.settled.iter().copied().chain(waiting).collect()
    }

    fn is_waiting(&self) -> bool {
        self.askers.values().any(|asker| asker.waits_at.is_some())
    }

    /// Takes the next step of the search, if a server is left to be found.
    fn go_on(&mut self) -> Result<(), CallerGone> {
        let now = clock::now().mono;
        if self.is_waiting() && now >= self.ask_again {
            self.settled
                .retain(|server| !self.may_ask_again.contains(server));
            self.search(now);
        }
        if self.known().len() >= self.servers || self.limit.is_over(now) {
            return Ok(());
        }
        while let Some(address) = self.addresses.pop_front() {
            if self.tried.insert(address) {
                self.sign()?;
                self.ask(address);
                return Ok(());
            }
        }
        if let Some(place) = self.places.pop_front() {
            self.sign()?;
            self.resolve(place);
        }
        Ok(())
    }

    /// Finds out the addresses of a place in a thread of its own, as a name may take long.
    fn resolve(&mut self, place: Place) {
        let (sender, log, name) = (self.sender.clone(), self.reporter.log, self.name.clone());
        self.step = Step::Resolving;
        self.start("place", move || {
            let addresses = place.addresses().unwrap_or_else(|error| {
                log.debug(|| format!("cannot ask {place} for {name}: {error}"));
                Vec::new()
            });
            // The pass may be over.
            let _ = sender.send(PassEvent::Resolved(addresses));
        });
    }

    fn ask(&mut self, address: SocketAddr) {
        self.last_number += 1;
        let number = self.last_number;
        let line = Arc::new(Line::default());
        let asker = Asker {
            number,
            reporter: Arc::clone(self.reporter),
            connections: Arc::clone(self.connections),
            name: self.name.clone(),
            address,
            known: self.known(),
            line: Arc::clone(&line),
            events: self.sender.clone(),
            answer: None,
        };
        let waits_at = None;
        self.askers.insert(number, PassAsker { line, waits_at });
        self.step = Step::Asking(number);
        self.start("server", move || asker.run());
    }

    fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) {
        let thread = thread::Builder::new().name(name.to_owned());
        let started: io::Result<_> = thread.spawn(work);
        if let Err(error) = started {
            self.reporter
                .log
                .info(&format!("cannot start a thread: {error}"));
            // An asker that did not start tells its end.
            if self.step == Step::Resolving {
                self.step = Step::Idle;
            }
        }
    }

    /// Takes note of an event, which may be the answer of a server.
    fn handle(&mut self, event: PassEvent) -> Result<Option<Answer>, CallerGone> {
        match event {
            PassEvent::Resolved(addresses) => {
                self.addresses = addresses.into();
                self.step = Step::Idle;
            }
            PassEvent::Begins(queued) => self.limit.add_queue(queued),
            PassEvent::Waits(number, server, notice) => {
                self.heard_of(number);
                let is_elsewhere = |(other, asker): (&u64, &PassAsker)| {
                    *other != number && asker.waits_at == Some(server)
                };
                let is_second = self.askers.iter().any(is_elsewhere);
                let Some(asker) = self.askers.get_mut(&number) else {
                    return Ok(None);
                };
                if is_second {
                    // Somebody between has led us to this server once more.
                    asker.line.cut();
                    return Ok(None);
                }
                asker.waits_at = Some(server);
                (self.tell)(&LocalAnswer::Waiting(notice))?;
            }
            PassEvent::Ends(number, address, answer) => {
                self.heard_of(number);
                let asker = self.askers.remove(&number);
                if let Some((server, answer)) = answer {
                    self.settle(server, &answer);
                    return Ok(Some((server, address, answer)));
                }
                if let Some(server) = asker.and_then(|asker| asker.waits_at) {
                    self.lost.insert(server, address);
                    let soon = clock::now().mono.after(ASK_LOST);
                    self.ask_again = self.ask_again.min(soon);
                }
            }
        }
        Ok(None)
    }

    /// The asker has come to its server, or to its end: another one may begin.
    fn heard_of(&mut self, number: u64) {
        if self.step == Step::Asking(number) {
            self.step = Step::Idle;
        }
    }

    fn settle(&mut self, server: KeyId, answer: &ServerAnswer) {
        self.lost.remove(&server);
        self.answered.insert(server);
        self.settled.insert(server);
        let passes = match answer {
            ServerAnswer::Given(_) => false,
            ServerAnswer::Refused { reason, .. } => {
                !reason.as_ref().is_some_and(ReasonWord::is_denial)
            }
        };
        match passes {
            true => self.may_ask_again.insert(server),
            false => self.may_ask_again.remove(&server),
        };
        self.limit = SearchLimit::new(clock::now().mono);
    }

    /// Says that a server is being asked, unless the request waits at one: its notices say so.
    fn sign(&mut self) -> Result<(), CallerGone> {
        match self.is_waiting() {
            false => (self.tell)(&LocalAnswer::Trying),
            true => Ok(()),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        for asker in self.askers.values() {
            asker.line.cut();
        }
    }
}
