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

/// Seconds that a simple resolver may keep an answer, which never hears of changes (RFC 6762
/// section 6.7).
const LEGACY_TTL: u32 = 10;

/// The name under which all service types are listed (RFC 6763 section 9).
const ENUMERATION: &str = "_services._dns-sd._udp.local";

/// The names that are claimed, and the port behind them.
#[derive(Debug)]
pub(super) struct Identity {
    enumeration: DomainName,
    service_type: DomainName,
    instance: DomainName,
    host: DomainName,
    port: u16,
}

/// A set of records that are asked for, sent and rate-limited together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Item {
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

/// Which of our names another host holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claimed {
    Instance,
    Host,
}

impl Item {
    /// What an announcement and a goodbye hold.
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

    /// What whoever asks for this will want next (RFC 6763 section 12).
    fn additional(self) -> &'static [Self] {
        match self {
            Self::Pointer => &[Self::Service, Self::Text, Self::Addresses],
            Self::Service => &[Self::Addresses],
            Self::Enumeration | Self::Text | Self::Addresses => &[],
        }
    }
}

impl Identity {
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

    /// What answers this question.
    pub(super) fn asked_for(&self, question: &Question<'_>) -> Vec<Item> {
        let name = DomainName::from(&question.qname);
        let wants = |kind: TYPE| match question.qtype {
            QTYPE::TYPE(wanted) => wanted == kind,
            QTYPE::ANY => true,
            _ => false,
        };
        let mut items = Vec::new();
        if name == self.enumeration && wants(TYPE::PTR) {
            items.push(Item::Enumeration);
        }
        if name == self.service_type && wants(TYPE::PTR) {
            items.push(Item::Pointer);
        }
        if name == self.instance {
            items.extend(wants(TYPE::SRV).then_some(Item::Service));
            items.extend(wants(TYPE::TXT).then_some(Item::Text));
        }
        if name == self.host && (wants(TYPE::A) || wants(TYPE::AAAA)) {
            items.push(Item::Addresses);
        }
        items
    }

    /// Whether the asker has this already, for half its life or more (RFC 6762 section 7.1).
    pub(super) fn is_known(&self, item: Item, packet: &Packet<'_>) -> bool {
        item == Item::Pointer
            && packet.answers.iter().any(|record| {
                record.ttl >= OTHER_TTL / 2
                    && DomainName::from(&record.name) == self.service_type
                    && matches!(&record.rdata, RData::PTR(pointer)
                        if DomainName::from(&pointer.0) == self.instance)
            })
    }

    fn records(&self, item: Item, addresses: &[IpAddr], ttl: u32) -> Vec<ResourceRecord<'_>> {
        let make = |name, data| {
            ResourceRecord::new(DomainName::to_dns(name), CLASS::IN, ttl, data)
                .with_cache_flush(!item.is_shared())
        };
        match item {
            Item::Enumeration => {
                let data = RData::PTR(PTR(self.service_type.to_dns()));
                vec![make(&self.enumeration, data)]
            }
            Item::Pointer => {
                let data = RData::PTR(PTR(self.instance.to_dns()));
                vec![make(&self.service_type, data)]
            }
            Item::Service => vec![make(&self.instance, self.service())],
            Item::Text => vec![make(&self.instance, RData::TXT(empty_text()))],
            Item::Addresses => addresses
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

    /// Asks whether anyone holds our names, and says what we would put there (RFC 6762 section 8.1).
    /// The answer is to go to the group: sockets that are bound to it hear nothing else.
    pub(super) fn probe(&self, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(0);
        for name in [&self.instance, &self.host] {
            let class = CLASS::IN.into();
            let question = Question::new(name.to_dns(), QTYPE::ANY, class, false);
            packet.questions.push(question);
        }
        for item in [Item::Service, Item::Text, Item::Addresses] {
            let records = self.records(item, addresses, item.ttl());
            // The bit has no meaning in a probe and must not be set (RFC 6762 section 10.2).
            let records = records
                .into_iter()
                .map(|record| record.with_cache_flush(false));
            packet.name_servers.extend(records);
        }
        packet.build_bytes_vec_compressed().ok()
    }

    /// An answer or an announcement with these items, and with what follows from them.
    pub(super) fn response(&self, items: &[Item], addresses: &[IpAddr]) -> Option<Vec<u8>> {
        let mut packet = reply(0);
        self.fill(&mut packet, items, |item| {
            self.records(item, addresses, item.ttl())
        });
        packet.build_bytes_vec_compressed().ok()
    }

    /// Voids everything that was announced.
    pub(super) fn goodbye(&self, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        let mut packet = reply(0);
        for item in Item::ANNOUNCED {
            packet.answers.extend(self.records(item, addresses, 0));
        }
        packet.build_bytes_vec_compressed().ok()
    }

    /// The answer to a simple resolver: it repeats the question, and has no bits that only
    /// multicast DNS knows (RFC 6762 section 6.7).
    pub(super) fn legacy_response(
        &self,
        query: &Packet<'_>,
        items: &[Item],
        addresses: &[IpAddr],
    ) -> Option<Vec<u8>> {
        let mut packet = reply(query.id());
        packet.questions = query.questions.clone();
        self.fill(&mut packet, items, |item| {
            let records = self.records(item, addresses, item.ttl().min(LEGACY_TTL));
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
        items: &[Item],
        records: impl Fn(Item) -> Vec<ResourceRecord<'a>>,
    ) {
        let mut additional: Vec<Item> = Vec::new();
        for item in items {
            packet.answers.extend(records(*item));
            let new = item
                .additional()
                .iter()
                .filter(|other| !items.contains(other));
            additional.extend(new);
        }
        additional.sort_unstable();
        additional.dedup();
        for item in additional {
            packet.additional_records.extend(records(item));
        }
    }

    /// Whether another host's probe for one of our names comes before ours (RFC 6762 section 8.2):
    /// the lexicographically later records win.
    pub(super) fn loses_to(&self, probe: &Packet<'_>, addresses: &[IpAddr]) -> bool {
        let mut ours: Vec<ResourceRecord<'_>> = Vec::new();
        for item in [Item::Service, Item::Text, Item::Addresses] {
            ours.extend(self.records(item, addresses, item.ttl()));
        }
        [&self.instance, &self.host].into_iter().any(|name| {
            let theirs = comparable(name, &probe.name_servers);
            !theirs.is_empty() && comparable(name, &ours) < theirs
        })
    }
}

/// Which of our names another host holds, by what it says in a response. All our addresses on all
/// links are ours to announce.
pub(super) fn conflict(
    identity: &Identity,
    addresses: &[IpAddr],
    packet: &Packet<'_>,
) -> Option<Claimed> {
    let records = packet.answers.iter().chain(&packet.additional_records);
    let alive = records.filter(|record| record.ttl > 0 && record.class == CLASS::IN);
    for record in alive {
        let name = DomainName::from(&record.name);
        match &record.rdata {
            RData::SRV(theirs) if name == identity.instance => {
                let same = theirs.port == identity.port
                    && DomainName::from(&theirs.target) == identity.host;
                if !same {
                    return Some(Claimed::Instance);
                }
            }
            RData::A(_) | RData::AAAA(_) if name == identity.host => {
                let known = address_of(&record.rdata).is_some_and(|it| addresses.contains(&it));
                if !known {
                    return Some(Claimed::Host);
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
