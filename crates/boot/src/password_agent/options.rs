//! The command line, as password-agent(8mandos) documents it, and what is ours in it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nightlatch_core::digits;

use crate::cli::{self, ArgumentReader, CliAction, CliArgument, OptionNames, UsageError};

/// The user and the group that own nothing (password-agent(8mandos), `--user`).
const NOBODY: u32 = 65534;

/// A slow machine needs some seconds to find out that a password is wrong.
const LINGER: Duration = Duration::from_secs(20);

/// The options of the applet `password-agent`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasswordAgentOptions {
    /// The directory of the questions.
    pub directory: PathBuf,
    /// The directory of the client's helpers.
    pub helper_directory: PathBuf,
    /// The client's real user.
    pub user: u32,
    /// The client's real group.
    pub group: u32,
    /// Time to watch for a question that comes again.
    pub linger: Duration,
    /// The client, and its arguments.
    pub client: Vec<OsString>,
    pub debug: bool,
}

const NAMES: OptionNames = OptionNames {
    mandos: &["agent-directory", "helper-directory", "user", "group"],
    ours: &["linger", "debug"],
    short: &[('d', "agent-directory"), ('u', "user"), ('g', "group")],
};

/// Reads the arguments that follow the applet's name.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<CliAction<PasswordAgentOptions>, UsageError> {
    let options = PasswordAgentOptions {
        directory: "/run/systemd/ask-password".into(),
        helper_directory: "/lib/mandos/plugin-helpers".into(),
        user: NOBODY,
        group: NOBODY,
        linger: LINGER,
        client: Vec::new(),
        debug: false,
    };
    let action = cli::parse(&NAMES, options, arguments, |options, part, arguments| {
        match part {
            CliArgument::Option("agent-directory") => options.directory = arguments.value()?.into(),
            CliArgument::Option("helper-directory") => {
                options.helper_directory = arguments.value()?.into();
            }
            CliArgument::Option("user") => options.user = id("--user", arguments)?,
            CliArgument::Option("group") => options.group = id("--group", arguments)?,
            CliArgument::Option("linger") => {
                let seconds = number("--linger", arguments)?;
                options.linger = Duration::from_secs(seconds.into());
            }
            CliArgument::Option("debug") => options.debug = true,
            CliArgument::Word(word) => options.client.push(word),
            part @ CliArgument::Option(_) => return Err(part.unexpected()),
        }
        Ok(())
    });
    Ok(action?.map(|mut options| {
        if options.client.is_empty() {
            options
                .client
                .push("/lib/mandos/plugins.d/mandos-client".into());
        }
        options
    }))
}

fn number(option: &'static str, arguments: &mut ArgumentReader) -> Result<u32, UsageError> {
    let given = arguments.text(option)?;
    digits::decimal(&given)
        .ok_or_else(|| UsageError::Value(option, "a number from 0 to 4294967295", given.into()))
}

/// The highest number means "leave it" in setresuid(2), which would leave root.
fn id(option: &'static str, arguments: &mut ArgumentReader) -> Result<u32, UsageError> {
    match number(option, arguments)? {
        u32::MAX => Err(UsageError::NotAnId(option)),
        id => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<PasswordAgentOptions, UsageError> {
        match parse(arguments.iter().map(OsString::from))? {
            CliAction::Run(options) => Ok(options),
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
