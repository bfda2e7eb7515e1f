//! The applet `plugin-runner`: runs plugins, passes on what the first one to succeed prints
//! (plugin-runner(8mandos)).
//!
//! It stays root when it is root, so that no plugin can reach it; plugins never are, but for applets of
//! this program that need it.

pub mod options;
mod plugins;
mod runner;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nightlatch_core::kernel_command_line::KernelParameters;
use nightlatch_core::secret::Secret;
use nightlatch_sys::signals::{EndSignals, Signal, die_of};

use crate::cli::{self, About, Action};
use crate::exit::Exit;
use crate::files;
use crate::kernel_command_line;
use crate::log::{self, Log, chain};
use crate::output::write_out;
use crate::process::{Process, end_all};
use options::{ConfigError, Options};
use runner::{End, race};

const NAME: &str = "plugin-runner";

const ABOUT: About = About {
    name: NAME,
    help: HELP,
};

/// The text of `--help`.
pub const HELP: &str = "\
Usage: nightlatch-boot plugin-runner [-?V] [-G VAR=VALUE] [-E PLUGIN:VAR=VALUE] [-g OPTION[,...]]
       [-o PLUGIN:OPTION[,...]] [-d PLUGIN] [-e PLUGIN] [--userid ID] [--groupid ID]
       [--plugin-dir DIR] [--plugin-helper-dir DIR] [--config-file FILE] [--no-fallback]
       [--kernel-command-line] [--show-client FILE] [--debug] [--help] [--usage] [--version]

Runs every program of a directory side by side and prints what the first one to succeed prints.
When none succeeds, it asks for a password on the terminal.

  -G, --global-env VAR=VALUE          environment of every plugin
  -E, --env-for PLUGIN:VAR=VALUE      environment of one plugin
  -g, --global-options OPTION[,...]   options of every plugin
  -o, --options-for PLUGIN:OPT[,...]  options of one plugin
  -d, --disable PLUGIN                do not start this plugin
  -e, --enable PLUGIN                 start it after all
      --userid ID                     user that plugins run as, a number [65534]
      --groupid ID                    group that plugins run as, a number [65534]
      --plugin-dir DIR                where plugins are [/lib/mandos/plugins.d]
      --plugin-helper-dir DIR         where their helpers are [/lib/mandos/plugin-helpers]
      --config-file FILE              more options [/conf/conf.d/nightlatch/plugin-runner.conf, or in
                                      /conf/conf.d/mandos where that folder does not exist]
      --no-fallback                   never ask on the terminal
      --kernel-command-line           obey mandos=, nightlatch= and ip= on the kernel's command line
      --show-client FILE              run nothing; print the options, a line each, that a boot with the
                                      kernel's command line in FILE gives the client
      --debug                         tell each step on standard error
  -?, --help                          show this help
      --usage                         show a short usage message
  -V, --version                       show the version

The file holds options with white space between them; what follows # on a line is a comment. The
command line has the last word.

Example: a plugin that is told more, and one that is left out:
  nightlatch-boot plugin-runner --options-for=mandos-client:--debug,--retry=5 --disable=plymouth
";

/// The longest configuration file that makes sense.
const MAX_CONFIG: usize = 1024 * 1024;

/// Runs the applet with the arguments that follow its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    match options::parse(&arguments) {
        // A machine must not stay locked over a misspelt option: who stands there is asked.
        Err(error) => {
            cli::refuse(NAME, &error);
            run_with(Options::default(), Some(Exit::Usage))
        }
        Ok(Action::Run(first)) => match configured(&config_file(&first), &arguments) {
            Ok(options) if options.show_client.is_some() => show_client(options),
            Ok(options) => run_with(options, None),
            Err(error) => {
                let log = Log::new(NAME, false);
                log.say(&format!(
                    "{}: {}",
                    config_file(&first).display(),
                    chain(&error)
                ));
                log.hint(&format!(
                    "`nightlatch-boot {NAME} --help` explains the options"
                ));
                match first.show_client {
                    Some(_) => Exit::Config.into(),
                    None => run_with(first, Some(Exit::Config)),
                }
            }
        },
        asked => cli::run(&ABOUT, asked, |_| Exit::Success.into()),
    }
}

