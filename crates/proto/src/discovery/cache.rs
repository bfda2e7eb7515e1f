//! What one link has told: instances, the services behind them, their hosts' addresses. Bounded.
//!
//! Only what was asked for is kept: pointers of our service type, services of those instances,
//! addresses of those services' hosts. When a table is full the records that came first stay.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use nightlatch_core::time::Monotonic;

use super::message::{Ask, Data, Kind, Known, Record};
use super::name::DomainName;
use super::schedule::{Lease, Schedule};
use super::{InterfaceIndex, Server};

/// Most instances kept for one link. A network has a handful of servers; a rogue that invents
/// thousands costs no more memory than this.
pub(super) const MAX_INSTANCES: usize = 16;

/// Most services (host and port) kept for one instance. An honest instance has one, or two for
/// the second in which a new one replaces an old one.
pub(super) const MAX_SERVICES: usize = 2;

/// Most addresses kept for one host, the limit for what one host can make us connect to.
pub(super) const MAX_ADDRESSES: usize = 8;

/// The questions and the cache of one interface.
#[derive(Debug)]
pub(super) struct Link {
    interface: InterfaceIndex,
    service_type: DomainName,
    browse: Schedule,
    instances: BTreeMap<DomainName, Instance>,
    hosts: BTreeMap<DomainName, Host>,
}

#[derive(Debug)]
struct Instance {
    label: String,
    lease: Lease,
    services: Vec<Service>,
    resolve: Schedule,
}

#[derive(Debug)]
struct Service {
    target: DomainName,
    port: u16,
    lease: Lease,
}

#[derive(Debug)]
struct Host {
    addresses: BTreeMap<IpAddr, Lease>,
    resolve: Schedule,
}

impl Link {
    pub(super) fn new(
        interface: InterfaceIndex,
        service_type: DomainName,
        first: Monotonic,
    ) -> Self {
        Self {
            interface,
            service_type,
            browse: Schedule::starting(first),
            instances: BTreeMap::new(),
            hosts: BTreeMap::new(),
        }
    }

    /// Starts asking anew; what is known stays.
    pub(super) fn restart(&mut self, first: Monotonic) {
        self.browse = Schedule::starting(first);
    }

    /// Takes in the records of one message. Their order in it does not matter.
    pub(super) fn take(&mut self, records: &[Record], now: Monotonic) {
        for record in records {
            if let Data::Pointer(instance) = &record.data
                && record.name == self.service_type
            {
                self.take_pointer(record, instance, now);
            }
        }
        for record in records {
            if let Data::Service { target, port } = &record.data {
                self.take_service(record, target, *port, now);
            }
        }
        for record in records {
            if let Data::Address(address) = record.data {
                self.take_address(record, address, now);
            }
        }
        self.expire(now);
    }

    fn take_pointer(&mut self, record: &Record, name: &DomainName, now: Monotonic) {
        let Some(label) = name.label_below(&self.service_type) else {
            return;
        };
        let lease = Lease::new(record.ttl, now);
        if let Some(instance) = self.instances.get_mut(name) {
            instance.lease = lease;
        } else if self.instances.len() < MAX_INSTANCES && !record.ttl.is_zero() {
            let instance = Instance {
                label: printable(label),
                lease,
                services: Vec::new(),
                resolve: Schedule::starting(now),
            };
            self.instances.insert(name.clone(), instance);
        }
    }

    fn take_service(&mut self, record: &Record, target: &DomainName, port: u16, now: Monotonic) {
        let Some(instance) = self.instances.get_mut(&record.name) else {
            return;
        };
        // A root target says that there is no such service (RFC 2782).
        if target.is_root() || port == 0 {
            return;
        }
        let services = &mut instance.services;
        let same = |service: &Service| service.port == port && service.target == *target;
        if record.flush {
            let others = services.iter_mut().filter(|service| !same(service));
            others.for_each(|service| service.lease.supersede(now));
        }
        let lease = Lease::new(record.ttl, now);
        if let Some(service) = services.iter_mut().find(|service| same(service)) {
            service.lease = lease;
        } else if services.len() < MAX_SERVICES && !record.ttl.is_zero() {
            services.push(Service {
                target: target.clone(),
                port,
                lease,
            });
            self.hosts.entry(target.clone()).or_insert_with(|| Host {
                addresses: BTreeMap::new(),
                resolve: Schedule::starting(now),
            });
        }
    }

    fn take_address(&mut self, record: &Record, address: IpAddr, now: Monotonic) {
        let Some(host) = self.hosts.get_mut(&record.name) else {
            return;
        };
        if !is_connectable(address) {
            return;
        }
        let addresses = &mut host.addresses;
        if record.flush {
            let same_type = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
            let others = addresses
                .iter_mut()
                .filter(|(other, _)| **other != address && same_type(other));
            others.for_each(|(_, lease)| lease.supersede(now));
        }
        let lease = Lease::new(record.ttl, now);
        if let Some(known) = addresses.get_mut(&address) {
            *known = lease;
        } else if addresses.len() < MAX_ADDRESSES && !record.ttl.is_zero() {
            addresses.insert(address, lease);
        }
    }

    /// Forgets what ran out, and what nothing leads to any more.
    pub(super) fn expire(&mut self, now: Monotonic) {
        self.instances
            .retain(|_, instance| !instance.lease.is_over(now));
        for instance in self.instances.values_mut() {
            let had_service = !instance.services.is_empty();
            instance
                .services
                .retain(|service| !service.lease.is_over(now));
            if had_service && instance.services.is_empty() {
                instance.resolve = Schedule::starting(now);
            }
        }
        let instances = &self.instances;
        self.hosts.retain(|name, _| {
            let mut services = instances.values().flat_map(|instance| &instance.services);
            services.any(|service| service.target == *name)
        });
        for host in self.hosts.values_mut() {
            let had_address = !host.addresses.is_empty();
            host.addresses.retain(|_, lease| !lease.is_over(now));
            if had_address && host.addresses.is_empty() {
                host.resolve = Schedule::starting(now);
            }
        }
    }

