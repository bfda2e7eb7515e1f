//! The records that the responder claims, written into messages and compared with those of others.

use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, PTR, RData, SRV, TXT};
use simple_dns::{
    CLASS, CharacterString, Packet, PacketFlag, QTYPE, Question, ResourceRecord, TYPE,
};

use crate::discovery::SERVICE_TYPE;
use crate::discovery::name::DomainName;

/// Seconds that a record with a host name in it or as its name may be kept (RFC 6762 section 10).
pub(super) const HOST_TTL: u32 = 120;

/// Seconds that every other record may be kept (RFC 6762 section 10).
pub(super) const OTHER_TTL: u32 = 4500;

/// Seconds that a simple resolver may keep an answer, since it gets no updates (RFC 6762 section 6.7).
const LEGACY_TTL: u32 = 10;

/// The name under which all service types are listed (RFC 6763 section 9).
const ENUMERATION: &str = "_services._dns-sd._udp.local";

/// The names that are claimed, and the port behind them.
#[derive(Debug)]
pub(super) struct ClaimedNames {
    enumeration: DomainName,
    service_type: DomainName,
    instance: DomainName,
    host: DomainName,
    port: u16,
}

/// A set of records that are asked for, sent and rate-limited together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum RecordSet {
    /// That there are services of our type.
    Enumeration,
    /// That there is this service: shared with every other server on the link.
    Pointer,
    /// Its host and port.
    Service,
    /// Its text, which is empty.
    Text,
    /// The host's addresses on this link.
    Addresses,
}

/// One of our names that another host claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConflictingName {
    Instance,
    Host,
}

impl RecordSet {
    /// The records of an announcement and of a goodbye.
    pub(super) const ANNOUNCED: [Self; 4] =
        [Self::Pointer, Self::Service, Self::Text, Self::Addresses];

    /// Others may answer the same question, so that answers are spread over time.
    pub(super) const fn is_shared(self) -> bool {
        matches!(self, Self::Enumeration | Self::Pointer)
    }

    const fn ttl(self) -> u32 {
        match self {
            Self::Service | Self::Addresses => HOST_TTL,
            Self::Enumeration | Self::Pointer | Self::Text => OTHER_TTL,
        }
    }

    /// Records to add to an answer, because the asker needs them next (RFC 6763 section 12).
    fn additional(self) -> &'static [Self] {
        match self {
            Self::Pointer => &[Self::Service, Self::Text, Self::Addresses],
            Self::Service => &[Self::Addresses],
            Self::Enumeration | Self::Text | Self::Addresses => &[],
        }
    }
}

impl ClaimedNames {
    pub(super) fn new(name: &str, host: &str, port: u16) -> Self {
        let labels = |name: &'static str| name.split('.').map(str::as_bytes);
        let instance = std::iter::once(name.as_bytes()).chain(labels(SERVICE_TYPE));
        Self {
            enumeration: DomainName::from_wire_labels(labels(ENUMERATION)),
            service_type: DomainName::from_wire_labels(labels(SERVICE_TYPE)),
            instance: DomainName::from_wire_labels(instance),
            host: DomainName::from_wire_labels([host.as_bytes(), b"local"]),
            port,
        }
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// The records that answer this question.
    pub(super) fn asked_for(&self, question: &Question<'_>) -> Vec<RecordSet> {
        let name = DomainName::from(&question.qname);
        let wants = |kind: TYPE| match question.qtype {
            QTYPE::TYPE(wanted) => wanted == kind,
            QTYPE::ANY => true,
            _ => false,
        };
        let mut sets = Vec::new();
        if name == self.enumeration && wants(TYPE::PTR) {
            sets.push(RecordSet::Enumeration);
        }
        if name == self.service_type && wants(TYPE::PTR) {
            sets.push(RecordSet::Pointer);
        }
        if name == self.instance {
            sets.extend(wants(TYPE::SRV).then_some(RecordSet::Service));
            sets.extend(wants(TYPE::TXT).then_some(RecordSet::Text));
        }
        if name == self.host && (wants(TYPE::A) || wants(TYPE::AAAA)) {
            sets.push(RecordSet::Addresses);
        }
        sets
    }

    /// True when the asker has this record for at least half its life (RFC 6762 section 7.1).
    pub(super) fn is_known(&self, set: RecordSet, packet: &Packet<'_>) -> bool {
        set == RecordSet::Pointer
            && packet.answers.iter().any(|record| {
                record.ttl >= OTHER_TTL / 2
                    && DomainName::from(&record.name) == self.service_type
                    && matches!(&record.rdata, RData::PTR(pointer)
                        if DomainName::from(&pointer.0) == self.instance)
            })
    }

    fn records(&self, set: RecordSet, addresses: &[IpAddr], ttl: u32) -> Vec<ResourceRecord<'_>> {
        let make = |name, data| {
            ResourceRecord::new(DomainName::to_dns(name), CLASS::IN, ttl, data)
                .with_cache_flush(!set.is_shared())
        };
        match set {
            RecordSet::Enumeration => {
                let data = RData::PTR(PTR(self.service_type.to_dns()));
                vec![make(&self.enumeration, data)]
            }
            RecordSet::Pointer => {
                let data = RData::PTR(PTR(self.instance.to_dns()));
                vec![make(&self.service_type, data)]
            }
            RecordSet::Service => vec![make(&self.instance, self.service())],
            RecordSet::Text => vec![make(&self.instance, RData::TXT(empty_text()))],
            RecordSet::Addresses => addresses
                .iter()
                .map(|address| make(&self.host, address_data(*address)))
                .collect(),
        }
    }

