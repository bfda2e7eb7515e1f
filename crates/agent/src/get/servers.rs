//! Asks the trusted servers for a named secret, one after the other: where each was last told first, then the other
//! places, the best first. Where a server lets the request wait, the others are asked beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::local::LocalAnswer;
use nightlatch_sys::clock;

use super::asker::{Asker, AskerEvent, ServerAnswer};
use super::connections::Connections;
use super::limits::SearchLimit;
use crate::place::Place;
use crate::reporter::Reporter;

/// The time between two lines that say that a server is being asked.
const SIGN: Duration = Duration::from_secs(5);

/// While the request waits at a server, the others that were not reached are searched for again after this time.
const SEARCH_AGAIN: Duration = Duration::from_secs(5 * 60);

/// The caller is gone, or does not read.
#[derive(Debug)]
pub(super) struct CallerGone;

/// A pass over the trusted servers for one secret: each answers once at most. No server can keep the secret of another one
/// from the machine: while the request waits at one, the others are asked, and the first answers come first. Its drop ends
/// all requests.
pub(super) struct Pass<'a> {
    reporter: &'a Arc<Reporter>,
    name: &'a SecretName,
    connections: &'a Arc<Connections>,
    tell: &'a mut dyn FnMut(&LocalAnswer) -> Result<(), CallerGone>,
    /// Each server answers once.
    answered: BTreeSet<KeyId>,
    /// The servers at which the request waits, with their connections.
    waiting: BTreeMap<KeyId, TcpStream>,
    /// The address that is being asked.
    asking: Option<SocketAddr>,
    tried: BTreeSet<SocketAddr>,
    addresses: VecDeque<SocketAddr>,
    places: VecDeque<Place>,
    servers: usize,
    limit: SearchLimit,
    search_again: Monotonic,
    is_over: Arc<AtomicBool>,
    sender: Sender<AskerEvent>,
    events: Receiver<AskerEvent>,
}

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
            waiting: BTreeMap::new(),
            asking: None,
            tried: BTreeSet::new(),
            addresses: VecDeque::new(),
            places: VecDeque::new(),
            servers,
            limit: SearchLimit::new(now),
            search_again: now,
            is_over: Arc::default(),
            sender,
            events,
        };
        pass.search(now);
        pass
    }

    /// The next answer of a server, with its key and its address; `None` when there is none left to ask.
    pub(super) fn next(&mut self) -> Result<Option<(KeyId, SocketAddr, ServerAnswer)>, CallerGone> {
        while self.answered.len() < self.servers {
            if self.asking.is_none() {
                self.ask_next()?;
            }
            if self.asking.is_none() && self.waiting.is_empty() {
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

    /// Begins a search at all places.
    fn search(&mut self, now: Monotonic) {
        let state = self.reporter.state();
        self.places = state.schedule.best_places().into();
        self.addresses = state.addresses.values().copied().collect();
        drop(state);
        self.tried.clear();
        self.limit = SearchLimit::new(now);
        self.search_again = now.after(SEARCH_AGAIN);
    }

    /// Asks at the next address, if a server is left that may be there.
    fn ask_next(&mut self) -> Result<(), CallerGone> {
        if self.answered.len() + self.waiting.len() >= self.servers {
            return Ok(());
        }
        // Before a name is resolved, which may take long.
        self.sign()?;
        let now = clock::now().mono;
        if !self.waiting.is_empty() && now >= self.search_again {
            self.search(now);
        }
        if self.limit.is_over(now) {
            return Ok(());
        }
        if let Some(address) = self.next_address() {
            self.ask(address);
        }
        Ok(())
    }

    fn next_address(&mut self) -> Option<SocketAddr> {
        loop {
            while let Some(address) = self.addresses.pop_front() {
                if self.tried.insert(address) {
                    return Some(address);
                }
            }
            let place = self.places.pop_front()?;
            match place.addresses() {
                Ok(addresses) => self.addresses = addresses.into(),
                Err(error) => {
                    let log = self.reporter.log;
                    log.debug(|| format!("cannot ask {place} for {}: {error}", self.name));
                }
            }
        }
    }

    fn ask(&mut self, address: SocketAddr) {
        let known = self.answered.iter().chain(self.waiting.keys());
        let asker = Asker {
            reporter: Arc::clone(self.reporter),
            connections: Arc::clone(self.connections),
            name: self.name.clone(),
            address,
            known: known.copied().collect(),
            is_over: Arc::clone(&self.is_over),
            events: self.sender.clone(),
            server: None,
            answer: None,
        };
        self.asking = Some(address);
        let started = thread::Builder::new().name("server".to_owned());
        // Without a thread the asker is dropped, which tells its end.
        if let Err(error) = started.spawn(move || asker.run()) {
            let log = self.reporter.log;
            log.info(&format!("cannot start a thread: {error}"));
        }
    }

    /// Takes note of an event, which may be the answer of a server.
    fn handle(
        &mut self,
        event: AskerEvent,
    ) -> Result<Option<(KeyId, SocketAddr, ServerAnswer)>, CallerGone> {
        match event {
            AskerEvent::Begins(queued) => self.limit.add_queue(queued),
            AskerEvent::Waits {
                address,
                server,
                socket,
                notice,
            } => {
                self.asking = self.asking.filter(|asking| *asking != address);
                if let Some(socket) = socket {
                    self.waiting.insert(server, socket);
                }
                (self.tell)(&LocalAnswer::Waiting(notice))?;
            }
            AskerEvent::Ends {
                address,
                server,
                answer,
            } => {
                self.asking = self.asking.filter(|asking| *asking != address);
                if let Some(server) = server {
                    self.waiting.remove(&server);
                }
                if let Some((server, answer)) = server.zip(answer) {
                    self.answered.insert(server);
                    self.limit = SearchLimit::new(clock::now().mono);
                    return Ok(Some((server, address, answer)));
                }
            }
        }
        Ok(None)
    }

    /// Says that a server is being asked, unless the request waits at one: its notices say so.
    fn sign(&mut self) -> Result<(), CallerGone> {
        match self.waiting.is_empty() {
            true => (self.tell)(&LocalAnswer::Trying),
            false => Ok(()),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let unseen = self.events.try_iter().filter_map(|event| match event {
            AskerEvent::Waits { socket, .. } => socket,
            AskerEvent::Begins(_) | AskerEvent::Ends { .. } => None,
        });
        let sockets = std::mem::take(&mut self.waiting).into_values();
        for socket in sockets.chain(unseen) {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
