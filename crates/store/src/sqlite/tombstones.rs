//! The table of tombstones: one row for each holder.

use nightlatch_core::checker::LastCheck;
use nightlatch_core::client::saved::{ClientPresence, SavedState, StateOwner, Tombstone};
use nightlatch_core::time::Wall;
use rusqlite::types::Value;
use rusqlite::{Connection, Row};

use super::row::{
    Columns, RowError, STATE, blob, push_settings, push_state, read_client, run, settings_columns,
};

/// Statements about tombstones, each prepared at its first use.
pub(super) struct TombstoneStatements {
    pub(super) select: String,
    put: String,
    delete: String,
}

impl TombstoneStatements {
    pub(super) fn new() -> Self {
        let settings = settings_columns();
        let mut columns = vec!["since_wall".to_owned(), "name".to_owned()];
        columns.extend(settings.iter().map(|column| format!("c_{column}")));
        columns.extend(["secret_digest", "added_secret", "is_present"].map(str::to_owned));
        columns.extend(settings.iter().map(|column| format!("p_{column}")));
        columns.push("secret".to_owned());
        columns.extend(STATE.iter().map(|&column| column.to_owned()));
        let places: Vec<String> = (1..=columns.len() + 1)
            .map(|number| format!("?{number}"))
            .collect();
        let (columns, places) = (columns.join(", "), places.join(", "));
        Self {
            select: format!("SELECT {columns} FROM tombstone"),
            // No other table refers to it.
            put: format!("INSERT OR REPLACE INTO tombstone (holder, {columns}) VALUES ({places})"),
            delete: "DELETE FROM tombstone WHERE holder = ?1".to_owned(),
        }
    }

    pub(super) fn put(&self, db: &Connection, tombstone: &Tombstone) -> rusqlite::Result<()> {
        let client = &tombstone.client;
        let mut values = vec![
            key(&tombstone.owner()),
            tombstone.since.unix_micros().into(),
            client.name.as_str().to_owned().into(),
        ];
        push_settings(&mut values, &client.configured);
        values.push(client.configured_secret.as_bytes().to_vec().into());
        values.push(blob(client.added.as_ref().map(|secret| secret.expose())));
        match &client.presence {
            ClientPresence::Present(present) => {
                values.push(true.into());
                push_settings(&mut values, &present.settings);
                values.push(blob(present.secret.as_ref().map(|secret| secret.expose())));
                push_state(&mut values, &present.state);
            }
            ClientPresence::Removed => {
                values.push(false.into());
                push_settings(&mut values, &client.configured);
                values.push(Value::Null);
                push_state(&mut values, &empty_state());
            }
        }
        run(db, &self.put, values)
    }

    pub(super) fn delete(&self, db: &Connection, holder: &StateOwner) -> rusqlite::Result<()> {
        run(db, &self.delete, vec![key(holder)])
    }
}

/// The tombstone in a row of [`TombstoneStatements::select`].
pub(super) fn read(row: &Row<'_>) -> Result<Tombstone, RowError> {
    let mut columns = Columns { row, next: 0 };
    let since = Wall::from_unix_micros(columns.next()?);
    let client = read_client(&mut columns)?;
    Ok(Tombstone { since, client })
}

fn key(holder: &StateOwner) -> Value {
    let bytes = match holder {
        StateOwner::Key(key) => [b"k", &key.as_bytes()[..]].concat(),
        StateOwner::Name(name) => [b"n", name.as_str().as_bytes()].concat(),
    };
    bytes.into()
}

/// Values for the state columns of a removed client.
fn empty_state() -> SavedState {
    SavedState {
        enabled: false,
        created: Wall::default(),
        last_enabled: None,
        last_checked_ok: None,
        last_approval_request: None,
        last_check: LastCheck::None,
        deadline: None,
        denied: None,
        released: false,
        released_boot: None,
        renewed: false,
        needs_proof: false,
        guard: None,
    }
}
