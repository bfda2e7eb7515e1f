//! Every store keeps the contract, and equals a model after any sequence of commits.
#![allow(
    clippy::unwrap_used,
    reason = "unwrap in a test is the assertion itself"
)]

mod checks;
#[path = "../samples/mod.rs"]
mod samples;
#[path = "../samples/secrets.rs"]
mod secrets;

use std::collections::BTreeMap;

use nightlatch_core::client::saved::{Change, ClientPresence, SavedClient};
use nightlatch_store::{MemoryStore, SqliteStore, Store};
use proptest::prelude::*;

#[test]
fn the_sqlite_store_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    checks::check(|| SqliteStore::open(&dir.path().join("state")).unwrap()).unwrap();
}

#[test]
fn the_memory_store_keeps_the_contract() {
    let store = MemoryStore::default();
    checks::check(|| store.clone()).unwrap();
}

/// A batch to commit, and whether to open the store again afterwards.
#[derive(Clone, Debug)]
struct Step {
    batch: Vec<Change>,
    reopen: bool,
}

fn any_change() -> impl Strategy<Value = Change> {
    (0..5u8, any::<u8>(), 0..5u8).prop_map(|(client, seed, kind)| {
        let mut row = samples::client(&format!("client {client}"), seed);
        match kind {
            0 | 1 => Change::Put(row.into()),
            2 => {
                row.presence = ClientPresence::Removed;
                Change::Put(row.into())
            }
            3 => Change::State(row.name, samples::state(seed).into()),
            _ => Change::Forget(row.name),
        }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    (prop::collection::vec(any_change(), 0..6), any::<bool>())
        .prop_map(|(batch, reopen)| Step { batch, reopen })
}

fn apply(model: &mut BTreeMap<String, SavedClient>, change: &Change) {
    match change {
        Change::Put(row) => {
            model.insert(row.name.to_string(), (**row).clone());
        }
        Change::State(name, state) => {
            if let Some(row) = model.get_mut(name.as_str())
                && let ClientPresence::Present(present) = &mut row.presence
            {
                present.state = (**state).clone();
            }
        }
        Change::Forget(name) => {
            model.remove(name.as_str());
        }
        // Covered by the contract.
        Change::PutTombstone(_)
        | Change::DeleteTombstone(_)
        | Change::PutSecret { .. }
        | Change::DeleteSecret(..)
        | Change::ForgetSecrets
        | Change::Trust(_)
        | Change::Record(_)
        | Change::DropRecords(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commits_then_load_equals_the_model(
        steps in prop::collection::vec(any_step(), 0..6)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(dir.path()).unwrap();
        let mut model = BTreeMap::new();
        for step in &steps {
            store.commit(&step.batch).unwrap();
            step.batch.iter().for_each(|change| apply(&mut model, change));
            if step.reopen {
                drop(store);
                store = SqliteStore::open(dir.path()).unwrap();
            }
            let mut saved = store.load().unwrap().clients;
            saved.sort_by(|a, b| a.name.cmp(&b.name));
            prop_assert_eq!(saved, model.values().cloned().collect::<Vec<_>>());
        }
    }
}
