//! A process that commits is killed at random moments: every acknowledged commit is still there.
#![allow(
    clippy::unwrap_used,
    reason = "unwrap in a test is the assertion itself"
)]

mod samples;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use nightlatch_core::client::saved::{Change, SavedClient};
use nightlatch_core::settings::client::ClientSettings;
use nightlatch_store::{SqliteStore, Store};

/// Set in the child: the directory it commits to.
const CHILD: &str = "NIGHTLATCH_TEST_STORE";
const ROUNDS: u64 = 100;

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return commit_for_ever(dir.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "what_was_acknowledged_survives_kill_9",
                "--nocapture",
            ])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut acknowledged = out.lines().map_while(Result::ok).filter_map(|l| number(&l));
        // Some rounds kill in the middle of opening, others after a few commits; spread without
        // randomness, so that a failure comes back.
        let wanted = round * 7 % 23;
        let seen = acknowledged.by_ref().take(wanted as usize).last();
        child.kill().unwrap();
        child.wait().unwrap();
        // Lines that it wrote before it was killed were acknowledged as well.
        last = acknowledged.last().or(seen).unwrap_or(last);
        let found = newest(&mut SqliteStore::open(dir.path()).unwrap());
        assert!(
            found >= last,
            "round {round}: {last} acknowledged, {found} found"
        );
        last = found;
    }
    assert!(last > ROUNDS, "the child hardly committed: {last}");
}

fn commit_for_ever(dir: &std::path::Path) {
    let mut store = SqliteStore::open(dir).unwrap();
    let mut number = newest(&mut store);
    loop {
        number += 1;
        store.commit(&batch(number)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "#{number}")
            .and_then(|()| out.flush())
            .unwrap();
    }
}

/// Writes the number to two clients: a batch is stored completely or not at all, so they never differ.
fn batch(number: u64) -> Vec<Change> {
    let put = |name| {
        let row = samples::client(name, 1);
        let configured = ClientSettings {
            host: number.to_string(),
            ..row.configured
        };
        Change::Put(SavedClient { configured, ..row }.into())
    };
    vec![put("first"), put("second")]
}

fn newest(store: &mut SqliteStore) -> u64 {
    assert_eq!(store.rollback(), None);
    let clients = store.load().unwrap().clients;
    let numbers: Vec<u64> = clients
        .iter()
        .map(|c| c.configured.host.parse().unwrap())
        .collect();
    match numbers[..] {
        [] => 0,
        [first, second] if first == second => first,
        _ => panic!("a batch was torn: {numbers:?}"),
    }
}

fn number(line: &str) -> Option<u64> {
    line.strip_prefix('#')?.parse().ok()
}
