//! The store and the thread it works on: a commit or a reading, one at a time.

use nightlatch_core::client::saved::Change;
use nightlatch_core::record::{Ends, Line};
use nightlatch_store::{Store, StoreError};
use tokio::task::JoinHandle;
use tracing::warn;

/// Something to be read between commits.
pub(super) type Reading = Box<dyn FnOnce(&mut dyn Store) + Send>;

/// The store, here or at work.
pub(super) enum Shelf {
    Idle(Box<dyn Store>),
    Busy(JoinHandle<Worked>),
    /// Between the two, or lost to a panic.
    Gone,
}

/// What comes back from the thread.
pub(super) struct Worked {
    store: Box<dyn Store>,
    commit: Option<Committed>,
}

/// A commit that ended.
pub(super) struct Committed {
    pub(super) changes: Vec<Change>,
    /// What the record has now, or why nothing was written.
    pub(super) result: Result<Vec<Line>, StoreError>,
}

impl Shelf {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle(_))
    }

    /// Where the record begins and ends; `None` while the store is at work.
    pub(super) fn ends(&self) -> Option<Ends> {
        match self {
            Self::Idle(store) => Some(store.ends()),
            _ => None,
        }
    }

    /// Says for the next start that nothing is missing in the store. What cannot be said makes that start
    /// stricter, and nothing else.
    pub(super) fn close(&mut self) {
        if let Self::Idle(store) = self
            && let Err(error) = store.close()
        {
            warn!(%error, "cannot note that the server ends well: clients that expire meanwhile are disabled at its next start");
        }
    }

    /// Starts a commit. The shelf must be idle.
    pub(super) fn commit(&mut self, changes: Vec<Change>) {
        self.work(move |store| {
            let result = store.commit(&changes);
            Some(Committed { changes, result })
        });
    }

    /// Starts a reading. The shelf must be idle.
    pub(super) fn read(&mut self, reading: Reading) {
        self.work(move |store| {
            reading(store);
            None
        });
    }

    fn work(&mut self, work: impl FnOnce(&mut dyn Store) -> Option<Committed> + Send + 'static) {
        *self = match std::mem::replace(self, Self::Gone) {
            Self::Idle(mut store) => Self::Busy(tokio::task::spawn_blocking(move || {
                let commit = work(&mut *store);
                Worked { store, commit }
            })),
            busy => busy,
        };
    }

    /// Waits for the work that is under way; for ever when there is none. `None` when it was lost.
    pub(super) async fn worked(&mut self) -> Option<Worked> {
        match self {
            Self::Busy(work) => work.await.ok(),
            _ => std::future::pending().await,
        }
    }

    /// Takes the store back, and gives the commit when it was one.
    pub(super) fn put_back(&mut self, worked: Worked) -> Option<Committed> {
        *self = Self::Idle(worked.store);
        worked.commit
    }
}
