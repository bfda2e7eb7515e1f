//! The contract of a store, as assertions on any implementation.

use nightlatch_core::checker::LastCheck;
use nightlatch_core::client::saved::{
    Change, ClientPresence, SavedClient, SavedSecret, Tombstone, Trust,
};
use nightlatch_core::name::ClientName;
use nightlatch_core::record::{
    ChainEnds, ChainPosition, RecordEntry, RecordKind, RecordLine, RecordSelection,
};
use nightlatch_core::time::Wall;
use nightlatch_store::{Store, StoreError};

use crate::samples::{client, state};
use crate::secrets::secret;

/// Checks a store that is empty at first. `open` opens the same store each time, after the previous one was dropped.
pub(crate) fn check<S: Store>(mut open: impl FnMut() -> S) -> Result<(), StoreError> {
    let mut reopened = |changes: &[Change]| {
        open().commit(changes)?;
        let mut saved = open().load()?;
        saved.clients.sort_by(|a, b| a.name.cmp(&b.name));
        Ok::<_, StoreError>(saved)
    };
    let whole = client("whole.example.org", 1);
    let other = client("name with blanks, ünïcode and 'quotes'", 2);

    let new = reopened(&[])?;
    assert!(
        new.clients.is_empty() && new.tombstones.is_empty(),
        "a new store is empty"
    );

    let both = [
        Change::Put(whole.clone().into()),
        Change::Put(other.clone().into()),
    ];
    let expected = vec![other.clone(), whole.clone()];
    assert_eq!(
        reopened(&both)?.clients,
        expected,
        "what is put is there, in full"
    );
    assert_eq!(
        reopened(&both)?.clients,
        expected,
        "putting again changes nothing"
    );

    let mut disabled = whole.clone();
    if let ClientPresence::Present(present) = &mut disabled.presence {
        present.state.enabled = false;
        present.state.deadline = None;
        present.state.last_check = LastCheck::None;
        let state = Change::State(whole.name.clone(), present.state.clone().into());
        let expected = vec![other.clone(), disabled.clone()];
        assert_eq!(
            reopened(&[state])?.clients,
            expected,
            "a state alone is replaced"
        );
    }

    let removed = SavedClient {
        presence: ClientPresence::Removed,
        ..whole.clone()
    };
    let (name, state) = (whole.name.clone(), state(9));
    let changes = [
        Change::Put(removed.clone().into()),
        Change::State(name.clone(), state.clone().into()),
    ];
    let expected = vec![other.clone(), removed];
    assert_eq!(
        reopened(&changes)?.clients,
        expected,
        "the removed have no state"
    );

    let changes = [
        Change::Forget(name.clone()),
        Change::State(name.clone(), state.into()),
    ];
    let expected = vec![other.clone()];
    assert_eq!(
        reopened(&changes)?.clients,
        expected,
        "the forgotten do not come back"
    );
    assert_eq!(
        reopened(&[Change::Forget(name)])?.clients,
        expected,
        "forgetting twice is fine"
    );

    let changes = [
        Change::Forget(other.name.clone()),
        Change::Put(other.clone().into()),
        Change::Put(whole.clone().into()),
    ];
    let expected = vec![other, whole];
    assert_eq!(
        reopened(&changes)?.clients,
        expected,
        "a batch is carried out in order"
    );
    check_tombstones(&mut open)?;
    check_secrets(&mut open)?;
    check_record(open)
}

/// The part about tombstones; the store has none at first.
fn check_tombstones<S: Store>(open: &mut impl FnMut() -> S) -> Result<(), StoreError> {
    let mut reopened = |changes: &[Change]| {
        open().commit(changes)?;
        let mut saved = open().load()?;
        saved.tombstones.sort_by_key(Tombstone::owner);
        Ok::<_, StoreError>((saved.tombstones, saved.trust))
    };
    let tombstone = |seed: u8| Tombstone {
        since: Wall::from_unix_micros(seed.into()),
        client: client("gone", seed),
    };
    let (first, second) = (tombstone(77), tombstone(2));
    let mut nameless = tombstone(3);
    nameless.client.configured.key_id = None;
    nameless.client.added = None;
    nameless.client.presence = ClientPresence::Removed;
    let bury = |it: &Tombstone| Change::PutTombstone(it.clone().into());
    let all = [bury(&first), bury(&second), bury(&nameless)];
    let expected = vec![second.clone(), first.clone(), nameless.clone()];
    assert_eq!(
        reopened(&all)?,
        (expected, Trust::Full),
        "each is there, in full"
    );
    let mut later = first.clone();
    later.since = Wall::from_unix_micros(1000);
    later.client.presence = ClientPresence::Removed;
    let changes = [
        bury(&later),
        Change::DeleteTombstone(second.owner()),
        Change::DeleteTombstone(nameless.owner()),
        Change::DeleteTombstone(nameless.owner()),
        Change::Trust(Trust::None),
    ];
    let expected = (vec![later.clone()], Trust::None);
    assert_eq!(
        reopened(&changes)?,
        expected,
        "the last word on each counts"
    );
    let changes = [
        Change::DeleteTombstone(later.owner()),
        Change::Trust(Trust::Full),
    ];
    assert_eq!(reopened(&changes)?, (Vec::new(), Trust::Full));
    Ok(())
}

