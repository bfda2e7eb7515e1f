//! The search for servers (RFC 6762): its sockets, and the browser behind them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use nightlatch_proto::discovery::{
    Arrival, BATCH, Browser, BrowserEvent, FIRST_QUESTION, FoundServer, GROUP_V4, GROUP_V6,
    InterfaceIndex, MAX_INSTANCES, MAX_MESSAGE, MDNS_PORT, Transmit,
};
use nightlatch_sys::mdns::{MdnsGroups, MdnsSocket};
use nightlatch_sys::netif::{self, Interface};

use crate::log::AppletLog;

const GROUPS: MdnsGroups = MdnsGroups {
    v6: GROUP_V6,
    v4: GROUP_V4,
    port: MDNS_PORT,
};

/// Added to [`FIRST_QUESTION`], so that machines that start together do not ask together (RFC 6762, 5.2).
const SPREAD_MILLIS: u32 = 100;

/// Searches for servers on all used interfaces.
pub(super) struct Discovery {
    browser: Browser,
    links: BTreeMap<u32, SearchedInterface>,
    events: VecDeque<BrowserEvent>,
    /// The interfaces for which it was logged that servers are left out.
    logged_left_out: BTreeSet<u32>,
    log: AppletLog,
}

/// One interface on which we search.
struct SearchedInterface {
    own: Option<Ipv6Addr>,
    sockets: Vec<MdnsSocket>,
}

impl Discovery {
    /// No interface yet.
    pub(super) fn new(log: AppletLog) -> Self {
        Self {
            browser: Browser::new(),
            links: BTreeMap::new(),
            events: VecDeque::new(),
            logged_left_out: BTreeSet::new(),
            log,
        }
    }

    /// Searches on those of `used` that are ready now, and no longer on others.
    pub(super) fn refresh<'a>(
        &mut self,
        used: impl Iterator<Item = &'a Interface>,
        now: Monotonic,
    ) {
        let addresses = Addresses::read();
        let mut ready = BTreeSet::new();
        for interface in used.filter(|i| i.flags.up() && i.flags.running()) {
            let own = addresses.link_local.get(&interface.index).copied();
            let v4 = addresses.v4.contains(&interface.index);
            if own.is_none() && !v4 {
                continue;
            }
            ready.insert(interface.index);
            self.prepare(interface, own, v4, now);
        }
        let lost = self.links.keys().filter(|index| !ready.contains(index));
        for index in lost.copied().collect::<Vec<u32>>() {
            self.links.remove(&index);
            self.browser.interface_removed(InterfaceIndex(index));
        }
    }

    /// Makes the sockets that the interface lacks.
    fn prepare(&mut self, interface: &Interface, own: Option<Ipv6Addr>, v4: bool, now: Monotonic) {
        let index = interface.index;
        let has = |link: &SearchedInterface| {
            let has_v4 = link
                .sockets
                .iter()
                .any(|s| matches!(s.asks, Some(SocketAddr::V4(_))));
            link.own == own && has_v4 == v4
        };
        if self.links.get(&index).is_some_and(has) {
            return;
        }
        let mut sockets = Vec::new();
        for socket in GROUPS.sockets(index, own, v4) {
            match socket {
                Ok(socket) => sockets.push(socket),
                Err(error) => {
                    let name = &interface.name;
                    self.log
                        .info(&format!("cannot search for servers on {name}: {error}"));
                }
            }
        }
        self.log
            .debug(|| format!("searching for servers on {}", interface.name));
        self.links.insert(index, SearchedInterface { own, sockets });
        let spread =
            Duration::from_millis(u64::from(now.since_boot().subsec_micros() % SPREAD_MILLIS));
        self.browser
            .interface_added(InterfaceIndex(index), FIRST_QUESTION + spread, now);
    }

    /// The descriptors to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let links = self.links.values();
        links.flat_map(|link| link.sockets.iter().map(|socket| socket.socket.as_fd()))
    }

    /// Reads what came in and sends what is due.
    pub(super) fn drive(&mut self, now: Monotonic) {
        let mut buffer = vec![0; MAX_MESSAGE];
        let events = &mut self.events;
        for (index, link) in &self.links {
            for socket in &link.sockets {
                for _ in 0..BATCH {
                    let Ok((length, source)) = socket.socket.recv_from(&mut buffer) else {
                        break;
                    };
                    let arrival = Arrival {
                        interface: InterfaceIndex(*index),
                        source,
                        multicast: socket.multicast,
                        hop_limit: None,
                    };
                    // Most of what is ignored are queries of other hosts, and our own.
                    let _ = self.browser.handle_packet(arrival, &buffer[..length], now);
                    // At once: the next message may push out what this one announces.
                    events.extend(std::iter::from_fn(|| self.browser.poll_event()));
                }
            }
        }
        self.browser.handle_timeout(now);
        events.extend(std::iter::from_fn(|| self.browser.poll_event()));
        while let Some(transmit) = self.browser.poll_transmit(now) {
            self.send(&transmit);
        }
        self.log_left_out();
    }

    pub(super) fn poll_event(&mut self) -> Option<BrowserEvent> {
        self.events.pop_front()
    }

    fn log_left_out(&mut self) {
        while let Some(interface) = self.browser.poll_evicted() {
            if self.logged_left_out.insert(interface.0) {
                self.log.info(&format!(
                    "more than {MAX_INSTANCES} servers are announced on one network: some are left out"
                ));
                self.log.hint("--connect names the right one");
            }
        }
    }

    /// All servers that are found now.
    pub(super) fn servers(&self) -> Vec<FoundServer> {
        self.browser.servers()
    }

    /// The time to call [`drive`](Self::drive) again without a message.
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        self.browser.poll_timeout()
    }

    /// The interfaces on which `address` was found.
    pub(super) fn interfaces_of(&self, address: SocketAddr) -> Vec<u32> {
        let on = self.browser.interfaces_of(address).into_iter();
        on.map(|interface| interface.0).collect()
    }

    fn send(&self, transmit: &Transmit) {
        let Some(link) = self.links.get(&transmit.interface.0) else {
            return;
        };
        for socket in &link.sockets {
            let Some(group) = socket.asks else { continue };
            if let Err(error) = socket.socket.send_to(&transmit.payload, group) {
                // The browser asks again by itself.
                self.log.debug(|| format!("cannot ask {group}: {error}"));
            }
        }
    }
}

/// True when the interface has an address that can reach `to`. Without one, the kernel would use the address of
/// another interface, to which no answer can come.
pub(super) fn has_source(interface: &Interface, to: IpAddr) -> bool {
    let addresses = Addresses::read();
    match to {
        IpAddr::V6(_) => addresses.link_local.contains_key(&interface.index),
        IpAddr::V4(_) => addresses.v4.contains(&interface.index),
    }
}

/// The addresses of this machine, as far as they matter here.
#[derive(Default, Debug)]
struct Addresses {
    /// By interface index: a link-local address that is known to be unique.
    link_local: BTreeMap<u32, Ipv6Addr>,
    /// The indexes of interfaces that have IPv4.
    v4: BTreeSet<u32>,
}

impl Addresses {
    /// Addresses that cannot be listed do not exist.
    fn read() -> Self {
        let mut addresses = Self::default();
        for netif::InterfaceAddress { index, ip } in netif::addresses().unwrap_or_default() {
            match ip {
                IpAddr::V4(_) => {
                    addresses.v4.insert(index);
                }
                IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                    addresses.link_local.insert(index, v6);
                }
                IpAddr::V6(_) => {}
            }
        }
        addresses
    }
}
