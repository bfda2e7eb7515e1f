//! Everything that belongs to the store: what is recorded and written and when, what waits for that, and what is
//! read in between.

use std::collections::VecDeque;
use std::time::Duration;

use nightlatch_core::client::saved::Change;
use nightlatch_core::event::quota::{Admission, Class, RecordQuotas};
use nightlatch_core::event::{Durability, Event};
use nightlatch_core::name::ClientName;
use nightlatch_core::outbox::Outbox;
use nightlatch_core::record::{Entry, Kind, Line};
use nightlatch_core::settings::client::ClientSettings;
use nightlatch_core::time::{Monotonic, Wall};
use nightlatch_store::Store;
use nightlatch_sys::clock;
use tokio::time::Instant;
use tracing::{error, info};

use super::effect::Effect;
use super::requests::Asked;
use super::shelf::{Committed, Reading, Shelf, Worked};
use crate::audit::{self, Context, Who};
use crate::warnings::{Topic, Warnings};

/// How long after the start old records are dropped first. A host without a clock of its own has been told
/// the time by then: one that is years ahead must not cost the record.
const CLOCK_IS_SET: Duration = Duration::from_secs(60 * 60);

/// How often old records are dropped from then on.
const DROP_RECORDS: Duration = Duration::from_secs(24 * 60 * 60);

/// Proofs of life reach the store this late at most. Losing them can only shorten a deadline.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Under load changes are gathered for so long before the next commit: each costs the disk as much as
/// many, and nobody who asked for one notices.
const GATHER: Duration = Duration::from_millis(10);

/// How long after a failed commit it is tried again: a full disk stays full for a while.
const RETRY_COMMIT: Duration = Duration::from_secs(1);

/// What holds while the store fails.
const FAILING: &str = "cannot write the state: machines are served by what is known, nobody is enabled or \
                       added until it can be written, and if the server ends before, every client waits \
                       until it is enabled again";

/// The store, and all that is on its way there.
pub(super) struct Journal {
    pub(super) outbox: Outbox<Effect>,
    /// Who gave the order that is being carried out.
    pub(super) who: Who,
    store: Shelf,
    /// What is to be read from the store between commits.
    readings: VecDeque<Reading>,
    quotas: RecordQuotas,
    keep_records: Duration,
    drop_records_at: Instant,
    warnings: Warnings,
    /// When unwritten changes go to the store though nothing waits for them, or go there again.
    flush_at: Option<Instant>,
    /// When the last commit ended.
    committed_at: Option<Instant>,
    /// So many records were left out since the store failed.
    left_out: u64,
    /// A commit failed while stopping: there is no later to try again.
    given_up: bool,
}

/// Tells of a commit that ended.
#[derive(Default)]
pub(super) struct CommitEnd {
    /// Lines that are in the record now.
    pub(super) lines: Vec<Line>,
    /// Says how many records were lost before it, if any were.
    pub(super) lost: Option<Entry>,
    /// Acknowledgements of what is in force, but could not be written.
    pub(super) not_durable: Vec<Effect>,
}

impl Journal {
    pub(super) fn new(store: Box<dyn Store>, keep_records: Duration, warnings: Warnings) -> Self {
        Self {
            outbox: Outbox::default(),
            who: Who::Server,
            store: Shelf::Idle(store),
            readings: VecDeque::new(),
            quotas: RecordQuotas::default(),
            keep_records,
            drop_records_at: Instant::now() + CLOCK_IS_SET,
            warnings,
            flush_at: None,
            committed_at: None,
            left_out: 0,
            given_up: false,
        }
    }

    /// Says in the log where the record goes on.
    pub(super) fn log_ends(&self) {
        if let Some(ends) = self.store.ends() {
            let (records, hash) = (ends.head.seq, ends.head.hash);
            info!(records, %hash, "the record goes on from here");
        }
    }

