//! The circles among the modules of a crate.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Crate, Use};

/// Modules of one level that all need each other.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Circle {
    /// `CRATE::LEVEL: {MODULE, MODULE}`.
    pub(crate) name: String,
    /// The uses that close it, a line each.
    pub(crate) uses: String,
}

/// The uses from a module to another one beside it.
type Edges<'c> = BTreeMap<(&'c str, &'c str), BTreeSet<&'c Use>>;

/// All circles of a crate, level by level.
pub(crate) fn circles(name: &str, read: &Crate) -> Vec<Circle> {
    let levels: BTreeSet<&[String]> = read
        .modules
        .keys()
        .filter_map(|path| Some(path.split_last()?.1))
        .collect();
    let mut found = Vec::new();
    for level in levels {
        let edges = edges(read, level);
        let shown = [&[name.to_owned()], level].concat().join("::");
        for members in components(&edges) {
            let list: Vec<&str> = members.iter().copied().collect();
            found.push(Circle {
                name: format!("{shown}: {{{}}}", list.join(", ")),
                uses: closing(&edges, &members),
            });
        }
    }
    found
}

fn edges<'c>(read: &'c Crate, level: &[String]) -> Edges<'c> {
    let mut edges = Edges::new();
    for one in &read.uses {
        let (Some([from, ..]), Some([to, ..])) =
            (one.from.strip_prefix(level), one.to.strip_prefix(level))
        else {
            continue;
        };
        if from != to {
            edges.entry((from, to)).or_default().insert(one);
        }
    }
    edges
}

/// The sets of modules that reach each other.
fn components<'c>(edges: &Edges<'c>) -> BTreeSet<BTreeSet<&'c str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = edges
        .keys()
        .map(|(from, _)| (*from, reach(edges, from)))
        .collect();
    reached
        .iter()
        .filter(|(module, reached)| reached.contains(*module))
        .map(|(module, there)| {
            let back = |other: &&&str| reached.get(**other).is_some_and(|it| it.contains(module));
            there.iter().filter(back).copied().collect()
        })
        .collect()
}

/// The modules that can be reached from one.
fn reach<'c>(edges: &Edges<'c>, from: &str) -> BTreeSet<&'c str> {
    let mut reached = BTreeSet::new();
    let mut todo = vec![from];
    while let Some(module) = todo.pop() {
        for (_, to) in edges.keys().filter(|(from, _)| *from == module) {
            if reached.insert(*to) {
                todo.push(to);
            }
        }
    }
    reached
}

fn closing(edges: &Edges<'_>, members: &BTreeSet<&str>) -> String {
    let inside = edges
        .iter()
        .filter(|((from, to), _)| members.contains(from) && members.contains(to));
    let mut lines = String::new();
    for ((from, to), uses) in inside {
        // One that leads through a module that hands it on is two uses in one place.
        let places: BTreeSet<_> = uses
            .iter()
            .map(|one| (&one.file, one.line, &one.written))
            .collect();
        for (file, line, written) in places {
            let file = file.display();
            lines.push_str(&format!("  {from} -> {to}  {file}:{line}  {written}\n"));
        }
    }
    lines
}
