//! The responder of our own, for machines without Avahi: its sockets, its clock, its interfaces.
//!
//! What to say and when is decided in `nightlatch_proto::discovery`.

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
use super::{Announcement, Service};
use crate::pause::Pause;

/// Announces until `until` is ready, then says goodbye.
pub(super) async fn announce<T>(service: &mut Service, until: impl Future<Output = T>) -> T {
    let mut until = pin!(until);
    let mut pause = Pause::default();
    loop {
        let error = match Embedded::start(service) {
            Ok(mut embedded) => {
                let outcome = tokio::select! {
                    error = embedded.run(service) => Err(error),
                    done = &mut until => Ok(done),
                };
                if embedded.responder.is_announced() {
                    pause.reset();
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
        if pause.is_first() {
            warn!(reason = %error, "cannot announce the service; trying again");
        }
        tokio::select! {
            () = pause.wait() => {}
            done = &mut until => return done,
        }
    }
}

/// When to try again to join the group where that failed, say because a program holds the port for
/// itself.
const JOIN_AGAIN: Duration = Duration::from_secs(30);

/// How many errors in a row a socket may report before it is left alone until the next event.
const MAX_ERRORS: usize = 8;

/// One for each interface and protocol: what is said goes out by both.
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

struct Embedded {
    announcement: Announcement,
    responder: Responder,
    sockets: Sockets,
    changes: AsyncFd<ChangesFd>,
    /// Set while the group could not be joined on some interface.
    join_again: Option<Monotonic>,
    buffer: Box<[u8; MAX_MESSAGE]>,
}

enum Happened {
    Message(Arrival, usize),
    Interfaces,
    Timeout,
}

impl Embedded {
    fn start(service: &Service) -> io::Result<Self> {
        let mut embedded = Self {
            announcement: service.announcement.clone(),
            responder: Responder::new(
                discovery::AnnouncedService {
                    name: service.name.clone(),
                    host: host_label(),
                    port: service.announcement.port,
                },
                // The hasher is seeded by the kernel's randomness.
                RandomState::new().hash_one(std::process::id()),
            ),
            sockets: BTreeMap::new(),
            // Listened to before the interfaces are listed: nothing falls in between.
            changes: watched(NetworkChanges::listen()?)?,
            join_again: None,
            buffer: Box::new([0; MAX_MESSAGE]),
        };
        embedded.follow_interfaces()?;
        Ok(embedded)
    }

    /// Answers until something fails that starting anew may mend.
    async fn run(&mut self, service: &mut Service) -> io::Error {
        loop {
            self.transmit();
            self.tell(service);
            match self.wait().await {
                Ok(Happened::Message(arrival, length)) => {
                    let message = &self.buffer[..length];
                    if let Err(reason) = self.responder.handle_packet(arrival, message, now()) {
                        debug!(source = %arrival.source, %reason, "ignored a message");
                    }
                }
                Ok(Happened::Timeout) if self.join_again.is_none_or(|at| at > now()) => {
                    self.responder.handle_timeout(now());
                }
                Ok(Happened::Timeout | Happened::Interfaces) => {
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

    fn tell(&self, service: &mut Service) {
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
                    // The link has gone down, or the asker has left: what matters is said again.
                    debug!(interface = reply.interface.0, reason = %error, "cannot send a message");
                }
            }
        }
    }

    async fn wait(&mut self) -> io::Result<Happened> {
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
                Ok(Happened::Message(arrival, length))
            }
            ready = self.changes.readable() => {
                let mut ready = ready?;
                ready.get_inner().drain()?;
                ready.clear_ready();
                Ok(Happened::Interfaces)
            }
            () = timeout => Ok(Happened::Timeout),
        }
    }

    /// Joins the group where the service is to be announced, and leaves it elsewhere.
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
            let own = to_be_told(&own, &self.announcement);
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

    /// Answers with what failed. What can be said by the other protocol is said.
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
        let heard = |it: &&IpAddr| self.sockets.contains_key(&(interface, Protocol::of(**it)));
        let told: Vec<IpAddr> = addresses.iter().filter(heard).copied().collect();
        self.responder.interface_added(interface, &told, now());
        errors
    }
}

/// Waits for a message on any socket. Errors are passed over: they say that an interface has gone
/// down, and news of that is under way.
async fn receive(sockets: &Sockets, buffer: &mut [u8; MAX_MESSAGE]) -> (Arrival, usize) {
    std::future::poll_fn(|context| {
        for ((interface, _), socket) in sockets {
            // Asked again after an error: only a socket that has nothing to tell wakes us later.
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

pub(super) fn is_wanted(interface: &Interface, announcement: &Announcement) -> bool {
    let flags = interface.flags;
    match &announcement.interface {
        Some(name) => *name == interface.name && flags.up() && flags.running(),
        None => flags.up() && flags.running() && !flags.loopback() && !flags.point_to_point(),
    }
}

/// The addresses to announce: of IPv6 the link-local ones, which every neighbour reaches without
/// any set-up, others only where there are none; and those of IPv4.
fn to_be_told(own: &[IpAddr], announcement: &Announcement) -> Vec<IpAddr> {
    let v4 = own.iter().filter(|it| it.is_ipv4() && announcement.ipv4);
    let v6 = own.iter().filter(|it| it.is_ipv6() && announcement.ipv6);
    let link_local =
        |address: &&IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let near: Vec<IpAddr> = v6.clone().filter(link_local).copied().collect();
    let mut told = if near.is_empty() {
        v6.copied().collect()
    } else {
        near
    };
    told.extend(v4);
    told.sort_unstable();
    told
}

/// The host name to claim. The machine's own name is left alone: systemd-resolved may hold it.
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
pub(super) fn watched(changes: NetworkChanges) -> io::Result<AsyncFd<ChangesFd>> {
    AsyncFd::new(ChangesFd(changes))
}

pub(super) struct ChangesFd(NetworkChanges);

impl ChangesFd {
    /// True when something has happened.
    pub(super) fn drain(&self) -> io::Result<()> {
        self.0.drain().map(drop)
    }
}

impl AsRawFd for ChangesFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
