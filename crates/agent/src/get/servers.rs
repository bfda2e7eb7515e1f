//! Asks the trusted servers for a named secret, one after the other: where each was last told first, then the other
//! places, the best first. Where a server lets the request wait, the others are asked beside it.

use std::collections::{BTreeMap, BTreeSet};
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

use super::address_queue::AddressQueue;
use super::asker::{Asker, Line, PassEvent, ServerAnswer};
use super::connections::Connections;
use super::limits::SearchLimit;
use super::lookups::Lookups;
use crate::log::Log;
use crate::place::Place;
use crate::reporter::Reporter;

/// The time between two lines that say that a server is being asked.
const SIGN: Duration = Duration::from_secs(5);

/// The time from the beginning of a search after which nothing waits for the resolver of names any more.
const LOOKUP: Duration = Duration::from_secs(20);

/// While the request waits at a server, the others are asked again after this time: those that were not reached, and those
/// that have refused it without a person's denial.
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);

/// A server that was lost while the request waited there is asked again after this time, and after twice that each further
/// time, up to [`ASK_AGAIN`].
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
    lookups: &'a Arc<Lookups>,
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
    step: Step,
    /// The names whose addresses are being looked up.
    looked_up: Vec<Place>,
    /// The servers that were lost while the request waited there, and have not answered since.
    lost: BTreeMap<KeyId, LostServer>,
    addresses: AddressQueue,
    servers: usize,
    /// The beginning of the present search.
    begin: Monotonic,
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

/// A server that was lost while the request waited there.
struct LostServer {
    address: SocketAddr,
    /// When it is asked again.
    again: Monotonic,
    /// The pause before the time after that.
    pause: Duration,
}

/// The present step of the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Idle,
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
        (connections, lookups): (&'a Arc<Connections>, &'a Arc<Lookups>),
        tell: &'a mut dyn FnMut(&LocalAnswer) -> Result<(), CallerGone>,
    ) -> Self {
        let now = clock::now().mono;
        let (sender, events) = mpsc::channel();
        let servers = reporter.state().schedule.server_count();
        let mut pass = Self {
            reporter,
            name,
            connections,
            lookups,
            tell,
            answered: BTreeSet::new(),
            settled: BTreeSet::new(),
            may_ask_again: BTreeSet::new(),
            askers: BTreeMap::new(),
            last_number: 0,
            step: Step::Idle,
            looked_up: Vec::new(),
            lost: BTreeMap::new(),
            addresses: AddressQueue::default(),
            servers,
            begin: now,
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
            let now = clock::now().mono;
            if self.step == Step::Idle {
                self.go_on(now)?;
            }
            if self.step == Step::Idle && self.askers.is_empty() && !self.awaits_names(now) {
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

    /// True when the resolver of names is at work, and may still answer in time.
    fn awaits_names(&self, now: Monotonic) -> bool {
        !self.looked_up.is_empty() && now < self.begin.after(LOOKUP)
    }

    /// Begins a search, or goes on with one that was cut off by its limit. It begins where each server was told or lost, and
    /// at the places that the administrator has named: whoever announces many others must not keep the machine from those.
    fn search(&mut self, now: Monotonic) {
        let state = self.reporter.state();
        let places = state.schedule.best_places().into_iter();
        let (named, found): (Vec<_>, Vec<_>) = places.partition(Place::is_named);
        let known = self.known();
        let lost = self.lost.iter().map(|(server, it)| (server, it.address));
        let told = state.addresses.iter().map(|(server, it)| (server, *it));
        let told = told
            .chain(lost)
            .filter(|(server, _)| !known.contains(*server));
        let mut first = vec![told.map(|(_, address)| address).collect()];
        drop(state);
        for place in named {
            match place.is_name() {
                true => self.look_up(place),
                false => first.push(addresses_of(&place, self.reporter.log)),
            }
        }
        self.addresses.begin(first, found);
        self.begin = now;
        self.limit = SearchLimit::new(now);
        self.ask_again = now.after(ASK_AGAIN);
    }

    /// Has the addresses of a name looked up, in a thread.
    fn look_up(&mut self, name: Place) {
        self.lookups.start(&name, &self.sender, self.reporter.log);
        if !self.looked_up.contains(&name) {
            self.looked_up.push(name);
        }
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
    fn go_on(&mut self, now: Monotonic) -> Result<(), CallerGone> {
        if self.is_waiting() {
            if now >= self.ask_again {
                self.settled
                    .retain(|server| !self.may_ask_again.contains(server));
                self.search(now);
            } else if let Some(address) = self.lost_server(now) {
                self.ask(address);
                return Ok(());
            }
        }
        if self.known().len() >= self.servers || self.limit.is_over(now) {
            return Ok(());
        }
        let log = self.reporter.log;
        if let Some(address) = self.addresses.next(|place| addresses_of(place, log)) {
            self.sign()?;
            self.ask(address);
        }
        Ok(())
    }

    /// The address of a lost server that is to be asked again now: none of the others is, for its sake.
    fn lost_server(&mut self, now: Monotonic) -> Option<SocketAddr> {
        let known = self.known();
        let (_, lost) = self
            .lost
            .iter_mut()
            .find(|(server, lost)| now >= lost.again && !known.contains(*server))?;
        lost.put_off(now);
        Some(lost.address)
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
        let thread = thread::Builder::new().name("server".to_owned());
        // One that does not start tells its end.
        if let Err(error) = thread.spawn(move || asker.run()) {
            let log = self.reporter.log;
            log.info(&format!("cannot start a thread: {error}"));
        }
    }

    /// Takes note of an event, which may be the answer of a server.
    fn handle(&mut self, event: PassEvent) -> Result<Option<Answer>, CallerGone> {
        match event {
            PassEvent::Resolved(place, addresses) => {
                self.looked_up.retain(|it| *it != place);
                self.addresses.add(addresses);
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
                if asker.waits_at.replace(server).is_none() {
                    // It has answered.
                    self.limit = SearchLimit::new(clock::now().mono);
                }
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
                    self.lose(server, address, clock::now().mono);
                }
            }
        }
        Ok(None)
    }

    fn lose(&mut self, server: KeyId, address: SocketAddr, now: Monotonic) {
        let lost = self.lost.entry(server).or_insert(LostServer {
            address,
            again: now,
            pause: ASK_LOST,
        });
        lost.address = address;
        lost.put_off(now);
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
        let is_denied = match answer {
            // One that is believed ends the pass; another one may come.
            ServerAnswer::Given(_) => false,
            ServerAnswer::Refused { reason, .. } => {
                reason.as_ref().is_some_and(ReasonWord::is_denial)
            }
        };
        match is_denied {
            true => self.may_ask_again.remove(&server),
            false => self.may_ask_again.insert(server),
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

impl LostServer {
    fn put_off(&mut self, now: Monotonic) {
        self.again = now.after(self.pause);
        self.pause = (self.pause * 2).min(ASK_AGAIN);
    }
}

fn addresses_of(place: &Place, log: Log) -> Vec<SocketAddr> {
    place.addresses().unwrap_or_else(|error| {
        log.debug(|| format!("cannot ask {place} for a secret: {error}"));
        Vec::new()
    })
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        for asker in self.askers.values() {
            asker.line.cut();
        }
    }
}
