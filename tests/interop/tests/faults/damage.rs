//! State that cannot be used: a clear error, a hint, and not a byte of it changed.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};

use nightlatch_store::FILE_NAME;
use nightlatch_test_support::programs::contents;

use crate::fixture::{Machine, ServerFolders, service};

/// A server with some state.
fn lived_in() -> ServerFolders {
    let a = Machine::new("a");
    let fixture = ServerFolders::new(&a.section(""));
    let server = fixture.start(&[]);
    a.is_served(&server);
    assert!(server.running.terminate().status.success());
    fixture
}

/// Damages the database and checks that it is refused as it is.
fn is_refused(damage: impl FnOnce(&fs::File), expected: &[&str]) {
    let fixture = lived_in();
    // The WAL would repair the database.
    let _ = fs::remove_file(fixture.state().join(format!("{FILE_NAME}-wal")));
    let path = fixture.state().join(FILE_NAME);
    damage(&fs::File::options().write(true).open(path).unwrap());
    let before = contents(&fixture.state());
    fixture.fails(74, expected);
    // An empty log beside it is all that looking at it may leave.
    let after = contents(&fixture.state());
    assert!(before.iter().all(|file| after.contains(file)), "changed");
    let added = after.iter().filter(|file| !before.contains(file));
    assert!(added.clone().all(|(_, bytes)| bytes.is_empty()), "added");
}

#[test]
fn an_overwritten_database_is_refused() {
    let damage = |file: &fs::File| {
        let end = file.metadata().unwrap().len();
        let junk = vec![0xa5; usize::try_from(end).unwrap() - 4096];
        file.write_all_at(&junk, 4096).unwrap();
    };
    is_refused(damage, &["is damaged", "hint: restore a backup"]);
}

#[test]
fn a_truncated_database_is_refused() {
    is_refused(
        |file| file.set_len(5000).unwrap(),
        &["is damaged", "hint: restore a backup"],
    );
}

#[test]
fn another_programs_database_is_refused() {
    // The application id (sqlite.org/fileformat2.html, 1.3).
    is_refused(
        |file| file.write_all_at(b"NOPE", 68).unwrap(),
        &[
            "is not a state file of this server",
            "hint: move the file away",
        ],
    );
}

#[test]
fn what_is_no_database_is_refused() {
    is_refused(
        |file| {
            file.set_len(0).unwrap();
            file.write_all_at(b"dear diary", 0).unwrap();
        },
        &[
            "is damaged: it does not begin as a database does",
            "hint: restore a backup",
        ],
    );
}

#[test]
fn a_folder_that_the_service_cannot_write_to_is_refused() {
    let fixture = ServerFolders::new("");
    if service().is_some() {
        chown(fixture.state(), Some(0), Some(0)).unwrap();
    }
    fs::set_permissions(fixture.state(), fs::Permissions::from_mode(0o555)).unwrap();
    fixture.fails(
        74,
        &["cannot be written", "hint: let the server's user own"],
    );
    assert!(contents(&fixture.state()).is_empty());
}

#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    let fixture = ServerFolders::new("");
    fs::set_permissions(fixture.state(), fs::Permissions::from_mode(0o777)).unwrap();
    fixture.fails(74, &["is open to other users", "hint: run: chmod 0700"]);
}
