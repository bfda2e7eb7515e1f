use std::fs;
use std::os::unix::fs::PermissionsExt;

use nightlatch_core::client::saved::{SavedClient, SavedSecret};
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::settings::client::{ClientSettings, Setting};

use super::*;
#[path = "../../tests/samples/mod.rs"]
mod samples;
#[path = "../../tests/samples/secrets.rs"]
mod secret_samples;

/// A client without the fields that the first format lacks.
fn old_client() -> SavedClient {
    let mut client = samples::client("old", 1);
    assert_eq!(client.added, None);
    if let ClientPresence::Present(present) = &mut client.presence {
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
    assert_eq!(saved.clients[0].presence, ClientPresence::Removed);
    // What that format lacks is as in a section that does not say it.
    let (found, default) = (&saved.clients[0].configured, ClientSettings::default());
    for setting in [
        Setting::HostKeyId,
        Setting::Guard,
        Setting::Unannounced,
        Setting::GuardWait,
        Setting::RebootWindow,
        Setting::HostOpenPgp,
    ] {
        assert_eq!(setting.value(found), setting.value(&default), "{setting:?}");
    }
    assert_eq!(store.ends(), ChainEnds::default());
    store.commit(&[Change::Put(old_client().into())]).unwrap();
    drop(store);
    let mut store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(store.load().unwrap().clients, [old_client()]);
}

fn put(secret: &SavedSecret) -> Change {
    Change::PutSecret {
        client: None,
        secret: secret.clone().into(),
    }
}

#[test]
fn a_database_without_named_secrets_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(dir.path()).unwrap();
    store.commit(&[Change::Put(old_client().into())]).unwrap();
    drop(store);
    let db = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    let columns = ["configured", "present"].map(|table| (table, "host_openpgp"));
    let of_tombstones = ["c_host_openpgp", "p_host_openpgp"].map(|column| ("tombstone", column));
    for (table, column) in columns.into_iter().chain(of_tombstones) {
        let drop = format!("ALTER TABLE {table} DROP COLUMN {column}");
        db.execute(&drop, []).unwrap();
    }
    db.execute("DROP TABLE named_secret", []).unwrap();
    db.pragma_update(None, "user_version", 4).unwrap();
    drop(db);
    let mut store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(store.load().unwrap().secrets, []);
    let secret = secret_samples::secret(1, "a", 2);
    store.commit(&[put(&secret)]).unwrap();
    let saved = store.load().unwrap();
    assert_eq!((saved.secrets, saved.clients.len()), (vec![secret], 1));
}

/// A secret less is no danger: the others are used, and so are the clients, and each new section. What is known of its
/// serial stays.
#[test]
fn of_a_named_secret_that_cannot_be_read_the_serial_is_left() {
    for (damage, left) in [
        (
            "UPDATE named_secret SET sealed = x'00' WHERE name = 'a'",
            Some("a"),
        ),
        ("UPDATE named_secret SET name = 'A' WHERE name = 'a'", None),
        (
            "UPDATE named_secret SET name = 'c' WHERE name = 'a'",
            Some("c"),
        ),
        (
            "UPDATE named_secret SET serial = 1 WHERE name = 'a'",
            Some("a"),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(dir.path()).unwrap();
        let (lost, kept) = (
            SavedSecret {
                approval: true,
                ..secret_samples::secret(1, "a", 2)
            },
            secret_samples::secret(1, "b", 4),
        );
        let client = samples::client("client", 1);
        let changes = [put(&lost), put(&kept), Change::Put(client.clone().into())];
        store.commit(&changes).unwrap();
        store.db.execute(damage, []).unwrap();
        let saved = store.load().unwrap();
        let left = left.map(|name| SavedSecret {
            name: SecretName::new(name).unwrap(),
            sealed: None,
            ..lost
        });
        let mut secrets = saved.secrets;
        secrets.sort_unstable_by_key(|it| it.sealed.is_none());
        let expected: Vec<_> = [kept].into_iter().chain(left).collect();
        assert_eq!((secrets, saved.lost_secrets), (expected, 1), "{damage}");
        assert_eq!((saved.trust, saved.clients), (Trust::Full, vec![client]));
        store.commit(&[Change::ForgetSecrets]).unwrap();
        let saved = store.load().unwrap();
        assert_eq!((saved.secrets, saved.lost_secrets), (vec![], 0), "{damage}");
    }
}
