//! The SQL statements that write clients.

use nightlatch_core::client::saved::{Change, ClientPresence, SavedClient};
use nightlatch_core::name::ClientName;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::row::{STATE, blob, push_settings, push_state, run, settings_columns};
use super::secrets;
use super::tombstones::TombstoneStatements;

/// Statements that write. Each is prepared at its first use, and cached by the connection.
pub(super) struct Statements {
    put_configured: String,
    put_present: String,
    delete_present: String,
    update_state: String,
    forget: String,
    pub(super) tombstones: TombstoneStatements,
}

impl Statements {
    pub(super) fn new() -> Self {
        let settings = settings_columns();
        Self {
            put_configured: upsert(
                "configured",
                &[&settings, &["secret_digest", "added_secret"]],
            ),
            put_present: upsert("present", &[&settings, &["secret"], STATE]),
            delete_present: "DELETE FROM present WHERE name = ?1".to_owned(),
            update_state: format!("UPDATE present SET {} WHERE name = ?1", assigned(STATE)),
            forget: "DELETE FROM configured WHERE name = ?1".to_owned(),
            tombstones: TombstoneStatements::new(),
        }
    }

    /// Writes one change.
    pub(super) fn write(&self, db: &Connection, change: &Change) -> rusqlite::Result<()> {
        match change {
            Change::Put(client) => self.put(db, client),
            Change::State(name, state) => {
                let mut values = named(name);
                push_state(&mut values, state);
                run(db, &self.update_state, values)
            }
            Change::Forget(name) => run(db, &self.forget, named(name)),
            Change::PutTombstone(tombstone) => self.tombstones.put(db, tombstone),
            Change::DeleteTombstone(holder) => self.tombstones.delete(db, holder),
            Change::PutSecret { secret, .. } => secrets::put(db, secret),
            Change::DeleteSecret(host, name) => secrets::delete(db, host, name),
            Change::ForgetSecrets => secrets::delete_all(db),
            // Not changes of clients.
            Change::Trust(_) | Change::Record(_) | Change::DropRecords(_) => Ok(()),
        }
    }

    fn put(&self, db: &Connection, client: &SavedClient) -> rusqlite::Result<()> {
        let mut values = named(&client.name);
        push_settings(&mut values, &client.configured);
        values.push(client.configured_secret.as_bytes().to_vec().into());
        values.push(blob(client.added.as_ref().map(|secret| secret.expose())));
        run(db, &self.put_configured, values)?;
        let ClientPresence::Present(present) = &client.presence else {
            return run(db, &self.delete_present, named(&client.name));
        };
        let mut values = named(&client.name);
        push_settings(&mut values, &present.settings);
        values.push(blob(present.secret.as_ref().map(|secret| secret.expose())));
        push_state(&mut values, &present.state);
        run(db, &self.put_present, values)
    }
}

fn named(name: &ClientName) -> Vec<Value> {
    vec![name.as_str().to_owned().into()]
}

/// `a = ?2, b = ?3, …`: the name is always the first parameter.
fn assigned(columns: &[&str]) -> String {
    let assigned = columns.iter().zip(2..);
    let assigned: Vec<_> = assigned.map(|(c, n)| format!("{c} = ?{n}")).collect();
    assigned.join(", ")
}

/// Inserts a row, or sets every column of the row with this name. Not `REPLACE`, which would delete
/// the row first and what refers to it.
fn upsert(table: &str, columns: &[&[&str]]) -> String {
    let columns = columns.concat();
    let list = columns.join(", ");
    let places: Vec<_> = (1..columns.len() + 2).map(|n| format!("?{n}")).collect();
    let (places, assigned) = (places.join(", "), assigned(&columns));
    format!(
        "INSERT INTO {table} (name, {list}) VALUES ({places}) \
         ON CONFLICT (name) DO UPDATE SET {assigned}"
    )
}
