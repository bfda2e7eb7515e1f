//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, ValueExt as _};
use nightlatch_core::agent_files;
use nightlatch_core::guard::GoodbyeKind;
use nightlatch_core::suggest;

/// The text of `--help`.
pub const HELP: &str = "\
Usage: nightlatch-agent [OPTIONS]
       nightlatch-agent [OPTIONS] note-boot
       nightlatch-agent [OPTIONS] goodbye reboot|kexec|poweroff|hibernate
       nightlatch-agent [OPTIONS] stopping

Tells the Nightlatch servers of this machine that it is up. A server that knows this refuses the disk
password to whoever copied the key of the initramfs and asks for it meanwhile. Gets named secrets for
programs of this machine: nightlatch get NAME.

Without a command it is the daemon. It needs a host key and at least one trusted server:

  nightlatch enroll --host-key --server-key-id KEY_ID

Commands:
  note-boot                note this boot on the encrypted root, before the network is up
  goodbye KIND             make the daemon say that the machine goes down now
  stopping                 the same, if systemd is stopping the machine; nothing otherwise

Options:
  -c, --config FILE        where servers are [/etc/nightlatch/agent.conf]
      --trusted-servers FILE
                           the key ids of the servers to report to, one a line
                           [/etc/nightlatch/agent-trusted-servers]
      --admin-keys FILE    the administrators whose named secrets are believed
                           [/etc/nightlatch/admin-keys]
      --keys DIR           the host keys: tls-privkey.pem and seckey.txt, readable by root only
                           [/var/lib/nightlatch-agent/keys, or $CREDENTIALS_DIRECTORY]
      --boot-seed FILE     the seed of this boot [/run/nightlatch/boot-seed]
      --state DIR          the boots of this machine [/var/lib/nightlatch-agent/state]
      --runtime DIR        what belongs to this boot [/run/nightlatch-agent]
      --get-folder DIR     the socket for named secrets [/run/nightlatch-agent-get]
      --user NAME          become this user, if started as root [_nightlatch-agent]
      --check              read everything, say what would be done, and end
      --debug              tell each step
  -h, --help               this text
  -V, --version            the version

See nightlatch-agent(8) and agent.conf(5).
";

/// The places of the program's files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) config: PathBuf,
    /// True when the command line names it: then it must exist.
    pub(crate) config_named: bool,
    pub(crate) trusted_servers: PathBuf,
    pub(crate) admin_keys: PathBuf,
    /// `None`: the credentials of the service manager, else the default.
    pub(crate) keys: Option<PathBuf>,
    pub(crate) boot_seed: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) runtime: PathBuf,
    /// Folder of the socket for named secrets.
    pub(crate) get_folder: PathBuf,
    pub(crate) user: String,
    pub(crate) debug: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: "/etc/nightlatch/agent.conf".into(),
            config_named: false,
            trusted_servers: agent_files::TRUSTED_SERVERS.into(),
            admin_keys: agent_files::ADMIN_KEYS.into(),
            keys: None,
            boot_seed: nightlatch_sys::boot_seed::PATH.into(),
            state: "/var/lib/nightlatch-agent/state".into(),
            runtime: "/run/nightlatch-agent".into(),
            get_folder: agent_files::GET_FOLDER.into(),
            user: "_nightlatch-agent".to_owned(),
            debug: false,
        }
    }
}

/// The action that the command line asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    Run,
    Check,
    NoteBoot,
    Goodbye(GoodbyeKind),
    Stopping,
    Help,
    Version,
}

/// A command line that makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error(transparent)]
    Syntax(#[from] lexopt::Error),
    #[error("unknown command {found:?}{}", suggestion(.near))]
    Command {
        found: OsString,
        near: Option<&'static str>,
    },
    #[error(
        "expected the kind of the goodbye after it: reboot, kexec, poweroff or hibernate; found {0}"
    )]
    Kind(String),
    #[error("expected nothing after the command, found {0:?}")]
    Word(OsString),
    #[error("--check is for the daemon, and {0} is another command")]
    Check(&'static str),
}

fn suggestion(near: &Option<&'static str>) -> String {
    near.map(|near| format!("; did you mean {near}?"))
        .unwrap_or_default()
}

const COMMANDS: [&str; 3] = ["note-boot", "goodbye", "stopping"];

