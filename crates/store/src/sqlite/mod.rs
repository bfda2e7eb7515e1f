//! The store in one SQLite file: WAL, `synchronous = FULL`, one writer that no other process joins.
//!
//! The tables stand in [`schema`]. The file is born whole under another name, with mode 0600, in a
//! directory with mode 0700. Nothing is written to a file before it is known to be ours and sound.

mod new;
mod records;
mod row;
mod schema;
mod statements;
mod tombstones;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nightlatch_core::client::saved::{Change, End, Life, Saved, Tombstone, Trust};
use nightlatch_core::record::{Ends, Line, Page, Query};
use nightlatch_core::time::BootId;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use self::new::{create, exists, prepare_directory, refuse_open_to_others, set_log_aside};
use self::row::RowError;
use self::statements::Statements;
use crate::mark::{Mark, Rollback};
use crate::{Store, StoreError};

/// The database's name in the state directory.
pub const FILE_NAME: &str = "nightlatch.db";

/// Under this name a new database grows until it is whole.
const UNBORN_NAME: &str = "nightlatch.db.new";

/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// Bits of a mode that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// Durable state in a directory of its own.
pub struct SqliteStore {
    // Dropped in this order: the database is closed before the directory is given up.
    db: Connection,
    statements: Statements,
    path: PathBuf,
    mark: Mark,
    generation: u64,
    record: Ends,
    rollback: Option<Rollback>,
    end: End,
    /// True when the state can be believed, as long as no commit said otherwise.
    trust: Trust,
    /// The mark was ahead of the database, which says nothing of it yet.
    is_behind: bool,
}

/// What a store cannot know by itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    /// The boot of the host.
    pub boot: Option<BootId>,
    /// A directory elsewhere in which the mark is kept too, to tell of one that was lost as a whole.
    pub second_mark: Option<PathBuf>,
    /// There are traces of a server that had a state here: one that is missing was lost.
    pub was_used: bool,
}

impl SqliteStore {
    /// Opens the store in `dir` as [`Self::open_in`] does, and knows of nothing around it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_in(dir, &Surroundings::default())
    }

    /// Opens the store in `dir`; both are made when missing. The process keeps it for itself until
    /// it is dropped.
    ///
    /// # Errors
    /// Every fault of the file is found here, and leaves it as it was.
    pub fn open_in(dir: &Path, around: &Surroundings) -> Result<Self, StoreError> {
        prepare_directory(dir)?;
        let mark = Mark::take(dir, around.second_mark.as_deref(), around.boot)?;
        let path = dir.join(FILE_NAME);
        if !exists(&path)? {
            let was_lost = set_log_aside(dir)?;
            create(dir, &path, around.was_used || was_lost)?;
        }
        refuse_open_to_others(&path, OTHERS, 0o600)?;
        let mut db = connect(&path)?;
        let generation = inspect(&mut db, &path)?;
        let record = records::ends(&db).map_err(|error| failure(error, "read", &path))?;
        let marked = mark.read();
        let rollback = (marked.generation > generation).then_some(Rollback {
            marked: marked.generation,
            found: generation,
        });
        let saved_trust = trust(&db).map_err(|error| failure(error, "read", &path))?;
        Ok(Self {
            db,
            statements: Statements::new(),
            path,
            mark,
            // The mark never goes back: an older state is told from a later one again.
            generation: generation.max(marked.generation),
            record,
            rollback,
            end: marked.end,
            trust: rollback.map_or(saved_trust, |_| Trust::None),
            is_behind: rollback.is_some(),
        })
    }

    /// How many commits this state has seen.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the database is older than it has been: whoever was disabled since may be enabled
    /// again. Worth a loud warning.
    pub fn rollback(&self) -> Option<Rollback> {
        self.rollback
    }

    /// Says that a server runs from now on: until [`Store::close`] its end counts as cut short. This is on
    /// the disk before anything is decided.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        self.mark.write_durably(self.generation)
    }

    fn write(&mut self, changes: &[Change]) -> rusqlite::Result<Vec<Line>> {
        let transaction = self.db.transaction()?;
        if self.is_behind {
            set_trust(&transaction, Trust::None)?;
        }
        let mut record = self.record;
        let mut lines = Vec::new();
        for change in changes {
            match change {
                Change::Record(entry) => {
                    lines.push(records::add(&transaction, &mut record, entry)?)
                }
                Change::DropRecords(before) => records::drop(&transaction, &mut record, *before)?,
                Change::Trust(trust) => set_trust(&transaction, *trust)?,
                change => self.statements.write(&transaction, change)?,
            }
        }
        // SQLite's numbers have a sign; so many commits nobody lives to see.
        let generation = i64::try_from(self.generation + 1).unwrap_or(i64::MAX);
        transaction
            .prepare_cached("UPDATE store SET generation = ?1")?
            .execute([generation])?;
        transaction.commit()?;
        self.is_behind = false;
        self.record = record;
        Ok(lines)
    }
}