/// For `nightlatch check`: what is wrong is told, and nothing is printed where the client is not started.
fn show_client(mut options: Options) -> ExitCode {
    let log = Log::new(NAME, options.debug);
    let file = options.show_client.take().unwrap_or_default();
    match files::read_bounded(&file, MAX_CONFIG) {
        Ok(line) => options.obey(&KernelParameters::parse(&String::from_utf8_lossy(&line))),
        Err(error) => {
            log.say(&format!("cannot read {}: {error}", file.display()));
            return Exit::File.into();
        }
    }
    options.warnings.iter().for_each(|warning| log.say(warning));
    let Some(client) = options.client() else {
        return Exit::Unavailable.into();
    };
    let lines = client.iter().map(|option| option.to_string_lossy() + "\n");
    log::print(&lines.collect::<String>())
}

/// The options that this boot gives the client beside those of its file; nothing where it is not started.
pub(crate) fn client_arguments(parameters: &KernelParameters) -> Option<Vec<OsString>> {
    let file = config_file(&Options::default());
    let mut options = configured(&file, &[]).ok()?;
    options.obey(parameters);
    let arguments = options.client()?;
    Some(arguments.into_iter().map(OsString::from).collect())
}

/// Why there are no options.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("cannot read the configuration file")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The file of more options.
fn config_file(options: &Options) -> PathBuf {
    let usual = || files::configuration().join("plugin-runner.conf");
    options.config_file.clone().unwrap_or_else(usual)
}

fn configured(file: &Path, arguments: &[OsString]) -> Result<Options, ReadError> {
    let config = match files::read_bounded(file, MAX_CONFIG) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?.to_vec(),
    };
    Ok(options::parse_with(&config, arguments)?)
}

/// Runs with these options; when there is a `fault`, without plugins, and with that exit status.
fn run_with(mut options: Options, fault: Option<Exit>) -> ExitCode {
    if options.kernel_command_line {
        options.obey(&kernel_command_line::of_this_boot());
    }
    log::silence_panics(NAME);
    let log = Log::new(NAME, options.debug);
    options.warnings.iter().for_each(|warning| log.say(warning));
    match raced(&options, fault, log) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(signal)) => die_of(signal),
        Err(error) => {
            log.say(&chain(&error));
            Exit::System.into()
        }
    }
}

/// The whole of it: the exit status, or the signal to die of.
fn raced(options: &Options, fault: Option<Exit>, log: Log) -> io::Result<Result<Exit, Signal>> {
    let signals = EndSignals::hold()?;
    let (plugins, fault) = match (fault, plugins::find(options, log)) {
        (Some(fault), _) => (Vec::new(), fault),
        (None, Ok(plugins)) => (plugins, Exit::Success),
        (None, Err(error)) => {
            log.say(&chain(&error));
            (Vec::new(), Exit::Unavailable)
        }
    };
    if plugins.is_empty() && fault == Exit::Success {
        log.say(&format!("no plugin in {}", options.directory.display()));
    }
    let (end, running) = race(&plugins, options, &signals, log)?;
    match end {
        End::Plugin(password) => hand_over(&password, running, &signals)
            .map(|signal| signal.map_or(Ok(Exit::Success), Err)),
        End::Person(password) => {
            hand_over(&password, running, &signals).map(|signal| signal.map_or(Ok(fault), Err))
        }
        End::Nobody => Ok(Ok(match fault {
            Exit::Success => Exit::Unavailable,
            fault => fault,
        })),
        End::Signal(signal) => {
            end_all(running);
            Ok(Err(signal))
        }
    }
}

/// The password first: who waits for it can begin while the others end.
fn hand_over(
    password: &Secret,
    running: Vec<Process>,
    signals: &EndSignals,
) -> io::Result<Option<Signal>> {
    let written = write_out(password, signals);
    end_all(running);
    written
}
