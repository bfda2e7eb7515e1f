//! Writes to the store and reads from it: audit records, changes of the state, and the effects that wait for them.

use std::collections::VecDeque;
use std::time::Duration;

use nightlatch_core::client::saved::Change;
use nightlatch_core::event::quota::{Admission, QuotaClass, RecordQuotas};
use nightlatch_core::event::{Durability, Event, RecordContent};
use nightlatch_core::name::ClientName;
use nightlatch_core::outbox::Outbox;
use nightlatch_core::record::{RecordEntry, RecordKind, RecordLine};
use nightlatch_core::settings::client::ClientSettings;
use nightlatch_core::time::{Monotonic, Wall};
use nightlatch_store::Store;
use nightlatch_sys::clock;
use tokio::time::Instant;
use tracing::{error, info};

use super::effect::Effect;
use super::requests::RequestEntry;
use super::store_worker::{CommitDone, StoreRead, StoreWorker, WorkDone};
use crate::audit::{self, Context, Who};
use crate::warnings::{Topic, Warnings};

/// Old records are first dropped this long after the start. A host without a battery-backed clock has set it
/// by then: a clock that is years ahead must not delete the audit log.
const CLOCK_IS_SET: Duration = Duration::from_secs(60 * 60);

/// Interval at which old records are dropped from then on.
const DROP_RECORDS: Duration = Duration::from_secs(24 * 60 * 60);

/// Proofs of life are written within this time. Losing them can only shorten a deadline.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Under load, changes are gathered for this long before the next commit: a commit costs the disk the same
/// for one change as for many, and the delay is too short to notice.
const GATHER: Duration = Duration::from_millis(10);

/// Pause after a failed commit: a full disk stays full for a while.
const RETRY_COMMIT: Duration = Duration::from_secs(1);

const FAILING: &str = "cannot write the state: requests are decided by the state in memory; no client is enabled or \
                       added until it can be written; if the server stops before that, every client must be \
                       enabled again";

/// The store, and everything that waits to be written to it.
pub(super) struct Journal {
    pub(super) outbox: Outbox<Effect>,
    /// The author of the command that is being carried out.
    pub(super) who: Who,
    store: StoreWorker,
    /// Reads that wait for their turn between commits.
    reads: VecDeque<StoreRead>,
    quotas: RecordQuotas,
    keep_records: Duration,
    drop_records_at: Instant,
    warnings: Warnings,
    /// The time of the next commit, if nothing urgent brings it forward.
    flush_at: Option<Instant>,
    /// End of the last commit.
    committed_at: Option<Instant>,
    /// Number of records left out since the store failed.
    left_out: u64,
    /// A commit failed while stopping: it is not tried again.
    given_up: bool,
}

/// The effects of a commit that ended.
#[derive(Default)]
pub(super) struct CommitEnd {
    /// New lines of the audit log.
    pub(super) lines: Vec<RecordLine>,
    /// The record with the number of records that were lost before it, if any were.
    pub(super) lost: Option<RecordEntry>,
    /// Acknowledgements of changes that are in force, but could not be written.
    pub(super) not_durable: Vec<Effect>,
    /// The memory of its changes is to be given back.
    pub(super) is_large: bool,
}

