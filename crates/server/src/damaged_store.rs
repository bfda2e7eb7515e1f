//! A state in which one named secret cannot be read, for tests.

use std::fs;

use nightlatch_core::client::saved::{Change, SavedSecret};
use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;
use nightlatch_store::{FILE_NAME, SqliteStore, Store as _};
use tempfile::TempDir;

/// A state directory with one row of a named secret, whose name is none.
pub(crate) struct DamagedStore(TempDir);

impl DamagedStore {
    pub(crate) fn new() -> Self {
        const NAME: &str = "damaged.secret";
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let secret = SavedSecret {
            host: KeyId::from_bytes([1; 32]).unwrap(),
            name: SecretName::new(NAME).unwrap(),
            serial: 1,
            sealed: None,
            approval: false,
            put: Wall::from_unix_micros(0),
        };
        let put = Change::PutSecret {
            client: None,
            secret: Box::new(secret),
        };
        store.commit(&[put]).unwrap();
        drop(store);
        // In the row and in its index: the database itself stays whole.
        let file = folder.path().join(FILE_NAME);
        let mut bytes = fs::read(&file).unwrap();
        let places = bytes.windows(NAME.len()).enumerate();
        let places = places.filter(|(_, it)| *it == NAME.as_bytes());
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        assert_eq!(places.len(), 2);
        for place in places {
            bytes[place..place + NAME.len()].make_ascii_uppercase();
        }
        fs::write(&file, bytes).unwrap();
        Self(folder)
    }

    pub(crate) fn open(&self) -> SqliteStore {
        SqliteStore::open(self.0.path()).unwrap()
    }
}
