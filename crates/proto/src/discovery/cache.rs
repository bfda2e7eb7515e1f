//! The records received on one link, by source, and the questions to send there. Bounded.
//!
//! Anyone on the link can announce any number of servers from any address. No table is first come, first served: when
//! one is full, the source with the most entries loses its oldest. An evicted server was reported before
//! ([`super::BrowserEvent::Found`]), and the caller may keep it.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use nightlatch_core::time::Monotonic;

use super::InterfaceIndex;
use super::message::{QueryBuilder, ReceivedRecord, RecordData};
use super::name::DomainName;
use super::schedule::QuerySchedule;
use super::source::{ServiceAddress, SourceRecords};

/// Most instances kept for one link, of all sources. A network has a handful of servers; invented ones cost no more
/// memory than this.
pub const MAX_INSTANCES: usize = 512;

/// Most queries sent to one link in a second: an attacker can announce names that do not resolve, and each causes
/// questions.
pub(super) const MAX_QUERIES: u32 = 32;
const SECOND: Duration = Duration::from_secs(1);

/// Time for which a repeated message of the same source is not parsed again: it could only renew records that live
/// longer.
const REPEATED: Duration = SECOND;

/// The questions and the cache of one interface.
#[derive(Debug)]
pub(super) struct LinkCache {
    interface: InterfaceIndex,
    service_type: DomainName,
    browse: QuerySchedule,
    sources: BTreeMap<IpAddr, CachedSource>,
    /// Instances in all sources now, and in total since the start.
    count: usize,
    added: u64,
    /// Sources whose servers may have changed since the caller last polled.
    changed: BTreeSet<IpAddr>,
    /// True when something was evicted since the caller last polled.
    evicted: bool,
    hasher: RandomState,
    /// Start of the current second and the queries sent in it: at most [`MAX_QUERIES`].
    sent: (Monotonic, u32),
}

#[derive(Debug, Default)]
struct CachedSource {
    records: SourceRecords,
    /// Fingerprint and time of the last message.
    last: Option<(u64, Monotonic)>,
}

impl LinkCache {
    pub(super) fn new(
        interface: InterfaceIndex,
        service_type: DomainName,
        first: Monotonic,
    ) -> Self {
        Self {
            interface,
            service_type,
            browse: QuerySchedule::starting(first),
            sources: BTreeMap::new(),
            count: 0,
            added: 0,
            changed: BTreeSet::new(),
            evicted: false,
            hasher: RandomState::new(),
            sent: (first, 0),
        }
    }

    /// Starts the questions again; the cache stays.
    pub(super) fn restart(&mut self, first: Monotonic) {
        self.browse = QuerySchedule::starting(first);
    }

    /// A keyed hash of a message: a sender cannot produce collisions on purpose.
    pub(super) fn fingerprint(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }

    /// True when the source's last message was the same and less than [`REPEATED`] ago. A flood of one message then
    /// costs one hash each.
    pub(super) fn is_repeated(&self, source: IpAddr, print: u64, now: Monotonic) -> bool {
        let last = self.sources.get(&source).and_then(|known| known.last);
        last.is_some_and(|(last, since)| last == print && now.since(since) < REPEATED)
    }

    /// Stores the fingerprint of a message that was read.
    pub(super) fn remember(&mut self, source: IpAddr, print: u64, now: Monotonic) {
        if let Some(known) = self.sources.get_mut(&source) {
            known.last = Some((print, now));
        }
    }

    /// Takes in the records of one message, in any order.
    pub(super) fn take(&mut self, source: IpAddr, records: &[ReceivedRecord], now: Monotonic) {
        for record in records {
            if let RecordData::Pointer(instance) = &record.data
                && record.name == self.service_type
            {
                self.take_pointer(source, record, instance, now);
            }
        }
        if let Some(known) = self.sources.get_mut(&source)
            && known.records.take(records, now)
        {
            self.changed.insert(source);
        }
    }

    fn take_pointer(
        &mut self,
        source: IpAddr,
        record: &ReceivedRecord,
        name: &DomainName,
        now: Monotonic,
    ) {
        let Some(label) = name.label_below(&self.service_type) else {
            return;
        };
        let known = self.sources.get(&source);
        let is_new = known.is_none_or(|known| !known.records.holds(name));
        if is_new && record.ttl.is_zero() {
            return;
        }
        if is_new {
            if self.count == MAX_INSTANCES {
                self.make_room(source);
            }
            self.count += 1;
            self.added += 1;
        }
        let records = &mut self.sources.entry(source).or_default().records;
        records.take_pointer(record, name, label, self.added, now);
    }

