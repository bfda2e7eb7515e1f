//! The messages of multicast DNS: parses answers, writes queries.
//!
//! `simple-dns` parses the bytes; this module bounds beforehand what that parser would not bound.

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

/// Longest accepted time to live: the one of RFC 6762 section 10 for names that do not change. It limits how long a
/// forged record stays.
const MAX_TTL: Duration = Duration::from_secs(75 * 60);

/// A message that was not used. Most are ordinary traffic of other hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IgnoreReason {
    /// The interface was not added, or was removed.
    #[error("came in on an interface that is not browsed")]
    UnknownInterface,
    /// RFC 6762 section 6: answers come from port 5353.
    #[error("sent from a port other than 5353")]
    SourcePort,
    /// RFC 6762 section 11: only messages from the local link are accepted.
    #[error("not proven to be sent on the local link")]
    OffLink,
    /// The same source sent the same message just before.
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
pub(super) struct ReceivedRecord {
    pub(super) name: DomainName,
    /// Zero is a goodbye (RFC 6762 section 10.1).
    pub(super) ttl: Duration,
    /// The sender owns this name alone: older records of it are void (RFC 6762 section 10.2).
    pub(super) flush: bool,
    pub(super) data: RecordData,
}

#[derive(Clone, Debug)]
pub(super) enum RecordData {
    Pointer(DomainName),
    Service { target: DomainName, port: u16 },
    Address(IpAddr),
}

/// The records of a response, from all its sections.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<ReceivedRecord>, IgnoreReason> {
    check_header(bytes)?;
    let packet = Packet::parse(bytes).map_err(|_| IgnoreReason::Malformed)?;
    let is_answer = packet.has_flags(PacketFlag::RESPONSE)
        && packet.opcode() == OPCODE::StandardQuery
        && packet.rcode() == RCODE::NoError;
    if !is_answer {
        return Err(IgnoreReason::NotAnAnswer);
    }
    let sections = [
        &packet.answers,
        &packet.name_servers,
        &packet.additional_records,
    ];
    Ok(sections.into_iter().flatten().filter_map(record).collect())
}

/// Refuses by the header alone a message that should not reach the parser.
pub(super) fn check_header(bytes: &[u8]) -> Result<(), IgnoreReason> {
    if bytes.len() > MAX_MESSAGE {
        return Err(IgnoreReason::TooLong);
    }
    let (header, _) = bytes
        .split_at_checked(HEADER)
        .ok_or(IgnoreReason::Malformed)?;
    let records: usize = header[4..]
        .chunks_exact(2)
        .map(|count| usize::from(u16::from_be_bytes([count[0], count[1]])))
        .sum();
    if records > MAX_RECORDS {
        return Err(IgnoreReason::TooManyRecords);
    }
    Ok(())
}

fn record(record: &ResourceRecord<'_>) -> Option<ReceivedRecord> {
    if record.class != CLASS::IN {
        return None;
    }
    let data = match &record.rdata {
        RData::PTR(pointer) => RecordData::Pointer((&pointer.0).into()),
        RData::SRV(service) => RecordData::Service {
            target: (&service.target).into(),
            port: service.port,
        },
        RData::A(a) => RecordData::Address(IpAddr::V4(Ipv4Addr::from(a.address))),
        RData::AAAA(aaaa) => RecordData::Address(IpAddr::V6(Ipv6Addr::from(aaaa.address))),
        _ => return None,
    };
    Some(ReceivedRecord {
        name: (&record.name).into(),
        ttl: Duration::from_secs(record.ttl.into()).min(MAX_TTL),
        flush: record.cache_flush,
        data,
    })
}

/// The type of record that a question asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum QuestionType {
    Pointer,
    Service,
    AddressV6,
    AddressV4,
}

impl QuestionType {
    fn code(self) -> TYPE {
        match self {
            Self::Pointer => TYPE::PTR,
            Self::Service => TYPE::SRV,
            Self::AddressV6 => TYPE::AAAA,
            Self::AddressV4 => TYPE::A,
        }
    }
}

/// A query under construction.
#[derive(Debug)]
pub(super) struct QueryBuilder {
    room: usize,
    questions: Vec<(DomainName, QuestionType, bool)>,
}

impl Default for QueryBuilder {
    fn default() -> Self {
        Self {
            room: MAX_QUERY - HEADER,
            questions: Vec::new(),
        }
    }
}

impl QueryBuilder {
    /// True when `count` more questions about `name` fit.
    pub(super) fn has_room(&self, name: &DomainName, count: usize) -> bool {
        self.room >= count * question_length(name)
    }

    /// Adds a question; `unicast` asks for a unicast answer (RFC 6762 section 5.4).
    pub(super) fn ask(&mut self, name: &DomainName, kind: QuestionType, unicast: bool) {
        let asked =
            |(other, of, _): &(DomainName, QuestionType, bool)| *of == kind && other == name;
        if self.has_room(name, 1) && !self.questions.iter().any(asked) {
            self.room -= question_length(name);
            self.questions.push((name.clone(), kind, unicast));
        }
    }

    /// The message; `None` without questions.
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
