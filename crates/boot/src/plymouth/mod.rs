//! The applet `plymouth`: asks on Plymouth's screen (plymouth(8mandos)). It speaks to the daemon itself,
//! without the program /bin/plymouth.

pub mod daemon;
pub mod protocol;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_sys::signals::{EndSignals, Signal, die_of};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::cli::{self, About, Action, Arguments, Names, Part, SyntaxError};
use crate::daemon::{Daemon, DaemonError};
use crate::exit::Exit;
use crate::log::{self, Log, chain};
use crate::output::write_out;
use crate::prompt::{self, Wording};
use crate::wait;
use daemon::{ConnectError, connect};
use protocol::{Reply, ReplyError};

const NAME: &str = "plymouth";

const ABOUT: About = About {
    name: NAME,
    help: HELP,
};

/// The text of `--help`.
pub const HELP: &str = "\
Usage: nightlatch-boot plymouth [-?V] [--prompt PROMPT] [--debug] [--help] [--usage] [--version]

Asks for a password on Plymouth's screen and prints it, without an end of line.

      --prompt PROMPT  the question, instead of one from the environment
      --debug          tell each step on standard error
  -?, --help           show this help
      --usage          show a short usage message
  -V, --version        show the version

The question names the disk by CRYPTTAB_SOURCE and CRYPTTAB_NAME, or cryptsource and crypttarget.
A signal takes the question from the screen: Plymouth is started anew for that, since it cannot take a
question back.

Example:
  nightlatch-boot plymouth --prompt Password | cryptsetup open --key-file - /dev/sda3 root
";

const NAMES: Names = Names {
    mandos: &["prompt", "debug"],
    ours: &[],
    short: &[],
};

struct Options {
    wording: Wording,
    debug: bool,
}

/// Runs the applet with the arguments that follow its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    cli::run(&ABOUT, parse(arguments), |options| ask(&options))
}

fn parse(arguments: Vec<OsString>) -> Result<Action<Options>, SyntaxError> {
    let mut arguments = Arguments::new(&NAMES, arguments);
    let mut options = Options {
        wording: Wording::default(),
        debug: false,
    };
    while let Some(part) = arguments.next_part()? {
        match part {
            Part::Option("prompt") => options.wording.prompt = Some(arguments.text("--prompt")?),
            Part::Option("debug") => options.debug = true,
            Part::Option("help") => return Ok(Action::Help),
            Part::Option("usage") => return Ok(Action::Usage),
            Part::Option(_) => return Ok(Action::Version),
            Part::Word(word) => return Err(SyntaxError::Word(word)),
        }
    }
    Ok(Action::Run(options))
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
enum PlymouthError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("Plymouth asks for root only")]
    Refused,
    #[error("nobody answered on Plymouth's screen")]
    NoAnswer,
    #[error("Plymouth has ended")]
    Gone,
    #[error(transparent)]
    Reply(#[from] ReplyError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("the system refused")]
    System(#[from] io::Error),
}

impl PlymouthError {
    fn exit(&self) -> Exit {
        match self {
            Self::System(_) => Exit::System,
            _ => Exit::Unavailable,
        }
    }
}

/// How the question ended.
enum End {
    Password(Secret),
    Signal(Signal),
}

fn ask(options: &Options) -> ExitCode {
    log::silence_panics(NAME);
    let log = Log::new(NAME, options.debug);
    match asked(options, log) {
        Ok(None) => Exit::Success.into(),
        Ok(Some(signal)) => die_of(signal),
        Err(error) => {
            log.say(&chain(&error));
            error.exit().into()
        }
    }
}

fn asked(options: &Options, log: Log) -> Result<Option<Signal>, PlymouthError> {
    let signals = EndSignals::hold()?;
    let stream = connect()?;
    // Known from the beginning, so that no other process can take its place.
    let daemon = daemon::at(&stream);
    match exchange(&stream, protocol::PING, &signals)? {
        Exchanged::Signal(signal) => return Ok(Some(signal)),
        Exchanged::Reply(Reply::Acknowledged) => {}
        Exchanged::Reply(_) => return Err(PlymouthError::Refused),
    }
    // The daemon answers one request on each connection.
    let stream = connect()?;
    let question = protocol::ask_for_password(&prompt::question(&options.wording));
    let end = match exchange(&stream, &question, &signals)? {
        Exchanged::Reply(Reply::Answer(password)) => End::Password(password),
        Exchanged::Reply(Reply::NoAnswer) => return Err(PlymouthError::NoAnswer),
        Exchanged::Reply(_) => return Err(PlymouthError::Refused),
        Exchanged::Signal(signal) => End::Signal(signal),
    };
    match end {
        End::Password(password) => Ok(write_out(&password, &signals)?),
        End::Signal(signal) => {
            if let Err(error) = clear_screen(daemon, &signals) {
                let why = chain(&error);
                log.say(&format!("cannot take the question from the screen: {why}"));
            }
            Ok(Some(signal))
        }
    }
}

/// The new daemon shows nothing until it is told to, and forgets who does not wait for its reply.
fn clear_screen(
    daemon: Result<Daemon, DaemonError>,
    signals: &EndSignals,
) -> Result<(), PlymouthError> {
    daemon?.replace()?;
    exchange(&connect()?, protocol::SHOW_SPLASH, signals)?;
    Ok(())
}

/// What came of a request.
enum Exchanged {
    Reply(Reply),
    Signal(Signal),
}

/// Sends a request and waits for the reply to it, or for a signal.
fn exchange(
    mut stream: &UnixStream,
    request: &[u8],
    signals: &EndSignals,
) -> Result<Exchanged, PlymouthError> {
    stream.write_all(request)?;
    stream.set_nonblocking(true)?;
    let mut came = SecretBuffer::default();
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        wait::for_any([stream.as_fd(), signals.as_fd()], None)?;
        if let Some(signal) = signals.next()? {
            return Ok(Exchanged::Signal(signal));
        }
        match rustix::io::read(stream, &mut chunk[..]) {
            Ok(0) => return Err(PlymouthError::Gone),
            Ok(count) => came.append(&chunk[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(PlymouthError::System(errno.into())),
        }
        if let Some(reply) = protocol::reply(&came)? {
            return Ok(Exchanged::Reply(reply));
        }
    }
}
