//! Durable state of the server: the trait, the SQLite store, and one in memory for tests of the server.
//!
//! A store holds what [`nightlatch_core::client::saved`] describes and decides nothing about it.
#![forbid(unsafe_code)]

mod error;
mod mark;
pub mod memory;
mod sqlite;

pub use error::StoreError;
pub use mark::Rollback;
pub use memory::MemoryStore;
pub use sqlite::{FILE_NAME, SqliteStore, StoreContext};

use nightlatch_core::client::saved::{Change, Saved};
use nightlatch_core::record::{ChainEnds, RecordExcerpt, RecordLine, RecordSelection};

/// The durable state of a server. `tests/contract` checks every implementation.
pub trait Store: Send {
    /// Everything that was committed, in no particular order.
    fn load(&mut self) -> Result<Saved, StoreError>;

    /// Makes `changes` durable, in order, all or nothing: when this returns `Ok`, they survive a
    /// crash of the program and of the host. After an error nothing of them is acknowledged, and
    /// the same changes may be committed again. Returns the entries that the audit log has now, in order.
    fn commit(&mut self, changes: &[Change]) -> Result<Vec<RecordLine>, StoreError>;

    /// The entries that `query` selects. Scans a bounded number of them, so that a commit need not wait long: a page
    /// may have fewer entries than asked for, or none, although more follow.
    fn records(&mut self, query: &RecordSelection) -> Result<RecordExcerpt, StoreError>;

    /// The first and the last entry of the audit log.
    fn ends(&self) -> ChainEnds;

    /// Records that every decision is durable ([`nightlatch_core::client::saved::End`]). Without it the next start
    /// counts this run as cut short.
    fn close(&mut self) -> Result<(), StoreError>;
}