    /// Evicts the oldest instance of the source with the most instances; among equals, the oldest of all. `newcomer`
    /// counts with the one it is about to add.
    fn make_room(&mut self, newcomer: IpAddr) {
        let share = |(source, known): &(&IpAddr, &mut CachedSource)| {
            let len = known.records.len() + usize::from(**source == newcomer);
            (len, std::cmp::Reverse(known.records.oldest()))
        };
        let sources = self.sources.iter_mut();
        let held = sources.filter(|(_, known)| known.records.len() > 0);
        let Some((source, largest)) = held.max_by_key(share) else {
            return;
        };
        let source = *source;
        largest.records.remove_oldest();
        if largest.records.len() == 0 {
            self.sources.remove(&source);
        }
        self.count -= 1;
        self.evicted = true;
        self.changed.insert(source);
    }

    /// Removes expired records, and those that no other record refers to any more.
    pub(super) fn expire(&mut self, now: Monotonic) {
        for (source, known) in &mut self.sources {
            if known.records.expire(now) {
                self.changed.insert(*source);
            }
        }
        self.sources.retain(|_, known| known.records.len() > 0);
        self.count = self.sources.values().map(|it| it.records.len()).sum();
    }

    /// The next query, its questions marked as asked; `None` when nothing is due or the limit of this second is
    /// reached.
    pub(super) fn take_query(&mut self, now: Monotonic) -> Option<Vec<u8>> {
        if now.since(self.sent.0) >= SECOND || now < self.sent.0 {
            self.sent = (now, 0);
        }
        if self.sent.1 == MAX_QUERIES {
            return None;
        }
        let mut query = QueryBuilder::default();
        self.ask_for_all(&mut query, now);
        // Sources with the fewest instances come first.
        let mut sources: Vec<&mut CachedSource> = self.sources.values_mut().collect();
        sources.sort_by_key(|source| source.records.len());
        for source in sources {
            source.records.ask(&mut query, now);
        }
        let payload = query.finish()?;
        self.sent.1 += 1;
        Some(payload)
    }

    /// Asks for instances, when that is due. Known answers are not listed, against RFC 6762 section 7.1: a responder
    /// that finds its own name in the list stays silent, and anyone on the link may have announced it.
    fn ask_for_all(&mut self, query: &mut QueryBuilder, now: Monotonic) {
        let mut due = self.browse.is_due(now);
        let unicast = self.browse.is_first();
        for source in self.sources.values_mut() {
            due |= source.records.take_renewal(now);
        }
        if due {
            self.browse.asked(now);
            query.ask(
                &self.service_type,
                super::message::QuestionType::Pointer,
                unicast,
            );
        }
    }

    /// The time of the next question or expiry.
    pub(super) fn deadline(&self) -> Monotonic {
        let mut asked_enough = Monotonic::default();
        if self.sent.1 == MAX_QUERIES {
            asked_enough = self.sent.0.after(SECOND);
        }
        let mut deadline = self.browse.next();
        let mut consider = |at: Monotonic| deadline = deadline.min(at);
        for source in self.sources.values() {
            source.records.deadlines(&mut consider);
        }
        deadline.max(asked_enough)
    }

    /// Every address of every service that is known now.
    pub(super) fn addresses(&self) -> impl Iterator<Item = ServiceAddress<'_>> {
        let sources = self.sources.keys();
        sources.flat_map(|source| self.addresses_of(*source))
    }

    /// The addresses that `source` announced.
    pub(super) fn addresses_of(&self, source: IpAddr) -> impl Iterator<Item = ServiceAddress<'_>> {
        let known = self.sources.get(&source).into_iter();
        known.flat_map(move |known| known.records.service_addresses(self.interface, source))
    }

    /// The sources that may have changed since the last call.
    pub(super) fn take_changed(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.changed)
    }

    /// True when something was evicted since the last call.
    pub(super) fn take_evicted(&mut self) -> bool {
        std::mem::take(&mut self.evicted)
    }
}
