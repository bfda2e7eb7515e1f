//! What one link has told, source by source, and the questions to it. Bounded.
//!
//! Anyone on the link can announce servers, as many as he likes, and from any address. No table here is for
//! who comes first: where there is no room, the source that has most gives some up, and what it told first.
//! What is pushed out was told to the caller before ([`super::Event::Found`]), who may keep it.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use nightlatch_core::time::Monotonic;

use super::InterfaceIndex;
use super::message::{Data, Query, Record};
use super::name::DomainName;
use super::schedule::Schedule;
use super::view::{Place, View};

/// Most instances kept for one link, of all sources. A network has a handful of servers; who invents
/// thousands costs no more memory than this.
pub const MAX_INSTANCES: usize = 512;

/// Most queries sent to one link in a second: what is announced and cannot be resolved is asked for.
pub(super) const MAX_QUERIES: u32 = 32;
const SECOND: Duration = Duration::from_secs(1);

/// For how long the same message of the same source is not read again: it could only renew what lasts longer.
const REPEATED: Duration = SECOND;

/// The questions and the cache of one interface.
#[derive(Debug)]
pub(super) struct Link {
    interface: InterfaceIndex,
    service_type: DomainName,
    browse: Schedule,
    sources: BTreeMap<IpAddr, Source>,
    /// How many instances there are, and were.
    count: usize,
    added: u64,
    /// The sources of which something may be told that was not before, or the other way round.
    changed: BTreeSet<IpAddr>,
    /// Something was pushed out since the caller asked.
    left_out: bool,
    hasher: RandomState,
    /// Queries since the time: at most [`MAX_QUERIES`] a second.
    sent: (Monotonic, u32),
}

#[derive(Debug, Default)]
struct Source {
    view: View,
    /// A fingerprint of the message that came last, and when it did.
    last: Option<(u64, Monotonic)>,
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
            sources: BTreeMap::new(),
            count: 0,
            added: 0,
            changed: BTreeSet::new(),
            left_out: false,
            hasher: RandomState::new(),
            sent: (first, 0),
        }
    }

    /// Starts asking anew; what is known stays.
    pub(super) fn restart(&mut self, first: Monotonic) {
        self.browse = Schedule::starting(first);
    }

    /// A fingerprint of a message, which nobody can aim at.
    pub(super) fn fingerprint(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }

    /// True when the source has just said the very same, and nothing else since. A flood of one message then
    /// costs a look at its bytes.
    pub(super) fn is_repeated(&self, source: IpAddr, print: u64, now: Monotonic) -> bool {
        let last = self.sources.get(&source).and_then(|known| known.last);
        last.is_some_and(|(last, since)| last == print && now.since(since) < REPEATED)
    }

    /// The message with this fingerprint was read.
    pub(super) fn remember(&mut self, source: IpAddr, print: u64, now: Monotonic) {
        if let Some(known) = self.sources.get_mut(&source) {
            known.last = Some((print, now));
        }
    }

    /// Takes in the records of one message. Their order in it does not matter.
    pub(super) fn take(&mut self, source: IpAddr, records: &[Record], now: Monotonic) {
        for record in records {
            if let Data::Pointer(instance) = &record.data
                && record.name == self.service_type
            {
                self.take_pointer(source, record, instance, now);
            }
        }
        if let Some(known) = self.sources.get_mut(&source)
            && known.view.take(records, now)
        {
            self.changed.insert(source);
        }
    }

    fn take_pointer(&mut self, source: IpAddr, record: &Record, name: &DomainName, now: Monotonic) {
        let Some(label) = name.label_below(&self.service_type) else {
            return;
        };
        let known = self.sources.get(&source);
        let is_new = known.is_none_or(|known| !known.view.holds(name));
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
        let view = &mut self.sources.entry(source).or_default().view;
        view.take_pointer(record, name, label, self.added, now);
    }

    /// Forgets what the source with the most instances told first; of equals, what was told first of all.
    /// `newcomer` is about to add one.
    fn make_room(&mut self, newcomer: IpAddr) {
        let share = |(source, known): &(&IpAddr, &mut Source)| {
            let len = known.view.len() + usize::from(**source == newcomer);
            (len, std::cmp::Reverse(known.view.oldest()))
        };
        let sources = self.sources.iter_mut();
        let held = sources.filter(|(_, known)| known.view.len() > 0);
        let Some((source, largest)) = held.max_by_key(share) else {
            return;
        };
        let source = *source;
        largest.view.remove_oldest();
        if largest.view.len() == 0 {
            self.sources.remove(&source);
        }
        self.count -= 1;
        self.left_out = true;
        self.changed.insert(source);
    }

    /// Forgets what ran out, and what nothing leads to any more.
    pub(super) fn expire(&mut self, now: Monotonic) {
        for (source, known) in &mut self.sources {
            if known.view.expire(now) {
                self.changed.insert(*source);
            }
        }
        self.sources.retain(|_, known| known.view.len() > 0);
        self.count = self.sources.values().map(|it| it.view.len()).sum();
    }

    /// The next query, its questions marked as asked; `None` when nothing is due, or enough was asked.
    pub(super) fn take_query(&mut self, now: Monotonic) -> Option<Vec<u8>> {
        if now.since(self.sent.0) >= SECOND || now < self.sent.0 {
            self.sent = (now, 0);
        }
        if self.sent.1 == MAX_QUERIES {
            return None;
        }
        let mut query = Query::default();
        self.ask_for_all(&mut query, now);
        // Who told least is asked first.
        let mut sources: Vec<&mut Source> = self.sources.values_mut().collect();
        sources.sort_by_key(|source| source.view.len());
        for source in sources {
            source.view.ask(&mut query, now);
        }
        let payload = query.finish()?;
        self.sent.1 += 1;
        Some(payload)
    }

    /// Asks for instances, when that is due. What is known is not named, as RFC 6762 section 7.1 would have it: who
    /// finds his own name there keeps silent, and anybody can have told it.
    fn ask_for_all(&mut self, query: &mut Query, now: Monotonic) {
        let mut due = self.browse.is_due(now);
        let unicast = self.browse.is_first();
        for source in self.sources.values_mut() {
            due |= source.view.take_renewal(now);
        }
        if due {
            self.browse.asked(now);
            query.ask(&self.service_type, super::message::Kind::Pointer, unicast);
        }
    }

    /// When next to ask or to forget something.
    pub(super) fn deadline(&self) -> Monotonic {
        let mut asked_enough = Monotonic::default();
        if self.sent.1 == MAX_QUERIES {
            asked_enough = self.sent.0.after(SECOND);
        }
        let mut deadline = self.browse.next();
        let mut consider = |at: Monotonic| deadline = deadline.min(at);
        for source in self.sources.values() {
            source.view.deadlines(&mut consider);
        }
        deadline.max(asked_enough)
    }

    /// Every address of every service that is known now.
    pub(super) fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let sources = self.sources.keys();
        sources.flat_map(|source| self.places_of(*source))
    }

    /// Those that `source` has told.
    pub(super) fn places_of(&self, source: IpAddr) -> impl Iterator<Item = Place<'_>> {
        let known = self.sources.get(&source).into_iter();
        known.flat_map(move |known| known.view.places(self.interface, source))
    }

    /// The sources of which something may have changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.changed)
    }

    /// True when something was left out since this was asked last.
    pub(super) fn take_left_out(&mut self) -> bool {
        std::mem::take(&mut self.left_out)
    }
}
