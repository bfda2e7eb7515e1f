//! The command line and the configuration file, as plugin-runner(8mandos) documents them, and what is
//! ours in them.
//!
//! Pure: from words to [`PluginRunnerOptions`], nothing read and nothing printed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nightlatch_core::kernel_command_line::KernelParameters;

use crate::cli::{
    self, ArgumentReader, CliAction, CliArgument, OptionNames, UsageError, split_words,
};

/// The user and the group that own nothing (plugin-runner(8mandos), `--userid`).
const NOBODY: u32 = 65534;

/// The name of the client among plugins.
const CLIENT: &str = "mandos-client";

/// The options of the applet `plugin-runner`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PluginRunnerOptions {
    /// Environment of every plugin: `VAR=value`, or `VAR` to take one away.
    pub environment: Vec<OsString>,
    /// Options of every plugin.
    pub arguments: Vec<OsString>,
    /// Options of the client that the kernel's command line gives.
    pub kernel: Vec<OsString>,
    /// Options of single plugins, by their names.
    pub plugins: BTreeMap<OsString, PluginOptions>,
    /// The user that plugins run as.
    pub user: u32,
    /// The group that plugins run as.
    pub group: u32,
    /// The directory of the plugins.
    pub directory: PathBuf,
    /// The directory of their helpers.
    pub helper_directory: PathBuf,
    /// The file that holds more options; without one, that of the initramfs.
    pub config_file: Option<PathBuf>,
    pub kernel_command_line: bool,
    /// False with `--no-fallback`: a person is never asked.
    pub fallback: bool,
    /// Nothing is run: the options of the client are printed as a boot with the kernel's command line in this file
    /// gives them.
    pub show_client: Option<PathBuf>,
    pub debug: bool,
    /// Faults that are no reason to leave a machine locked.
    pub warnings: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PluginOptions {
    /// It is not started.
    pub disabled: bool,
    /// Its own options.
    pub arguments: Vec<OsString>,
    /// Its own environment.
    pub environment: Vec<OsString>,
}

impl Default for PluginRunnerOptions {
    fn default() -> Self {
        Self {
            environment: Vec::new(),
            arguments: Vec::new(),
            kernel: Vec::new(),
            plugins: BTreeMap::new(),
            user: NOBODY,
            group: NOBODY,
            directory: "/lib/mandos/plugins.d".into(),
            helper_directory: "/lib/mandos/plugin-helpers".into(),
            config_file: None,
            kernel_command_line: false,
            fallback: true,
            show_client: None,
            debug: false,
            warnings: Vec::new(),
        }
    }
}

/// Reads the command line alone: what it asks for, and which configuration file it means.
pub fn parse(arguments: &[OsString]) -> Result<CliAction<PluginRunnerOptions>, UsageError> {
    apply(PluginRunnerOptions::default(), arguments)
}

/// Reads the text of the configuration file, then the command line, which has the last word.
pub fn parse_with(
    config: &[u8],
    arguments: &[OsString],
) -> Result<PluginRunnerOptions, PluginOptionsError> {
    let from_file = apply(PluginRunnerOptions::default(), &split_words(config));
    let options = match from_file.map_err(PluginOptionsError::File)? {
        CliAction::Run(options) => options,
        CliAction::Help | CliAction::Usage | CliAction::Version => {
            return Err(PluginOptionsError::File(UsageError::NotInFile(
                "help, --usage or --version",
            )));
        }
    };
    match apply(options, arguments).map_err(PluginOptionsError::CommandLine)? {
        CliAction::Run(options) => Ok(options),
        // `parse` has answered these.
        CliAction::Help | CliAction::Usage | CliAction::Version => {
            Ok(PluginRunnerOptions::default())
        }
    }
}

impl PluginRunnerOptions {
    /// Takes over what the kernel's command line says of the client.
    pub fn obey(&mut self, parameters: &KernelParameters) {
        let client = self.plugins.entry(CLIENT.into()).or_default();
        client.disabled |= parameters.off;
        let arguments = parameters.arguments().into_iter().map(OsString::from);
        self.kernel.extend(arguments);
        self.warnings.extend(parameters.warnings.iter().cloned());
    }

    /// The options that the client is started with; none when it is not started.
    pub fn client(&self) -> Option<Vec<&OsStr>> {
        let own = self.plugins.get(OsStr::new(CLIENT));
        if own.is_some_and(|own| own.disabled) {
            return None;
        }
        let all = self.arguments_of(OsStr::new(CLIENT));
        Some(all.map(OsString::as_os_str).collect())
    }