    /// The questions that are due, each marked as asked.
    pub(super) fn take_due(&mut self, now: Monotonic) -> Vec<Ask> {
        let mut asks = Vec::new();
        let mut browse = self.browse.is_due(now);
        let unicast = self.browse.is_first();
        for instance in self.instances.values_mut() {
            browse |= instance.lease.take_renewal(now);
        }
        if browse {
            self.browse.asked(now);
            asks.push(Ask {
                name: self.service_type.clone(),
                kind: Kind::Pointer,
                unicast,
            });
        }
        for (name, instance) in &mut self.instances {
            instance.take_due(name, now, &mut asks);
        }
        for (name, host) in &mut self.hosts {
            host.take_due(name, now, &mut asks);
        }
        asks
    }

    /// The pointers that a responder need not repeat.
    pub(super) fn known(&self, now: Monotonic) -> Vec<Known<'_>> {
        let fresh = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.lease.is_fresh(now) && !instance.services.is_empty());
        fresh
            .map(|(name, instance)| Known {
                name: &self.service_type,
                instance: name,
                remaining: instance.lease.remaining(now),
            })
            .collect()
    }

    /// When next to ask or to forget something.
    pub(super) fn deadline(&self) -> Monotonic {
        let mut deadline = self.browse.next();
        let mut consider = |at: Monotonic| deadline = deadline.min(at);
        for instance in self.instances.values() {
            instance.deadlines(&mut consider);
        }
        for host in self.hosts.values() {
            host.deadlines(&mut consider);
        }
        deadline
    }

    /// Every address of every service that is known now.
    pub(super) fn servers(&self) -> impl Iterator<Item = Server> {
        let services = self.instances.values().flat_map(|instance| {
            let services = instance.services.iter();
            services.map(move |service| (instance, service))
        });
        services.flat_map(move |(instance, service)| {
            let host = self.hosts.get(&service.target);
            let addresses = host.into_iter().flat_map(|host| host.addresses.keys());
            let name = printable_name(&service.target);
            addresses.map(move |address| Server {
                interface: self.interface,
                instance: instance.label.clone(),
                host: name.clone(),
                addr: scoped(*address, service.port, self.interface),
            })
        })
    }
}

impl Instance {
    fn take_due(&mut self, name: &DomainName, now: Monotonic, asks: &mut Vec<Ask>) {
        let mut due = self.services.is_empty() && self.resolve.is_due(now);
        let unicast = self.resolve.is_first();
        if due {
            self.resolve.asked(now);
        }
        for service in &mut self.services {
            due |= service.lease.take_renewal(now);
        }
        if due {
            asks.push(Ask {
                name: name.clone(),
                kind: Kind::Service,
                unicast,
            });
        }
    }

    fn deadlines(&self, consider: &mut impl FnMut(Monotonic)) {
        consider(self.lease.expires());
        self.lease.renewal().into_iter().for_each(&mut *consider);
        if self.services.is_empty() {
            consider(self.resolve.next());
        }
        for service in &self.services {
            consider(service.lease.expires());
            service.lease.renewal().into_iter().for_each(&mut *consider);
        }
    }
}

impl Host {
    fn take_due(&mut self, name: &DomainName, now: Monotonic, asks: &mut Vec<Ask>) {
        let mut v6 = self.wants_question() && self.resolve.is_due(now);
        let mut v4 = v6 && self.addresses.is_empty();
        let unicast = self.resolve.is_first();
        if v6 {
            self.resolve.asked(now);
        }
        for (address, lease) in &mut self.addresses {
            if lease.take_renewal(now) {
                v6 |= address.is_ipv6();
                v4 |= address.is_ipv4();
            }
        }
        let kinds = [(v6, Kind::AddressV6), (v4, Kind::AddressV4)];
        for (_, kind) in kinds.into_iter().filter(|(due, _)| *due) {
            asks.push(Ask {
                name: name.clone(),
                kind,
                unicast,
            });
        }
    }

    /// Without any address it is asked for until one comes. With IPv4 alone, IPv6 is asked for
    /// once: it works where addresses are not set up yet.
    fn wants_question(&self) -> bool {
        let only_v4 = self.addresses.keys().all(IpAddr::is_ipv4);
        self.addresses.is_empty() || (only_v4 && self.resolve.is_first())
    }

    fn deadlines(&self, consider: &mut impl FnMut(Monotonic)) {
        if self.wants_question() {
            consider(self.resolve.next());
        }
        for lease in self.addresses.values() {
            consider(lease.expires());
            lease.renewal().into_iter().for_each(&mut *consider);
        }
    }
}

/// Whether a server can be at this address: one host, not this one, on IPv6 or IPv4 proper.
fn is_connectable(address: IpAddr) -> bool {
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let nowhere = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    !(mapped || broadcast || nowhere)
}

fn scoped(address: IpAddr, port: u16, interface: InterfaceIndex) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(v6, port, 0, interface.0))
        }
        other => SocketAddr::new(other, port),
    }
}

/// A whole name, likewise.
fn printable_name(name: &DomainName) -> String {
    let labels: Vec<String> = name.labels().map(printable).collect();
    labels.join(".").to_ascii_lowercase()
}

/// A label as text fit for a log line: a forged name must not write lines or colours of its own.
fn printable(label: &[u8]) -> String {
    let text = String::from_utf8_lossy(label);
    let clean = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(clean).collect()
}
