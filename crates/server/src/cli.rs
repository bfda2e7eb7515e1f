//! The command line of nightlatchd: every option of mandos(8), and more.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
use nightlatch_core::settings::server::{Address, LogLevel, PartialServerSettings};

/// Default configuration directory.
pub const CONFIG_FOLDER: &str = "/etc/nightlatch";

/// A program called by this name reads the configuration of Mandos, as mandos(8) says.
const MANDOS: &str = "mandos";
const MANDOS_CONFIG_FOLDER: &str = "/etc/mandos";

/// Keeps watch over machines with encrypted disks and hands each its disk password while it is up.
///
/// Reads nightlatch.conf (or mandos.conf) and clients.conf, announces itself on the local network,
/// and serves Mandos clients and nightlatch-boot alike. Runs in the foreground; logs to standard
/// error or the journal.
#[derive(Parser, Debug)]
#[command(
    name = "nightlatchd",
    version,
    disable_version_flag = true,
    infer_long_args = true,
    after_help = "Examples:
  nightlatchd --check-config                       read everything and say what was found
  nightlatchd --configdir /etc/mandos              serve the clients of a Mandos server as they are
  nightlatchd --debug --no-zeroconf --port 4711    try it by hand on a fixed port"
)]
pub struct ServerOptions {
    /// Listen and announce on this network interface only
    #[arg(short, long, value_name = "IF")]
    interface: Option<String>,
    /// Listen on this address only (IPv6, or IPv4 with --no-ipv6)
    #[arg(short, long)]
    address: Option<Address>,
    /// TCP port to listen on; the kernel chooses without it
    #[arg(short, long)]
    port: Option<u16>,
    /// GnuTLS priority string; the forms that Mandos documents are understood
    #[arg(long, value_name = "STRING")]
    priority: Option<String>,
    /// Name to announce
    #[arg(long, value_name = "NAME")]
    servicename: Option<String>,
    /// Folder of the configuration
    #[arg(long, value_name = "DIRECTORY", default_value = CONFIG_FOLDER)]
    pub configdir: PathBuf,
    /// Log everything to standard error
    #[arg(long)]
    debug: bool,
    /// What to log: critical, error, warning, info (the default) or debug
    #[arg(long, value_name = "LEVEL")]
    debuglevel: Option<LogLevel>,
    /// Offer no D-Bus interface
    #[arg(long)]
    no_dbus: bool,
    /// Use IPv4 only
    #[arg(long)]
    no_ipv6: bool,
    /// Start without the saved state: every client as the configuration has it
    #[arg(long)]
    no_restore: bool,
    /// Start though the configuration misses all clients that are known, or most of them
    #[arg(long)]
    pub(crate) accept_fewer_clients: bool,
    /// Folder of the state
    #[arg(long, value_name = "DIRECTORY")]
    statedir: Option<PathBuf>,
    /// Use this inherited file descriptor as the listening socket
    #[arg(long, value_name = "FD")]
    socket: Option<i32>,
    /// Accepted for compatibility: it never runs in the background
    #[arg(long)]
    foreground: bool,
    /// Do not announce the service (needs --port or --socket)
    #[arg(long)]
    no_zeroconf: bool,
    /// Test the program itself, and say what works
    #[arg(long)]
    check: bool,
    /// Read the whole configuration, say what was found, and change nothing
    #[arg(long)]
    check_config: bool,
    /// Take over the state in this document into a state that holds no clients, and end; - is
    /// standard input. nightlatch import-mandos makes such documents
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "check_config"])]
    pub(crate) import_state: Option<PathBuf>,
    /// With --import-state: forget the clients that the state holds
    #[arg(long, requires = "import_state")]
    pub(crate) replace_state: bool,
    /// Show the program's version
    #[arg(short, long, action = ArgAction::Version)]
    version: (),
}

/// A parsed command line.
#[derive(Debug)]
pub enum CommandLine {
    /// Run the server.
    Serve(ServerOptions),
    /// Read the configuration and print a summary.
    CheckConfig(ServerOptions),
    /// Take over a state.
    ImportState(ServerOptions),
    /// Test the program itself.
    SelfTest,
    /// Print this help or version to standard output.
    Print(String),
    /// Print this error to standard error: the command line is wrong.
    Usage(String),
}

/// The command line's definition, for who describes it.
pub fn command() -> clap::Command {
    ServerOptions::command()
}

