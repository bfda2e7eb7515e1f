//! The shell in `dist/`: shellcheck has nothing to say, and the shells of initramfs systems can read it.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything in the folders of boot systems, and the shell it is for.
fn scripts() -> Vec<(PathBuf, &'static str)> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist");
    let mut folders: Vec<PathBuf> = ["initramfs-tools", "dracut", "mkinitcpio"]
        .map(|name| dist.join(name))
        .into();
    let mut scripts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let shell = match text.lines().next() {
                Some("#!/bin/bash") => "bash",
                Some("#!/usr/bin/ash") => "busybox",
                // Without a first line of its own it is read by another script.
                _ => "sh",
            };
            scripts.push((path, shell));
        }
    }
    assert!(scripts.len() > 10, "{scripts:?}");
    scripts
}

#[test]
fn shellcheck_has_nothing_to_say() {
    for (path, shell) in scripts() {
        let shell = if shell == "busybox" { "dash" } else { shell };
        let mut shellcheck = Command::new("shellcheck");
        // Files of the boot system are not here, and a file of settings has no first line.
        shellcheck.args(["--exclude=SC1091,SC2034", "--shell", shell]);
        let output = shellcheck.arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn the_shells_of_initramfs_systems_can_read_it() {
    for (path, shell) in scripts() {
        let readers: &[&[&str]] = match shell {
            "bash" => &[&["bash"]],
            _ => &[&["dash"], &["bash", "--posix"]],
        };
        for reader in readers {
            let mut command = Command::new(reader[0]);
            command.args(&reader[1..]).arg("-n").arg(&path);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{reader:?}: {output:?}");
        }
    }
}
