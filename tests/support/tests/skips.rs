//! No test leaves something out in silence.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::path::{Path, PathBuf};

#[test]
fn a_test_that_cannot_run_tells_the_runner() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut folders: Vec<PathBuf> = vec![root.join("crates"), root.join("tests")];
    let (mut seen, mut found) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                seen += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                let told = text
                    .split("eprintln!(")
                    .skip(1)
                    .filter_map(|call| call.split(';').next());
                let own = told.filter(|call| {
                    ["skip", "NOT RUN: this", "not root"]
                        .iter()
                        .any(|word| call.contains(word))
                });
                found.extend(own.map(|call| format!("{}: {call}", path.display())));
            }
        }
    }
    assert!(seen > 100, "the sources were not found");
    found.retain(|call| !call.contains("skips.rs"));
    assert_eq!(
        found,
        Vec::<String>::new(),
        "call nightlatch_test_support::skipped"
    );
}
