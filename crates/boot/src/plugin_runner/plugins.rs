//! The plugins: the files of the directory that count, and their start.
//!
//! Only root (and this program's user) may be able to put a plugin into its place: the file, its folder, and every
//! folder and link on the way are checked. A plugin is run by the descriptor of the file that was checked.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightlatch_sys::identity::{ProgramIdentity, start_as};
use nightlatch_sys::privileges;
use nightlatch_sys::trusted::{TrustError, check_folder};
use rustix::process::geteuid;

use super::options::PluginRunnerOptions;
use crate::applet::Privilege;
use crate::log::{AppletLog, format_error};
use crate::process::PasswordProcess;
use crate::program::TrustedProgram;

/// Names that editors and package managers leave behind.
const LEFT_BEHIND: [&str; 5] = ["~", ".dpkg-new", ".dpkg-old", ".dpkg-bak", ".dpkg-divert"];

/// Whom a plugin learns from where its helpers are.
const HELPERS: &str = "MANDOSPLUGINHELPERDIR";

#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    /// It cannot be read.
    #[error("cannot read the plugin directory {0}")]
    Read(PathBuf, #[source] io::Error),
    /// Others could put programs into it.
    #[error("the plugin directory {0} is not used")]
    Untrusted(PathBuf, #[source] TrustError),
}

/// A program that may give a password.
#[derive(Debug)]
pub(super) struct Plugin {
    /// Its file's name.
    pub(super) name: OsString,
    program: TrustedProgram,
    /// That of the applet, when the plugin is this very program.
    privilege: Privilege,
}

/// The plugins of the directory that are not disabled, in the order of their names.
pub(super) fn find(
    options: &PluginRunnerOptions,
    log: AppletLog,
) -> Result<Vec<Plugin>, DirectoryError> {
    let directory = &options.directory;
    let unreadable = |error| DirectoryError::Read(directory.clone(), error);
    // Said before it is said why it cannot be looked at.
    fs::metadata(directory).map_err(unreadable)?;
    check_folder(directory, geteuid().as_raw())
        .map_err(|error| DirectoryError::Untrusted(directory.clone(), error))?;
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
        match open(directory, name) {
            Ok(plugin) => plugins.push(plugin),
            Err(error) => log.info(&format_error(&error)),
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

/// A file is not run.
#[derive(Debug, thiserror::Error)]
#[error("leaving out plugin {0:?}")]
struct PluginError(OsString, #[source] TrustError);

fn open(directory: &Path, name: OsString) -> Result<Plugin, PluginError> {
    let program = match TrustedProgram::open(&directory.join(&name)) {
        Ok(program) => program,
        Err(error) => return Err(PluginError(name, error)),
    };
    let privilege = match program {
        TrustedProgram::Myself => crate::privilege_of(&name),
        TrustedProgram::Other(_) | TrustedProgram::Any(_) => Privilege::None,
    };
    Ok(Plugin {
        name,
        program,
        privilege,
    })
}

impl Plugin {
    pub(super) fn start(&self, options: &PluginRunnerOptions) -> io::Result<PasswordProcess> {
        let own = options.plugins.get(&self.name);
        let mut command = self.program.command_for_others();
        command
            .arg0(&self.name)
            .args(options.arguments_of(&self.name));
        command.env(HELPERS, &options.helper_directory);
        let special = own.iter().flat_map(|own| &own.environment);
        for setting in options.environment.iter().chain(special) {
            set_environment(&mut command, setting);
        }
        // Only root can start a program as another user.
        if privileges::is_root() && self.privilege != Privilege::Root {
            let identity = ProgramIdentity {
                user: options.user,
                group: options.group,
                effective_root: self.privilege == Privilege::Lowers,
            };
            start_as(&mut command, identity);
        }
        PasswordProcess::start(&mut command)
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
