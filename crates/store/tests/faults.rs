//! Damaged, foreign and newer files, a full disk, missing permissions: each gives a clear error, and nothing is lost.
#![allow(
    clippy::unwrap_used,
    reason = "unwrap in a test is the assertion itself"
)]

mod samples;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nightlatch_core::client::saved::{Change, End, Trust};
use nightlatch_core::time::BootId;
use nightlatch_store::{FILE_NAME, Rollback, SqliteStore, Store, StoreContext, StoreError};
use nightlatch_test_support::programs::contents;

fn put(seed: u8) -> Change {
    Change::Put(samples::client(&format!("client {seed}"), seed).into())
}

fn filled(dir: &Path, clients: u8) -> SqliteStore {
    let mut store = SqliteStore::open(dir).unwrap();
    for seed in 0..clients {
        store.commit(&[put(seed)]).unwrap();
    }
    store
}

fn error(dir: &Path) -> StoreError {
    SqliteStore::open(dir).err().unwrap()
}

#[test]
fn a_second_server_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = filled(dir.path(), 1);
    let refused = error(dir.path());
    assert!(matches!(refused, StoreError::InUse(_)), "{refused}");
    assert!(refused.hint().unwrap().contains("--statedir"));
    drop(first);
    SqliteStore::open(dir.path()).unwrap();
}

#[test]
fn another_program_cannot_write_to_an_open_store() {
    let dir = tempfile::tempdir().unwrap();
    let _store = filled(dir.path(), 1);
    let db = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    db.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(db.execute("DELETE FROM configured", []).is_err());
}

#[test]
fn files_and_directory_are_born_private() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("new/state");
    let _store = filled(&state, 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let files: Vec<_> = fs::read_dir(&state).unwrap().collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn what_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 1));
    let file = dir.path().join(FILE_NAME);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = error(dir.path());
    let expected = format!("{} is open to other users (mode 0640)", file.display());
    assert_eq!(refused.to_string(), expected);
    assert_eq!(
        refused.hint().unwrap(),
        format!("run: chmod 0600 {}", file.display())
    );
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
    assert!(matches!(
        error(dir.path()),
        StoreError::Exposed { mode: 0o770, .. }
    ));
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE_NAME);
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute_batch("CREATE TABLE music (title TEXT)").unwrap();
    drop(db);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let before = fs::read(&file).unwrap();
    assert!(matches!(error(dir.path()), StoreError::Foreign(_)));
    assert!(fs::read(&file).unwrap() == before);
}

#[test]
fn a_later_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 1));
    let file = dir.path().join(FILE_NAME);
    let db = rusqlite::Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 6).unwrap();
    drop(db);
    let before = contents(dir.path());
    let refused = error(dir.path());
    assert!(
        matches!(
            refused,
            StoreError::Newer {
                found: 6,
                known: 5,
                ..
            }
        ),
        "{refused}"
    );
    assert!(contents(dir.path()) == before);
}

/// Damages a store in every way of the list: each damage is noticed, and nothing is overwritten.
#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let whole = tempfile::tempdir().unwrap();
    let many: Vec<_> = (0..60).map(put).collect();
    filled(whole.path(), 0).commit(&many).unwrap();
    let sound = fs::read(whole.path().join(FILE_NAME)).unwrap();
    type Damage = fn(&mut Vec<u8>);
    let damaged: [(&str, Damage); 5] = [
        ("no database at all", |b| *b = b"garbage".repeat(1000)),
        ("empty", Vec::clear),
        ("truncated", |b| b.truncate(b.len() / 2)),
        ("a page overwritten", |b| b[8192..12288].fill(0xff)),
        ("header overwritten", |b| b[16..100].fill(0)),
    ];
    for (how, damage) in damaged {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE_NAME);
        let mut bytes = sound.clone();
        damage(&mut bytes);
        drop(filled(dir.path(), 0));
        fs::write(&file, &bytes).unwrap();
        let refused = error(dir.path());
        assert!(
            matches!(refused, StoreError::Corrupt { .. } | StoreError::Foreign(_)),
            "{how}: {refused:?}"
        );
        assert!(refused.hint().is_some());
        assert!(fs::read(&file).unwrap() == bytes, "{how}");
    }
}

