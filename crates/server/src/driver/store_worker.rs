//! The store and the thread it works on: a commit or a read, one at a time.

use nightlatch_core::client::saved::Change;
use nightlatch_core::record::{ChainEnds, RecordLine};
use nightlatch_store::{Store, StoreError};
use tokio::task::JoinHandle;
use tracing::warn;

/// Changes in one commit from which on their memory is given back: those of a start or a reload of a large fleet.
const LARGE: usize = 10_000;

/// A read between commits.
pub(super) type StoreRead = Box<dyn FnOnce(&mut dyn Store) + Send>;

/// The store, idle here or at work on a thread of its own.
pub(super) enum StoreWorker {
    Idle(Box<dyn Store>),
    Busy(JoinHandle<WorkDone>),
    /// Between the two, or lost to a panic.
    Gone,
}

/// Returned by the thread.
pub(super) struct WorkDone {
    store: Box<dyn Store>,
    commit: Option<CommitDone>,
}

/// A commit that ended.
pub(super) struct CommitDone {
    /// All its changes, where it failed.
    pub(super) unwritten: Vec<Change>,
    /// The new lines of the audit log, or why nothing was written.
    pub(super) result: Result<Vec<RecordLine>, StoreError>,
    /// It had so many changes that their memory is to be given back.
    pub(super) is_large: bool,
}

impl StoreWorker {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle(_))
    }

    /// The first and the last record of the audit log; `None` while the store is at work.
    pub(super) fn ends(&self) -> Option<ChainEnds> {
        match self {
            Self::Idle(store) => Some(store.ends()),
            _ => None,
        }
    }

    /// Notes for the next start that nothing is missing in the store. Failing makes that start stricter, and
    /// nothing else.
    pub(super) fn close(&mut self) {
        if let Self::Idle(store) = self
            && let Err(error) = store.close()
        {
            warn!(%error, "cannot note that the server ends well: clients that expire meanwhile are disabled at its next start");
        }
    }

    /// Starts a commit. The store must be idle.
    pub(super) fn commit(&mut self, changes: Vec<Change>) {
        self.work(move |store| {
            let is_large = changes.len() >= LARGE;
            let result = store.commit(&changes);
            let unwritten = match result {
                Ok(_) => Vec::new(),
                Err(_) => changes,
            };
            Some(CommitDone {
                unwritten,
                result,
                is_large,
            })
        });
    }

    /// Starts a read. The store must be idle.
    pub(super) fn read(&mut self, read: StoreRead) {
        self.work(move |store| {
            read(store);
            None
        });
    }

    fn work(&mut self, work: impl FnOnce(&mut dyn Store) -> Option<CommitDone> + Send + 'static) {
        *self = match std::mem::replace(self, Self::Gone) {
            Self::Idle(mut store) => Self::Busy(tokio::task::spawn_blocking(move || {
                let commit = work(&mut *store);
                WorkDone { store, commit }
            })),
            busy => busy,
        };
    }

    /// Waits for the work that is under way; for ever when there is none. `None` when the store was lost.
    pub(super) async fn wait(&mut self) -> Option<WorkDone> {
        match self {
            Self::Busy(work) => work.await.ok(),
            _ => std::future::pending().await,
        }
    }

    /// Takes the store back, and returns its commit, if it was one.
    pub(super) fn put_back(&mut self, done: WorkDone) -> Option<CommitDone> {
        *self = Self::Idle(done.store);
        done.commit
    }
}
