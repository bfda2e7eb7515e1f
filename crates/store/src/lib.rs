//! Durable state of the server: the trait, the SQLite store, the contract that every store keeps.
//!
//! A store holds what [`nightlatch_core::client::saved`] describes and decides nothing about it.
#![forbid(unsafe_code)]

pub mod contract;
mod error;
mod mark;
pub mod memory;
mod sqlite;

pub use error::StoreError;
pub use mark::Rollback;
pub use memory::MemoryStore;
pub use sqlite::{FILE_NAME, SqliteStore, Surroundings};

use nightlatch_core::client::saved::{Change, Saved};
use nightlatch_core::record::{Ends, Line, Page, Query};

/// Where the server's state outlives the server. Every implementation keeps [`contract`].
pub trait Store: Send {
    /// Everything that was committed, in no particular order.
    fn load(&mut self) -> Result<Saved, StoreError>;

    /// Makes `changes` durable, in order, all or nothing: when this returns `Ok`, they survive a
    /// crash of the program and of the host. After an error nothing of them is acknowledged, and
    /// the same changes may be committed again. Returns the entries that the record has now, in order.
    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Line>, StoreError>;

    /// The entries that `query` asks for. Looks at so many only that a commit need not wait long: a
    /// page may have fewer entries than asked for, or none, and yet go on.
    fn records(&mut self, query: &Query) -> Result<Page, StoreError>;

    /// Where the record begins and ends.
    fn ends(&self) -> Ends;

    /// Says for the next start that everything that was decided is durable: see
    /// [`nightlatch_core::client::saved::End`]. Without it the run counts as cut short.
    fn close(&mut self) -> Result<(), StoreError>;
}
