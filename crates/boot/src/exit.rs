//! The exit statuses, those of sysexits(3) that Mandos's programs use.

use std::process::ExitCode;

/// The exit status of an applet that no signal ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// It did what it is for.
    Success = 0,
    /// The command line makes no sense (`EX_USAGE`).
    Usage = 64,
    /// Something it needs, such as a key file, cannot be used (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The system refused something that should always work (`EX_OSERR`).
    System = 71,
    /// A file that the system should have is missing or cannot be used (`EX_OSFILE`).
    File = 72,
    /// The password could not be handed over (`EX_IOERR`).
    Output = 74,
    /// A configuration file is wrong (`EX_CONFIG`).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
