//! The daemon: one thread waits and decides, and starts a thread for each try.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;
use nightlatch_sys::netif::NetworkChanges;
use nightlatch_sys::random;
use nightlatch_sys::signals::{EndSignals, Signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::control::ControlSocket;
use crate::goodbye;
use crate::jitter::Jitter;
use crate::place::Place;
use crate::pokes::PokeSocket;
use crate::reporter::Reporter;
use crate::search::Search;
use crate::timers::{WakeTimer, WakeUps};

/// A search without a result for this long is worth a line in the log.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that the daemon waits for.
pub(crate) struct Daemon {
    reporter: Arc<Reporter>,
    named: Vec<Place>,
    searches: bool,
    pokes: Option<PokeSocket>,
    control: ControlSocket,
    signals: EndSignals,
    changes: NetworkChanges,
    timer: WakeTimer,
    wake_ups: WakeUps,
    search: Option<Search>,
    found: Vec<SocketAddr>,
    /// The time to say that a search has found nothing; `None` when that was said.
    complain_at: Option<Monotonic>,
}

/// The parts that are opened before the privileges are given up.
pub(crate) struct DaemonParts {
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) named: Vec<Place>,
    pub(crate) searches: bool,
    pub(crate) pokes: Option<PokeSocket>,
    pub(crate) control: ControlSocket,
    pub(crate) signals: EndSignals,
}

impl Daemon {
    pub(crate) fn new(parts: DaemonParts) -> io::Result<Self> {
        Ok(Self {
            reporter: parts.reporter,
            named: parts.named,
            searches: parts.searches,
            pokes: parts.pokes,
            control: parts.control,
            signals: parts.signals,
            changes: NetworkChanges::listen()?,
            timer: WakeTimer::new()?,
            wake_ups: WakeUps::new()?,
            search: None,
            found: Vec::new(),
            complain_at: Some(clock::now().mono.after(PATIENCE)),
        })
    }

    /// Runs until a signal ends it.
    pub(crate) fn run(mut self) -> io::Result<Signal> {
        self.set_places(clock::now().mono);
        loop {
            let now = clock::now().mono;
            let next = self.act(now)?;
            self.timer.set(next)?;
            self.wait()?;
            if let Some(signal) = self.signals.next()? {
                return Ok(signal);
            }
            self.take_in()?;
        }
    }

    /// Does what is due. Returns the time at which something will be due again.
    fn act(&mut self, now: Monotonic) -> io::Result<Option<Monotonic>> {
        let settled = self.reporter.observe_sleeps(now);
        if let Some(until) = settled {
            self.reporter.state().schedule.hold(until);
        }
        self.act_on_search(now)?;
        let due = loop {
            let mut state = self.reporter.state();
            match state.schedule.poll(now) {
                Some(one) => {
                    drop(state);
                    self.reporter.start(one);
                }
                None => break state.schedule.poll_timeout(now),
            }
        };
        let search = self.search.as_ref().and_then(Search::poll_timeout);
        let pokes = self.pokes.as_ref().and_then(PokeSocket::poll_timeout);
        Ok([due, settled, search, pokes].into_iter().flatten().min())
    }

    /// Searches while a server is missing. What was found stays when the search ends.
    fn act_on_search(&mut self, now: Monotonic) -> io::Result<()> {
        if !self.searches || !self.reporter.state().schedule.lacks_server() {
            self.search = None;
            return Ok(());
        }
        let search = match &mut self.search {
            Some(search) => search,
            None => {
                let jitter = Jitter::new(random::bytes()?);
                self.search
                    .insert(Search::new(jitter, now, self.reporter.log))
            }
        };
        let found = search.drive(now);
        if found.is_empty() && self.complain_at.is_some_and(|at| now >= at) {
            self.complain_at = None;
            let log = self.reporter.log;
            log.info("no server is announced on the local networks; the search goes on");
            log.hint("`connect` in agent.conf names the addresses of servers in other networks");
        }
        // A new search has found nothing yet; until it has, the places of the last one are the best there are.
        if found != self.found && !found.is_empty() {
            self.found = found;
            self.set_places(now);
        }
        Ok(())
    }

    fn set_places(&mut self, now: Monotonic) {
        let mut state = self.reporter.state();
        // Where a server was last told stays a place, whatever is announced: announcements can be forged.
        let told = state.addresses.values().copied();
        let found = told.chain(self.found.iter().copied()).map(Place::Found);
        // An administrator who names all places wants no others.
        let remembered = state.remembered.iter().filter(|_| self.searches);
        let places: Vec<Place> = self
            .named
            .iter()
            .cloned()
            .chain(found)
            .chain(remembered.map(Place::remembered))
            .collect();
        state.schedule.set_places(places, now);
    }

    fn wait(&self) -> io::Result<()> {
        let always: [BorrowedFd<'_>; 6] = [
            self.signals.as_fd(),
            self.timer.as_fd(),
            self.wake_ups.as_fd(),
            self.changes.as_fd(),
            self.control.as_fd(),
            self.reporter.wake_descriptor(),
        ];
        let pokes = self.pokes.as_ref().and_then(PokeSocket::descriptor);
        let search = self.search.iter().flat_map(Search::descriptors);
        let all = always.into_iter().chain(pokes).chain(search);
        let mut all: Vec<PollFd<'_>> = all
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut all, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in what came.
    fn take_in(&mut self) -> io::Result<()> {
        let now = clock::now().mono;
        self.reporter.drain_wake();
        self.wake_ups.drain()?;
        if self.changes.drain()?.is_some() {
            self.reporter.state().schedule.network_changed(now);
            if let Some(search) = &mut self.search {
                search.refresh(now);
            }
        }
        let tokens = self.pokes.as_mut().map(|pokes| pokes.read(now));
        for token in tokens.into_iter().flatten() {
            if self.reporter.state().schedule.poked(&token, now) {
                let log = self.reporter.log;
                log.debug(|| "a server asks for a heartbeat".to_owned());
            }
        }
        if let Some((kind, caller)) = self.control.accept() {
            self.reporter
                .log
                .info(&format!("saying goodbye to all servers: {}", kind.as_str()));
            caller.answer(goodbye::say(&self.reporter, kind));
        }
        Ok(())
    }
}
