//! The walls of ARCHITECTURE.md, checked over cargo's own graph and the sources: who may link what.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

#[test]
fn the_server_cannot_decrypt_what_it_serves() {
    assert_never_links("nightlatch-server", &["nightlatch-openpgp", "pgp"]);
}

#[test]
fn the_boot_client_stays_small() {
    let banned = [
        "tokio",
        "zbus",
        "clap",
        "regex",
        "regex-automata",
        "tracing",
        "rusqlite",
    ];
    assert_never_links("nightlatch-boot", &banned);
    // serde_json stands in the tree of cx448, which the OpenPGP library brings and nothing calls
    // (docs/decisions/0040); ours must not ask for it.
    let ours = [
        "nightlatch-boot",
        "nightlatch-core",
        "nightlatch-openpgp",
        "nightlatch-proto",
        "nightlatch-ssh",
        "nightlatch-sys",
    ];
    for package in ours {
        assert!(
            !dependencies(&workspace(), package).contains("serde_json"),
            "{package} asks for serde_json"
        );
    }
}

/// It holds the host key: what it does not link cannot be turned against it.
#[test]
fn the_agent_stays_small() {
    let banned = [
        "tokio",
        "zbus",
        "clap",
        "regex",
        "regex-automata",
        "tracing",
        "rusqlite",
        "nightlatch-store",
        "nightlatch-bus",
    ];
    assert_never_links("nightlatch-agent", &banned);
    assert!(
        !dependencies(&workspace(), "nightlatch-agent").contains("serde_json"),
        "nightlatch-agent asks for serde_json"
    );
}

/// It has the PIN. No other program has a library for readers.
#[test]
fn the_agent_of_the_card_stays_small_and_alone_with_its_reader() {
    let banned = [
        "tokio",
        "zbus",
        "regex",
        "regex-automata",
        "tracing",
        "rusqlite",
        "rustls",
        "pgp",
        "nightlatch-proto",
        "nightlatch-openpgp",
        "nightlatch-store",
        "nightlatch-bus",
    ];
    assert_never_links("nightlatch-card", &banned);
    for other in [
        "nightlatch-server",
        "nightlatch-boot",
        "nightlatch-agent",
        "nightlatch-cli",
    ] {
        assert_never_links(other, &["pcsc"]);
    }
}

#[test]
fn the_core_can_do_nothing_but_decide() {
    let allowed = ["base64", "sha2", "subtle", "thiserror", "zeroize"].map(String::from);
    assert_eq!(
        dependencies(&workspace(), "nightlatch-core"),
        BTreeSet::from(allowed)
    );
    let banned = [
        "tokio",
        "libc",
        "rustix",
        "rand",
        "getrandom",
        "rustls",
        "rusqlite",
    ];
    assert_never_links("nightlatch-core", &banned);
}

#[test]
fn a_crate_knows_those_of_the_layers_below_it_only() {
    let layers: [&[&str]; 7] = [
        &["nightlatch-core"],
        // Signatures only: for the proof of a host key in proto, and for the agent of the card, which must not link proto.
        &["nightlatch-ssh"],
        &[
            "nightlatch-proto",
            "nightlatch-openpgp",
            "nightlatch-sys",
            "nightlatch-store",
        ],
        &[
            "nightlatch-bus",
            "nightlatch-handover",
            "nightlatch-console",
        ],
        &[
            "nightlatch-machine",
            "nightlatch-fleet",
            "nightlatch-import",
        ],
        // Chooses clients as fleet does.
        &["nightlatch-secrets"],
        &[
            "nightlatch-server",
            "nightlatch-boot",
            "nightlatch-agent",
            "nightlatch-card",
            "nightlatch-cli",
        ],
    ];
    let metadata = workspace();
    let ours = metadata.workspace_packages();
    let crates: BTreeSet<&str> = ours
        .iter()
        .filter(|package| package.manifest_path.as_str().contains("/crates/"))
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(BTreeSet::from_iter(layers.concat()), crates);
    for (depth, layer) in layers.iter().enumerate() {
        for root in *layer {
            let mut banned = layers[depth..].concat();
            banned.retain(|other| other != root);
            assert_never_links(root, &banned);
        }
    }
}