#[test]
fn a_store_restored_from_an_old_backup_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE_NAME);
    drop(filled(dir.path(), 3));
    let backup = fs::read(&file).unwrap();
    let mut store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(store.rollback(), None);
    store.commit(&[put(9)]).unwrap();
    store.commit(&[put(10)]).unwrap();
    drop(store);
    fs::write(&file, backup).unwrap();
    let store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(
        store.rollback(),
        Some(Rollback {
            marked: 5,
            found: 3
        })
    );
    drop(store);
    fs::remove_file(&file).unwrap();
    let store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(
        store.rollback(),
        Some(Rollback {
            marked: 5,
            found: 0
        })
    );
}

fn trust(store: &mut SqliteStore) -> Trust {
    store.load().unwrap().trust
}

#[test]
fn a_state_that_is_behind_its_mark_is_not_believed_until_somebody_said_so() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 3));
    fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
    // Opening alone does not end the distrust.
    for _ in 0..2 {
        let mut store = SqliteStore::open(dir.path()).unwrap();
        assert_eq!(trust(&mut store), Trust::None);
    }
    // Nor does a commit without a change of the trust.
    let mut store = SqliteStore::open(dir.path()).unwrap();
    store.commit(&[put(9)]).unwrap();
    drop(store);
    let mut store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!((store.rollback(), trust(&mut store)), (None, Trust::None));
    store.commit(&[Change::Trust(Trust::Partial)]).unwrap();
    drop(store);
    let mut store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(trust(&mut store), Trust::Partial);
}

#[test]
fn a_state_that_is_missing_beside_traces_of_a_server_was_lost() {
    for was_used in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let context = StoreContext {
            was_used,
            ..StoreContext::default()
        };
        let expected = if was_used { Trust::None } else { Trust::Full };
        // Also when the first try was cut short.
        drop(SqliteStore::open_in(dir.path(), &context).unwrap());
        let mut store = SqliteStore::open_in(dir.path(), &context).unwrap();
        assert_eq!(trust(&mut store), expected);
    }
}

#[test]
fn the_log_of_a_database_that_is_gone_does_not_go_into_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join(format!("{FILE_NAME}-wal"));
    // A server that ends leaves its log behind.
    let store = filled(dir.path(), 3);
    let pages = fs::read(&log).unwrap();
    assert!(!pages.is_empty());
    drop(store);
    fs::write(&log, pages).unwrap();
    for file in [FILE_NAME, "generation"] {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    for _ in 0..2 {
        let mut store = SqliteStore::open(dir.path()).unwrap();
        assert!(store.load().unwrap().clients.is_empty());
        assert_eq!(trust(&mut store), Trust::None);
    }
    assert!(dir.path().join(format!("{FILE_NAME}-wal.lost")).is_file());
}