    /// Records an event about `client`, whose settings these are, and holds up what must not come before that. An
    /// entry is shown to `show`, whether a quota leaves it out or not.
    pub(super) fn event(
        &mut self,
        event: &Event,
        client: Option<&ClientName>,
        settings: Option<&ClientSettings>,
        asked: Option<&mut Asked>,
        show: impl FnOnce(&Entry),
    ) {
        let now = clock::now();
        self.close_quotas(now.mono);
        let context = Context {
            time: now.wall,
            client,
            settings,
            asker: asked.as_deref().map(|asked| &asked.asker),
            who: &self.who,
        };
        let entry = audit::entry(event, context);
        let admission = self.quotas.admit(event, client, now.mono);
        let mut left_out = None;
        if let Some(entry) = entry {
            show(&entry);
            match admission {
                Admission::Recorded => self.entry(entry, 1),
                Admission::Announced(class, until) => {
                    let until = now.wall.after(until.since(now.mono));
                    let context = of_class(&class, now.wall);
                    self.entry(audit::left_out_until(until, &class, context), 1);
                    left_out = Some(entry);
                }
                Admission::LeftOut => left_out = Some(entry),
            }
            if let Some(client) = client {
                self.outbox.require(client.clone(), event.durability());
            }
        }
        let Some(asked) = asked else {
            return;
        };
        if let (Event::Granted { .. }, Some(entry)) = (event, left_out) {
            // Kept until it is known what became of the grant.
            asked.left_out = Some(Box::new(entry));
        }
        if let (Event::Delivered { .. }, Some(client)) = (event, client)
            && let Some(entry) = asked.left_out.take()
            && self.quotas.admit_delivered(client, now.mono)
        {
            self.entry(*entry, 1);
        }
    }

    /// Records something of the server itself.
    pub(super) fn server(&mut self, kind: Kind, detail: String) -> Entry {
        let context = Context {
            time: clock::now().wall,
            client: None,
            settings: None,
            asker: None,
            who: &self.who,
        };
        let entry = audit::of_server(kind, detail, context);
        let change = Change::Record(Box::new(entry.clone()));
        self.outbox.persist(change, Durability::Soon);
        entry
    }

    /// Records an entry that stands for `number` of them.
    fn entry(&mut self, entry: Entry, number: u64) {
        if !self.outbox.record(entry) {
            self.left_out = self.left_out.saturating_add(number);
        }
    }

    /// Records how many entries the quotas left out whose time is over.
    pub(super) fn close_quotas(&mut self, now: Monotonic) {
        let left_out = self.quotas.close(now);
        self.record_left_out(left_out);
    }

    /// The same of all quotas; false when none left anything out.
    pub(super) fn finish_quotas(&mut self) -> bool {
        let left_out = self.quotas.finish();
        let any = !left_out.is_empty();
        self.record_left_out(left_out);
        any
    }

    /// When [`Self::close_quotas`] has something to do.
    pub(super) fn quotas_end(&self) -> Option<Monotonic> {
        self.quotas.ends()
    }

    fn record_left_out(&mut self, left_out: Vec<(Class, u64)>) {
        let time = clock::now().wall;
        for (class, count) in left_out {
            let entry = audit::left_out(count, &class, of_class(&class, time));
            self.entry(entry, count);
        }
    }

    pub(super) fn drop_records(&mut self) {
        self.drop_records_at = Instant::now() + DROP_RECORDS;
        let before = clock::now().wall.before(self.keep_records);
        let change = Change::DropRecords(before);
        self.outbox.persist(change, Durability::Soon);
    }

    /// When [`Self::drop_records`] is due.
    pub(super) fn drop_records_at(&self) -> Instant {
        self.drop_records_at
    }