/// The layers alone would allow these dependencies.
#[test]
fn the_subjects_of_the_command_stay_apart_from_the_programs_and_from_each_other_s_tools() {
    let subjects = [
        "nightlatch-console",
        "nightlatch-machine",
        "nightlatch-fleet",
        "nightlatch-import",
        "nightlatch-secrets",
    ];
    assert_never_links("nightlatch-server", &subjects);
    assert_never_links("nightlatch-boot", &subjects);
    assert_never_links("nightlatch-agent", &subjects);
    assert_never_links("nightlatch-machine", &["nightlatch-bus", "zbus", "tokio"]);
    assert_never_links(
        "nightlatch-fleet",
        &["nightlatch-openpgp", "pgp", "nightlatch-proto", "rustls"],
    );
    assert_never_links(
        "nightlatch-secrets",
        &["nightlatch-machine", "nightlatch-proto", "rustls"],
    );
}

#[test]
fn unsafe_stands_in_sys_only() {
    for source in sources() {
        let root = source.path.ends_with("src/lib.rs") || source.path.ends_with("src/main.rs");
        if source.owner != "sys" && root {
            let name = source.path.display();
            assert!(
                source.text.contains("#![forbid(unsafe_code)]"),
                "{name} does not forbid unsafe code"
            );
        }
    }
}

#[test]
fn the_core_touches_neither_network_nor_files_nor_clocks() {
    let banned = [
        "std::net",
        "std::fs",
        "std::process",
        "std::thread",
        "Instant::now",
        "SystemTime",
    ];
    assert_never_says("core", |owner| owner == "core", &banned);
}

#[test]
fn tls_configurations_are_built_in_proto_only() {
    let banned = [
        "ClientConfig::builder",
        "ServerConfig::builder",
        ".dangerous()",
    ];
    assert_never_says("all but proto", |owner| owner != "proto", &banned);
}

fn workspace() -> Metadata {
    let options = [
        "--locked",
        "--offline",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ];
    MetadataCommand::new()
        .manifest_path(repository().join("Cargo.toml"))
        .other_options(options.map(String::from))
        .exec()
        .unwrap()
}

/// Direct dependencies of a package, without dev-dependencies.
fn dependencies(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == name)
        .unwrap();
    let linked = package
        .dependencies
        .iter()
        .filter(|d| d.kind == DependencyKind::Normal);
    linked.map(|dependency| dependency.name.clone()).collect()
}

fn assert_never_links(root: &str, banned: &[&str]) {
    let linked = linked(root);
    assert!(
        linked.contains(root) && linked.len() > 1,
        "the tree of {root} was misread"
    );
    for name in banned {
        assert!(!linked.contains(*name), "{root} must never link {name}");
    }
}

/// Everything that ends up in `root` when it is built alone: `cargo metadata` unifies the features
/// of the whole workspace, `cargo tree` resolves those of one package.
fn linked(root: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--prefix",
            "none",
        ])
        .args([
            "--edges",
            "normal,no-proc-macro",
            "--format",
            "{p}",
            "--package",
            root,
        ])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let lines = String::from_utf8(tree.stdout).unwrap();
    lines
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(String::from)
        .collect()
}

struct Source {
    /// The crate's folder below `crates/`.
    owner: String,
    /// The file's path below `crates/`.
    path: PathBuf,
    text: String,
}

/// Every Rust source below `crates/`.
fn sources() -> Vec<Source> {
    let root = repository().join("crates");
    let mut found = Vec::new();
    let mut todo = vec![root.clone()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_owned();
                let owner = path.iter().next().unwrap().to_string_lossy().into_owned();
                found.push(Source { owner, path, text });
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// Asserts that no production code of the chosen crates holds one of `banned`.
fn assert_never_says(who: &str, chosen: impl Fn(&str) -> bool, banned: &[&str]) {
    for source in sources() {
        let name = source.path.display().to_string();
        let test = name.contains("/tests/") || name.ends_with("/tests.rs");
        if test || !chosen(&source.owner) {
            continue;
        }
        let production = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in banned {
            assert!(!production.contains(word), "{who}: {name} says {word}");
        }
    }
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
