//! The records that one source announced on a link: instances, their services, and the addresses of the services'
//! hosts. Bounded.
//!
//! Only pointers of our service type, services of those instances, and addresses of those services' hosts are kept.
//! Records are combined with others of the same source only, so that no source can void or replace those of another. A
//! full table evicts its oldest entry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use nightlatch_core::time::Monotonic;

use super::message::{QueryBuilder, QuestionType, ReceivedRecord, RecordData};
use super::name::DomainName;
use super::schedule::{QuerySchedule, RecordLifetime};
use super::{FoundServer, InterfaceIndex};

/// Most services (host and port) kept for one instance. An honest instance has one, or two for
/// the second in which a new one replaces an old one.
pub(super) const MAX_SERVICES: usize = 2;

/// Most addresses kept for one host, the limit for what one host can make us connect to.
pub(super) const MAX_ADDRESSES: usize = 8;

/// The records of one source.
#[derive(Debug, Default)]
pub(super) struct SourceRecords {
    instances: BTreeMap<DomainName, Instance>,
    /// The instances by their ranks.
    order: BTreeMap<u64, DomainName>,
    hosts: BTreeMap<DomainName, HostAddresses>,
}

#[derive(Debug)]
struct Instance {
    label: String,
    lifetime: RecordLifetime,
    /// In the order in which they came.
    services: Vec<ServiceTarget>,
    resolve: QuerySchedule,
    /// Instances kept on this link before it.
    rank: u64,
}

#[derive(Debug)]
struct ServiceTarget {
    target: DomainName,
    port: u16,
    lifetime: RecordLifetime,
}

#[derive(Debug)]
struct HostAddresses {
    /// In the order in which they came.
    addresses: Vec<(IpAddr, RecordLifetime)>,
    resolve: QuerySchedule,
}

/// An address of a service, and the names that lead to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServiceAddress<'a> {
    pub(super) addr: SocketAddr,
    pub(super) source: IpAddr,
    interface: InterfaceIndex,
    label: &'a str,
    target: &'a DomainName,
}

impl ServiceAddress<'_> {
    pub(super) fn server(&self) -> FoundServer {
        FoundServer {
            interface: self.interface,
            source: self.source,
            instance: self.label.to_owned(),
            host: printable_name(self.target),
            addr: self.addr,
        }
    }
}

impl SourceRecords {
    /// Number of instances, which count towards the link's bound.
    pub(super) fn len(&self) -> usize {
        self.instances.len()
    }

    pub(super) fn holds(&self, name: &DomainName) -> bool {
        self.instances.contains_key(name)
    }

