//! The applet `key-socket`: a key file for crypttab(5) that is a socket. One fetch serves all volumes.

mod listener;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nightlatch_core::digits;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;
use nightlatch_sys::signals::{EndSignals, Signal, die_of};

use crate::cli::{self, About, Action, Arguments, Names, Part, SyntaxError};
use crate::exit::Exit;
use crate::log::{self, Log, chain};
use crate::process::{Process, end_all};
use crate::program::Program;
use crate::source::Source;
use crate::wait;
use listener::{Listener, Peer};

const NAME: &str = "key-socket";

/// How long the password is kept for another volume.
const KEEP: Duration = Duration::from_secs(60);

/// A peer that reads nothing for so long gets nothing.
const PATIENCE: Duration = Duration::from_secs(5);

const ABOUT: About = About {
    name: NAME,
    help: HELP,
};

/// The text of `--help`.
pub const HELP: &str = "\
Usage: nightlatch-boot key-socket [-?V] [--socket FILE] [--volume NAME]... [--keep SECONDS] [--debug]
       [--help] [--usage] [--version] [--] [COMMAND [ARGUMENT...]]

Fetches the password once and gives it to each volume that reads it as its key file, which crypttab(5)
allows to be a socket. Ends when no volume has asked for a while.

COMMAND prints the password; without one it is this program's client.

      --socket FILE    where to listen, unless systemd hands a socket over [/run/nightlatch/key]
      --volume NAME    serve only this volume (repeatable)
      --keep SECONDS   how long to keep the password for another volume [60]
      --debug          tell each step on standard error
  -?, --help           show this help
      --usage          show a short usage message
  -V, --version        show the version

Example, a line of /etc/crypttab and what serves it:
  data  /dev/sdb1  /run/nightlatch/key  luks,keyfile-timeout=0
  nightlatch-boot key-socket --volume data
";

const NAMES: Names = Names {
    mandos: &[],
    ours: &["socket", "volume", "keep", "debug"],
    short: &[],
};

struct Options {
    socket: PathBuf,
    volumes: Vec<String>,
    keep: Duration,
    debug: bool,
    command: Vec<OsString>,
}

/// What makes no sense.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("--keep expects a number of seconds, found {0:?}")]
    Keep(String),
}

/// Runs the applet with the arguments that follow its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    cli::run(&ABOUT, parse(arguments), |options| serve(&options))
}

fn parse(arguments: Vec<OsString>) -> Result<Action<Options>, UsageError> {
    let mut arguments = Arguments::new(&NAMES, arguments);
    let mut options = Options {
        socket: "/run/nightlatch/key".into(),
        volumes: Vec::new(),
        keep: KEEP,
        debug: false,
        command: Vec::new(),
    };
    while let Some(part) = arguments.next_part()? {
        match part {
            Part::Option("socket") => options.socket = arguments.value()?.into(),
            Part::Option("volume") => options.volumes.push(arguments.text("--volume")?),
            Part::Option("keep") => {
                let given = arguments.text("--keep")?;
                let seconds: u32 =
                    digits::decimal(&given).ok_or_else(|| UsageError::Keep(given))?;
                options.keep = Duration::from_secs(seconds.into());
            }
            Part::Option("debug") => options.debug = true,
            Part::Option("help") => return Ok(Action::Help),
            Part::Option("usage") => return Ok(Action::Usage),
            Part::Option(_) => return Ok(Action::Version),
            Part::Word(word) => {
                options.command.push(word);
                options.command.extend(arguments.rest()?);
            }
        }
    }
    Ok(Action::Run(options))
}

fn start(options: &Options) -> io::Result<Process> {
    let program = match options.command.first() {
        Some(name) => Program::named(name).map_err(io::Error::other)?,
        None => Program::Myself,
    };
    let mut command = program.command();
    command.args(options.command.iter().skip(1));
    if options.command.is_empty() {
        command.arg("client");
    }
    Process::start(&mut command)
}

/// Why no volume can be served.
#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error("cannot listen")]
    Listen(#[source] io::Error),
    #[error("no password could be fetched")]
    NoPassword,
    #[error("the system refused")]
    System(#[from] io::Error),
}

impl KeyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Listen(_) => Exit::File,
            Self::NoPassword => Exit::Unavailable,
            Self::System(_) => Exit::System,
        }
    }
}

fn serve(options: &Options) -> ExitCode {
    log::silence_panics(NAME);
    let log = Log::new(NAME, options.debug);
    match served(options, log) {
        Ok(None) => Exit::Success.into(),
        Ok(Some(signal)) => die_of(signal),
        Err(error) => {
            log.say(&chain(&error));
            error.exit().into()
        }
    }
}

fn served(options: &Options, log: Log) -> Result<Option<Signal>, KeyError> {
    let signals = EndSignals::hold()?;
    let listener = Listener::open(&options.socket).map_err(KeyError::Listen)?;
    log.debug(|| "waiting for volumes".to_owned());
    let now = clock::now().mono;
    let mut source = Source::new("the search for a password".to_owned(), now, || {
        start(options)
    });
    let mut desk = Desk {
        options,
        log,
        waiting: Vec::new(),
        password: None,
        last: None,
    };
    let end = desk.until_end(&listener, &mut source, &signals);
    end_all(source.into_process().into_iter().collect());
    end
}

/// Where keys are handed out.
struct Desk<'a> {
    options: &'a Options,
    log: Log,
    waiting: Vec<Peer>,
    password: Option<Secret>,
    /// When a volume was served last.
    last: Option<Monotonic>,
}

impl Desk<'_> {
    fn until_end(
        &mut self,
        listener: &Listener,
        source: &mut Source<'_>,
        signals: &EndSignals,
    ) -> Result<Option<Signal>, KeyError> {
        loop {
            if let Some(signal) = signals.next()? {
                return Ok(Some(signal));
            }
            let now = clock::now().mono;
            while let Some(peer) = listener.accept()? {
                self.handle_peer(peer);
            }
            if let Some(password) = source.advance(now, self.log)? {
                self.password = Some(password);
            } else if self.password.is_none() && source.is_over() {
                return Err(KeyError::NoPassword);
            }
            self.serve_all(now);
            let left = self
                .last
                .map(|last| last.after(self.options.keep).since(now));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let due = source.due().map(|due| due.since(now));
            let limit = [left, due].into_iter().flatten().min();
            let fixed = [listener.as_fd(), signals.as_fd()];
            wait::for_any(source.descriptors().chain(fixed), limit)?;
        }
    }

    fn handle_peer(&mut self, peer: Peer) {
        let (volumes, volume) = (&self.options.volumes, &peer.volume);
        if volumes.is_empty() || volumes.contains(volume) {
            self.log.debug(|| format!("the volume {volume:?} asks"));
            self.waiting.push(peer);
        } else {
            self.log.say(&format!(
                "refused the volume {volume:?}: not one of --volume"
            ));
        }
    }

    fn serve_all(&mut self, now: Monotonic) {
        let Some(password) = &self.password else {
            return;
        };
        for peer in self.waiting.drain(..) {
            let volume = &peer.volume;
            match give(&peer, password) {
                Ok(()) => {
                    self.log
                        .debug(|| format!("gave the password to the volume {volume:?}"));
                    self.last = Some(now);
                }
                Err(error) => {
                    let what = format!("cannot give the password to the volume {volume:?}");
                    self.log.say(&format!("{what}: {error}"));
                }
            }
        }
    }
}

fn give(peer: &Peer, password: &Secret) -> io::Result<()> {
    let mut stream = &peer.stream;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(password.expose())
}
