//! The store in one SQLite file: WAL, `synchronous = FULL`, one writer, locked against other processes.
//!
//! [`schema`] has the tables. The file is created under another name, with mode 0600, in a directory with mode 0700,
//! and renamed when it is complete. Nothing is written to an existing file before it is checked.

mod new;
mod records;
mod row;
mod schema;
mod secrets;
mod statements;
mod tombstones;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nightlatch_core::client::saved::{
    Change, ClientPresence, End, Saved, SavedSecret, Tombstone, Trust,
};
use nightlatch_core::record::{ChainEnds, RecordExcerpt, RecordLine, RecordSelection};
use nightlatch_core::time::BootId;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use self::new::{check_permissions, create, exists, prepare_directory, rename_orphaned_wal};
use self::row::RowError;
use self::statements::Statements;
use crate::mark::{GenerationMark, Rollback};
use crate::{Store, StoreError};

/// The database's name in the state directory.
pub const FILE_NAME: &str = "nightlatch.db";

/// The name of a new database until it is complete.
const TEMPORARY_NAME: &str = "nightlatch.db.new";

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Write permission bits of group and others.
const OTHERS_WRITE: u32 = 0o022;

/// Durable state in a directory of its own.
pub struct SqliteStore {
    // Dropped in this order: the database is closed before the directory is unlocked.
    db: Connection,
    statements: Statements,
    path: PathBuf,
    mark: GenerationMark,
    generation: u64,
    record: ChainEnds,
    rollback: Option<Rollback>,
    end: End,
    /// The trust in the state, before any change in a later commit.
    trust: Trust,
    /// The mark was ahead of the database, and no commit has stored that fact yet.
    is_behind: bool,
}

/// Facts from outside the directory of a store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreContext {
    /// The current boot of the host.
    pub boot: Option<BootId>,
    /// A directory elsewhere for a second mark, which reveals the loss of the whole directory.
    pub second_mark: Option<PathBuf>,
    /// True when there are traces of an earlier state here: a missing database then counts as lost.
    pub was_used: bool,
}

impl SqliteStore {
    /// Opens the store in `dir` as [`Self::open_in`] does, without a context.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_in(dir, &StoreContext::default())
    }

    /// Opens the store in `dir`, creating both if necessary. The directory stays locked until the store is dropped.
    ///
    /// # Errors
    /// Every fault of the file is found here, and the file is left unchanged.
    pub fn open_in(dir: &Path, context: &StoreContext) -> Result<Self, StoreError> {
        prepare_directory(dir)?;
        let mark = GenerationMark::open(dir, context.second_mark.as_deref(), context.boot)?;
        let path = dir.join(FILE_NAME);
        if !exists(&path)? {
            let was_lost = rename_orphaned_wal(dir)?;
            create(dir, &path, context.was_used || was_lost)?;
        }
        check_permissions(&path, OTHERS, 0o600)?;
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
            // Never lower than the mark, so that an older state stays distinguishable from a later one.
            generation: generation.max(marked.generation),
            record,
            rollback,
            end: marked.end,
            trust: rollback.map_or(saved_trust, |_| Trust::None),
            is_behind: rollback.is_some(),
        })
    }

    /// The generation: commits of this state so far.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Present when the database is older than the mark: a client that was disabled since then may be enabled again.
    pub fn rollback(&self) -> Option<Rollback> {
        self.rollback
    }

    /// Marks that a server runs: until [`Store::close`], its end counts as cut short. Durable when it returns.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        self.mark.write_durably(self.generation)
    }

    fn write(&mut self, changes: &[Change]) -> rusqlite::Result<Vec<RecordLine>> {
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
        // SQLite's integers are signed. No store ever has that many commits.
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

    /// All named secrets, and the number of those that cannot be read. Of these the serial is kept where it is whole, so
    /// that no older value comes back. A secret less is no danger, so the others are used.
    fn load_secrets(&mut self) -> Result<(Vec<SavedSecret>, usize), StoreError> {
        let failed = |error| failure(error, "read", &self.path);
        let mut statement = self.db.prepare(secrets::SELECT).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let (mut secrets, mut lost) = (Vec::new(), 0);
        while let Some(row) = rows.next().map_err(failed)? {
            match secrets::read(row) {
                Ok(secret) => secrets.push(secret),
                Err(_) => {
                    lost += 1;
                    secrets.extend(secrets::remains(row));
                }
            }
        }
        Ok((secrets, lost))
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
        let (secrets, lost_secrets) = self.load_secrets()?;
        Ok(Saved {
            clients,
            tombstones: self.load_tombstones()?,
            secrets,
            lost_secrets,
            end: self.end,
            trust: self.trust,
        })
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Vec<RecordLine>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let lines = self.write(changes).map_err(|error| {
            // The next start must notice that decisions are missing. Each attempt uses a new number, because a failed
            // one may be on the disk.
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
        // The changes are durable, so neither of these failures is reported: without the mark a rollback goes
        // unnoticed, and a removed secret stays in the WAL until the next checkpoint.
        let _ = self.mark.write(self.generation);
        if changes.iter().any(removes_a_secret) {
            let _ = self
                .db
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        Ok(lines)
    }

    fn records(&mut self, query: &RecordSelection) -> Result<RecordExcerpt, StoreError> {
        records::find(&self.db, query).map_err(|error| failure(error, "read", &self.path))
    }

    fn ends(&self) -> ChainEnds {
        self.record
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.end = End::Clean;
        self.mark.close(self.generation)
    }
}

/// True when its loss loses no decision.
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
        Change::Put(client) => client.presence == ClientPresence::Removed,
        Change::PutSecret { secret, .. } => secret.sealed.is_none(),
        Change::Forget(_) | Change::DeleteTombstone(_) | Change::ForgetSecrets => true,
        Change::State(..)
        | Change::PutTombstone(_)
        | Change::DeleteSecret(..)
        | Change::Trust(_)
        | Change::Record(_)
        | Change::DropRecords(_) => false,
    }
}

/// A connection that has written nothing yet, and writes nothing when it is dropped.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error| failure(error, "open", path);
    check_header(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(failed)?;
    if db.is_readonly("main").map_err(failed)? {
        return Err(StoreError::ReadOnly(path.to_owned()));
    }
    // The lock of the first read is kept until the end, and no shared memory is needed.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")
        .map_err(failed)?;
    Ok(db)
}

/// Checks the header of the file before SQLite opens and possibly changes it (SQLite file format, 1.3): our files have
/// their application ID from the start.
fn check_header(path: &Path) -> Result<(), StoreError> {
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

/// Checks an open database, then prepares it for writing. Returns its generation.
fn inspect(db: &mut Connection, path: &Path) -> Result<u64, StoreError> {
    let failed = |error| failure(error, "open", path);
    let found = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    // A later release may have ended before its migration was copied from the WAL to the file.
    refuse_newer(found, path)?;
    let result: String = db
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(failed)?;
    if result != "ok" {
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            detail: result,
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

/// Migrates the tables to the current format in one transaction.
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

/// Translates an error of SQLite.
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
mod tests;