    /// The rank of the instance that came first.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.order.keys().next().copied()
    }

    /// Forgets the instance that came first.
    pub(super) fn remove_oldest(&mut self) {
        let oldest = self.order.pop_first();
        let removed = oldest.and_then(|(_, name)| self.instances.remove(&name));
        for service in removed.into_iter().flat_map(|it| it.services) {
            self.forget_host(&service.target);
        }
    }

    /// Forgets a host to which no service leads any more.
    fn forget_host(&mut self, target: &DomainName) {
        let mut services = self.instances.values().flat_map(|it| &it.services);
        if !services.any(|service| service.target == *target) {
            self.hosts.remove(target);
        }
    }

    /// Takes in a pointer to an instance that it holds, or has room for.
    pub(super) fn take_pointer(
        &mut self,
        record: &ReceivedRecord,
        name: &DomainName,
        label: &[u8],
        rank: u64,
        now: Monotonic,
    ) {
        let lifetime = RecordLifetime::new(record.ttl, now);
        if let Some(instance) = self.instances.get_mut(name) {
            instance.lifetime = lifetime;
        } else if !record.ttl.is_zero() {
            let instance = Instance {
                label: printable(label),
                lifetime,
                services: Vec::new(),
                resolve: QuerySchedule::starting(now),
                rank,
            };
            self.instances.insert(name.clone(), instance);
            self.order.insert(rank, name.clone());
        }
    }

    /// Takes in the services and addresses of one message, in any order. True when one of them is new.
    pub(super) fn take(&mut self, records: &[ReceivedRecord], now: Monotonic) -> bool {
        let mut new = false;
        for record in records {
            if let RecordData::Service { target, port } = &record.data {
                new |= self.take_service(record, target, *port, now);
            }
        }
        for record in records {
            if let RecordData::Address(address) = record.data {
                new |= self.take_address(record, address, now);
            }
        }
        new
    }

    fn take_service(
        &mut self,
        record: &ReceivedRecord,
        target: &DomainName,
        port: u16,
        now: Monotonic,
    ) -> bool {
        let Some(instance) = self.instances.get_mut(&record.name) else {
            return false;
        };
        // A root target means that there is no such service (RFC 2782).
        if target.is_root() || port == 0 {
            return false;
        }
        let services = &mut instance.services;
        let same = |service: &ServiceTarget| service.port == port && service.target == *target;
        if record.flush {
            let others = services.iter_mut().filter(|service| !same(service));
            others.for_each(|service| service.lifetime.supersede(now));
        }
        let lifetime = RecordLifetime::new(record.ttl, now);
        if let Some(service) = services.iter_mut().find(|service| same(service)) {
            service.lifetime = lifetime;
            return false;
        }
        if record.ttl.is_zero() {
            return false;
        }
        let first = (services.len() == MAX_SERVICES).then(|| services.remove(0));
        services.push(ServiceTarget {
            target: target.clone(),
            port,
            lifetime,
        });
        self.hosts
            .entry(target.clone())
            .or_insert_with(|| HostAddresses {
                addresses: Vec::new(),
                resolve: QuerySchedule::starting(now),
            });
        if let Some(first) = first {
            self.forget_host(&first.target);
        }
        true
    }

    fn take_address(&mut self, record: &ReceivedRecord, address: IpAddr, now: Monotonic) -> bool {
        let Some(host) = self.hosts.get_mut(&record.name) else {
            return false;
        };
        if !is_connectable(address) {
            return false;
        }
        let addresses = &mut host.addresses;
        if record.flush {
            let same_type = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
            let others = addresses
                .iter_mut()
                .filter(|(other, _)| *other != address && same_type(other));
            others.for_each(|(_, lifetime)| lifetime.supersede(now));
        }
        let lifetime = RecordLifetime::new(record.ttl, now);
        let known = addresses.iter_mut().find(|(known, _)| *known == address);
        if let Some((_, known)) = known {
            *known = lifetime;
            return false;
        }
        if record.ttl.is_zero() {
            return false;
        }
        if addresses.len() == MAX_ADDRESSES {
            addresses.remove(0);
        }
        addresses.push((address, lifetime));
        true
    }

    /// Removes expired records, and those that no other record refers to any more. True when there was any.
    pub(super) fn expire(&mut self, now: Monotonic) -> bool {
        if !self.holds_expired(now) {
            return false;
        }
        let order = &mut self.order;
        self.instances.retain(|_, instance| {
            let kept = !instance.lifetime.is_over(now);
            if !kept {
                order.remove(&instance.rank);
            }
            kept
        });
        for instance in self.instances.values_mut() {
            let had_service = !instance.services.is_empty();
            instance
                .services
                .retain(|service| !service.lifetime.is_over(now));
            if had_service && instance.services.is_empty() {
                instance.resolve = QuerySchedule::starting(now);
            }
        }
        let services = self.instances.values().flat_map(|it| &it.services);
        let targets: BTreeSet<&DomainName> = services.map(|service| &service.target).collect();
        self.hosts.retain(|name, _| targets.contains(name));
        for host in self.hosts.values_mut() {
            let had_address = !host.addresses.is_empty();
            host.addresses
                .retain(|(_, lifetime)| !lifetime.is_over(now));
            if had_address && host.addresses.is_empty() {
                host.resolve = QuerySchedule::starting(now);
            }
        }
        true
    }

    fn holds_expired(&self, now: Monotonic) -> bool {
        self.instances.values().any(|instance| {
            let mut services = instance.services.iter();
            instance.lifetime.is_over(now) || services.any(|service| service.lifetime.is_over(now))
        }) || self.hosts.values().any(|host| {
            host.addresses
                .iter()
                .any(|(_, lifetime)| lifetime.is_over(now))
        })
    }

    /// True when a pointer is to be asked for again before it expires; only once for each renewal.
    pub(super) fn take_renewal(&mut self, now: Monotonic) -> bool {
        let mut due = false;
        for instance in self.instances.values_mut() {
            due |= instance.lifetime.take_renewal(now);
        }
        due
    }

    /// Adds the questions that are due, each marked as asked, as long as the query has room.
    pub(super) fn ask(&mut self, query: &mut QueryBuilder, now: Monotonic) {
        for (name, instance) in &mut self.instances {
            if !query.has_room(name, 1) {
                return;
            }
            instance.ask(name, query, now);
        }
        for (name, host) in &mut self.hosts {
            if !query.has_room(name, 2) {
                return;
            }
            host.ask(name, query, now);
        }
    }

    /// Calls `consider` with the times of the next questions and expiries.
    pub(super) fn deadlines(&self, consider: &mut impl FnMut(Monotonic)) {
        for instance in self.instances.values() {
            instance.deadlines(consider);
        }
        for host in self.hosts.values() {
            host.deadlines(consider);
        }
    }

    /// Every address of every service that is known now.
    pub(super) fn service_addresses(
        &self,
        interface: InterfaceIndex,
        source: IpAddr,
    ) -> impl Iterator<Item = ServiceAddress<'_>> {
        let services = self.instances.values().flat_map(|instance| {
            let services = instance.services.iter();
            services.map(move |service| (instance, service))
        });
        services.flat_map(move |(instance, service)| {
            let host = self.hosts.get(&service.target);
            let addresses = host.into_iter().flat_map(|host| &host.addresses);
            addresses.map(move |(address, _)| ServiceAddress {
                addr: scoped(*address, service.port, interface),
                source,
                interface,
                label: &instance.label,
                target: &service.target,
            })
        })
    }
}

