//! A program that an applet starts: this one, or one that nobody but root can have put where it is.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightlatch_sys::trusted::{Executable, TrustError};
use rustix::process::geteuid;

/// This very program, whatever its file is called. It runs already, so that nothing is lost by running it again,
/// whoever owns it.
const MYSELF: &str = "/proc/self/exe";

/// A program that may be started.
#[derive(Debug)]
pub(crate) enum TrustedProgram {
    Myself,
    Other(Executable),
    /// For a user who is not root, and has only his own rights to give away.
    Any(OsString),
}

impl TrustedProgram {
    /// The file at `path`. It is this very program, or root (or this program's user) owns it and everything on the way
    /// to it, and nobody else can write there.
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

    /// The same for another user, who may have no right to look into the program's folder.
    pub(crate) fn command_for_others(&self) -> Command {
        match self {
            Self::Other(program) => program.command_for_others(),
            Self::Myself | Self::Any(_) => self.command(),
        }
    }

    /// What starts it, as long as this is there.
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
