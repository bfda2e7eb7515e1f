//! The applet `plymouth`: asks on Plymouth's screen (plymouth(8mandos)). It speaks to the daemon itself,
//! without the program /bin/plymouth.

pub mod daemon;
pub mod protocol;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nightlatch_core::secret::SecretBuffer;
use nightlatch_sys::signals::{EndSignals, Signal};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::applet::{Applet, AppletError, Privilege};
use crate::cli::OptionNames;
use crate::daemon::{DaemonError, SplashDaemon};
use crate::exit::Exit;
use crate::log::{AppletLog, format_error};
use crate::output::write_out;
use crate::prompt::{self, PromptOptions};
use crate::wait;
use daemon::{ConnectError, connect};
use protocol::{PlymouthReply, ReplyError};

pub(crate) const APPLET: Applet = Applet {
    names: &["plymouth"],
    about: "ask for the password on Plymouth's screen",
    help: HELP,
    privilege: Privilege::Root,
    start: |applet, arguments| {
        let action = prompt::parse(&NAMES, arguments);
        applet.run_borrowed(action, |options| options.debug, ask)
    },
};

const HELP: &str = "\
Usage: nightlatch-boot plymouth [-?V] [--prompt PROMPT] [--debug] [--help] [--usage] [--version]

Asks for a password on Plymouth's screen and prints it, without an end of line.

      --prompt PROMPT  the question, instead of one from the environment
      --debug          tell each step on standard error
  -?, --help           show this help
      --usage          show a short usage message
  -V, --version        show the version

The question names the disk by CRYPTTAB_SOURCE and CRYPTTAB_NAME, or cryptsource and crypttarget.
A signal takes the question from the screen: Plymouth is started again for that, since it cannot take a
question back.

Example:
  nightlatch-boot plymouth --prompt Password | cryptsetup open --key-file - /dev/sda3 root
";

const NAMES: OptionNames = OptionNames {
    mandos: &["prompt", "debug"],
    ours: &[],
    short: &[],
};

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
    PlymouthReply(#[from] ReplyError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("the system refused")]
    System(#[from] io::Error),
}

impl AppletError for PlymouthError {
    fn exit(&self) -> Exit {
        match self {
            Self::System(_) => Exit::System,
            _ => Exit::Unavailable,
        }
    }
}

fn ask(options: &PromptOptions, log: AppletLog) -> Result<Option<Signal>, PlymouthError> {
    let signals = EndSignals::hold()?;
    let stream = connect()?;
    // Known from the beginning, so that no other process can take its place.
    let daemon = daemon::at(&stream);
    match exchange(&stream, protocol::PING, &signals)? {
        Exchanged::Signal(signal) => return Ok(Some(signal)),
        Exchanged::PlymouthReply(PlymouthReply::Acknowledged) => {}
        Exchanged::PlymouthReply(_) => return Err(PlymouthError::Refused),
    }
    // The daemon answers one request on each connection.
    let stream = connect()?;
    let question = protocol::ask_for_password(&prompt::question(&options.wording));
    match exchange(&stream, &question, &signals)? {
        Exchanged::PlymouthReply(PlymouthReply::Answer(password)) => {
            Ok(write_out(&password, &signals)?)
        }
        Exchanged::PlymouthReply(PlymouthReply::NoAnswer) => Err(PlymouthError::NoAnswer),
        Exchanged::PlymouthReply(_) => Err(PlymouthError::Refused),
        Exchanged::Signal(signal) => {
            if let Err(error) = clear_screen(daemon, &signals) {
                let why = format_error(&error);
                log.info(&format!("cannot take the question from the screen: {why}"));
            }
            Ok(Some(signal))
        }
    }
}

/// The new daemon shows nothing until it is asked to, and drops a connection that is closed before its reply.
fn clear_screen(
    daemon: Result<SplashDaemon, DaemonError>,
    signals: &EndSignals,
) -> Result<(), PlymouthError> {
    daemon?.replace()?;
    exchange(&connect()?, protocol::SHOW_SPLASH, signals)?;
    Ok(())
}

enum Exchanged {
    PlymouthReply(PlymouthReply),
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
            return Ok(Exchanged::PlymouthReply(reply));
        }
    }
}
