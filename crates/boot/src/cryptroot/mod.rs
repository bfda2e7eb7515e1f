//! The applet `cryptroot`: gives the password to Debian's cryptroot through askpass's FIFO, the moment
//! that askpass asks.
//!
//! A volume gets a password once. When it asks again the password was refused, and only the person
//! at the console can help: more tries would use up those that the person has.

mod beside;
mod only;
mod readers;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;
use nightlatch_sys::signals::{EndSignals, Signal};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::applet::{Applet, AppletError, Privilege};
use crate::askpass_fifo::FIFO;
use crate::cli::{self, CliAction, CliArgument, OptionNames, UsageError};
use crate::exit::Exit;
use crate::files::{PathHandle, is_private};
use crate::log::AppletLog;
use crate::output::write_to;
use crate::process::{PasswordProcess, end_all};
use crate::source::PasswordSource;
use crate::wait;
use crate::watch::DirectoryWatch;
use beside::SideCommand;
use only::FeedLock;
use readers::FifoReader;

/// The event for opening the FIFO comes a moment before /proc shows the reader: time to look for it.
const SCAN_TIME: Duration = Duration::from_secs(1);

/// The time between two looks.
const SCAN_INTERVAL: Duration = Duration::from_millis(10);

pub(crate) const APPLET: Applet = Applet {
    names: &["cryptroot"],
    about: "give the password to Debian's cryptroot",
    help: HELP,
    privilege: Privilege::None,
    start: |applet, arguments| applet.run_borrowed(parse(arguments), |options| options.debug, run),
};

const HELP: &str = "\
Usage: nightlatch-boot cryptroot [-?V] [--fifo FILE] [--beside COMMAND] [--kernel-command-line]
       [--end] [--debug] [--help] [--usage] [--version] [--] [COMMAND [ARGUMENT...]]

Fetches the password once and gives it to each volume that asks by cryptsetup's askpass, until it is
ended by a signal. A volume that asks again has refused it, and is left to the person at the console.

COMMAND prints the password; without one it is this program's plugin-runner, without plugins that
would ask at the console.

      --fifo FILE            askpass's FIFO [/lib/cryptsetup/passfifo]
      --beside COMMAND       a command of the shell that is run while the search goes on
      --kernel-command-line  let plugin-runner obey mandos=, nightlatch= and ip= on the kernel's command line
      --end                  end the one that runs, and wait until it has put everything back
      --debug                tell each step on standard error
  -?, --help                 show this help
      --usage                show a short usage message
  -V, --version              show the version

Example, early in the initramfs, and before it is left:
  nightlatch-boot cryptroot &
  nightlatch-boot cryptroot --end
";

const NAMES: OptionNames = OptionNames {
    mandos: &[],
    ours: &["fifo", "beside", "kernel-command-line", "end", "debug"],
    short: &[],
};

/// These would ask at the console, where askpass asks already.
const NOT_AT_THE_CONSOLE: [&str; 5] = [
    "--disable=askpass-fifo",
    "--disable=password-prompt",
    "--disable=plymouth",
    "--disable=splashy",
    "--disable=usplash",
];

#[derive(Default)]
struct CryptrootOptions {
    fifo: PathBuf,
    beside: Option<OsString>,
    kernel_command_line: bool,
    end: bool,
    debug: bool,
    command: Vec<OsString>,
}