    /// When [`Self::work`] is due, if the store does not end its work before.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.flush_at.filter(|_| self.store.is_idle())
    }

    /// Reads from the store between two commits; it sees what came before it.
    pub(super) fn read(&mut self, reading: Reading) {
        self.outbox.mark_urgent();
        self.readings.push_back(reading);
    }

    /// Gives the store its next piece of work.
    pub(super) fn work(&mut self, stopping: bool) {
        self.write(stopping);
        let written = !self.outbox.is_unwritten() || self.outbox.is_failing();
        if self.store.is_idle()
            && written
            && let Some(reading) = self.readings.pop_front()
        {
            self.store.read(reading);
        }
    }

    /// Starts a commit when something waits for it, or has waited long enough.
    fn write(&mut self, stopping: bool) {
        if !self.outbox.is_unwritten() || self.given_up {
            self.flush_at = None;
            return;
        }
        let now = Instant::now();
        // A failed commit is not urgent before its time has come again.
        let urgent = self.outbox.is_urgent() && !self.outbox.is_failing();
        let latest = if urgent {
            self.committed_at.map_or(now, |last| last + GATHER)
        } else {
            now + FLUSH_WITHIN
        };
        let flush_at = self.flush_at.map_or(latest, |at| at.min(latest));
        self.flush_at = Some(flush_at);
        if !(stopping || flush_at <= now) {
            return;
        }
        if self.store.is_idle() {
            self.flush_at = None;
            self.store.commit(self.outbox.take());
        }
    }

    /// Waits until the store has done its work, for ever when it has none. `None` when it was lost.
    pub(super) async fn worked(&mut self) -> Option<Worked> {
        self.store.worked().await
    }

    /// Takes the store back.
    pub(super) fn put_back(&mut self, worked: Worked, stopping: bool) -> CommitEnd {
        let Some(commit) = self.store.put_back(worked) else {
            return CommitEnd::default();
        };
        let end = self.committed(commit, stopping);
        if stopping && !self.outbox.is_unwritten() {
            self.store.close();
        }
        // A reading that waits has its turn even when commits come one after the other.
        if let Some(reading) = self.readings.pop_front() {
            self.store.read(reading);
        }
        end
    }

    fn committed(&mut self, commit: Committed, stopping: bool) -> CommitEnd {
        self.committed_at = Some(Instant::now());
        let was_failing = self.outbox.is_failing();
        match commit.result {
            Ok(lines) => {
                if was_failing {
                    info!("the state can be written again");
                }
                let lost = self.own_up();
                self.outbox.committed();
                self.warnings.set(Topic::Store, Vec::new());
                CommitEnd {
                    lines,
                    lost,
                    not_durable: Vec::new(),
                }
            }
            Err(failure) => {
                let not_durable = self.outbox.failed(commit.changes);
                self.given_up = stopping;
                self.flush_at = Some(Instant::now() + RETRY_COMMIT);
                if !was_failing {
                    let hint = failure.hint();
                    error!(error = %failure, hint, "{FAILING}");
                    let line = format!("{failure}: {FAILING}");
                    self.warnings.set(Topic::Store, vec![line]);
                }
                CommitEnd {
                    not_durable,
                    ..CommitEnd::default()
                }
            }
        }
    }

    /// Records how many records there are not.
    fn own_up(&mut self) -> Option<Entry> {
        let left_out = std::mem::take(&mut self.left_out);
        (left_out > 0).then(|| {
            let detail = format!("{left_out} records were left out while the disk took nothing");
            self.server(Kind::Lost, detail)
        })
    }

    /// True when nothing is left to be written, or nothing can be.
    pub(super) fn is_finished(&self) -> bool {
        self.store.is_idle() && (!self.outbox.is_unwritten() || self.given_up)
    }

    /// True when the last commit failed and there will be no other one.
    pub(super) fn has_given_up(&self) -> bool {
        self.given_up
    }
}

/// It concerns all entries of the class: no request, and nobody who gave an order.
fn of_class(class: &Class, time: Wall) -> Context<'_> {
    Context {
        time,
        client: class.client.as_ref(),
        settings: None,
        asker: None,
        who: &Who::Server,
    }
}
