//! A placing that is cut short at every point, and what the next one makes of it.

use super::*;

const SET: [(&str, &[u8]); 4] = [
    (FILES[0], b"one"),
    (FILES[1], b"two"),
    (FILES[2], b"three"),
    (FILES[3], b"four"),
];

fn contents(directory: &KeyDirectory) -> Vec<Option<Vec<u8>>> {
    FILES
        .iter()
        .map(|file| fs::read(directory.path().join(file)).ok())
        .collect()
}

fn whole() -> Vec<Option<Vec<u8>>> {
    SET.iter().map(|(_, text)| Some(text.to_vec())).collect()
}

fn entries(directory: &KeyDirectory) -> usize {
    fs::read_dir(directory.path()).unwrap().count()
}

#[test]
fn a_set_cut_short_before_it_was_decided_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::new(temporary.path());
    fs::create_dir(temporary.path().join(PARTIAL)).unwrap();
    fs::write(temporary.path().join(PARTIAL).join(FILES[1]), "half").unwrap();
    directory.writer().unwrap();
    assert_eq!(entries(&directory), 0);
}

#[test]
fn a_set_cut_short_at_any_later_point_is_completed() {
    for (existing, old) in [(Existing::Refuse, false), (Existing::Replace, true)] {
        for placed in 0..=FILES.len() {
            let temporary = tempfile::tempdir().unwrap();
            let directory = KeyDirectory::new(temporary.path());
            if old {
                for file in FILES {
                    fs::write(temporary.path().join(file), "old").unwrap();
                }
            }
            {
                let writer = directory.writer().unwrap();
                writer.stage(&SET, existing).unwrap();
                let ready = temporary.path().join(existing.ready());
                for file in &FILES[..placed] {
                    if old {
                        writer.clear(file).unwrap();
                    }
                    fs::hard_link(ready.join(file), temporary.path().join(file)).unwrap();
                }
            }
            directory.writer().unwrap();
            assert_eq!(contents(&directory), whole(), "after {placed}");
            // With --force, the two public files have left a backup each.
            assert_eq!(entries(&directory), if old { 6 } else { 4 });
        }
    }
}

#[test]
fn only_one_at_a_time_writes() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::new(temporary.path());
    let _first = directory.writer().unwrap();
    assert!(directory.writer().is_err());
}

#[test]
fn a_link_in_the_place_of_a_private_key_does_not_lead_to_its_target() {
    let temporary = tempfile::tempdir().unwrap();
    let target = temporary.path().join("precious");
    fs::write(&target, "precious").unwrap();
    let link = temporary.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    wipe(&link).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert!(link.symlink_metadata().is_err());
}
