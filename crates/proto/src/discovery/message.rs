//! The messages of multicast DNS: which answers matter here, and how a query is written.
//!
//! The parsing of bytes is `simple-dns`'s; what it would do without bound is bounded before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, Question, RCODE, ResourceRecord, TYPE};

use super::MAX_MESSAGE;
use super::name::DomainName;

/// Most records in one message. The parser reserves room for as many as the header claims, before
/// it reads any: without this, 12 bytes would have it reserve some 30 MB. An answer of ours or of
/// Avahi has under ten.
const MAX_RECORDS: usize = 256;

/// Longest query to send, in bytes: one packet on any link that carries IPv6 (RFC 8200 section 5).
const MAX_QUERY: usize = 1200;

/// Length of a message's header, in bytes (RFC 1035 section 4.1.1).
const HEADER: usize = 12;

/// Longest time to live that is believed: the one of RFC 6762 section 10 for names that do not
/// change. A forged record can then not stay for longer.
const MAX_TTL: Duration = Duration::from_secs(75 * 60);

/// Why a message was not used. None of these is a fault of ours, and most are none at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ignored {
    /// The interface was not added, or was removed.
    #[error("came in on an interface that is not browsed")]
    UnknownInterface,
    /// RFC 6762 section 6: answers come from port 5353.
    #[error("sent from a port other than 5353")]
    SourcePort,
    /// RFC 6762 section 11: only the local link is believed.
    #[error("not proven to be sent on the local link")]
    OffLink,
    /// The same source has just sent the same.
    #[error("repeated")]
    Repeated,
    /// Longer than [`MAX_MESSAGE`].
    #[error("longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// More records than any honest answer has.
    #[error("holds more than {MAX_RECORDS} records")]
    TooManyRecords,
    /// Not a DNS message.
    #[error("malformed")]
    Malformed,
    /// A query, or a response with an error or an operation that multicast DNS does not have.
    #[error("not an answer")]
    NotAnAnswer,
}

/// A record that matters to the browser.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) name: DomainName,
    /// Zero says goodbye (RFC 6762 section 10.1).
    pub(super) ttl: Duration,
    /// The sender owns this name alone: older records of it are void (RFC 6762 section 10.2).
    pub(super) flush: bool,
    pub(super) data: Data,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    Pointer(DomainName),
    Service { target: DomainName, port: u16 },
    Address(IpAddr),
}

/// The records of a response, from all its sections.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Record>, Ignored> {
    check_header(bytes)?;
    let packet = Packet::parse(bytes).map_err(|_| Ignored::Malformed)?;
    let is_answer = packet.has_flags(PacketFlag::RESPONSE)
        && packet.opcode() == OPCODE::StandardQuery
        && packet.rcode() == RCODE::NoError;
    if !is_answer {
        return Err(Ignored::NotAnAnswer);
    }
    let sections = [
        &packet.answers,
        &packet.name_servers,
        &packet.additional_records,
    ];
    Ok(sections.into_iter().flatten().filter_map(record).collect())
}

/// Refuses by the header alone what should not reach the parser.
pub(super) fn check_header(bytes: &[u8]) -> Result<(), Ignored> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Ignored::TooLong);
    }
    let (header, _) = bytes.split_at_checked(HEADER).ok_or(Ignored::Malformed)?;
    let records: usize = header[4..]
        .chunks_exact(2)
        .map(|count| usize::from(u16::from_be_bytes([count[0], count[1]])))
        .sum();
    if records > MAX_RECORDS {
        return Err(Ignored::TooManyRecords);
    }
    Ok(())
}

fn record(record: &ResourceRecord<'_>) -> Option<Record> {
    if record.class != CLASS::IN {
        return None;
    }
    let data = match &record.rdata {
        RData::PTR(pointer) => Data::Pointer((&pointer.0).into()),
        RData::SRV(service) => Data::Service {
            target: (&service.target).into(),
            port: service.port,
        },
        RData::A(a) => Data::Address(IpAddr::V4(Ipv4Addr::from(a.address))),
        RData::AAAA(aaaa) => Data::Address(IpAddr::V6(Ipv6Addr::from(aaaa.address))),
        _ => return None,
    };
    Some(Record {
        name: (&record.name).into(),
        ttl: Duration::from_secs(record.ttl.into()).min(MAX_TTL),
        flush: record.cache_flush,
        data,
    })
}

/// The type of record that a question asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Pointer,
    Service,
    AddressV6,
    AddressV4,
}

impl Kind {
    fn code(self) -> TYPE {
        match self {
            Self::Pointer => TYPE::PTR,
            Self::Service => TYPE::SRV,
            Self::AddressV6 => TYPE::AAAA,
            Self::AddressV4 => TYPE::A,
        }
    }
}

/// A query that is being put together.
#[derive(Debug)]
pub(super) struct Query {
    room: usize,
    questions: Vec<(DomainName, Kind, bool)>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            room: MAX_QUERY - HEADER,
            questions: Vec::new(),
        }
    }
}

impl Query {
    /// True when `count` questions about `name` fit still.
    pub(super) fn has_room(&self, name: &DomainName, count: usize) -> bool {
        self.room >= count * question_length(name)
    }

    /// Adds a question; `unicast` asks for an answer to us alone (RFC 6762 section 5.4).
    pub(super) fn ask(&mut self, name: &DomainName, kind: Kind, unicast: bool) {
        let asked = |(other, of, _): &(DomainName, Kind, bool)| *of == kind && other == name;
        if self.has_room(name, 1) && !self.questions.iter().any(asked) {
            self.room -= question_length(name);
            self.questions.push((name.clone(), kind, unicast));
        }
    }

    /// The message; `None` when it asks nothing.
    pub(super) fn finish(&self) -> Option<Vec<u8>> {
        if self.questions.is_empty() {
            return None;
        }
        let mut packet = Packet::new_query(0);
        for (name, kind, unicast) in &self.questions {
            let class = CLASS::IN.into();
            let question = Question::new(name.to_dns(), kind.code().into(), class, *unicast);
            packet.questions.push(question);
        }
        packet.build_bytes_vec_compressed().ok()
    }
}

fn question_length(name: &DomainName) -> usize {
    wire_length(name) + 4
}

fn wire_length(name: &DomainName) -> usize {
    name.labels().map(|label| label.len() + 1).sum::<usize>() + 1
}