/// The part about named secrets; the store has none at first.
fn check_secrets<S: Store>(open: &mut impl FnMut() -> S) -> Result<(), StoreError> {
    let mut reopened = |changes: &[Change]| {
        open().commit(changes)?;
        let mut saved = open().load()?;
        saved.secrets.sort_by_key(|it| (it.host, it.name.clone()));
        Ok::<_, StoreError>((saved.secrets, saved.trust))
    };
    let put = |secret: &SavedSecret| Change::PutSecret {
        client: None,
        secret: secret.clone().into(),
    };
    let (first, second, third) = (secret(1, "a", 2), secret(1, "b", 4), secret(2, "a", 6));
    let all = [put(&third), put(&first), put(&second)];
    let expected = vec![first.clone(), second.clone(), third.clone()];
    assert_eq!(
        reopened(&all)?,
        (expected, Trust::Full),
        "each host key and name is a row, in full"
    );
    let (newer, removed) = (secret(1, "a", 12), secret(1, "b", 3));
    let changes = [
        put(&newer),
        put(&removed),
        Change::DeleteSecret(third.host, third.name.clone()),
        Change::DeleteSecret(third.host, third.name),
    ];
    assert_eq!(
        reopened(&changes)?.0,
        [newer.clone(), removed],
        "the last word on each counts, and a removed one keeps its serial"
    );
    let changes = [put(&second), Change::ForgetSecrets, put(&newer)];
    assert_eq!(reopened(&changes)?.0, [newer], "only what was put since");
    assert_eq!(reopened(&[Change::ForgetSecrets])?.0, []);
    Ok(())
}

/// The part about the audit log, which is empty at first.
fn check_record<S: Store>(mut open: impl FnMut() -> S) -> Result<(), StoreError> {
    assert_eq!(
        open().ends(),
        ChainEnds::default(),
        "the audit log is empty"
    );
    let added: Vec<Change> = (1..=6)
        .map(|seed| Change::Record(entry(seed).into()))
        .collect();
    let mut lines = open().commit(&added[..4])?;
    lines.extend(open().commit(&added[4..])?);
    let texts: Vec<_> = lines.iter().map(|line| line.text.clone()).collect();
    let expected: Vec<_> = (1..=6).map(|seed| entry(seed).text).collect();
    assert_eq!(texts, expected, "entries are told in order");
    let head = verified(ChainPosition::default(), &lines);
    assert_eq!(open().ends().head, head, "the end is the last entry");
    let all = RecordSelection::default();
    let mut find = |query: RecordSelection| open().records(&query);
    assert_eq!(find(all.clone())?.lines, lines, "all are there");
    let first = find(RecordSelection {
        limit: 4,
        ..all.clone()
    })?;
    assert_eq!((first.lines.len(), first.next), (4, Some(4)));
    let rest = find(RecordSelection {
        after: 4,
        ..all.clone()
    })?;
    assert_eq!((&rest.lines[..], rest.next), (&lines[4..], None));
    let newest = find(RecordSelection {
        limit: 2,
        newest: true,
        ..all.clone()
    })?;
    assert_eq!(newest.lines, lines[4..], "the newest, oldest first");
    let mut numbers = |query: RecordSelection| {
        let lines = find(query)?.lines;
        Ok::<_, StoreError>(lines.iter().map(|line| line.seq).collect::<Vec<_>>())
    };
    let of_one = RecordSelection {
        client: Some("client1".to_owned()),
        ..all.clone()
    };
    assert_eq!(numbers(of_one)?, [1, 4], "those of one client");
    let since = RecordSelection {
        since: Some(Wall::from_unix_micros(500)),
        ..all.clone()
    };
    assert_eq!(numbers(since)?, [5, 6], "those since then");
    let kinds = RecordSelection {
        kinds: vec![RecordKind::Refused],
        ..all.clone()
    };
    assert_eq!(numbers(kinds)?, [1, 3, 5], "those of a kind");
    let alarms = RecordSelection {
        alarms: true,
        ..all.clone()
    };
    assert_eq!(numbers(alarms)?, [6], "alarms");

    let drop = Change::DropRecords(Wall::from_unix_micros(300));
    open().commit(&[drop.clone(), drop])?;
    let ends = open().ends();
    assert_eq!((ends.anchor.seq, ends.head), (2, head), "old ones go");
    assert_eq!(open().records(&all)?.lines, lines[2..]);
    assert_eq!(verified(ends.anchor, &lines[2..]), head);
    open().commit(&[Change::DropRecords(Wall::from_unix_micros(1000))])?;
    let ends = open().ends();
    assert_eq!((ends.anchor, ends.head), (head, head), "all may go");
    let next = open().commit(&[Change::Record(entry(7).into())])?;
    assert_eq!(verified(head, &next).seq, 7, "the chain goes on");
    Ok(())
}

fn verified(from: ChainPosition, lines: &[RecordLine]) -> ChainPosition {
    let checked = lines.iter().try_fold(from, |at, line| at.check(line));
    checked.unwrap()
}

fn entry(seed: i64) -> RecordEntry {
    let client = ClientName::new(&format!("client{}", seed % 3)).unwrap();
    RecordEntry {
        time: Wall::from_unix_micros(seed * 100),
        kind: if seed % 2 == 0 {
            RecordKind::Released
        } else {
            RecordKind::Refused
        },
        client: (seed % 3 != 0).then_some(client),
        alarm: seed == 6,
        text: format!(r#"{{"seed":{seed}}}"#).into(),
    }
}
