//! Our own responder, for hosts without Avahi: its sockets, clock and interfaces.
//!
//! `nightlatch_proto::discovery` decides what to send and when.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use nightlatch_proto::discovery::{self, Arrival, InterfaceIndex, MAX_MESSAGE, Responder};
use nightlatch_sys::netif::{self, Interface, NetworkChanges};
use tokio::io::unix::AsyncFd;
use tracing::{debug, warn};

use super::sockets::GroupSocket;
use super::{PublishedService, ServiceAnnouncement};
use crate::backoff::Backoff;

/// Announces until `until` is ready, then sends a goodbye (RFC 6762, 10.1).
pub(super) async fn announce<T>(
    service: &mut PublishedService,
    until: impl Future<Output = T>,
) -> T {
    let mut until = pin!(until);
    let mut backoff = Backoff::default();
    loop {
        let error = match EmbeddedResponder::start(service) {
            Ok(mut embedded) => {
                let outcome = tokio::select! {
                    error = embedded.run(service) => Err(error),
                    done = &mut until => Ok(done),
                };
                if embedded.responder.is_announced() {
                    backoff.reset();
                }
                embedded.stop();
                match outcome {
                    Ok(done) => return done,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        service.withdrawn();
        if backoff.is_first() {
            warn!(reason = %error, "cannot announce the service; trying again");
        }
        tokio::select! {
            () = backoff.wait() => {}
            done = &mut until => return done,
        }
    }
}

/// Pause before joining the group is tried again, after it failed, for example because another program holds the
/// port exclusively.
const JOIN_AGAIN: Duration = Duration::from_secs(30);

/// Errors in a row after which a socket is not read before the next event.
const MAX_ERRORS: usize = 8;

/// A socket for each interface and protocol; messages are sent by both protocols.
type Sockets = BTreeMap<(InterfaceIndex, Protocol), GroupSocket>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Protocol {
    V4,
    V6,
}

impl Protocol {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

struct EmbeddedResponder {
    announcement: ServiceAnnouncement,
    responder: Responder,
    sockets: Sockets,
    changes: AsyncFd<ChangesFd>,
    /// Set while the group is not joined on some interface.
    join_again: Option<Monotonic>,
    buffer: Box<[u8; MAX_MESSAGE]>,
}

enum ResponderEvent {
    Message(Arrival, usize),
    Interfaces,
    Timeout,
}

impl EmbeddedResponder {
    fn start(service: &PublishedService) -> io::Result<Self> {
        let mut embedded = Self {
            announcement: service.announcement.clone(),
            responder: Responder::new(
                discovery::AnnouncedService {
                    name: service.name.clone(),
                    host: host_label(),
                    port: service.announcement.port,
                },
                // The hasher's seed comes from the kernel's random numbers.
                RandomState::new().hash_one(std::process::id()),
            ),
            sockets: BTreeMap::new(),
            // Subscribed before the interfaces are listed, so that no change is missed in between.
            changes: watch_changes(NetworkChanges::listen()?)?,
            join_again: None,
            buffer: Box::new([0; MAX_MESSAGE]),
        };
        embedded.follow_interfaces()?;
        Ok(embedded)
    }

    /// Answers until a failure that a restart may mend.
    async fn run(&mut self, service: &mut PublishedService) -> io::Error {
        loop {
            self.transmit();
            self.update(service);
            match self.wait().await {
                Ok(ResponderEvent::Message(arrival, length)) => {
                    let message = &self.buffer[..length];
                    if let Err(reason) = self.responder.handle_packet(arrival, message, now()) {
                        debug!(source = %arrival.source, %reason, "ignored a message");
                    }
                }
                Ok(ResponderEvent::Timeout) if self.join_again.is_none_or(|at| at > now()) => {
                    self.responder.handle_timeout(now());
                }
                Ok(ResponderEvent::Timeout | ResponderEvent::Interfaces) => {
                    if let Err(error) = self.follow_interfaces() {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    }

    fn stop(&mut self) {
        self.responder.withdraw();
        self.transmit();
    }

    fn update(&self, service: &mut PublishedService) {
        if service.name != self.responder.name() {
            service.withdrawn();
            service.rename(self.responder.name().to_owned());
        }
        if self.responder.is_announced() {
            service.announced("our own responder");
        } else {
            service.withdrawn();
        }
    }

    fn transmit(&mut self) {
        while let Some(reply) = self.responder.poll_transmit(now()) {
            let to = reply.to.map(|to| Protocol::of(to.ip()));
            let sockets = self.sockets.iter().filter(|((interface, protocol), _)| {
                *interface == reply.interface && to.is_none_or(|to| to == *protocol)
            });
            for (_, socket) in sockets {
                if let Err(error) = socket.send(reply.to, &reply.payload) {
                    // The link is down, or the querier is gone: important messages are repeated.
                    debug!(interface = reply.interface.0, reason = %error, "cannot send a message");
                }
            }
        }
    }

    async fn wait(&mut self) -> io::Result<ResponderEvent> {
        let deadlines = [self.responder.poll_timeout(), self.join_again];
        let deadline = deadlines.into_iter().flatten().min();
        let timeout = async {
            match deadline {
                Some(deadline) => tokio::time::sleep(deadline.since(now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = receive(&self.sockets, &mut self.buffer) => {
                let (arrival, length) = message;
                Ok(ResponderEvent::Message(arrival, length))
            }
            ready = self.changes.readable() => {
                let mut ready = ready?;
                ready.get_inner().drain()?;
                ready.clear_ready();
                Ok(ResponderEvent::Interfaces)
            }
            () = timeout => Ok(ResponderEvent::Timeout),
        }
    }

    /// Joins the group on the interfaces of the announcement, and leaves it on others.
    fn follow_interfaces(&mut self) -> io::Result<()> {
        let wanted: Vec<InterfaceIndex> = netif::interfaces()?
            .iter()
            .filter(|interface| is_wanted(interface, &self.announcement))
            .map(|interface| InterfaceIndex(interface.index))
            .collect();
        let addresses = netif::addresses()?;
        let gone: BTreeSet<InterfaceIndex> = self
            .sockets
            .keys()
            .map(|(interface, _)| *interface)
            .filter(|interface| !wanted.contains(interface))
            .collect();
        for interface in gone {
            self.responder.interface_removed(interface);
            self.sockets.retain(|(it, _), _| *it != interface);
        }
        let first_failure = self.join_again.take().is_none();
        for interface in wanted {
            let own = addresses.iter().filter(|it| it.index == interface.0);
            let own: Vec<IpAddr> = own.map(|address| address.ip).collect();
            let own = announced(&own, &self.announcement);
            for error in self.follow_interface(interface, &own) {
                if first_failure {
                    let interface = interface.0;
                    warn!(interface, reason = %error, "cannot announce on an interface; trying again");
                }
                self.join_again = Some(now().after(JOIN_AGAIN));
            }
        }
        Ok(())
    }

    /// Joins the group on one interface; returns the errors. One protocol may fail without the other.
    fn follow_interface(
        &mut self,
        interface: InterfaceIndex,
        addresses: &[IpAddr],
    ) -> Vec<io::Error> {
        let mut errors = Vec::new();
        for protocol in [Protocol::V6, Protocol::V4] {
            let key = (interface, protocol);
            if !addresses.iter().any(|it| Protocol::of(*it) == protocol) {
                self.sockets.remove(&key);
            } else if let Entry::Vacant(missing) = self.sockets.entry(key) {
                match GroupSocket::join(interface, protocol == Protocol::V6) {
                    Ok(socket) => {
                        missing.insert(socket);
                    }
                    Err(error) => errors.push(error),
                }
            }
        }
        let has_socket = |it: &&IpAddr| self.sockets.contains_key(&(interface, Protocol::of(**it)));
        let announced: Vec<IpAddr> = addresses.iter().filter(has_socket).copied().collect();
        self.responder.interface_added(interface, &announced, now());
        errors
    }
}

/// Waits for a message on any socket. Errors are ignored: they mean that an interface is down, which netlink
/// reports too.
async fn receive(sockets: &Sockets, buffer: &mut [u8; MAX_MESSAGE]) -> (Arrival, usize) {
    std::future::poll_fn(|context| {
        for ((interface, _), socket) in sockets {
            // Polled again after an error: only a socket that is pending wakes this task later.
            for _ in 0..MAX_ERRORS {
                match socket.poll_receive(context, buffer) {
                    Poll::Ready(Ok((message, source))) => {
                        let arrival = Arrival {
                            interface: *interface,
                            source,
                            multicast: true,
                            hop_limit: None,
                        };
                        return Poll::Ready((arrival, message.len()));
                    }
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => break,
                }
            }
        }
        Poll::Pending
    })
    .await
}

pub(super) fn is_wanted(interface: &Interface, announcement: &ServiceAnnouncement) -> bool {
    let flags = interface.flags;
    match &announcement.interface {
        Some(name) => *name == interface.name && flags.up() && flags.running(),
        None => flags.up() && flags.running() && !flags.loopback() && !flags.point_to_point(),
    }
}

/// The addresses to announce: the link-local ones of IPv6, which every neighbour can reach, or other IPv6
/// addresses if there are none; and those of IPv4.
fn announced(own: &[IpAddr], announcement: &ServiceAnnouncement) -> Vec<IpAddr> {
    let v4 = own.iter().filter(|it| it.is_ipv4() && announcement.ipv4);
    let v6 = own.iter().filter(|it| it.is_ipv6() && announcement.ipv6);
    let link_local =
        |address: &&IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let near: Vec<IpAddr> = v6.clone().filter(link_local).copied().collect();
    let mut announced = if near.is_empty() {
        v6.copied().collect()
    } else {
        near
    };
    announced.extend(v4);
    announced.sort_unstable();
    announced
}

/// The host name to claim. Not the machine's own name, which systemd-resolved may have claimed.
fn host_label() -> String {
    let system = rustix::system::uname();
    let node = system.nodename().to_string_lossy();
    let label = node.split('.').next().unwrap_or_default();
    format!("{label}-nightlatch")
}

#[allow(
    clippy::disallowed_methods,
    reason = "the responder's clock is read here"
)]
pub(super) fn now() -> Monotonic {
    nightlatch_sys::clock::now().mono
}

#[expect(
    deprecated,
    reason = "its replacement is unsafe, to be promised that the descriptor stays the same and open: \
              `ChangesFd` keeps that, as it owns it for as long as it lives"
)]
pub(super) fn watch_changes(changes: NetworkChanges) -> io::Result<AsyncFd<ChangesFd>> {
    AsyncFd::new(ChangesFd(changes))
}

pub(super) struct ChangesFd(NetworkChanges);

impl ChangesFd {
    /// Reads all messages that wait.
    pub(super) fn drain(&self) -> io::Result<()> {
        self.0.drain().map(drop)
    }
}

impl AsRawFd for ChangesFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