    /// The options that a plugin is started with: its own, those of all, and for the client the kernel's, which have
    /// the last word.
    pub fn arguments_of<'o>(&'o self, plugin: &OsStr) -> impl Iterator<Item = &'o OsString> {
        let own = self.plugins.get(plugin).into_iter();
        let kernel = (plugin == CLIENT).then_some(&self.kernel);
        own.flat_map(|own| &own.arguments)
            .chain(&self.arguments)
            .chain(kernel.into_iter().flatten())
    }
}

/// An error in the options, by its place.
#[derive(Debug, thiserror::Error)]
pub enum PluginOptionsError {
    /// In the configuration file.
    #[error("bad configuration file")]
    File(#[source] UsageError),
    #[error(transparent)]
    CommandLine(UsageError),
}

const NAMES: OptionNames = OptionNames {
    mandos: &[
        "global-env",
        "env-for",
        "global-options",
        "options-for",
        "disable",
        "enable",
        "userid",
        "groupid",
        "plugin-dir",
        "plugin-helper-dir",
        "config-file",
        "debug",
    ],
    ours: &["no-fallback", "kernel-command-line", "show-client"],
    short: &[
        ('G', "global-env"),
        ('E', "env-for"),
        ('g', "global-options"),
        ('o', "options-for"),
        ('d', "disable"),
        ('e', "enable"),
    ],
};

fn apply(
    options: PluginRunnerOptions,
    arguments: &[OsString],
) -> Result<CliAction<PluginRunnerOptions>, UsageError> {
    let arguments = arguments.iter().cloned();
    cli::parse(
        &NAMES,
        options,
        arguments,
        |options, part, arguments| match part {
            CliArgument::Option(name) => set(options, name, arguments),
            part @ CliArgument::Word(_) => Err(part.unexpected()),
        },
    )
}

fn set(
    options: &mut PluginRunnerOptions,
    name: &'static str,
    arguments: &mut ArgumentReader,
) -> Result<(), UsageError> {
    let plugins = &mut options.plugins;
    match name {
        "debug" => options.debug = true,
        "no-fallback" => options.fallback = false,
        "global-env" => options.environment.push(arguments.value()?),
        "env-for" => {
            let (plugin, setting) = for_plugin("--env-for", arguments.value()?)?;
            plugins.entry(plugin).or_default().environment.push(setting);
        }
        "global-options" => options.arguments.extend(split(&arguments.value()?)),
        "options-for" => {
            let (plugin, list) = for_plugin("--options-for", arguments.value()?)?;
            let list = split(&list);
            plugins.entry(plugin).or_default().arguments.extend(list);
        }
        "disable" => plugins.entry(arguments.value()?).or_default().disabled = true,
        "enable" => plugins.entry(arguments.value()?).or_default().disabled = false,
        "userid" => number(&mut options.user, &mut options.warnings, name, arguments)?,
        "groupid" => number(&mut options.group, &mut options.warnings, name, arguments)?,
        "plugin-dir" => options.directory = arguments.value()?.into(),
        "plugin-helper-dir" => options.helper_directory = arguments.value()?.into(),
        "config-file" => options.config_file = Some(arguments.value()?.into()),
        "kernel-command-line" => options.kernel_command_line = true,
        "show-client" => options.show_client = Some(arguments.value()?.into()),
        other => return Err(UsageError::Unknown(other.to_owned())),
    }
    Ok(())
}

/// An invalid number leaves the default with a warning, so that the plugins still run, as nobody.
fn number(
    id: &mut u32,
    warnings: &mut Vec<String>,
    name: &'static str,
    arguments: &mut ArgumentReader,
) -> Result<(), UsageError> {
    let given = arguments.value()?;
    // The highest number means "leave it" in setresuid(2), which would leave root.
    match given.to_str().and_then(|text| text.trim().parse().ok()) {
        Some(number) if number != u32::MAX => *id = number,
        _ => warnings.push(format!(
            "--{name} expects a number, found {given:?}: using {id}"
        )),
    }
    Ok(())
}

fn for_plugin(option: &'static str, given: OsString) -> Result<(OsString, OsString), UsageError> {
    let bytes = given.as_bytes();
    match bytes.iter().position(|byte| *byte == b':') {
        None | Some(0) => Err(UsageError::Value(option, "PLUGIN:VALUE", given)),
        Some(colon) => {
            let part = |bytes| OsStr::from_bytes(bytes).to_owned();
            Ok((part(&bytes[..colon]), part(&bytes[colon + 1..])))
        }
    }
}

/// At commas. An empty list has no options, an empty place in a list is an empty one.
fn split(list: &OsStr) -> Vec<OsString> {
    if list.is_empty() {
        return Vec::new();
    }
    let parts = list.as_bytes().split(|byte| *byte == b',');
    parts
        .map(|part| OsStr::from_bytes(part).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(config: &str, arguments: &[&str]) -> Result<PluginRunnerOptions, PluginOptionsError> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        parse_with(config.as_bytes(), &arguments)
    }

    #[test]
    fn the_command_line_has_the_last_word() {
        let options = read(
            "--userid=5 --disable foo # --debug\n\t-d\nbar --plugin-dir=/a#b",
            &["--userid", "6", "-e", "bar", "--plugin-dir=/c"],
        )
        .unwrap();
        assert_eq!((options.user, options.debug), (6, false));
        assert!(options.plugins[OsStr::new("foo")].disabled);
        assert!(!options.plugins[OsStr::new("bar")].disabled);
        assert_eq!(options.directory, PathBuf::from("/c"));
    }

    // plugin-runner(8mandos): "--options-for=foo:--bar=baz or --options-for=foo:--bar,baz".
    #[test]
    fn lists_are_split_at_commas_only() {
        let options = read(
            "",
            &["-o", "foo:--bar,baz", "-o", "foo:x,,y z", "-g", "", "-g=a"],
        );
        let options = options.unwrap();
        let foo = &options.plugins[OsStr::new("foo")];
        assert_eq!(foo.arguments, ["--bar", "baz", "x", "", "y z"]);
        assert_eq!(options.arguments, ["=a"]);
    }

    #[test]
    fn a_plugin_has_an_environment_of_its_own() {
        let options = read("-G A=1", &["-E", "foo:A=2:3", "--global-env", "B"]).unwrap();
        assert_eq!(options.environment, ["A=1", "B"]);
        assert_eq!(options.plugins[OsStr::new("foo")].environment, ["A=2:3"]);
    }

    #[test]
    fn the_kernels_command_line_disables_only_the_client() {
        let mut options = read("-d foo", &[]).unwrap();
        options.obey(&KernelParameters::parse(
            "mandos=off,connect:192.0.2.1:4 nonsense ip=x",
        ));
        let client = &options.plugins[OsStr::new(CLIENT)];
        assert!(client.disabled && options.plugins[OsStr::new("foo")].disabled);
        assert_eq!(options.plugins.len(), 2);
        assert_eq!(options.kernel, ["--connect=none", "--connect=192.0.2.1:4"]);
        assert_eq!(options.arguments_of(OsStr::new("foo")).count(), 0);
    }

    #[test]
    fn the_options_of_the_client_are_its_own_those_of_all_and_the_kernels() {
        let mut options = read("-g --debug -o mandos-client:--retry=5", &[]).unwrap();
        options.obey(&KernelParameters::parse("nightlatch=connect:192.0.2.1:4"));
        let client = options.client().unwrap();
        let kernels = ["--connect=none", "--connect=192.0.2.1:4"];
        assert_eq!(client, ["--retry=5", "--debug", kernels[0], kernels[1]]);
        options.obey(&KernelParameters::parse("nightlatch=off"));
        assert_eq!(options.client(), None);
    }

    #[test]
    fn a_number_that_is_none_leaves_the_default() {
        for bad in ["abc", "-1", "4294967295", ""] {
            let options = read("", &["--userid", bad, "--groupid", bad]).unwrap();
            assert_eq!((options.user, options.group), (NOBODY, NOBODY), "{bad}");
            assert_eq!(options.warnings.len(), 2);
        }
    }

    #[test]
    fn nonsense_is_refused_and_its_place_is_reported() {
        for bad in [
            &["word"][..],
            &["--nope"],
            &["-E", "nocolon"],
            &["-E", ":X=1"],
            &["-o", "foo"],
            &["--userid"],
        ] {
            assert!(matches!(
                read("", bad),
                Err(PluginOptionsError::CommandLine(_))
            ));
        }
        for bad in ["word", "--nope", "--help", "-o foo"] {
            assert!(
                matches!(read(bad, &[]), Err(PluginOptionsError::File(_))),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_configuration_is_read_or_refused(config in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_with(&config, &[]);
        }
    }
}
