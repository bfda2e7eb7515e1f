//! The Debian packages: what is in them, and throw-away systems to install them in.
#![forbid(unsafe_code)]

pub mod debs;
pub mod system;

use std::path::PathBuf;
use std::process::{Command, Output};

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// The output of a command that must succeed.
///
/// # Panics
/// When it fails, with all of its output.
pub fn text(command: &mut Command) -> String {
    let output = output(command);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{printed}{errors}",
        output.status
    );
    printed
}
