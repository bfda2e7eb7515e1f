//! No two modules that stand beside each other need each other, at any level of any crate: each can be
//! read, tested and moved with what it stands on alone. A parent and its children are one subject.
//!
//! The sources are parsed by syn, so that a comment, a string or a test is never taken for a use, nor the other
//! way round.

mod graph;
mod made_up;
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use graph::{Circle, circles};
use source::Crate;

/// Circles that are still to be broken, as [`Circle::name`] tells them. The list only ever shrinks.
const STILL_THERE: &[&str] = &[
    "fleet::monitor: {draw, event, recording, state}",
    "fleet::monitor::draw: {help, layout}",
    "machine: {boot_command, image, network}",
];

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
    let problems = compare(&found, STILL_THERE);
    assert!(problems.is_empty(), "{problems}");
}

/// What is to be done where the circles are not exactly those that are allowed.
fn compare(found: &[Circle], allowed: &[&str]) -> String {
    let names: BTreeSet<&str> = found.iter().map(|circle| circle.name.as_str()).collect();
    let mut problems = String::new();
    for circle in found {
        if !allowed.contains(&circle.name.as_str()) {
            problems.push_str(&format!(
                "\na circle of modules: {}\n{}",
                circle.name, circle.uses
            ));
        }
    }
    for name in allowed.iter().filter(|name| !names.contains(**name)) {
        problems.push_str(&format!(
            "\nthis circle is no more, take it off the list: {name}\n"
        ));
    }
    problems
}
