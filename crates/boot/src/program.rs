//! A program that an applet starts: this one, or one that only root can have put into its place.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightlatch_sys::trusted::{Executable, TrustError};
use rustix::process::geteuid;

/// This program, whatever the name of its file. It runs already, so running it again is safe whoever owns it.
const MYSELF: &str = "/proc/self/exe";

/// A program that may be started.
#[derive(Debug)]
pub(crate) enum TrustedProgram {
    Myself,
    Other(Executable),
    /// For a user other than root, who has no privilege to lose.
    Any(OsString),
}

impl TrustedProgram {
    /// The file at `path`: this program, or one that root (or this program's user) owns with everything on the way to
    /// it, and that no other user can write to.
    pub(crate) fn open(path: &Path) -> Result<Self, TrustError> {
        match is_myself(path) {
            true => Ok(Self::Myself),
            false => Executable::open(path, geteuid().as_raw()).map(Self::Other),
        }
    }

    /// The program that a command line names, by its path or to be found in `PATH`.
    pub(crate) fn named(name: &OsStr) -> Result<Self, TrustError> {
        match geteuid().is_root() {
            true => Self::open(&find(name)),
            false => Ok(Self::Any(name.to_owned())),
        }
    }

    /// As [`command`](Self::command), for another user who may have no right to search the program's folder.
    pub(crate) fn command_for_others(&self) -> Command {
        match self {
            Self::Other(program) => program.command_for_others(),
            Self::Myself | Self::Any(_) => self.command(),
        }
    }

    /// Starts the program; `self` must outlive the start.
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Myself => Command::new(MYSELF),
            Self::Other(program) => program.command(),
            Self::Any(name) => Command::new(name),
        }
    }
}

fn is_myself(path: &Path) -> bool {
    let same = |one: &fs::Metadata, other: &fs::Metadata| {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    match (fs::metadata(path), fs::metadata(MYSELF)) {
        (Ok(found), Ok(myself)) => same(&found, &myself),
        _ => false,
    }
}

/// As a shell finds it. What is in no folder is looked for where it cannot be, so that the error names it.
fn find(name: &OsStr) -> PathBuf {
    let named = PathBuf::from(name);
    if named.components().count() != 1 || named.is_absolute() {
        return named;
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&folders).map(|folder| folder.join(name));
    let found = places.find(|place| fs::metadata(place).is_ok_and(|file| file.is_file()));
    found.unwrap_or(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        assert!(find(OsStr::new("sh")).ends_with("sh") && find(OsStr::new("sh")).is_absolute());
        for plain in ["/x/y", "x/y", "./x", "no-such-program"] {
            assert_eq!(find(OsStr::new(plain)), PathBuf::from(plain));
        }
    }

    #[test]
    fn this_very_program_may_be_run_again() {
        let myself = env::current_exe().unwrap();
        assert!(matches!(
            TrustedProgram::open(&myself),
            Ok(TrustedProgram::Myself)
        ));
        assert!(!matches!(
            TrustedProgram::open(Path::new("/bin/sh")),
            Ok(TrustedProgram::Myself)
        ));
    }
}
