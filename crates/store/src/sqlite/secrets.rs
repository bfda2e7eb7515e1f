//! The table of named secrets: one row for each host key id and name.

use std::sync::Arc;

use nightlatch_core::client::saved::SavedSecret;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::sealed_secret::SealedSecret;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;
use rusqlite::{Connection, Row};

use super::row::{Columns, RowError, blob, run};

pub(super) const SELECT: &str =
    "SELECT host_key_id, name, serial, sealed, approval, put_wall FROM named_secret";

const PUT: &str = "INSERT OR REPLACE INTO named_secret \
                   (host_key_id, name, serial, sealed, approval, put_wall) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const DELETE: &str = "DELETE FROM named_secret WHERE host_key_id = ?1 AND name = ?2";

pub(super) fn put(db: &Connection, secret: &SavedSecret) -> rusqlite::Result<()> {
    let sealed = secret.sealed.as_ref();
    let values = vec![
        secret.host.as_bytes().to_vec().into(),
        secret.name.as_str().to_owned().into(),
        // The bits of a number that may be greater than any of SQLite's.
        secret.serial.cast_signed().into(),
        blob(sealed.map(|sealed| sealed.as_bytes())),
        secret.approval.into(),
        secret.put.unix_micros().into(),
    ];
    run(db, PUT, values)
}

pub(super) fn delete(db: &Connection, host: &KeyId, name: &SecretName) -> rusqlite::Result<()> {
    let values = vec![
        host.as_bytes().to_vec().into(),
        name.as_str().to_owned().into(),
    ];
    run(db, DELETE, values)
}

/// Deletes every row, also one that [`read`] cannot read.
pub(super) fn delete_all(db: &Connection) -> rusqlite::Result<()> {
    run(db, "DELETE FROM named_secret", Vec::new())
}

/// The secret in a row of [`SELECT`].
pub(super) fn read(row: &Row<'_>) -> Result<SavedSecret, RowError> {
    let wrong = |error: &dyn std::fmt::Display| RowError::Value(error.to_string());
    let mut columns = Columns { row, next: 0 };
    let host = KeyId::from_bytes(columns.next()?).map_err(|error| wrong(&error))?;
    let name = SecretName::new(&columns.next::<String>()?).map_err(|error| wrong(&error))?;
    let serial = columns.next::<i64>()?.cast_unsigned();
    let sealed = columns
        .next::<Option<Vec<u8>>>()?
        .map(SealedSecret::from_bytes);
    let sealed = sealed.transpose().map_err(|error| wrong(&error))?;
    if let Some(sealed) = &sealed {
        let header = sealed.header();
        if (header.host, &header.name, header.serial) != (host, &name, serial) {
            return Err(RowError::Value(format!(
                "the secret {name} of {host} is another one in its header"
            )));
        }
    }
    Ok(SavedSecret {
        host,
        name,
        serial,
        sealed: sealed.map(Arc::new),
        approval: columns.next()?,
        put: Wall::from_unix_micros(columns.next()?),
    })
}

/// The readable rest of a damaged row of [`SELECT`], as a removed secret; `None` without host, name and serial.
pub(super) fn remains(row: &Row<'_>) -> Option<SavedSecret> {
    let host = KeyId::from_bytes(row.get(0).ok()?).ok()?;
    let name = SecretName::new(&row.get::<_, String>(1).ok()?).ok()?;
    let serial = row.get::<_, i64>(2).ok()?.cast_unsigned();
    let sealed = row.get::<_, Vec<u8>>(3).ok();
    let sealed = sealed.and_then(|bytes| SealedSecret::from_bytes(bytes).ok());
    let header = sealed.as_ref().map(SealedSecret::header);
    let header = header.filter(|it| (it.host, &it.name) == (host, &name));
    Some(SavedSecret {
        // A column that is too small must not let an older value in.
        serial: header.map_or(serial, |header| header.serial.max(serial)),
        host,
        name,
        sealed: None,
        approval: row.get(4).unwrap_or(true),
        put: Wall::from_unix_micros(row.get(5).unwrap_or(0)),
    })
}
