use std::fs;
use std::os::unix::fs::PermissionsExt;

use nightlatch_core::client::saved::SavedClient;
use nightlatch_core::settings::client::{ClientSettings, Setting};

use super::*;
#[path = "../../tests/samples/mod.rs"]
mod samples;

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
    ] {
        assert_eq!(setting.value(found), setting.value(&default), "{setting:?}");
    }
    assert_eq!(store.ends(), ChainEnds::default());
    store.commit(&[Change::Put(old_client().into())]).unwrap();
    drop(store);
    let mut store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(store.load().unwrap().clients, [old_client()]);
}
