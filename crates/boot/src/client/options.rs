//! The command line, as mandos-client(8mandos) documents it, and what is ours in it.
//!
//! The reading is pure: from arguments to an [`CliAction`]. The initramfs may have more options in a file.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nightlatch_core::key_id::{KeyId, KeyIdError};
use nightlatch_proto::priority::{Priority, PriorityError};

use super::interfaces::InterfaceSelection;
use crate::cli::{
    self, ArgumentReader, CliAction, CliArgument, OptionNames, UsageError, split_words,
};
use crate::files::{configuration, read_bounded};
use nightlatch_core::connect::{ServerList, is_interface_name};
use nightlatch_core::digits;

/// The default of mandos-client(8mandos).
const DELAY: Duration = Duration::from_millis(2500);

/// The default of mandos-client(8mandos).
const RETRY: Duration = Duration::from_secs(10);

/// The default of mandos-client(8mandos).
const HOOK_DIRECTORY: &str = "/lib/mandos/network-hooks.d";

/// More options, beside the keys: words with white space between them.
const FILE: &str = "client.options";

/// The longest file of options that makes sense.
const MAX_FILE: usize = 64 * 1024;

/// The options of the applet `client`.
#[derive(Debug)]
pub struct ClientOptions {
    /// The servers to connect to; without any, servers are searched for.
    pub connect: ServerList,
    /// The interfaces as they were given, separated by commas.
    pub devices: String,
    /// The interfaces to use.
    pub selection: InterfaceSelection,
    /// The key files that are not in their default place.
    pub keys: KeyPaths,
    /// The algorithms of TLS.
    pub priority: Priority,
    /// The longest time that the console is kept quiet for new interfaces.
    pub delay: Duration,
    /// Time between two tries of one server.
    pub retry: Duration,
    /// The directory of the network hooks.
    pub hook_directory: PathBuf,
    /// The file of links to be made, where it is not the usual one.
    pub network: Option<PathBuf>,
    /// The file of remembered servers, where it is not the usual one.
    pub remembered_servers: Option<PathBuf>,
    pub debug: bool,
    /// The keys of which a server must prove one, beside those of the file `trusted-servers`.
    pub server_key_ids: Vec<KeyId>,
    /// Accept a payload that the client's own key did not sign.
    pub allow_unsigned: bool,
    pub kernel_command_line: bool,
    /// This is no boot: ask the server only whether it would release the password.
    pub rehearsal: bool,
}

/// Key files that are not in their default place.
#[derive(Default, Debug)]
pub struct KeyPaths {
    pub pubkey: Option<PathBuf>,
    pub seckey: Option<PathBuf>,
    pub tls_privkey: Option<PathBuf>,
    pub tls_pubkey: Option<PathBuf>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect: ServerList::default(),
            devices: String::new(),
            selection: InterfaceSelection::Suitable,
            keys: KeyPaths::default(),
            priority: Priority::default(),
            delay: DELAY,
            retry: RETRY,
            hook_directory: HOOK_DIRECTORY.into(),
            network: None,
            remembered_servers: None,
            debug: false,
            server_key_ids: Vec::new(),
            allow_unsigned: false,
            kernel_command_line: false,
            rehearsal: false,
        }
    }
}

impl ClientOptions {
    /// Uses these interfaces: lists of names with commas between, none of them meaning all that suit.
    ///
    /// # Errors
    /// When a name could not be that of an interface.
    pub fn use_interfaces(&mut self, lists: &[String]) -> Result<(), UsageError> {
        let names = || lists.iter().flat_map(|list| list.split(','));
        if let Some(bad) = names().find(|name| !name.is_empty() && !is_interface_name(name)) {
            return Err(UsageError::Interface(bad.to_owned()));
        }
        self.selection = InterfaceSelection::of_names(names());
        let given: Vec<&str> = names().filter(|name| !name.is_empty()).collect();
        self.devices = given.join(",");
        Ok(())
    }

    /// Messages about servers that are left out. The others are tried all the same.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let refused = self.connect.refused.iter();
        let repeated = self.connect.repeated.iter();
        refused
            .map(|refused| format!("left out --connect: {refused}"))
            .chain(
                repeated.map(|word| {
                    format!("--connect {word} is given twice: it is connected to once")
                }),
            )
    }
}

