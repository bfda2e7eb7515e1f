//! Programs that a test runs to their end, and the files that they leave.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a program with `input` on its standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading it all; then its status shows the error.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Runs a program that must succeed; returns its standard output.
pub fn succeed(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let output = run(command, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output.stdout
}

/// Gives nightlatch-agent places in `folder` for all that it reads and writes, and its keys as the service manager would. A
/// test that leaves one out takes that of the machine on which it runs.
pub fn agent_places<'c>(command: &'c mut Command, folder: &Path) -> &'c mut Command {
    for (option, name) in [
        ("--config", "agent.conf"),
        ("--trusted-servers", "trusted"),
        ("--boot-seed", "run/boot-seed"),
        ("--state", "state"),
        ("--runtime", "runtime"),
        ("--get-folder", "get"),
        ("--admin-keys", "admin-keys"),
    ] {
        command.arg(option).arg(folder.join(name));
    }
    command
        .env("CREDENTIALS_DIRECTORY", folder.join("keys"))
        .env_remove("NOTIFY_SOCKET")
}

/// The name and the content of every file in a folder.
pub fn contents(folder: &Path) -> Vec<(OsString, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}
