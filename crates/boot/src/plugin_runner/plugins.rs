//! The plugins: which files of the directory count, and how each is started.
//!
//! A file is opened once and run by that descriptor, so that what was checked is what runs.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightlatch_sys::identity::{Identity, leave_open, start_as};
use nightlatch_sys::privileges;

use super::options::Options;
use crate::Privilege;
use crate::log::{Log, chain};
use crate::process::Process;

/// Names that editors and package managers leave behind.
const LEFT_BEHIND: [&str; 5] = ["~", ".dpkg-new", ".dpkg-old", ".dpkg-bak", ".dpkg-divert"];

/// This very program.
const MYSELF: &str = "/proc/self/exe";

/// Whom a plugin learns from where its helpers are.
const HELPERS: &str = "MANDOSPLUGINHELPERDIR";

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    /// It cannot be read.
    #[error("cannot read the plugin directory {0}")]
    Read(PathBuf, #[source] io::Error),
    /// Others could put programs into it.
    #[error("the plugin directory {0} is writable for everyone: expected `chmod o-w {0}`")]
    Writable(PathBuf),
}

/// A program that may give a password.
#[derive(Debug)]
pub(super) struct Plugin {
    /// Its file's name.
    pub(super) name: OsString,
    file: File,
    /// What it may, because it is an applet of this very program.
    privilege: Privilege,
}

/// The plugins of the directory that are not disabled, in the order of their names.
pub(super) fn find(options: &Options, log: Log) -> Result<Vec<Plugin>, DirectoryError> {
    let directory = &options.directory;
    let unreadable = |error| DirectoryError::Read(directory.clone(), error);
    if is_open_to_all(&fs::metadata(directory).map_err(unreadable)?) {
        return Err(DirectoryError::Writable(directory.clone()));
    }
    let myself = fs::metadata(MYSELF).ok();
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name());
    }
    names.sort();
    let mut plugins = Vec::new();
    for name in names {
        let disabled = options.plugins.get(&name).is_some_and(|one| one.disabled);
        if disabled || !is_plugin_name(&name) {
            log.debug(|| format!("leaving out {name:?}"));
            continue;
        }
        match open(directory, name, myself.as_ref()) {
            Ok(plugin) => plugins.push(plugin),
            Err(error) => log.say(&chain(&error)),
        }
    }
    Ok(plugins)
}

fn is_plugin_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let in_hashes = name.len() > 1 && name.starts_with(b"#") && name.ends_with(b"#");
    let left_behind = LEFT_BEHIND.iter().any(|end| name.ends_with(end.as_bytes()));
    !name.starts_with(b".") && !in_hashes && !left_behind
}

/// Why a file is not run.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("leaving out plugin {0:?}")]
    Open(OsString, #[source] io::Error),
    #[error("leaving out plugin {0:?}: expected an executable file")]
    NotExecutable(OsString),
    #[error("leaving out plugin {0:?}, which is writable for everyone: expected `chmod o-w`")]
    Writable(OsString),
}

fn open(directory: &Path, name: OsString, myself: Option<&Metadata>) -> Result<Plugin, FileError> {
    let path = directory.join(&name);
    let failed = |error| FileError::Open(name.clone(), error);
    // Asked before it is opened: opening a FIFO or a device may wait or do things.
    let seen = fs::metadata(&path).map_err(failed)?;
    if !seen.is_file() || seen.mode() & 0o111 == 0 {
        return Err(FileError::NotExecutable(name));
    }
    let file = File::open(&path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    if is_open_to_all(&opened) {
        return Err(FileError::Writable(name));
    }
    let same = |one: &Metadata| (one.dev(), one.ino()) == (opened.dev(), opened.ino());
    let privilege = match myself.is_some_and(same) {
        true => crate::privilege_of(&name),
        false => Privilege::None,
    };
    Ok(Plugin {
        name,
        file,
        privilege,
    })
}

fn is_open_to_all(file: &Metadata) -> bool {
    file.mode() & 0o002 != 0
}

impl Plugin {
    /// Starts it.
    pub(super) fn start(&self, options: &Options) -> io::Result<Process> {
        let own = options.plugins.get(&self.name);
        let descriptor = self.file.as_raw_fd();
        // By /proc and not by /dev/fd, which an initramfs may lack.
        let mut command = Command::new(format!("/proc/self/fd/{descriptor}"));
        command
            .arg0(&self.name)
            .args(own.iter().flat_map(|own| &own.arguments))
            .args(&options.arguments);
        command.env(HELPERS, &options.helper_directory);
        let special = own.iter().flat_map(|own| &own.environment);
        for setting in options.environment.iter().chain(special) {
            set_environment(&mut command, setting);
        }
        if self.is_script() {
            // Its interpreter opens it again.
            leave_open(&mut command, descriptor);
        }
        // Who is not root tries things out, and can only be who he is.
        if privileges::is_root() && self.privilege != Privilege::Root {
            let identity = Identity {
                user: options.user,
                group: options.group,
                effective_root: self.privilege == Privilege::Lowers,
            };
            start_as(&mut command, identity);
        }
        Process::start(&mut command)
    }

    fn is_script(&self) -> bool {
        let mut start = [0; 2];
        self.file.read_exact_at(&mut start, 0).is_ok() && start == *b"#!"
    }
}

fn set_environment(command: &mut Command, setting: &OsStr) {
    let bytes = setting.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(equals) => command.env(
            OsStr::from_bytes(&bytes[..equals]),
            OsStr::from_bytes(&bytes[equals + 1..]),
        ),
        None => command.env_remove(setting),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_no_plugins() {
        for bad in [
            ".x",
            "#x#",
            "##",
            "x~",
            "x.dpkg-new",
            "x.dpkg-old",
            "x.dpkg-bak",
            "x.dpkg-divert",
        ] {
            assert!(!is_plugin_name(OsStr::new(bad)), "{bad}");
        }
        for good in ["x", "#x", "x#", "x.dpkg", "x y", "mandos-client", "#"] {
            assert!(is_plugin_name(OsStr::new(good)), "{good}");
        }
    }
}
