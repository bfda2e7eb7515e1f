//! The search for a password: one thread that waits for signals, changes of the network, messages
//! of servers and the results of tries, and does what is due.
//!
//! Whatever ends it, the network is put back first.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use nightlatch_core::connect::Target;
use nightlatch_core::network::Definition;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::discovery::{BrowserEvent, FoundServer};
use nightlatch_sys::capabilities::Capabilities;
use nightlatch_sys::clock;
use nightlatch_sys::netif::{Interface, NetworkChange, NetworkChanges};
use nightlatch_sys::signals::{EndSignals, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::attempt::Credentials;
use super::attempts::{AttemptFailure, AttemptReport, AttemptResult, Attempts};
use super::discovery::{Discovery, has_source};
use super::interfaces::InterfaceSelection;
use super::network::NetworkSetup;
use super::options::ClientOptions;
use super::schedule::{
    AttemptSchedule, Destination, DestinationOrigin, EndReason, MAX_DESTINATIONS, RESOLVE,
};
use super::targets::Targets;
use super::{FatalError, SearchOutcome};
use crate::log::AppletLog;

/// Destinations whose failures, and whose notices to wait, are logged without `--debug`.
const MAX_LOGGED: usize = 32;

/// Time between two notices of one destination that are logged. Any host may answer, and a person may be typing.
const NOTICES_APART: Duration = Duration::from_secs(60);

/// Time for a router to announce itself: three solicitations, four seconds apart, each answered within half
/// a second (RFC 4861, 6.3.7 and 10).
const ROUTER: Duration = Duration::from_secs(9);

/// The parts of the network that are known before the search.
pub(super) struct NetworkKnowledge {
    /// The links to be made.
    pub(super) links: Definition,
    /// The addresses where the machine's agent last reached its servers.
    pub(super) remembered: Vec<Target>,
}

/// Searches until there is a password, which `deliver` gets, or a signal comes, which is returned.
pub(super) fn run(
    options: &ClientOptions,
    credentials: Credentials,
    knowledge: NetworkKnowledge,
    capabilities: Capabilities,
    signals: &EndSignals,
    log: AppletLog,
    deliver: impl FnOnce(&Secret) -> Result<Option<Signal>, FatalError>,
) -> Result<Option<Signal>, FatalError> {
    let connecting = !options.connect.named.is_empty();
    let network = NetworkSetup::new(
        options.selection.clone(),
        connecting,
        knowledge.links,
        capabilities,
        log,
    );
    let wait = |error| FatalError::System("wait for events", error);
    let mut search = Search {
        options,
        log,
        changes: NetworkChanges::listen()
            .map_err(|e| FatalError::System("watch the network", e))?,
        schedule: AttemptSchedule::new(options.retry, credentials.tls.requires_trusted_server()),
        attempts: Attempts::new(credentials, log),
        discovery: (!connecting).then(|| Discovery::new(log)),
        targets: Targets::new(match connecting {
            true => options.connect.targets().cloned().collect(),
            false => knowledge.remembered,
        }),
        without_route: Vec::new(),
        network,
        last_messages: BTreeMap::new(),
        last_notices: BTreeMap::new(),
        logged_left_out: false,
        lacks_interfaces: false,
    };
    let result = match search.until_end(signals) {
        Ok(SearchOutcome::Password(password)) => deliver(&password),
        Ok(SearchOutcome::Signal(signal)) => Ok(Some(signal)),
        Err(error) => Err(wait(error)),
    };
    search.network.restore();
    result
}

struct Search<'a> {
    options: &'a ClientOptions,
    log: AppletLog,
    changes: NetworkChanges,
    attempts: Attempts,
    schedule: AttemptSchedule,
    /// None with `--connect`.
    discovery: Option<Discovery>,
    /// The servers of `--connect`; without it, those that are remembered.
    targets: Targets,
    /// Destinations without a route, though there is an address to speak from, each with the time since when.
    without_route: Vec<(Destination, Monotonic)>,
    network: NetworkSetup,
    /// The last message logged for each destination. It is logged again with `--debug` only.
    last_messages: BTreeMap<Destination, String>,
    /// Times of notices to wait that were logged.
    last_notices: BTreeMap<Destination, Monotonic>,
    /// True when it was logged that destinations are left out.
    logged_left_out: bool,
    /// True when the lack of interfaces was logged.
    lacks_interfaces: bool,
}