    fn service(&self) -> RData<'_> {
        RData::SRV(SRV {
            priority: 0,
            weight: 0,
            port: self.port,
            target: self.host.to_dns(),
        })
    }

    /// Asks for our names, and lists the records we would publish (RFC 6762 section 8.1). The answer is to be
    /// multicast: sockets that are bound to the group receive nothing else.
    pub(super) fn probe(&self, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(0);
        for name in [&self.instance, &self.host] {
            let class = CLASS::IN.into();
            let question = Question::new(name.to_dns(), QTYPE::ANY, class, false);
            packet.questions.push(question);
        }
        for set in [RecordSet::Service, RecordSet::Text, RecordSet::Addresses] {
            let records = self.records(set, addresses, set.ttl());
            // The bit has no meaning in a probe and must not be set (RFC 6762 section 10.2).
            let records = records
                .into_iter()
                .map(|record| record.with_cache_flush(false));
            packet.name_servers.extend(records);
        }
        packet.build_bytes_vec_compressed().ok()
    }

    /// An answer or an announcement with these sets, and with what follows from them.
    pub(super) fn response(&self, sets: &[RecordSet], addresses: &[IpAddr]) -> Option<Vec<u8>> {
        let mut packet = reply(0);
        self.fill(&mut packet, sets, |set| {
            self.records(set, addresses, set.ttl())
        });
        packet.build_bytes_vec_compressed().ok()
    }

    /// Voids everything that was announced.
    pub(super) fn goodbye(&self, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        let mut packet = reply(0);
        for set in RecordSet::ANNOUNCED {
            packet.answers.extend(self.records(set, addresses, 0));
        }
        packet.build_bytes_vec_compressed().ok()
    }

    /// The answer to a simple resolver: it repeats the question, and omits the bits that only multicast DNS defines
    /// (RFC 6762 section 6.7).
    pub(super) fn legacy_response(
        &self,
        query: &Packet<'_>,
        sets: &[RecordSet],
        addresses: &[IpAddr],
    ) -> Option<Vec<u8>> {
        let mut packet = reply(query.id());
        packet.questions = query.questions.clone();
        self.fill(&mut packet, sets, |set| {
            let records = self.records(set, addresses, set.ttl().min(LEGACY_TTL));
            let plain = |record: ResourceRecord<'static>| record.with_cache_flush(false);
            records
                .into_iter()
                .map(ResourceRecord::into_owned)
                .map(plain)
                .collect()
        });
        packet.build_bytes_vec_compressed().ok()
    }

    fn fill<'a>(
        &'a self,
        packet: &mut Packet<'a>,
        sets: &[RecordSet],
        records: impl Fn(RecordSet) -> Vec<ResourceRecord<'a>>,
    ) {
        let mut additional: Vec<RecordSet> = Vec::new();
        for set in sets {
            packet.answers.extend(records(*set));
            let new = set
                .additional()
                .iter()
                .filter(|other| !sets.contains(other));
            additional.extend(new);
        }
        additional.sort_unstable();
        additional.dedup();
        for set in additional {
            packet.additional_records.extend(records(set));
        }
    }

    /// True when another host's probe for one of our names wins over ours (RFC 6762 section 8.2): the lexicographically
    /// later records win.
    pub(super) fn loses_to(&self, probe: &Packet<'_>, addresses: &[IpAddr]) -> bool {
        let mut ours: Vec<ResourceRecord<'_>> = Vec::new();
        for set in [RecordSet::Service, RecordSet::Text, RecordSet::Addresses] {
            ours.extend(self.records(set, addresses, set.ttl()));
        }
        [&self.instance, &self.host].into_iter().any(|name| {
            let theirs = comparable(name, &probe.name_servers);
            !theirs.is_empty() && comparable(name, &ours) < theirs
        })
    }
}

