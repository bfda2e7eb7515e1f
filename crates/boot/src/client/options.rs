//! The command line, as mandos-client(8mandos) documents it, and what is ours in it.
//!
//! The reading is pure: from arguments to an [`Action`]. The initramfs may have more options in a file.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nightlatch_core::key_id::{KeyId, KeyIdError};
use nightlatch_proto::priority::{Priority, PriorityError};

use super::interfaces::Selection;
use crate::cli::{Action, Arguments, Names, Part, SyntaxError, words};
use crate::files::{configuration, read_bounded};
use nightlatch_core::connect::{Target, TargetError, is_interface_name};
use nightlatch_core::digits;

/// What mandos-client(8mandos) waits for an interface.
const DELAY: Duration = Duration::from_millis(2500);

/// How often mandos-client(8mandos) tries a server.
const RETRY: Duration = Duration::from_secs(10);

/// Where mandos-client(8mandos) looks for network hooks.
const HOOK_DIRECTORY: &str = "/lib/mandos/network-hooks.d";

/// More options, beside the keys: words with white space between them.
const FILE: &str = "client.options";

/// The longest file of options that makes sense.
const MAX_FILE: usize = 64 * 1024;

/// How to fetch the password.
#[derive(Debug)]
pub struct Options {
    /// The one server to connect to, and the text that named it.
    pub connect: Option<(Target, String)>,
    /// The interfaces as they were given, separated by commas.
    pub devices: String,
    /// What they mean.
    pub selection: Selection,
    /// Where the keys are.
    pub keys: KeyPaths,
    /// What TLS may use.
    pub priority: Priority,
    /// How long a new interface may make the kernel talkative.
    pub delay: Duration,
    /// How long between two tries of one server.
    pub retry: Duration,
    /// Where the network hooks are.
    pub hook_directory: PathBuf,
    /// The file of links to be made, where it is not the usual one.
    pub network: Option<PathBuf>,
    /// Whether each step is told.
    pub debug: bool,
    /// The keys of which a server must prove one, beside those of the file `trusted-servers`.
    pub server_key_ids: Vec<KeyId>,
    /// Whether a payload that the client's own key did not sign is used.
    pub allow_unsigned: bool,
    /// Whether the kernel's command line is obeyed.
    pub kernel_command_line: bool,
    /// Whether it is no boot, and only tried whether one would get the password.
    pub rehearsal: bool,
}

/// Key files that are not in their default place.
#[derive(Default, Debug)]
pub struct KeyPaths {
    /// `--pubkey`.
    pub pubkey: Option<PathBuf>,
    /// `--seckey`.
    pub seckey: Option<PathBuf>,
    /// `--tls-privkey`.
    pub tls_privkey: Option<PathBuf>,
    /// `--tls-pubkey`.
    pub tls_pubkey: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect: None,
            devices: String::new(),
            selection: Selection::Suitable,
            keys: KeyPaths::default(),
            priority: Priority::default(),
            delay: DELAY,
            retry: RETRY,
            hook_directory: HOOK_DIRECTORY.into(),
            network: None,
            debug: false,
            server_key_ids: Vec::new(),
            allow_unsigned: false,
            kernel_command_line: false,
            rehearsal: false,
        }
    }
}

impl Options {
    /// Uses these interfaces: lists of names with commas between, none of them meaning all that suit.
    ///
    /// # Errors
    /// When a name could not be that of an interface.
    pub fn use_interfaces(&mut self, lists: &[String]) -> Result<(), UsageError> {
        let names = || lists.iter().flat_map(|list| list.split(','));
        if let Some(bad) = names().find(|name| !name.is_empty() && !is_interface_name(name)) {
            return Err(UsageError::Interface(bad.to_owned()));
        }
        self.selection = Selection::of_names(names());
        let given: Vec<&str> = names().filter(|name| !name.is_empty()).collect();
        self.devices = given.join(",");
        Ok(())
    }
}