impl Search<'_> {
    fn until_end(&mut self, signals: &EndSignals) -> io::Result<SearchOutcome> {
        self.refresh_network(clock::now().mono)?;
        loop {
            let now = clock::now().mono;
            if let Some(signal) = signals.next()? {
                return Ok(SearchOutcome::Signal(signal));
            }
            if let Some(change) = self.changes.drain()? {
                self.handle_change(change, now)?;
            }
            while let Some((destination, report)) = self.attempts.poll_report() {
                match report {
                    AttemptReport::Connected(key) => {
                        self.schedule.handle_connected(&destination, key, now);
                    }
                    AttemptReport::Waits(line) => self.log_wait(&destination, &line, now),
                    // A try whose process a server has taken over could send anything.
                    AttemptReport::Ended(Ok(found)) if !found.is_for(&destination) => {
                        let failed = AttemptFailure::other("it answered what it was not asked");
                        self.handle_failure(&destination, &failed, now);
                    }
                    AttemptReport::Ended(Ok(AttemptResult::Password(password))) => {
                        let log = self.log;
                        log.debug(|| format!("{destination} gave the password"));
                        return Ok(SearchOutcome::Password(password));
                    }
                    AttemptReport::Ended(Ok(AttemptResult::Addresses(addresses))) => {
                        self.handle_resolved(&destination, addresses, now);
                    }
                    AttemptReport::Ended(Err(failed)) => {
                        self.handle_failure(&destination, &failed, now);
                    }
                }
            }
            if self.network.handle_timeout(now) {
                self.refresh_network(now)?;
            }
            self.discover(now);
            self.start_ask_and_end(now);
            self.wait(signals, now)?;
        }
    }

    fn handle_change(&mut self, change: NetworkChange, now: Monotonic) -> io::Result<()> {
        match change {
            NetworkChange::Links => self.refresh_network(now)?,
            NetworkChange::Addresses => self.refresh_addresses(now),
        }
        self.schedule.handle_change(now);
        Ok(())
    }

    fn refresh_network(&mut self, now: Monotonic) -> io::Result<()> {
        self.network.refresh(now, now.after(self.options.delay))?;
        let none = self.network.used().next().is_none();
        // The network logs missing named interfaces itself.
        let named = matches!(
            self.options.selection,
            InterfaceSelection::Named(_) | InterfaceSelection::Only(_)
        );
        if none && !self.lacks_interfaces && self.discovery.is_some() && !named {
            self.log.info("waiting for a network interface");
        }
        self.lacks_interfaces = none;
        self.refresh_targets(now);
        self.refresh_addresses(now);
        Ok(())
    }

    /// Tries all that `--connect` means by now, and nothing else; what is remembered beside what is found.
    fn refresh_targets(&mut self, now: Monotonic) {
        let used: Vec<&Interface> = self.network.used().collect();
        let wanted = self.targets.destinations(self.network.interfaces(), &used);
        if self.discovery.is_none() {
            let known = self.schedule.destinations();
            let is_wanted = |to: &Destination| wanted.iter().any(|(wanted, _)| wanted == to);
            let vanished: Vec<Destination> = known.filter(|to| !is_wanted(to)).cloned().collect();
            for destination in &vanished {
                self.schedule.remove(destination);
            }
        }
        for (destination, origin) in wanted {
            self.schedule.add(destination, origin, now);
        }
    }

    /// The addresses of a name become destinations beside all others.
    fn handle_resolved(&mut self, name: &Destination, addresses: Vec<IpAddr>, now: Monotonic) {
        self.log.debug(|| {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{name} resolves to {}", addresses.join(", "))
        });
        self.schedule.handle_resolved(name, now);
        self.targets.handle_resolved(name, addresses);
        self.refresh_targets(now);
    }

    fn refresh_addresses(&mut self, now: Monotonic) {
        if let Some(discovery) = &mut self.discovery {
            discovery.refresh(self.network.used(), now);
            self.network.check_link_local(now);
        }
    }

    fn discover(&mut self, now: Monotonic) {
        let Some(discovery) = &mut self.discovery else {
            return;
        };
        discovery.drive(now);
        while let Some(event) = discovery.poll_event() {
            match event {
                BrowserEvent::Found(server) => {
                    self.log
                        .debug(|| format!("found {:?} at {}", server.instance, server.addr));
                    let (destination, origin) = found(&server);
                    self.schedule.add(destination, Some(origin), now);
                }
                BrowserEvent::Lost(server) => {
                    self.log
                        .debug(|| format!("lost {:?} at {}", server.instance, server.addr));
                    let destination = Destination::Address(server.addr);
                    let used: Vec<&Interface> = self.network.used().collect();
                    let interfaces = self.network.interfaces();
                    // Another source, or another interface, may announce the same address still. A remembered one is tried
                    // whatever is announced: anybody can announce it and say goodbye in its name.
                    if discovery.interfaces_of(server.addr).is_empty()
                        && !self.targets.lead_to(&destination, interfaces, &used)
                    {
                        self.schedule.remove(&destination);
                    }
                }
            }
        }
        // Each server is reported once, and may have been pushed out since.
        if self.schedule.poll_offer(now) {
            for server in discovery.servers() {
                let (destination, origin) = found(&server);
                self.schedule.add(destination, Some(origin), now);
            }
        }
    }

    fn start_ask_and_end(&mut self, now: Monotonic) {
        while let Some(destination) = self.schedule.poll_start(now) {
            self.log.debug(|| format!("trying {destination}"));
            if let Err(failed) = self.attempts.start(&destination) {
                self.handle_failure(&destination, &failed, now);
            }
        }
        while let Some(destination) = self.schedule.poll_ask(now) {
            self.attempts.ask(&destination);
        }
        while let Some((destination, reason)) = self.schedule.poll_end(now) {
            let debug = |what: &str| self.log.debug(|| format!("{destination} {what}"));
            match reason {
                EndReason::Room => debug("gives way to others that wait"),
                EndReason::SameServer => {
                    debug("is a server that is being asked at another address")
                }
                EndReason::Unresolved => {
                    let seconds = RESOLVE.as_secs();
                    let message = format!("cannot resolve the name: no answer within {seconds} s");
                    self.log_failure(&destination, &AttemptFailure::other(message));
                }
            }
            self.attempts.end(&destination);
        }
        if self.schedule.take_left_out() && !self.logged_left_out {
            self.logged_left_out = true;
            self.log.info(&format!(
                "more than {MAX_DESTINATIONS} servers were found: some are left out"
            ));
            self.log.hint("--connect names the right one");
        }
    }

    fn handle_failure(
        &mut self,
        destination: &Destination,
        failed: &AttemptFailure,
        now: Monotonic,
    ) {
        if self.schedule.handle_failed(destination, failed.local, now) {
            self.log_failure(destination, failed);
        }
        if !failed.lacks_route {
            self.take_route_back(destination, failed);
        } else if self.make_route(destination, now) {
            self.schedule.handle_mended(destination, now);
        }
    }

    /// A host that `--connect` names, was made a neighbour and is not reached may be behind a router that has come since,
    /// which the route hides.
    fn take_route_back(&mut self, destination: &Destination, failed: &AttemptFailure) {
        self.without_route.retain(|(to, _)| to != destination);
        if let Destination::Address(address) = destination
            && self.discovery.is_none()
            && failed.unreached
        {
            self.network.remove_routes(address.ip());
        }
    }

    /// Logs each message once, which is enough on a console.
    fn log_failure(&mut self, destination: &Destination, failed: &AttemptFailure) {
        let text = format!("{destination}: {}", failed.message);
        if self.is_only_remembered(destination) {
            self.log.debug(|| text);
            return;
        }
        let known = self.last_messages.get(destination);
        if known == Some(&text) || (known.is_none() && self.last_messages.len() > MAX_LOGGED) {
            self.log.debug(|| text);
            return;
        }
        if known.is_none() && self.last_messages.len() == MAX_LOGGED {
            self.last_messages.insert(destination.clone(), text);
            self.log.info("more servers fail: --debug shows all");
            return;
        }
        self.log.info(&text);
        if failed.unsigned {
            self.log
                .hint("encrypt it again with `mandos-keygen --password`, or use --allow-unsigned");
        }
        if failed.lacks_resolver {
            self.log.hint(
                "the network may still bring one; else name the server by its address, or put ip=dhcp on the kernel's \
                 command line",
            );
        }
        self.last_messages.insert(destination.clone(), text);
    }

    /// True for an address where a server was before, and which nobody announces now.
    fn is_only_remembered(&self, destination: &Destination) -> bool {
        match (&self.discovery, destination) {
            (Some(discovery), Destination::Address(address)) => {
                discovery.interfaces_of(*address).is_empty() && !self.targets.is_empty()
            }
            _ => false,
        }
    }

    /// Logs that a server makes the machine wait.
    fn log_wait(&mut self, destination: &Destination, line: &str, now: Monotonic) {
        let text = format!("{destination}: {line}");
        let logged = self.last_notices.get(destination);
        let is_news = match logged {
            Some(last) => now.since(*last) >= NOTICES_APART,
            None => self.last_notices.len() < MAX_LOGGED,
        };
        if is_news {
            self.last_notices.insert(destination.clone(), now);
            self.log.info(&text);
        } else {
            self.log.debug(|| text);
        }
    }

    /// Adds a route to the host as a neighbour on its interface. False when nothing was added.
    ///
    /// A host of `--connect` may be behind a router, which such a route would hide: the router first gets the time to
    /// announce itself.
    fn make_route(&mut self, destination: &Destination, now: Monotonic) -> bool {
        let Destination::Address(address) = destination else {
            return false;
        };
        let on = match &self.discovery {
            Some(discovery) => discovery.interfaces_of(*address),
            None => match self.network.used().collect::<Vec<_>>()[..] {
                [only] if has_source(only, address.ip()) => {
                    let index = only.index;
                    let since = self.without_route.iter().find(|(to, _)| to == destination);
                    match since.map(|(_, since)| *since) {
                        Some(since) if now >= since.after(ROUTER) => vec![index],
                        Some(_) => Vec::new(),
                        None => {
                            self.without_route.push((destination.clone(), now));
                            Vec::new()
                        }
                    }
                }
                _ => {
                    self.without_route.retain(|(to, _)| to != destination);
                    Vec::new()
                }
            },
        };
        on.into_iter()
            .any(|index| self.network.add_route(address.ip(), index))
    }

    /// Waits for something to happen or to be due.
    fn wait(&self, signals: &EndSignals, now: Monotonic) -> io::Result<()> {
        let fixed = [signals.as_fd(), self.changes.as_fd()];
        let sockets = self.discovery.iter().flat_map(Discovery::descriptors);
        let mut waited: Vec<PollFd<'_>> = fixed
            .into_iter()
            .chain(self.attempts.descriptors())
            .chain(sockets)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let due = [
            self.schedule.poll_timeout(now),
            self.network.poll_timeout(),
            self.discovery.as_ref().and_then(Discovery::poll_timeout),
        ];
        let limit = due.into_iter().flatten().min().map(|due| {
            let left = due.since(now);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut waited, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn found(server: &FoundServer) -> (Destination, DestinationOrigin) {
    let origin = DestinationOrigin {
        source: server.source,
        // With the port: several servers of one host are told apart.
        name: format!("{}:{}", server.host, server.addr.port()),
    };
    (Destination::Address(server.addr), origin)
}