impl SqliteStore {
    fn load_tombstones(&mut self) -> Result<Vec<Tombstone>, StoreError> {
        let failed = |error| failure(error, "read", &self.path);
        let select = &self.statements.tombstones.select;
        let mut statement = self.db.prepare(select).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut tombstones = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let tombstone = tombstones::read(row).map_err(|error| self.bad_row(error))?;
            tombstones.push(tombstone);
        }
        Ok(tombstones)
    }

    fn bad_row(&self, error: RowError) -> StoreError {
        match error {
            RowError::Database(error) => failure(error, "read", &self.path),
            RowError::Value(detail) => StoreError::Corrupt {
                path: self.path.clone(),
                detail,
            },
        }
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Saved, StoreError> {
        let failed = |error| failure(error, "read", &self.path);
        let mut statement = self.db.prepare(&row::select()).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut clients = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            clients.push(row::read(row).map_err(|error| self.bad_row(error))?);
        }
        drop(rows);
        drop(statement);
        Ok(Saved {
            clients,
            tombstones: self.load_tombstones()?,
            end: self.end,
            trust: self.trust,
        })
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Line>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let lines = self.write(changes).map_err(|error| {
            // Whoever starts next must not take what is there for all that was decided.
            // Each try has a number of its own, for one that failed may be on the disk all the same.
            if changes.iter().any(|change| !is_of_record(change)) {
                self.generation += 1;
                let _ = self.mark.write_durably(self.generation + 1);
            }
            failure(error, "write to", &self.path)
        })?;
        self.generation += 1;
        let trust = changes.iter().rev().find_map(|change| match change {
            Change::Trust(trust) => Some(*trust),
            _ => None,
        });
        self.trust = trust.unwrap_or(self.trust);
        // The changes are durable. Neither of these two can take that back, so neither may turn it
        // into a failure: without the mark a rollback goes unnoticed, and what stays in the log
        // leaves it at the next checkpoint.
        let _ = self.mark.write(self.generation);
        if changes.iter().any(removes_a_secret) {
            let _ = self
                .db
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        Ok(lines)
    }

    fn records(&mut self, query: &Query) -> Result<Page, StoreError> {
        records::find(&self.db, query).map_err(|error| failure(error, "read", &self.path))
    }

    fn ends(&self) -> Ends {
        self.record
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.end = End::Clean;
        self.mark.close(self.generation)
    }
}

/// True when losing it loses no decision.
fn is_of_record(change: &Change) -> bool {
    matches!(change, Change::Record(_) | Change::DropRecords(_))
}

fn trust(db: &Connection) -> rusqlite::Result<Trust> {
    let number: i64 = db.query_row("SELECT trust FROM store", [], |row| row.get(0))?;
    Ok(match number {
        0 => Trust::Full,
        1 => Trust::Partial,
        _ => Trust::None,
    })
}

fn set_trust(db: &Connection, trust: Trust) -> rusqlite::Result<()> {
    let number = match trust {
        Trust::Full => 0,
        Trust::Partial => 1,
        Trust::None => 2,
    };
    db.prepare_cached("UPDATE store SET trust = ?1")?
        .execute([number])?;
    Ok(())
}

fn removes_a_secret(change: &Change) -> bool {
    match change {
        Change::Put(client) => client.life == Life::Removed,
        Change::Forget(_) | Change::Unbury(_) => true,
        Change::State(..)
        | Change::Bury(_)
        | Change::Trust(_)
        | Change::Record(_)
        | Change::DropRecords(_) => false,
    }
}

/// A connection that has written nothing yet, and will not when it is dropped.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error| failure(error, "open", path);
    look_at_header(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(failed)?;
    if db.is_readonly("main").map_err(failed)? {
        return Err(StoreError::ReadOnly(path.to_owned()));
    }
    // The lock taken by the first read is kept until the end, and no shared memory is needed.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")
        .map_err(failed)?;
    Ok(db)
}