/// Reads the arguments after the program's name.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Command, Options), UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    let mut check = false;
    let mut words = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('c') | Arg::Long("config") => {
                options.config = parser.value()?.into();
                options.config_named = true;
            }
            Arg::Long("trusted-servers") => options.trusted_servers = parser.value()?.into(),
            Arg::Long("admin-keys") => options.admin_keys = parser.value()?.into(),
            Arg::Long("keys") => options.keys = Some(parser.value()?.into()),
            Arg::Long("boot-seed") => options.boot_seed = parser.value()?.into(),
            Arg::Long("state") => options.state = parser.value()?.into(),
            Arg::Long("runtime") => options.runtime = parser.value()?.into(),
            Arg::Long("get-folder") => options.get_folder = parser.value()?.into(),
            Arg::Long("user") => options.user = parser.value()?.string()?,
            Arg::Long("check") => check = true,
            Arg::Long("debug") => options.debug = true,
            Arg::Short('h' | '?') | Arg::Long("help") => return Ok((Command::Help, options)),
            Arg::Short('V') | Arg::Long("version") => return Ok((Command::Version, options)),
            Arg::Value(word) => words.push(word),
            other => return Err(other.unexpected().into()),
        }
    }
    let command = command(words)?;
    let command = match (command, check) {
        (Command::Run, true) => Command::Check,
        (Command::NoteBoot, true) => return Err(UsageError::Check("note-boot")),
        (Command::Goodbye(_), true) => return Err(UsageError::Check("goodbye")),
        (Command::Stopping, true) => return Err(UsageError::Check("stopping")),
        (command, _) => command,
    };
    Ok((command, options))
}

fn command(words: Vec<OsString>) -> Result<Command, UsageError> {
    let mut words = words.into_iter();
    let Some(first) = words.next() else {
        return Ok(Command::Run);
    };
    let command = match first.to_str() {
        Some("note-boot") => Command::NoteBoot,
        Some("stopping") => Command::Stopping,
        Some("goodbye") => {
            let word = words.next();
            let found = word.as_ref().map(|it| it.to_string_lossy());
            let kind = GoodbyeKind::ALL
                .into_iter()
                .find(|kind| found.as_deref() == Some(kind.as_str()));
            let found = found.map_or("nothing".to_owned(), |it| format!("{it:?}"));
            Command::Goodbye(kind.ok_or(UsageError::Kind(found))?)
        }
        text => {
            let near = text.and_then(|text| suggest::nearest(text, COMMANDS));
            return Err(UsageError::Command { found: first, near });
        }
    };
    match words.next() {
        None => Ok(command),
        Some(word) => Err(UsageError::Word(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<(Command, Options), String> {
        parse(words.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_and_options_are_read_in_any_order() {
        assert_eq!(read(&[]), Ok((Command::Run, Options::default())));
        let (command, options) = read(&["--state", "/s", "goodbye", "kexec", "--debug"]).unwrap();
        assert_eq!(command, Command::Goodbye(GoodbyeKind::Kexec));
        assert!(options.debug && options.state == *"/s");
        assert_eq!(read(&["--check"]).unwrap().0, Command::Check);
        assert!(read(&["-c", "/x"]).unwrap().1.config_named);
        for (word, command) in [
            ("--help", Command::Help),
            ("-V", Command::Version),
            ("stopping", Command::Stopping),
            ("note-boot", Command::NoteBoot),
        ] {
            assert_eq!(read(&[word]).unwrap().0, command);
        }
    }

    #[test]
    fn errors_say_what_was_found_and_what_was_expected() {
        for (words, error) in [
            (
                &["goodby", "reboot"][..],
                "unknown command \"goodby\"; did you mean goodbye?",
            ),
            (
                &["goodbye"],
                "expected the kind of the goodbye after it: reboot, kexec, poweroff or hibernate; found nothing",
            ),
            (
                &["goodbye", "halt"],
                "expected the kind of the goodbye after it: reboot, kexec, poweroff or hibernate; found \"halt\"",
            ),
            (
                &["stopping", "x"],
                "expected nothing after the command, found \"x\"",
            ),
            (
                &["--check", "stopping"],
                "--check is for the daemon, and stopping is another command",
            ),
            (&["--conf"], "invalid option '--conf'"),
        ] {
            assert_eq!(read(words).unwrap_err(), error);
        }
    }
}
