//! The packages that `make deb` built, and the same again with a higher version.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{repository, text};

/// The Debian packages of Nightlatch.
pub const PACKAGES: [&str; 5] = [
    "nightlatch",
    "nightlatch-server",
    "nightlatch-client",
    "nightlatch-card",
    "nightlatch-mandos",
];

/// The folder with the built packages.
pub fn folder() -> PathBuf {
    repository().join("target/deb")
}

/// The file of a package.
///
/// # Panics
/// When it was not built.
pub fn file(package: &str) -> PathBuf {
    let start = format!("{package}_");
    let files = std::fs::read_dir(folder()).into_iter().flatten().flatten();
    let found = files.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&start) && name.ends_with(".deb"))
    });
    found.unwrap_or_else(|| panic!("{package} is not built: run `make deb` first"))
}

/// A folder with packages that differ from those in [`folder`] only by a higher version. Built once.
///
/// # Panics
/// When they cannot be built.
pub fn higher() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let version = text(
                Command::new("dpkg-deb")
                    .arg("-f")
                    .args([file("nightlatch").as_path(), Path::new("Version")]),
            );
            let folder = repository().join("target/deb-higher");
            text(
                Command::new(repository().join("scripts/deb"))
                    .arg(format!("{}+higher", version.trim()))
                    .arg(&folder),
            );
            folder
        })
        .clone()
}

/// A line of `dpkg-deb --contents`.
#[derive(Debug, PartialEq, Eq)]
pub struct PackageEntry {
    /// As ls(1) shows it: `-rwxr-xr-x`.
    pub mode: String,
    /// User and group, as `root/root`.
    pub owner: String,
    /// The path, as `/usr/sbin/nightlatchd`.
    pub path: String,
    /// The target of a link.
    pub target: Option<String>,
}

/// The files in a package.
///
/// # Panics
/// When it is no package.
pub fn contents(package: &str) -> Vec<PackageEntry> {
    let listing = text(
        Command::new("dpkg-deb")
            .arg("--contents")
            .arg(file(package)),
    );
    let entry = |line: &str| {
        let (path, target) = match line.split_once(" -> ") {
            Some((line, target)) => (line, Some(target.to_owned())),
            None => (line, None),
        };
        let mut words = path.split_whitespace();
        let mode = words.next()?.to_owned();
        let owner = words.next()?.to_owned();
        let path = words.nth(3)?.trim_start_matches('.');
        Some(PackageEntry {
            mode,
            owner,
            path: path.to_owned(),
            target,
        })
    };
    listing.lines().filter_map(entry).collect()
}