#[test]
fn a_directory_that_was_lost_or_restored_as_a_whole_is_noticed_by_the_second_mark() {
    let dir = tempfile::tempdir().unwrap();
    let (state, mark) = (dir.path().join("state"), dir.path().join("mark"));
    fs::create_dir(&mark).unwrap();
    let context = StoreContext {
        second_mark: Some(mark.clone()),
        ..StoreContext::default()
    };
    let open = || SqliteStore::open_in(&state, &context).unwrap();
    let mut store = open();
    store.commit(&[put(1)]).unwrap();
    drop(store);
    let backup = contents(&state);
    let mut store = open();
    assert_eq!(trust(&mut store), Trust::Full);
    store.commit(&[put(2)]).unwrap();
    drop(store);
    for (name, bytes) in backup {
        fs::write(state.join(name), bytes).unwrap();
    }
    let mut store = open();
    assert_eq!(trust(&mut store), Trust::None);
    store.commit(&[Change::Trust(Trust::Full)]).unwrap();
    drop(store);
    let mut store = open();
    assert_eq!(trust(&mut store), Trust::Full);
    drop(store);
    fs::remove_dir_all(&state).unwrap();
    assert_eq!(trust(&mut open()), Trust::None);
    // A mark in a directory that others can write to is ignored.
    fs::remove_dir_all(&state).unwrap();
    fs::set_permissions(&mark, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(trust(&mut open()), Trust::Full);
}

#[test]
fn how_the_last_server_ended_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let boot = BootId::from_bytes([7; 16]);
    let context = StoreContext {
        boot: Some(boot),
        ..StoreContext::default()
    };
    let open = || SqliteStore::open_in(dir.path(), &context).unwrap();
    let end = || open().load().unwrap().end;
    open().begin().unwrap();
    assert_eq!(end(), End::Cut(boot));
    let mut store = open();
    store.begin().unwrap();
    store.commit(&[put(1)]).unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(end(), End::Clean);
    // A start that decides nothing keeps the clean end.
    assert_eq!(end(), End::Clean);
    open().begin().unwrap();
    assert_eq!(end(), End::Cut(boot));
    open().commit(&[put(1)]).unwrap();
    assert_eq!(end(), End::Cut(boot));
    fs::write(dir.path().join("generation"), "00000000000000000002\n").unwrap();
    assert_eq!(end(), End::Unknown);
}

#[test]
fn an_unreadable_mark_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 3));
    fs::write(dir.path().join("generation"), b"torn").unwrap();
    assert_eq!(SqliteStore::open(dir.path()).unwrap().rollback(), None);
}

#[test]
fn a_creation_that_was_cut_short_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("nightlatch.db.new"), b"half").unwrap();
    fs::write(dir.path().join("nightlatch.db.new-journal"), b"half").unwrap();
    assert_eq!(filled(dir.path(), 1).generation(), 1);
}

#[test]
fn the_secret_of_a_removed_client_leaves_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path(), 5);
    let held = |dir: &Path| {
        let secret = [3; 300];
        let hit = |bytes: &Vec<u8>| bytes.windows(300).any(|window| window == secret);
        contents(dir).iter().any(|(_, bytes)| hit(bytes))
    };
    assert!(held(dir.path()));
    store
        .commit(&[Change::Forget(samples::client("client 3", 3).name)])
        .unwrap();
    assert!(!held(dir.path()));
}

/// Runs a test of this file in a mount namespace with a small file system at the directory given in the environment.
/// False when the host does not allow that.
fn in_small_file_system(test: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=300k,mode=700 none "$DIR" || exit 111
        "$TEST" --exact "$NAME" --nocapture; status=$?
        umount "$DIR"; exit $status"#;
    let user: &[&str] =
        match fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)) {
            Ok(0) => &[],
            _ => &["--user", "--map-root-user"],
        };
    let status = Command::new("unshare")
        .args(user)
        .args(["--mount", "sh", "-c", script])
        .env("DIR", dir.path())
        .env("TEST", std::env::current_exe().unwrap())
        .env("NAME", test)
        .env(SMALL, dir.path())
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(0)) => true,
        Ok(Some(1 | 111)) | Err(_) if !matches!(user, []) => false,
        other => panic!("{other:?}"),
    }
}