/// Parses a command line, the program's name first.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> CommandLine {
    match read(arguments.into_iter().collect()) {
        Ok(options) if options.check => CommandLine::SelfTest,
        Ok(options) if options.check_config => CommandLine::CheckConfig(options),
        Ok(options) if options.import_state.is_some() => CommandLine::ImportState(options),
        Ok(options) => CommandLine::Serve(options),
        Err(error) if error.use_stderr() => CommandLine::Usage(error.render().ansi().to_string()),
        Err(help) => CommandLine::Print(help.render().to_string()),
    }
}

fn read(arguments: Vec<OsString>) -> Result<ServerOptions, clap::Error> {
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    let command = if called == Some(OsStr::new(MANDOS)) {
        command().mut_arg("configdir", |folder| {
            folder.default_value(MANDOS_CONFIG_FOLDER)
        })
    } else {
        command()
    };
    ServerOptions::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

impl ServerOptions {
    /// The settings that were given, to override the file's.
    pub fn settings(&self) -> PartialServerSettings {
        let given = |flag: bool, value: bool| flag.then_some(value);
        PartialServerSettings {
            interface: self.interface.clone().map(some_unless_empty),
            address: self.address.clone().map(Some),
            port: self.port.map(Some),
            priority: self.priority.clone().map(some_unless_empty),
            servicename: self.servicename.clone(),
            debug: given(self.debug, true),
            debuglevel: self.debuglevel.map(Some),
            use_dbus: given(self.no_dbus, false),
            use_ipv6: given(self.no_ipv6, false),
            restore: given(self.no_restore, false),
            statedir: self.statedir.clone(),
            socket: self.socket.map(Some),
            foreground: given(self.foreground, true),
            zeroconf: given(self.no_zeroconf, false),
            ..PartialServerSettings::default()
        }
    }
}

fn some_unless_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightlatch_core::settings::server::ServerSettings;

    fn parse(line: &str) -> CommandLine {
        let words = ["nightlatchd"].into_iter().chain(line.split_whitespace());
        super::parse(words.map(OsString::from))
    }

    #[test]
    fn every_option_of_mandos_is_understood() {
        let line = "-i eth0 -a ::1 -p 4711 --priority NORMAL --servicename House --configdir /c --debug \
                    --debuglevel warning --no-dbus --no-ipv6 --no-restore --statedir /s --socket 3 --foreground \
                    --no-zeroconf";
        let CommandLine::Serve(options) = parse(line) else {
            panic!("refused");
        };
        let mut settings = ServerSettings::default();
        settings.apply(options.settings());
        assert_eq!(options.configdir, PathBuf::from("/c"));
        assert_eq!(settings.interface.as_deref(), Some("eth0"));
        assert_eq!(settings.port, Some(4711));
        assert_eq!(settings.servicename, "House");
        assert_eq!(settings.socket, Some(3));
        assert!(settings.debug && settings.foreground);
        assert!(
            !settings.use_dbus && !settings.use_ipv6 && !settings.restore && !settings.zeroconf
        );
    }

    #[test]
    fn called_by_the_name_of_mandos_it_reads_mandos_s_configuration() {
        for (line, folder) in [
            ("/usr/sbin/mandos --foreground", "/etc/mandos"),
            ("mandos --configdir /c", "/c"),
            ("/usr/sbin/nightlatchd", "/etc/nightlatch"),
            ("/opt/mandos/nightlatchd", "/etc/nightlatch"),
        ] {
            let CommandLine::Serve(options) = super::parse(line.split(' ').map(OsString::from))
            else {
                panic!("refused: {line}");
            };
            assert_eq!(options.configdir, PathBuf::from(folder), "{line}");
        }
    }

    #[test]
    fn long_options_may_be_cut_short() {
        assert!(matches!(
            parse("--no-z --servicen x --port 1"),
            CommandLine::Serve(_)
        ));
    }

    #[test]
    fn help_and_version_are_no_errors() {
        assert!(matches!(parse("--help"), CommandLine::Print(text) if text.contains("Examples:")));
        assert!(
            matches!(parse("-v"), CommandLine::Print(text) if text.starts_with("nightlatchd "))
        );
        assert!(matches!(parse("--port many"), CommandLine::Usage(_)));
    }

    #[test]
    fn what_is_not_given_overrides_nothing() {
        let CommandLine::Serve(options) = parse("") else {
            panic!("refused");
        };
        assert_eq!(options.settings(), PartialServerSettings::default());
    }
}
