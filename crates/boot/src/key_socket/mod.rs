//! The applet `key-socket`: a key file for crypttab(5) that is a socket. One fetch serves all volumes.

mod listener;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use nightlatch_core::digits;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;
use nightlatch_sys::signals::{EndSignals, Signal};

use crate::applet::{Applet, AppletError, Privilege};
use crate::cli::{self, CliAction, CliArgument, OptionNames, UsageError};
use crate::exit::Exit;
use crate::log::AppletLog;
use crate::process::{PasswordProcess, end_all};
use crate::source::PasswordSource;
use crate::wait;
use listener::{KeySocket, VolumeConnection};

/// The password is kept for this long after a volume was served.
const KEEP: Duration = Duration::from_secs(60);

/// A peer that reads nothing for so long gets nothing.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) const APPLET: Applet = Applet {
    names: &["key-socket"],
    about: "be the key file of volumes in crypttab(5)",
    help: HELP,
    privilege: Privilege::None,
    start: |applet, arguments| {
        applet.run_borrowed(parse(arguments), |options| options.debug, serve)
    },
};

const HELP: &str = "\
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

const NAMES: OptionNames = OptionNames {
    mandos: &[],
    ours: &["socket", "volume", "keep", "debug"],
    short: &[],
};

struct KeySocketOptions {
    socket: PathBuf,
    volumes: Vec<String>,
    keep: Duration,
    debug: bool,
    command: Vec<OsString>,
}

fn parse(arguments: Vec<OsString>) -> Result<CliAction<KeySocketOptions>, UsageError> {
    let options = KeySocketOptions {
        socket: "/run/nightlatch/key".into(),
        volumes: Vec::new(),
        keep: KEEP,
        debug: false,
        command: Vec::new(),
    };
    cli::parse(&NAMES, options, arguments, |options, part, arguments| {
        match part {
            CliArgument::Option("socket") => options.socket = arguments.value()?.into(),
            CliArgument::Option("volume") => options.volumes.push(arguments.text("--volume")?),
            CliArgument::Option("keep") => {
                let given = arguments.text("--keep")?;
                let seconds: u32 = digits::decimal(&given).ok_or_else(|| {
                    UsageError::Value("--keep", "a number of seconds", given.into())
                })?;
                options.keep = Duration::from_secs(seconds.into());
            }
            CliArgument::Option("debug") => options.debug = true,
            CliArgument::Word(word) => {
                options.command.push(word);
                options.command.extend(arguments.rest()?);
            }
            part @ CliArgument::Option(_) => return Err(part.unexpected()),
        }
        Ok(())
    })
}

#[derive(Debug, thiserror::Error)]
enum KeySocketError {
    #[error("cannot listen")]
    Listen(#[source] io::Error),
    #[error("no password could be fetched")]
    NoPassword,
    #[error("the system refused")]
    System(#[from] io::Error),
}

impl AppletError for KeySocketError {
    fn exit(&self) -> Exit {
        match self {
            Self::Listen(_) => Exit::File,
            Self::NoPassword => Exit::Unavailable,
            Self::System(_) => Exit::System,
        }
    }
}

fn serve(options: &KeySocketOptions, log: AppletLog) -> Result<Option<Signal>, KeySocketError> {
    let signals = EndSignals::hold()?;
    let listener = KeySocket::open(&options.socket).map_err(KeySocketError::Listen)?;
    log.debug(|| "waiting for volumes".to_owned());
    let now = clock::now().mono;
    let mut source = PasswordSource::new("the search for a password".to_owned(), now, || {
        PasswordProcess::start_given(&options.command, &["client"])
    });
    let mut desk = KeyServer {
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

/// Serves the volumes that connect.
struct KeyServer<'a> {
    options: &'a KeySocketOptions,
    log: AppletLog,
    waiting: Vec<VolumeConnection>,
    password: Option<Secret>,
    /// The time at which a volume was served last.
    last: Option<Monotonic>,
}

impl KeyServer<'_> {
    fn until_end(
        &mut self,
        listener: &KeySocket,
        source: &mut PasswordSource<'_>,
        signals: &EndSignals,
    ) -> Result<Option<Signal>, KeySocketError> {
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
                return Err(KeySocketError::NoPassword);
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

    fn handle_peer(&mut self, peer: VolumeConnection) {
        let (volumes, volume) = (&self.options.volumes, &peer.volume);
        if volumes.is_empty() || volumes.contains(volume) {
            self.log.debug(|| format!("the volume {volume:?} asks"));
            self.waiting.push(peer);
        } else {
            self.log.info(&format!(
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
                    self.log.info(&format!("{what}: {error}"));
                }
            }
        }
    }
}

fn give(peer: &VolumeConnection, password: &Secret) -> io::Result<()> {
    let mut stream = &peer.stream;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(password.expose())
}