/// Looks at the file's first page before SQLite does, and so before it touches anything (SQLite file
/// format, 1.3): our files say what they are from birth.
fn look_at_header(path: &Path) -> Result<(), StoreError> {
    let mut header = [0; 100];
    File::open(path)
        .and_then(|file| file.read_at(&mut header, 0))
        .map_err(|error| StoreError::file("read", path, error))?;
    let number = |at: usize| i32::from_be_bytes([0, 1, 2, 3].map(|i| header[at + i]));
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            detail: "it does not begin as a database does".to_owned(),
        });
    }
    if number(68) != schema::APPLICATION_ID {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    refuse_newer(number(60), path)
}

fn refuse_newer(found: i32, path: &Path) -> Result<(), StoreError> {
    if found > schema::VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: schema::VERSION,
        });
    }
    Ok(())
}

/// Finds every fault of an open database, then makes it ready to be written. Its generation.
fn inspect(db: &mut Connection, path: &Path) -> Result<u64, StoreError> {
    let failed = |error| failure(error, "open", path);
    let found = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    // A later release may have died before its change of format reached the file itself.
    refuse_newer(found, path)?;
    let verdict: String = db
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(failed)?;
    if verdict != "ok" {
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            detail: verdict,
        });
    }
    let generation: i64 = db
        .query_row("SELECT generation FROM store", [], |row| row.get(0))
        .map_err(failed)?;
    db.pragma_update(None, "journal_mode", "WAL")
        .and_then(|()| db.pragma_update(None, "synchronous", "FULL"))
        .and_then(|()| db.pragma_update(None, "foreign_keys", true))
        .and_then(|()| db.pragma_update(None, "secure_delete", true))
        .and_then(|()| db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false))
        .map(drop)
        .and_then(|()| migrate(db, found))
        .map_err(failed)?;
    // It starts at 0 and only rises.
    Ok(generation.unsigned_abs())
}

/// Brings the tables from an older format to today's, or leaves them as they were.
fn migrate(db: &mut Connection, found: i32) -> rusqlite::Result<()> {
    let known = usize::try_from(found).unwrap_or(0);
    if found == schema::VERSION {
        return Ok(());
    }
    let transaction = db.transaction()?;
    for step in schema::STEPS.iter().skip(known) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", schema::VERSION)?;
    transaction.commit()
}

/// What an error of SQLite means to the administrator.
fn failure(error: rusqlite::Error, doing: &'static str, path: &Path) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse(path),
        Some(ErrorCode::DiskFull) => StoreError::Full(path),
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly(path),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
            path,
            detail: error.to_string(),
        },
        _ => match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::QueryReturnedNoRows => StoreError::Corrupt {
                path,
                detail: error.to_string(),
            },
            error => StoreError::Database {
                doing,
                path,
                source: error.into(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_core::client::saved::SavedClient;

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::contract;

    /// A client as the first format could keep it.
    fn old_client() -> SavedClient {
        let mut client = contract::client("old", 1);
        assert_eq!(client.added, None);
        if let Life::Present(present) = &mut client.life {
            present.state.released = false;
            present.state.released_boot = None;
            present.state.renewed = false;
            present.state.needs_proof = false;
        }
        client
    }

    #[test]
    fn a_database_of_the_first_format_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(dir.path()).unwrap());
        let path = dir.path().join(FILE_NAME);
        fs::remove_file(&path).unwrap();
        let db = Connection::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        db.execute_batch(schema::STEPS[0]).unwrap();
        db.pragma_update(None, "application_id", schema::APPLICATION_ID)
            .unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        db.execute_batch(
            "INSERT INTO configured VALUES ('old', zeroblob(32), NULL, 'h', 'c', 1, 2, 3, 4, 5, 1, 1, \
             zeroblob(32))",
        )
        .unwrap();
        drop(db);

        let mut store = SqliteStore::open(dir.path()).unwrap();
        let saved = store.load().unwrap();
        assert_eq!(saved.clients[0].name.as_str(), "old");
        assert_eq!(saved.clients[0].life, Life::Removed);
        assert_eq!(store.ends(), Ends::default());
        store.commit(&[Change::Put(old_client().into())]).unwrap();
        drop(store);
        let mut store = SqliteStore::open(dir.path()).unwrap();
        assert_eq!(store.load().unwrap().clients, [old_client()]);
    }
}
