//! Writes the libraries that the programs contain, with their licences, as those ask for: `libraries FILE`.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId};

const PROGRAMS: [&str; 5] = [
    "nightlatch-server",
    "nightlatch-boot",
    "nightlatch-agent",
    "nightlatch-card",
    "nightlatch-cli",
];

/// Prefixes of the names of licence files.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: libraries FILE");
        return ExitCode::from(64);
    };
    match write(Path::new(&file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("libraries: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(file: &Path) -> Result<(), Box<dyn Error>> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = MetadataCommand::new()
        .manifest_path(nightlatch_packages::repository().join("Cargo.toml"))
        .features(CargoOpt::SomeFeatures(Vec::new()))
        .other_options(["--locked", "--filter-platform", &host].map(String::from))
        .exec()?;
    let mut text = String::from(
        "The programs of Nightlatch contain these libraries, under these licences.\n\n",
    );
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for library in linked(&metadata) {
        let name = format!("{} {}", library.name, library.version);
        let licence = library.license.as_deref().unwrap_or("see below");
        text.push_str(&format!("{name}: {licence}\n"));
        for licence in licences(library)? {
            texts.entry(licence).or_default().insert(name.clone());
        }
    }
    for (licence, libraries) in texts {
        let libraries: Vec<String> = libraries.into_iter().collect();
        text.push_str(&format!(
            "\n\n----- {} -----\n\n{licence}",
            libraries.join(", ")
        ));
    }
    std::fs::write(file, text)?;
    Ok(())
}

/// Libraries of others that end up in a program, by name.
fn linked(metadata: &Metadata) -> Vec<&Package> {
    let resolve = metadata.resolve.as_ref().map(|resolve| &resolve.nodes);
    let nodes: BTreeMap<&PackageId, _> = resolve
        .into_iter()
        .flatten()
        .map(|node| (&node.id, node))
        .collect();
    let programs = metadata
        .packages
        .iter()
        .filter(|package| PROGRAMS.contains(&package.name.as_str()));
    let mut next: Vec<&PackageId> = programs.map(|package| &package.id).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = next.pop() {
        if !found.insert(id) {
            continue;
        }
        let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let normal = dependencies.filter(|dependency| {
            dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
        });
        next.extend(normal.map(|dependency| &dependency.pkg));
    }
    let mut libraries: Vec<&Package> = metadata.packages.iter().collect();
    libraries.retain(|package| found.contains(&package.id) && package.source.is_some());
    libraries.sort_by_key(|package| (package.name.to_string(), package.version.clone()));
    libraries
}

/// The texts beside a library's manifest.
fn licences(library: &Package) -> std::io::Result<Vec<String>> {
    let folder = library
        .manifest_path
        .parent()
        .map(|folder| folder.as_std_path());
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if NAMES.iter().any(|start| name.starts_with(start)) && entry.file_type()?.is_file() {
            let text = String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned();
            texts.push(text.replace('\r', ""));
        }
    }
    Ok(texts)
}