impl Journal {
    pub(super) fn new(store: Box<dyn Store>, keep_records: Duration, warnings: Warnings) -> Self {
        Self {
            outbox: Outbox::default(),
            who: Who::Server,
            store: StoreWorker::Idle(store),
            reads: VecDeque::new(),
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

    /// Logs the last record of the audit log, to which this run adds.
    pub(super) fn log_ends(&self) {
        if let Some(ends) = self.store.ends() {
            let (records, hash) = (ends.head.seq, ends.head.hash);
            info!(records, %hash, "the audit log continues after these records");
        }
    }

    /// Records an event about `client`, whose settings these are, and holds up the effects that must not come before
    /// that. `show` gets the record and its content, also when a quota leaves it out.
    pub(super) fn event(
        &mut self,
        event: &Event,
        client: Option<&ClientName>,
        settings: Option<&ClientSettings>,
        open: Option<&mut RequestEntry>,
        show: impl FnOnce(&RecordContent, &RecordEntry),
    ) {
        let now = clock::now();
        self.close_quotas(now.mono);
        let mut left_out = None;
        if let Some(content) = event.record(settings) {
            let context = Context {
                time: now.wall,
                client,
                request: open.as_deref().map(|open| &open.request),
                who: &self.who,
            };
            let entry = audit::entry(content.clone(), context);
            show(&content, &entry);
            match self.quotas.admit(&content, client, now.mono) {
                Admission::Recorded => self.entry(entry, 1),
                Admission::Announced(class, until) => {
                    let until = now.wall.after(until.since(now.mono));
                    let content = class.left_out_until(until);
                    self.entry(audit::entry(content, of_class(&class, now.wall)), 1);
                    left_out = Some(entry);
                }
                Admission::LeftOut => left_out = Some(entry),
            }
            if let Some(client) = client {
                self.outbox.require(client.clone(), content.durability);
            }
        }
        let Some(open) = open else {
            return;
        };
        if let (Event::Granted { .. }, Some(entry)) = (event, left_out) {
            // Kept until the grant is delivered or not.
            open.left_out = Some(Box::new(entry));
        }
        if let (Event::Delivered { .. }, Some(client)) = (event, client)
            && let Some(entry) = open.left_out.take()
            && self.quotas.admit_delivered(client, now.mono)
        {
            self.entry(*entry, 1);
        }
    }

    /// Records an event of the server itself.
    pub(super) fn server(&mut self, kind: RecordKind, detail: String) -> RecordEntry {
        let context = Context {
            time: clock::now().wall,
            client: None,
            request: None,
            who: &self.who,
        };
        let entry = audit::entry(RecordContent::with_detail(kind, detail), context);
        let change = Change::Record(Box::new(entry.clone()));
        self.outbox.persist(change, Durability::Soon);
        entry
    }

    /// Records an entry that stands for `number` entries.
    fn entry(&mut self, entry: RecordEntry, number: u64) {
        if !self.outbox.record(entry) {
            self.left_out = self.left_out.saturating_add(number);
        }
    }

    /// Records how many entries the quotas left out in windows that have ended.
    pub(super) fn close_quotas(&mut self, now: Monotonic) {
        let left_out = self.quotas.close(now);
        self.record_left_out(left_out);
    }

    /// Records how many entries the quotas left out until now; false when they left out none.
    pub(super) fn finish_quotas(&mut self) -> bool {
        let left_out = self.quotas.finish();
        let any = !left_out.is_empty();
        self.record_left_out(left_out);
        any
    }

    /// The time at which [`Self::close_quotas`] is due.
    pub(super) fn quotas_end(&self) -> Option<Monotonic> {
        self.quotas.ends()
    }

    fn record_left_out(&mut self, left_out: Vec<(QuotaClass, u64)>) {
        let time = clock::now().wall;
        for (class, count) in left_out {
            let content = class.left_out(count);
            let entry = audit::entry(content, of_class(&class, time));
            self.entry(entry, count);
        }
    }

    pub(super) fn drop_records(&mut self) {
        self.drop_records_at = Instant::now() + DROP_RECORDS;
        let before = clock::now().wall.before(self.keep_records);
        let change = Change::DropRecords(before);
        self.outbox.persist(change, Durability::Soon);
    }

    /// The time at which [`Self::drop_records`] is due.
    pub(super) fn drop_records_at(&self) -> Instant {
        self.drop_records_at
    }

    /// The time at which [`Self::work`] is due, if the store is not done before.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.flush_at.filter(|_| self.store.is_idle())
    }

    /// Reads from the store, after all changes before it were written.
    pub(super) fn read(&mut self, read: StoreRead) {
        self.outbox.mark_urgent();
        self.reads.push_back(read);
    }

    /// Starts the next commit or read, if one is due.
    pub(super) fn work(&mut self, stopping: bool) {
        self.write(stopping);
        let written = !self.outbox.is_unwritten() || self.outbox.is_failing();
        if self.store.is_idle()
            && written
            && let Some(read) = self.reads.pop_front()
        {
            self.store.read(read);
        }
    }

    /// Starts a commit when it is urgent, or changes have waited long enough.
    fn write(&mut self, stopping: bool) {
        if !self.outbox.is_unwritten() || self.given_up {
            self.flush_at = None;
            return;
        }
        let now = Instant::now();
        // A failed commit is not urgent before its pause is over.
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

    /// Waits until the store is done, for ever when it is idle. `None` when it was lost.
    pub(super) async fn wait(&mut self) -> Option<WorkDone> {
        self.store.wait().await
    }

    /// Takes the store back after [`Self::wait`].
    pub(super) fn put_back(&mut self, done: WorkDone, stopping: bool) -> CommitEnd {
        let Some(commit) = self.store.put_back(done) else {
            return CommitEnd::default();
        };
        let end = self.committed(commit, stopping);
        if stopping && !self.outbox.is_unwritten() {
            self.store.close();
        }
        // A read has its turn even when commits follow each other.
        if let Some(read) = self.reads.pop_front() {
            self.store.read(read);
        }
        end
    }

    fn committed(&mut self, commit: CommitDone, stopping: bool) -> CommitEnd {
        self.committed_at = Some(Instant::now());
        let was_failing = self.outbox.is_failing();
        match commit.result {
            Ok(lines) => {
                if was_failing {
                    info!("the state can be written again");
                }
                let lost = self.record_lost();
                self.outbox.committed();
                self.warnings.set(Topic::Store, Vec::new());
                CommitEnd {
                    lines,
                    lost,
                    is_large: commit.is_large,
                    ..CommitEnd::default()
                }
            }
            Err(failure) => {
                let not_durable = self.outbox.failed(commit.unwritten);
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

    /// Records how many records were lost, if any were.
    fn record_lost(&mut self) -> Option<RecordEntry> {
        let left_out = std::mem::take(&mut self.left_out);
        (left_out > 0).then(|| {
            let detail = format!("{left_out} records were left out while the disk took nothing");
            self.server(RecordKind::Lost, detail)
        })
    }

    /// True when everything is written, or cannot be.
    pub(super) fn is_finished(&self) -> bool {
        self.store.is_idle() && (!self.outbox.is_unwritten() || self.given_up)
    }

    /// True when the last commit failed and is not tried again.
    pub(super) fn has_given_up(&self) -> bool {
        self.given_up
    }
}

/// The context of an entry about all entries of `class`: no request, and no author.
fn of_class(class: &QuotaClass, time: Wall) -> Context<'_> {
    Context {
        time,
        client: class.client.as_ref(),
        request: None,
        who: &Who::Server,
    }
}