/// What makes no sense on the command line.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// What no command line may be.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// `--connect`.
    #[error("bad --connect")]
    Connect(#[from] TargetError),
    /// `--interface`.
    #[error("expected the name of a network interface after --interface, found {0:?}")]
    Interface(String),
    /// `--priority`.
    #[error("bad --priority")]
    Priority(#[from] PriorityError),
    /// `--delay` or `--retry`.
    #[error("{0} expects a number of seconds that is not negative, found {1:?}")]
    Seconds(&'static str, String),
    /// `--dh-bits`.
    #[error("--dh-bits expects a number of bits, found {0:?}")]
    Bits(String),
    /// `--server-key-id`.
    #[error("bad --server-key-id")]
    KeyId(#[from] KeyIdError),
}

/// Why the file of options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
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
/// A file that cannot be used is one: it may say whom not to believe.
pub fn configured() -> Result<Options, FileError> {
    let path = configuration().join(FILE);
    let bytes = match read_bounded(&path, MAX_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Options::default()),
        Err(error) => return Err(FileError::Read(path, error)),
        Ok(bytes) => bytes,
    };
    match parse(Options::default(), words(&bytes)) {
        Ok(Action::Run(options)) => Ok(*options),
        Ok(_) => Err(FileError::Asking(path)),
        Err(error) => Err(FileError::Usage(path, error)),
    }
}

/// Reads the arguments that follow the applet's name, on top of `options`. Interfaces replace those that
/// these have.
pub fn parse(
    mut options: Options,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Action<Box<Options>>, UsageError> {
    let mut arguments = Arguments::new(&NAMES, arguments);
    let mut devices = Vec::new();
    while let Some(part) = arguments.next_part()? {
        match part {
            Part::Word(word) => return Err(SyntaxError::Word(word).into()),
            Part::Option("help") => return Ok(Action::Help),
            Part::Option("usage") => return Ok(Action::Usage),
            Part::Option("version") => return Ok(Action::Version),
            Part::Option("interface") => devices.push(arguments.text("--interface")?),
            Part::Option(name) => set(&mut options, name, &mut arguments)?,
        }
    }
    if !devices.is_empty() {
        options.use_interfaces(&devices)?;
    }
    Ok(Action::Run(Box::new(options)))
}

fn set(
    options: &mut Options,
    name: &'static str,
    arguments: &mut Arguments,
) -> Result<(), UsageError> {
    match name {
        "debug" => options.debug = true,
        "allow-unsigned" => options.allow_unsigned = true,
        "kernel-command-line" => options.kernel_command_line = true,
        "rehearsal" => options.rehearsal = true,
        "connect" => {
            let target = arguments.text("--connect")?;
            options.connect = Some((target.parse()?, target));
        }
        "pubkey" => options.keys.pubkey = Some(arguments.value()?.into()),
        "seckey" => options.keys.seckey = Some(arguments.value()?.into()),
        "tls-privkey" => options.keys.tls_privkey = Some(arguments.value()?.into()),
        "tls-pubkey" => options.keys.tls_pubkey = Some(arguments.value()?.into()),
        "priority" => options.priority = arguments.text("--priority")?.parse()?,
        // TLS 1.3 has groups instead of parameters (RFC 8446, 4.2.7): nothing to set any more.
        "dh-bits" => {
            let bits = arguments.text("--dh-bits")?;
            digits::decimal::<u32>(&bits).ok_or(UsageError::Bits(bits))?;
        }
        "dh-params" => drop(arguments.value()?),
        "delay" => options.delay = seconds("--delay", arguments)?,
        "retry" => options.retry = seconds("--retry", arguments)?,
        "network" => options.network = Some(arguments.value()?.into()),
        "network-hook-dir" => options.hook_directory = arguments.value()?.into(),
        "server-key-id" => {
            let id = arguments.text("--server-key-id")?.parse()?;
            options.server_key_ids.push(id);
        }
        other => return Err(SyntaxError::Unknown(other.to_owned()).into()),
    }
    Ok(())
}

fn seconds(option: &'static str, arguments: &mut Arguments) -> Result<Duration, UsageError> {
    let value = arguments.text(option)?;
    decimal(value.trim()).ok_or(UsageError::Seconds(option, value))
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

const NAMES: Names = Names {
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
const OURS: [&str; 5] = [
    "server-key-id",
    "allow-unsigned",
    "kernel-command-line",
    "network",
    "rehearsal",
];

/// The text of `--help`.
pub const HELP: &str = "\
Usage: nightlatch-boot client [-?V] [-c ADDRESS:PORT] [-i NAME[,NAME...]] [-p FILE] [-s FILE]
       [-t FILE] [-T FILE] [--priority STRING] [--dh-bits BITS] [--dh-params FILE]
       [--delay SECONDS] [--retry SECONDS] [--network FILE] [--network-hook-dir DIR]
       [--debug] [--server-key-id HEX]... [--allow-unsigned] [--kernel-command-line]
       [--rehearsal] [--help] [--usage] [--version]

Finds a server, proves this machine's key and prints the disk password.

  -c, --connect ADDRESS:PORT    connect to this server instead of searching
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(arguments: &[&str]) -> Result<Action<Box<Options>>, UsageError> {
        parse(Options::default(), arguments.iter().map(OsString::from))
    }

    fn options(arguments: &[&str]) -> Options {
        match read(arguments) {
            Ok(Action::Run(options)) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_arguments_the_defaults_of_the_manual_hold() {
        let options = options(&[]);
        assert!(options.connect.is_none() && !options.debug && !options.allow_unsigned);
        assert_eq!(options.selection, Selection::Suitable);
        assert_eq!(
            (options.delay, options.retry),
            (Duration::from_millis(2500), Duration::from_secs(10))
        );
        assert_eq!(
            options.hook_directory,
            PathBuf::from("/lib/mandos/network-hooks.d")
        );
    }

    #[test]
    fn every_option_of_mandos_is_known_by_both_its_names() {
        let options = options(&[
            "-c::1:4711",
            "-ieth0",
            "-i",
            "eth1,eth2",
            "-p",
            "a",
            "-s",
            "b",
            "-tc",
            "-T",
            "d",
            "--priority=NORMAL",
            "--dh-bits=1024",
            "--dh-params",
            "x",
            "--delay=0.5",
            "--retry=1",
            "--network-hook-dir",
            "h",
            "--debug",
        ]);
        assert_eq!(options.connect.unwrap().1, "::1:4711");
        assert_eq!(options.devices, "eth0,eth1,eth2");
        assert_eq!(options.keys.pubkey, Some("a".into()));
        assert_eq!(options.keys.seckey, Some("b".into()));
        assert_eq!(options.keys.tls_privkey, Some("c".into()));
        assert_eq!(options.keys.tls_pubkey, Some("d".into()));
        assert_eq!(options.delay, Duration::from_millis(500));
        assert_eq!(options.retry, Duration::from_secs(1));
        assert!(options.debug);
        assert!(matches!(read(&["-?"]), Ok(Action::Help)));
        assert!(matches!(read(&["--usage"]), Ok(Action::Usage)));
        assert!(matches!(read(&["-V"]), Ok(Action::Version)));
    }

    #[test]
    fn the_command_line_has_the_last_word() {
        let over = |arguments: &[&str]| {
            let file = options(&["-i", "eth0", "--connect=192.0.2.1:4", "--retry=5"]);
            match parse(file, arguments.iter().map(OsString::from)) {
                Ok(Action::Run(options)) => *options,
                other => panic!("{other:?}"),
            }
        };
        let over_it = over(&["-i", "eth1", "-i", "eth2", "--connect=[fe80::1]:4"]);
        assert_eq!(over_it.devices, "eth1,eth2");
        assert_eq!(over_it.connect.unwrap().1, "[fe80::1]:4");
        assert_eq!(over_it.retry, Duration::from_secs(5));
        assert_eq!(over(&[]).devices, "eth0");
        assert_eq!(over(&["-i", ""]).selection, Selection::Suitable);
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        for (text, millis) in [("2", 2000), ("2.5", 2500), (".25", 250), ("3.", 3000)] {
            assert_eq!(decimal(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(decimal("0.0000000019"), Some(Duration::from_nanos(1)));
        assert_eq!(decimal("99999999999999999999"), None);
    }

    #[test]
    fn a_unique_beginning_is_enough_and_mandos_comes_first() {
        assert_eq!(options(&["--se", "x"]).keys.seckey, Some("x".into()));
        assert!(options(&["--allow"]).allow_unsigned);
        assert!(matches!(
            read(&["--de", "1"]),
            Err(UsageError::Syntax(SyntaxError::Ambiguous(..)))
        ));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            &["--connect", "x"][..],
            &["--connect", "::1:0"],
            &["--delay", "x"],
            &["--delay=-1"],
            &["--delay", "."],
            &["--delay", "1.5s"],
            &["--retry", "inf"],
            &["--retry", "nan"],
            &["--dh-bits", "many"],
            &["--priority", "GOOD"],
            &["--server-key-id", "12"],
            &["--interface", "a/b"],
            &["--unknown"],
            &["--debug=yes"],
            &["-x"],
            &["word"],
            &["--connect"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_arguments_are_read_or_refused(arguments in prop::collection::vec(
            prop_oneof![
                "\\PC{0,12}",
                prop::sample::select(MANDOS.iter().chain(&OURS).map(|o| format!("--{o}")).collect::<Vec<_>>()),
            ], 0..8)) {
            let _ = parse(Options::default(), arguments.into_iter().map(OsString::from));
        }
    }
}