impl Instance {
    fn ask(&mut self, name: &DomainName, query: &mut QueryBuilder, now: Monotonic) {
        let mut due = self.services.is_empty() && self.resolve.is_due(now);
        let unicast = self.resolve.is_first();
        if due {
            self.resolve.asked(now);
        }
        for service in &mut self.services {
            due |= service.lifetime.take_renewal(now);
        }
        if due {
            query.ask(name, QuestionType::Service, unicast);
        }
    }

    fn deadlines(&self, consider: &mut impl FnMut(Monotonic)) {
        consider(self.lifetime.expires());
        self.lifetime.renewal().into_iter().for_each(&mut *consider);
        if self.services.is_empty() {
            consider(self.resolve.next());
        }
        for service in &self.services {
            consider(service.lifetime.expires());
            service
                .lifetime
                .renewal()
                .into_iter()
                .for_each(&mut *consider);
        }
    }
}

impl HostAddresses {
    fn ask(&mut self, name: &DomainName, query: &mut QueryBuilder, now: Monotonic) {
        let mut v6 = self.wants_question() && self.resolve.is_due(now);
        let mut v4 = v6 && self.addresses.is_empty();
        let unicast = self.resolve.is_first();
        if v6 {
            self.resolve.asked(now);
        }
        for (address, lifetime) in &mut self.addresses {
            if lifetime.take_renewal(now) {
                v6 |= address.is_ipv6();
                v4 |= address.is_ipv4();
            }
        }
        let kinds = [(v6, QuestionType::AddressV6), (v4, QuestionType::AddressV4)];
        for (_, kind) in kinds.into_iter().filter(|(due, _)| *due) {
            query.ask(name, kind, unicast);
        }
    }

    /// Without any address it is asked for until one comes. With IPv4 alone, IPv6 is asked for
    /// once: it works where addresses are not set up yet.
    fn wants_question(&self) -> bool {
        let only_v4 = self.addresses.iter().all(|(address, _)| address.is_ipv4());
        self.addresses.is_empty() || (only_v4 && self.resolve.is_first())
    }

    fn deadlines(&self, consider: &mut impl FnMut(Monotonic)) {
        if self.wants_question() {
            consider(self.resolve.next());
        }
        for (_, lifetime) in &self.addresses {
            consider(lifetime.expires());
            lifetime.renewal().into_iter().for_each(&mut *consider);
        }
    }
}

/// True when a server can be at this address: one host, not this one, on IPv6 or IPv4 proper.
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

/// A whole name as printable text.
fn printable_name(name: &DomainName) -> String {
    let labels: Vec<String> = name.labels().map(printable).collect();
    labels.join(".").to_ascii_lowercase()
}

/// A label as printable text for a log: control characters in a forged name are replaced.
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