/// The file of options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsFileError {
    /// It is there, and cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// It makes no sense.
    #[error("bad options in {0}")]
    Usage(PathBuf, #[source] UsageError),
    /// It asks for help.
    #[error("{0} asks for help or the version, expected options of how to fetch the password")]
    Asking(PathBuf),
}

/// The options of the initramfs, before the command line; the defaults where it has none.
///
/// # Errors
/// A file that cannot be used: it may restrict the trusted servers.
pub fn configured() -> Result<ClientOptions, OptionsFileError> {
    let path = configuration().join(FILE);
    let bytes = match read_bounded(&path, MAX_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(ClientOptions::default());
        }
        Err(error) => return Err(OptionsFileError::Read(path, error)),
        Ok(bytes) => bytes,
    };
    match read(ClientOptions::default(), split_words(&bytes)) {
        Ok(CliAction::Run(options)) => Ok(*options),
        Ok(_) => Err(OptionsFileError::Asking(path)),
        Err(error) => Err(OptionsFileError::Usage(path, error)),
    }
}

/// Reads the arguments that follow the applet's name, on top of `options`. Interfaces and servers replace those that
/// these have.
pub fn parse(
    options: ClientOptions,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<CliAction<Box<ClientOptions>>, UsageError> {
    let action = read(options, arguments)?;
    match action {
        // A search instead could find no server, or the wrong one.
        CliAction::Run(mut options) if options.connect.are_all_refused() => {
            let first = options.connect.refused.swap_remove(0);
            Err(first.into())
        }
        action => Ok(action),
    }
}

/// As [`parse`], also where servers are named and all of them are refused: the command line may name others than
/// the file.
fn read(
    options: ClientOptions,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<CliAction<Box<ClientOptions>>, UsageError> {
    let mut devices = Vec::new();
    let mut servers = Vec::new();
    let options = Box::new(options);
    let action = cli::parse(&NAMES, options, arguments, |options, part, arguments| {
        match part {
            CliArgument::Option("interface") => devices.push(arguments.text("--interface")?),
            CliArgument::Option("connect") => servers.push(arguments.text("--connect")?),
            CliArgument::Option(name) => set(options, name, arguments)?,
            part @ CliArgument::Word(_) => return Err(part.unexpected()),
        }
        Ok(())
    })?;
    let CliAction::Run(mut options) = action else {
        return Ok(action);
    };
    if !servers.is_empty() {
        options.connect = ServerList::from_options(servers.iter().map(String::as_str));
    }
    if !devices.is_empty() {
        options.use_interfaces(&devices)?;
    }
    Ok(CliAction::Run(options))
}

fn set(
    options: &mut ClientOptions,
    name: &'static str,
    arguments: &mut ArgumentReader,
) -> Result<(), UsageError> {
    match name {
        "debug" => options.debug = true,
        "allow-unsigned" => options.allow_unsigned = true,
        "kernel-command-line" => options.kernel_command_line = true,
        "rehearsal" => options.rehearsal = true,
        "pubkey" => options.keys.pubkey = Some(arguments.value()?.into()),
        "seckey" => options.keys.seckey = Some(arguments.value()?.into()),
        "tls-privkey" => options.keys.tls_privkey = Some(arguments.value()?.into()),
        "tls-pubkey" => options.keys.tls_pubkey = Some(arguments.value()?.into()),
        "priority" => {
            options.priority = arguments
                .text("--priority")?
                .parse()
                .map_err(|error: PriorityError| UsageError::Refused("--priority", error.into()))?;
        }
        // TLS 1.3 has groups instead of parameters (RFC 8446, 4.2.7): nothing to set any more.
        "dh-bits" => {
            let bits = arguments.text("--dh-bits")?;
            digits::decimal::<u32>(&bits)
                .ok_or_else(|| UsageError::Value("--dh-bits", "a number of bits", bits.into()))?;
        }
        "dh-params" => drop(arguments.value()?),
        "delay" => options.delay = seconds("--delay", arguments)?,
        "retry" => options.retry = seconds("--retry", arguments)?,
        "network" => options.network = Some(arguments.value()?.into()),
        "remembered-servers" => options.remembered_servers = Some(arguments.value()?.into()),
        "network-hook-dir" => options.hook_directory = arguments.value()?.into(),
        "server-key-id" => {
            let id = arguments.text("--server-key-id")?.parse();
            options.server_key_ids.push(id.map_err(|error: KeyIdError| {
                UsageError::Refused("--server-key-id", error.into())
            })?);
        }
        other => return Err(UsageError::Unknown(other.to_owned())),
    }
    Ok(())
}

fn seconds(option: &'static str, arguments: &mut ArgumentReader) -> Result<Duration, UsageError> {
    let value = arguments.text(option)?;
    decimal(value.trim()).ok_or_else(|| {
        let expected = "a number of seconds that is not negative";
        UsageError::Value(option, expected, value.into())
    })
}

/// `2`, `2.5`, `.5` or `2.`: without the tables that floating point numbers would bring into the
/// initramfs. Digits after the ninth of the fraction are less than a nanosecond.
fn decimal(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let seconds = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let nanos: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    Some(Duration::new(seconds, nanos.parse().ok()?))
}

const NAMES: OptionNames = OptionNames {
    mandos: &MANDOS,
    ours: &OURS,
    short: &[
        ('c', "connect"),
        ('i', "interface"),
        ('p', "pubkey"),
        ('s', "seckey"),
        ('t', "tls-privkey"),
        ('T', "tls-pubkey"),
    ],
};
const MANDOS: [&str; 13] = [
    "connect",
    "interface",
    "pubkey",
    "seckey",
    "tls-privkey",
    "tls-pubkey",
    "priority",
    "dh-bits",
    "dh-params",
    "delay",
    "retry",
    "network-hook-dir",
    "debug",
];
const OURS: [&str; 6] = [
    "server-key-id",
    "allow-unsigned",
    "kernel-command-line",
    "network",
    "remembered-servers",
    "rehearsal",
];

pub(crate) const HELP: &str = "\
Usage: nightlatch-boot client [-?V] [-c ADDRESS:PORT]... [-i NAME[,NAME...]] [-p FILE] [-s FILE]
       [-t FILE] [-T FILE] [--priority STRING] [--dh-bits BITS] [--dh-params FILE]
       [--delay SECONDS] [--retry SECONDS] [--network FILE] [--network-hook-dir DIR]
       [--remembered-servers FILE] [--debug] [--server-key-id HEX]... [--allow-unsigned]
       [--kernel-command-line] [--rehearsal] [--help] [--usage] [--version]

Finds a server, proves this machine's key and prints the disk password.

  -c, --connect ADDRESS:PORT    connect to this server instead of searching (repeatable: all of them
                                are tried side by side); \"none\" forgets those before it
  -i, --interface NAME[,NAME..] network interfaces to use; \"none\" ends the list
  -p, --pubkey FILE             OpenPGP public key
  -s, --seckey FILE             OpenPGP secret key
  -t, --tls-privkey FILE        TLS private key
  -T, --tls-pubkey FILE         TLS raw public key
      --server-key-id HEX       believe only servers with this key id (repeatable), and
                                those in the file trusted-servers beside the TLS private key
      --allow-unsigned          accept a password that this machine's key did not sign
      --kernel-command-line     obey mandos=, nightlatch= and ip= on the kernel's command line
      --rehearsal               this is no boot: the server only says whether one would get the
                                password, and how long the machine may be away
      --priority STRING         GnuTLS priority string
      --dh-bits BITS            accepted, without effect in TLS 1.3
      --dh-params FILE          accepted, without effect in TLS 1.3
      --delay SECONDS           how long the console is kept quiet for new interfaces [2.5]
      --retry SECONDS           time between two tries of one server [10]
      --network FILE            VLANs, bonds and bridges to make
                                [/conf/conf.d/nightlatch/network.conf, if it exists]
      --remembered-servers FILE addresses to try beside the search
                                [/conf/conf.d/nightlatch/remembered-servers, if it exists]
      --network-hook-dir DIR    network hooks [/lib/mandos/network-hooks.d]
      --debug                   tell each step on standard error
  -?, --help                    show this help
      --usage                   show a short usage message
  -V, --version                 show the version

The keys are in /conf/conf.d/nightlatch, or in /conf/conf.d/mandos where that does not exist. The file
client.options beside them has more options; those of the command line have the last word.

Examples:
  nightlatch-boot client                                 as in the initramfs: every suitable
                                                         interface, every server, until one answers
  nightlatch-boot client --interface eth0 --debug        on one interface, telling each step
  nightlatch-boot client --connect '[fe80::1%eth0]:4711' a server that is known
  nightlatch-boot client | cryptsetup open --key-file - /dev/sda3 root
";

#[cfg(test)]
mod tests;
