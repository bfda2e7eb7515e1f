//! No two modules that stand beside each other need each other, at any level of any crate: each can be
//! read, tested and moved with what it stands on alone. A parent and its children are one subject.
//!
//! The sources are parsed by syn, so that a comment, a string or a test is never taken for a use, nor the other
//! way round.

mod graph;
mod made_up;
mod source;

use std::path::Path;

use graph::circles;
use source::Crate;

#[test]
fn modules_that_stand_beside_each_other_make_no_circle() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut crates: Vec<_> = std::fs::read_dir(root.join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    crates.sort();
    assert!(crates.len() > 5, "the crates were not found");
    let mut found = Vec::new();
    for folder in crates {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let read = Crate::read(root, &folder.join("src"));
        assert!(!read.uses.is_empty(), "no use was found in {name}");
        found.extend(circles(&name, &read));
    }
    let problems: String = found
        .iter()
        .map(|circle| format!("\na circle of modules: {}\n{}", circle.name, circle.uses))
        .collect();
    assert!(problems.is_empty(), "{problems}");
}