/// One of our names that a response claims for another host. All our addresses on all links are ours to announce.
pub(super) fn conflict(
    names: &ClaimedNames,
    addresses: &[IpAddr],
    packet: &Packet<'_>,
) -> Option<ConflictingName> {
    let records = packet.answers.iter().chain(&packet.additional_records);
    let alive = records.filter(|record| record.ttl > 0 && record.class == CLASS::IN);
    for record in alive {
        let name = DomainName::from(&record.name);
        match &record.rdata {
            RData::SRV(theirs) if name == names.instance => {
                let same =
                    theirs.port == names.port && DomainName::from(&theirs.target) == names.host;
                if !same {
                    return Some(ConflictingName::Instance);
                }
            }
            RData::A(_) | RData::AAAA(_) if name == names.host => {
                let known = address_of(&record.rdata).is_some_and(|it| addresses.contains(&it));
                if !known {
                    return Some(ConflictingName::Host);
                }
            }
            _ => {}
        }
    }
    None
}

/// A reply as multicast DNS wants it: authoritative (RFC 6762 section 18.4).
fn reply(id: u16) -> Packet<'static> {
    let mut packet = Packet::new_reply(id);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet
}

/// A text record holds at least one string, which may be empty (RFC 6763 section 6.1).
fn empty_text() -> TXT<'static> {
    let mut text = TXT::new();
    if let Ok(empty) = CharacterString::new(b"") {
        text.add_char_string(empty);
    }
    text
}

fn address_data(address: IpAddr) -> RData<'static> {
    match address {
        IpAddr::V4(v4) => RData::A(A { address: v4.into() }),
        IpAddr::V6(v6) => RData::AAAA(AAAA { address: v6.into() }),
    }
}

fn address_of(data: &RData<'_>) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
        _ => None,
    }
}

/// The records of `name` in the order and form in which section 8.2 compares them: by type, then by
/// their uncompressed bytes.
fn comparable(name: &DomainName, records: &[ResourceRecord<'_>]) -> Vec<(u16, Vec<u8>)> {
    let of_name = records
        .iter()
        .filter(|record| record.class == CLASS::IN && DomainName::from(&record.name) == *name);
    let mut list: Vec<(u16, Vec<u8>)> = of_name
        .filter_map(|record| {
            let bytes = match &record.rdata {
                RData::SRV(service) => {
                    let numbers = [service.priority, service.weight, service.port];
                    let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
                    bytes.extend(DomainName::from(&service.target).wire());
                    bytes
                }
                RData::TXT(text) => text_bytes(text),
                RData::A(a) => a.address.to_be_bytes().to_vec(),
                RData::AAAA(aaaa) => aaaa.address.to_be_bytes().to_vec(),
                _ => return None,
            };
            Some((record.rdata.type_code().into(), bytes))
        })
        .collect();
    list.sort_unstable();
    list
}

fn text_bytes(text: &TXT<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in text.iter_raw() {
        let value = value.map_or(Vec::new(), |value| [b"=", value].concat());
        let string = [key, &value].concat();
        bytes.push(u8::try_from(string.len()).unwrap_or(u8::MAX));
        bytes.extend(string);
    }
    if bytes.is_empty() {
        // One empty string and none at all are the same (RFC 6763 section 6.1).
        bytes.push(0);
    }
    bytes
}
