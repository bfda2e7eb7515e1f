//! The command line, as password-agent(8mandos) documents it, and what is ours in it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nightlatch_core::digits;

use crate::cli::{Action, Arguments, Names, Part, SyntaxError};

/// The user and the group that own nothing (password-agent(8mandos), `--user`).
const NOBODY: u32 = 65534;

/// A slow machine needs some seconds to find out that a password is wrong.
const LINGER: Duration = Duration::from_secs(20);

/// How to answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where the questions are.
    pub directory: PathBuf,
    /// Where helpers of the client are.
    pub helper_directory: PathBuf,
    /// The client's real user.
    pub user: u32,
    /// The client's real group.
    pub group: u32,
    /// How long to watch for a question that comes again.
    pub linger: Duration,
    /// The client, and its arguments.
    pub client: Vec<OsString>,
    /// Whether each step is told.
    pub debug: bool,
}

/// What makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// What no command line may be.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// `--user`, `--group` or `--linger`.
    #[error("{0} expects a number from 0 to {max}, found {1:?}", max = u32::MAX)]
    Number(&'static str, String),
    /// The number that means another thing to the system.
    #[error("{0} expects the number of a user or a group")]
    NotAnId(&'static str),
}

const NAMES: Names = Names {
    mandos: &["agent-directory", "helper-directory", "user", "group"],
    ours: &["linger", "debug"],
    short: &[('d', "agent-directory"), ('u', "user"), ('g', "group")],
};

/// Reads the arguments that follow the applet's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Action<Options>, UsageError> {
    let mut arguments = Arguments::new(&NAMES, arguments);
    let mut options = Options {
        directory: "/run/systemd/ask-password".into(),
        helper_directory: "/lib/mandos/plugin-helpers".into(),
        user: NOBODY,
        group: NOBODY,
        linger: LINGER,
        client: Vec::new(),
        debug: false,
    };
    while let Some(part) = arguments.next_part()? {
        match part {
            Part::Option("agent-directory") => options.directory = arguments.value()?.into(),
            Part::Option("helper-directory") => {
                options.helper_directory = arguments.value()?.into();
            }
            Part::Option("user") => options.user = id("--user", &mut arguments)?,
            Part::Option("group") => options.group = id("--group", &mut arguments)?,
            Part::Option("linger") => {
                let seconds = number("--linger", &mut arguments)?;
                options.linger = Duration::from_secs(seconds.into());
            }
            Part::Option("debug") => options.debug = true,
            Part::Option("help") => return Ok(Action::Help),
            Part::Option("usage") => return Ok(Action::Usage),
            Part::Option(_) => return Ok(Action::Version),
            Part::Word(word) => options.client.push(word),
        }
    }
    if options.client.is_empty() {
        options
            .client
            .push("/lib/mandos/plugins.d/mandos-client".into());
    }
    Ok(Action::Run(options))
}

fn number(option: &'static str, arguments: &mut Arguments) -> Result<u32, UsageError> {
    let given = arguments.text(option)?;
    digits::decimal(&given).ok_or(UsageError::Number(option, given))
}

/// The highest number means "leave it" in setresuid(2), which would leave root.
fn id(option: &'static str, arguments: &mut Arguments) -> Result<u32, UsageError> {
    match number(option, arguments)? {
        u32::MAX => Err(UsageError::NotAnId(option)),
        id => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options, UsageError> {
        match parse(arguments.iter().map(OsString::from))? {
            Action::Run(options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_follows_two_hyphens_is_the_clients() {
        let options = read(&["-u", "5", "--group=6", "-d/q", "--", "/c", "--user", "7"]).unwrap();
        assert_eq!((options.user, options.group), (5, 6));
        assert_eq!(options.client, ["/c", "--user", "7"]);
        let options = read(&["/c"]).unwrap();
        assert_eq!((options.user, options.client.len()), (NOBODY, 1));
        assert_eq!(
            read(&[]).unwrap().client,
            ["/lib/mandos/plugins.d/mandos-client"]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            &["--user", "x"][..],
            &["-g", "-1"],
            &["-u", "4294967295"],
            &["--nope"],
            &["--linger"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