/// Set in the child that runs on a small file system: its directory.
const SMALL: &str = "NIGHTLATCH_TEST_SMALL";

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let Some(root) = std::env::var_os(SMALL) else {
        if !in_small_file_system("a_full_disk_loses_nothing_that_was_acknowledged") {
            nightlatch_test_support::skipped("needs mount namespaces");
        }
        return;
    };
    let root = Path::new(&root);
    let dir = root.join("state");
    let mut store = SqliteStore::open(&dir).unwrap();
    fs::write(root.join("ballast"), vec![0; 60_000]).unwrap();
    let mut acknowledged = 0;
    store.begin().unwrap();
    let refused = loop {
        match store.commit(&[put(acknowledged)]) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < u8::MAX, "the file system never filled up");
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    assert!(store.commit(&[put(acknowledged)]).is_err());
    // This start and the next one notice that decisions are missing.
    let now = store.load().unwrap().clients.len();
    drop(store);
    for _ in 0..2 {
        let mut next = SqliteStore::open(&dir).unwrap();
        let saved = next.load().unwrap();
        assert_eq!((saved.trust, saved.clients.len()), (Trust::None, now));
    }
    let mut store = SqliteStore::open(&dir).unwrap();
    assert_eq!(
        store.load().unwrap().clients.len(),
        usize::from(acknowledged)
    );
    fs::remove_file(root.join("ballast")).unwrap();
    let whole = Change::Trust(Trust::Full);
    store.commit(&[put(acknowledged), whole]).unwrap();
    drop(store);
    let mut store = SqliteStore::open(&dir).unwrap();
    assert_eq!(
        store.load().unwrap().clients.len(),
        usize::from(acknowledged) + 1
    );
    assert_eq!((store.rollback(), trust(&mut store)), (None, Trust::Full));
}

#[test]
fn no_store_is_made_where_there_is_no_room() {
    let Some(root) = std::env::var_os(SMALL) else {
        if !in_small_file_system("no_store_is_made_where_there_is_no_room") {
            nightlatch_test_support::skipped("needs mount namespaces");
        }
        return;
    };
    let root = Path::new(&root);
    let _ = fs::write(root.join("ballast"), vec![0; 400_000]);
    let refused = error(&root.join("state"));
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    fs::remove_file(root.join("ballast")).unwrap();
    assert_eq!(filled(&root.join("state"), 1).generation(), 1);
}

#[test]
fn a_read_only_directory_is_refused() {
    let Some(root) = std::env::var_os(SMALL) else {
        if !in_small_file_system("a_read_only_directory_is_refused") {
            nightlatch_test_support::skipped("needs mount namespaces");
        }
        return;
    };
    drop(filled(root.as_ref(), 1));
    let remount = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&root)
        .status()
        .unwrap();
    assert!(remount.success());
    let refused = error(root.as_ref());
    assert!(matches!(refused, StoreError::ReadOnly(_)), "{refused:?}");
    assert!(refused.hint().is_some());
}

/// A child between fork and exec holds copies of all descriptors, including the locked one.
#[test]
fn a_closed_store_can_be_opened_again_while_processes_are_started() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let dir = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let status = Command::new("true").status();
                    assert!(status.unwrap().success());
                }
            });
        }
        let opened: Vec<_> = (0..300)
            .map(|_| SqliteStore::open(dir.path()).map(drop))
            .collect();
        done.store(true, Ordering::Relaxed);
        let failed: Vec<_> = opened.into_iter().filter_map(Result::err).collect();
        assert!(
            failed.is_empty(),
            "{} of 300: {:?}",
            failed.len(),
            failed[0]
        );
    });
}

#[test]
fn a_server_that_one_of_two_marks_calls_running_did_not_end_well() {
    let dir = tempfile::tempdir().unwrap();
    let (state, mark) = (dir.path().join("state"), dir.path().join("mark"));
    fs::create_dir(&mark).unwrap();
    let boot = BootId::from_bytes([7; 16]);
    let context = StoreContext {
        boot: Some(boot),
        second_mark: Some(mark.clone()),
        ..StoreContext::default()
    };
    let open = || SqliteStore::open_in(&state, &context).unwrap();
    let mut store = open();
    store.begin().unwrap();
    let running = fs::read(mark.join("generation")).unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(open().load().unwrap().end, End::Clean);
    fs::write(mark.join("generation"), running).unwrap();
    assert_eq!(open().load().unwrap().end, End::Cut(boot));
}