fn parse(arguments: Vec<OsString>) -> Result<CliAction<CryptrootOptions>, UsageError> {
    let options = CryptrootOptions {
        fifo: FIFO.into(),
        ..CryptrootOptions::default()
    };
    cli::parse(&NAMES, options, arguments, |options, part, arguments| {
        match part {
            CliArgument::Option("fifo") => options.fifo = arguments.value()?.into(),
            CliArgument::Option("beside") => options.beside = Some(arguments.value()?),
            CliArgument::Option("kernel-command-line") => options.kernel_command_line = true,
            CliArgument::Option("end") => options.end = true,
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

fn start(options: &CryptrootOptions) -> io::Result<PasswordProcess> {
    let mut own = vec!["plugin-runner", "--no-fallback"];
    own.extend(NOT_AT_THE_CONSOLE);
    if options.kernel_command_line {
        own.push("--kernel-command-line");
    }
    PasswordProcess::start_given(&options.command, &own)
}

#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("cannot watch {0}")]
    Watch(PathBuf, #[source] io::Error),
    #[error("cannot use {0}, which tells whether another one feeds the same FIFO")]
    Lock(PathBuf, #[source] io::Error),
    #[error("another one feeds the same FIFO already")]
    Another,
    #[error("cannot end the one that runs")]
    End(#[source] io::Error),
    #[error("no password could be fetched")]
    NoPassword,
    #[error("the system refused")]
    System(#[from] io::Error),
}

impl AppletError for FeedError {
    fn exit(&self) -> Exit {
        match self {
            Self::Watch(..) | Self::Lock(..) => Exit::File,
            Self::Another | Self::NoPassword => Exit::Unavailable,
            Self::End(_) | Self::System(_) => Exit::System,
        }
    }
}

fn run(options: &CryptrootOptions, log: AppletLog) -> Result<Option<Signal>, FeedError> {
    match options.end {
        true => end(options, log),
        false => feed(options, log).map(Some),
    }
}

fn end(options: &CryptrootOptions, log: AppletLog) -> Result<Option<Signal>, FeedError> {
    let ended = only::end(&options.fifo).map_err(FeedError::End)?;
    log.debug(|| if ended { "ended it" } else { "nothing to end" }.to_owned());
    Ok(None)
}

fn feed(options: &CryptrootOptions, log: AppletLog) -> Result<Signal, FeedError> {
    let signals = EndSignals::hold()?;
    let directory = options.fifo.parent().unwrap_or(Path::new("/"));
    let watch = DirectoryWatch::for_openings(directory)
        .map_err(|error| FeedError::Watch(directory.to_owned(), error))?;
    // Held until the process ends.
    let _only = FeedLock::take(&options.fifo)
        .map_err(|error| FeedError::Lock(options.fifo.clone(), error))?
        .ok_or(FeedError::Another)?;
    // It ends with this one at the latest.
    let beside = match &options.beside {
        Some(line) => SideCommand::start(line, log)?,
        None => None,
    };
    let now = clock::now().mono;
    let mut source = PasswordSource::new("the search for a password".to_owned(), now, || {
        start(options)
    });
    let fetched = fetch(&mut source, &signals, log);
    // Before the network is put back: it changes the network too.
    match &fetched {
        Ok(Ok(_)) => beside.iter().for_each(SideCommand::end),
        _ => drop(beside),
    }
    end_all(source.into_process().into_iter().collect());
    let password = match fetched? {
        Ok(password) => password,
        Err(signal) => return Ok(signal),
    };
    log.debug(|| "there is a password: waiting for a volume that asks".to_owned());
    let mut feed = PasswordFeed {
        fifo: &options.fifo,
        log,
        answered: BTreeSet::new(),
        seen: BTreeSet::new(),
    };
    feed.until_signal(&password, &watch, &signals)
}

/// The password, or the signal that came first.
fn fetch(
    source: &mut PasswordSource<'_>,
    signals: &EndSignals,
    log: AppletLog,
) -> Result<Result<Secret, Signal>, FeedError> {
    loop {
        if let Some(signal) = signals.next()? {
            return Ok(Err(signal));
        }
        let now = clock::now().mono;
        if let Some(password) = source.advance(now, log)? {
            return Ok(Ok(password));
        }
        if source.is_over() {
            return Err(FeedError::NoPassword);
        }
        let limit = source.due().map(|due| due.since(now));
        wait::for_any(source.descriptors().chain([signals.as_fd()]), limit)?;
    }
}

/// Gives the password to each volume once.
struct PasswordFeed<'a> {
    fifo: &'a Path,
    log: AppletLog,
    answered: BTreeSet<String>,
    seen: BTreeSet<FifoReader>,
}

impl PasswordFeed<'_> {
    fn until_signal(
        &mut self,
        password: &Secret,
        watch: &DirectoryWatch,
        signals: &EndSignals,
    ) -> Result<Signal, FeedError> {
        let mut scan_until: Monotonic = clock::now().mono;
        loop {
            if let Some(signal) = signals.next()? {
                return Ok(signal);
            }
            let came = watch.drain()?;
            let now = clock::now().mono;
            if came {
                scan_until = now.after(SCAN_TIME);
            }
            if let Some(signal) = self.answer_reader(password, signals)? {
                return Ok(signal);
            }
            let limit = (now < scan_until).then_some(SCAN_INTERVAL);
            wait::for_any([watch.as_fd(), signals.as_fd()], limit)?;
        }
    }

    /// Answers a new reader of the FIFO.
    fn answer_reader(
        &mut self,
        password: &Secret,
        signals: &EndSignals,
    ) -> io::Result<Option<Signal>> {
        let Ok(fifo) = PathHandle::at(self.fifo) else {
            // Nobody has made it yet.
            return Ok(None);
        };
        if !fifo.about().file_type().is_fifo() || !is_private(fifo.about()) {
            return Ok(None);
        }
        let readers = readers::of(fifo.about());
        self.seen.retain(|known| readers.contains(known));
        let Some(reader) = readers.into_iter().find(|one| !self.seen.contains(one)) else {
            return Ok(None);
        };
        let volume = reader.volume.clone();
        self.seen.insert(reader);
        if self.answered.contains(&volume) {
            let what = format!("the password was refused for the volume {volume:?}");
            self.log.info(&format!("{what}: a person must answer"));
            return Ok(None);
        }
        let written = write(&fifo, password, signals)?;
        if let WriteOutcome::Whole = written {
            self.log
                .debug(|| format!("gave the password to the volume {volume:?}"));
            self.answered.insert(volume);
        }
        match written {
            WriteOutcome::Signal(signal) => Ok(Some(signal)),
            WriteOutcome::Whole | WriteOutcome::Gone => Ok(None),
        }
    }
}

enum WriteOutcome {
    Whole,
    /// The reader has its answer from elsewhere.
    Gone,
    Signal(Signal),
}

/// Never waits for a reader to open it, and never opens it without a password to write: a writer that
/// writes nothing would be taken for an empty password.
fn write(fifo: &PathHandle, password: &Secret, signals: &EndSignals) -> io::Result<WriteOutcome> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let fifo = match fifo.open(OpenOptions::new().write(true).custom_flags(flags)) {
        Ok(fifo) => fifo,
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            return Ok(WriteOutcome::Gone);
        }
        Err(error) => return Err(error),
    };
    match write_to(fifo.as_fd(), password, signals) {
        Ok(None) => Ok(WriteOutcome::Whole),
        Ok(Some(signal)) => Ok(WriteOutcome::Signal(signal)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(WriteOutcome::Gone),
        Err(error) => Err(error),
    }
}
