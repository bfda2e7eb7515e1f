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

use nightlatch_core::kernel_command_line::KernelParameters;
use nightlatch_core::secret::Secret;
use nightlatch_sys::signals::{EndSignals, Signal};

use crate::applet::{Applet, Ending, Privilege, report};
use crate::cli::{CliAction, UsageError};
use crate::exit::Exit;
use crate::files;
use crate::kernel_command_line;
use crate::log::{self, AppletLog, format_error};
use crate::output::write_out;
use crate::process::{PasswordProcess, end_all};
use options::{PluginOptionsError, PluginRunnerOptions};
use runner::{RaceOutcome, race};

const NAME: &str = "plugin-runner";

pub(crate) const APPLET: Applet = Applet {
    names: &[NAME],
    about: "run plugins, print what the first to succeed prints",
    help: HELP,
    privilege: Privilege::None,
    start: |applet, arguments| {
        let action = Ok(parse(arguments));
        applet.run(action, |invocation| invocation.options.debug, run)
    },
};

const HELP: &str = "\
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

/// The command line, read without the configuration file.
struct Invocation {
    arguments: Vec<OsString>,
    options: PluginRunnerOptions,
    error: Option<UsageError>,
}

/// A machine must not stay locked over a misspelt option: the person at the console is asked for the password then.
fn parse(arguments: Vec<OsString>) -> CliAction<Invocation> {
    let (action, error) = match options::parse(&arguments) {
        Ok(action) => (action, None),
        Err(error) => (CliAction::Run(PluginRunnerOptions::default()), Some(error)),
    };
    action.map(|options| Invocation {
        arguments,
        options,
        error,
    })
}

fn run(invocation: Invocation, log: AppletLog) -> io::Result<Ending> {
    let Invocation {
        arguments,
        options,
        error,
    } = invocation;
    if let Some(error) = error {
        return run_plugins(options, Some(report(&error, log)));
    }
    let file = config_file(&options);
    match configured(&file, &arguments) {
        Ok(options) if options.show_client.is_some() => Ok(Ending::Exit(show_client(options))),
        Ok(options) => run_plugins(options, None),
        Err(error) => {
            log.info(&format!("{}: {}", file.display(), format_error(&error)));
            log.hint(&format!(
                "`nightlatch-boot {NAME} --help` explains the options"
            ));
            match options.show_client {
                Some(_) => Ok(Ending::Exit(Exit::Config)),
                None => run_plugins(options, Some(Exit::Config)),
            }
        }
    }
}

/// For `nightlatch check`: logs what is wrong, and prints nothing when the client is disabled.
fn show_client(mut options: PluginRunnerOptions) -> Exit {
    let log = AppletLog::new(NAME, options.debug);
    let file = options.show_client.take().unwrap_or_default();
    match files::read_bounded(&file, MAX_CONFIG) {
        Ok(line) => options.obey(&KernelParameters::parse(&String::from_utf8_lossy(&line))),
        Err(error) => {
            log.info(&format!("cannot read {}: {error}", file.display()));
            return Exit::File;
        }
    }
    options
        .warnings
        .iter()
        .for_each(|warning| log.info(warning));
    let Some(client) = options.client() else {
        return Exit::Unavailable;
    };
    let lines = client.iter().map(|option| option.to_string_lossy() + "\n");
    log::print(&lines.collect::<String>())
}

/// The options that this boot gives the client beside those of its file; nothing where it is not started.
pub(crate) fn client_arguments(parameters: &KernelParameters) -> Option<Vec<OsString>> {
    let file = config_file(&PluginRunnerOptions::default());
    let mut options = configured(&file, &[]).ok()?;
    options.obey(parameters);
    let arguments = options.client()?;
    Some(arguments.into_iter().map(OsString::from).collect())
}

#[derive(Debug, thiserror::Error)]
enum ConfigFileError {
    #[error("cannot read the configuration file")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Config(#[from] PluginOptionsError),
}

/// The file of more options.
fn config_file(options: &PluginRunnerOptions) -> PathBuf {
    let usual = || files::configuration().join("plugin-runner.conf");
    options.config_file.clone().unwrap_or_else(usual)
}

fn configured(file: &Path, arguments: &[OsString]) -> Result<PluginRunnerOptions, ConfigFileError> {
    let config = match files::read_bounded(file, MAX_CONFIG) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?.to_vec(),
    };
    Ok(options::parse_with(&config, arguments)?)
}

/// Runs the plugins; after an error in the options none of them, and `fault` is the exit status.
fn run_plugins(mut options: PluginRunnerOptions, fault: Option<Exit>) -> io::Result<Ending> {
    if options.kernel_command_line {
        options.obey(&kernel_command_line::of_this_boot());
    }
    let log = AppletLog::new(NAME, options.debug);
    options
        .warnings
        .iter()
        .for_each(|warning| log.info(warning));
    let signals = EndSignals::hold()?;
    let (plugins, fault) = match (fault, plugins::find(&options, log)) {
        (Some(fault), _) => (Vec::new(), fault),
        (None, Ok(plugins)) => (plugins, Exit::Success),
        (None, Err(error)) => {
            log.info(&format_error(&error));
            (Vec::new(), Exit::Unavailable)
        }
    };
    if plugins.is_empty() && fault == Exit::Success {
        log.info(&format!("no plugin in {}", options.directory.display()));
    }
    let (outcome, running) = race(&plugins, &options, &signals, log)?;
    match outcome {
        RaceOutcome::Plugin(password) => hand_over(&password, running, &signals).map(Ending::from),
        RaceOutcome::Person(password) => {
            let signal = hand_over(&password, running, &signals)?;
            Ok(signal.map_or(Ending::Exit(fault), Ending::Signal))
        }
        RaceOutcome::NoPassword => Ok(Ending::Exit(match fault {
            Exit::Success => Exit::Unavailable,
            fault => fault,
        })),
        RaceOutcome::Signal(signal) => {
            end_all(running);
            Ok(Ending::Signal(signal))
        }
    }
}

/// Writes the password first, so that its reader need not wait until all plugins have ended.
fn hand_over(
    password: &Secret,
    running: Vec<PasswordProcess>,
    signals: &EndSignals,
) -> io::Result<Option<Signal>> {
    let written = write_out(password, signals);
    end_all(running);
    written
}
