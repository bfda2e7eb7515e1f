//! The applet `askpass-fifo`: reads a password from the FIFO that cryptsetup's askpass reads
//! (askpass-fifo(8mandos)).

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_sys::signals::{EndSignals, Signal};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::applet::{Applet, AppletError, Privilege};
use crate::cli::{self, CliAction, CliArgument, OptionNames, UsageError};
use crate::exit::Exit;
use crate::files::{PathHandle, is_private};
use crate::log::AppletLog;
use crate::output::write_out;

/// Programs write a password for cryptsetup's askpass into it.
pub(crate) const FIFO: &str = "/lib/cryptsetup/passfifo";

pub(crate) const APPLET: Applet = Applet {
    names: &["askpass-fifo"],
    about: "wait for the password at a FIFO",
    help: HELP,
    privilege: Privilege::Root,
    start: |applet, arguments| {
        applet.run_borrowed(parse(arguments), |options| options.debug, fetch)
    },
};

const HELP: &str = "\
Usage: nightlatch-boot askpass-fifo [-?V] [--fifo FILE] [--debug] [--help] [--usage] [--version]

Waits for a password at a FIFO and prints it, byte for byte.

      --fifo FILE  the FIFO, made when it does not exist [/lib/cryptsetup/passfifo]
      --debug      tell each step on standard error
  -?, --help       show this help
      --usage      show a short usage message
  -V, --version    show the version

Example, in two shells:
  nightlatch-boot askpass-fifo --fifo /run/pass | cryptsetup open --key-file - /dev/sda3 root
  systemd-ask-password > /run/pass
";

const NAMES: OptionNames = OptionNames {
    mandos: &[],
    ours: &["fifo", "debug"],
    short: &[],
};

/// The most that is taken: what cryptsetup(8) takes of a key file.
const MAX_PASSWORD: usize = 8 * 1024 * 1024;

struct AskpassFifoOptions {
    fifo: PathBuf,
    debug: bool,
}

fn parse(arguments: Vec<OsString>) -> Result<CliAction<AskpassFifoOptions>, UsageError> {
    let options = AskpassFifoOptions {
        fifo: FIFO.into(),
        debug: false,
    };
    cli::parse(&NAMES, options, arguments, |options, part, arguments| {
        match part {
            CliArgument::Option("fifo") => options.fifo = arguments.value()?.into(),
            CliArgument::Option("debug") => options.debug = true,
            part => return Err(part.unexpected()),
        }
        Ok(())
    })
}

#[derive(Debug, thiserror::Error)]
enum FifoError {
    #[error("cannot make the FIFO {0}")]
    Make(PathBuf, #[source] io::Error),
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    #[error("{0} is no FIFO")]
    NoFifo(PathBuf),
    #[error("others can use {0}: expected `chmod 600 {0}`, and root or this user as its owner")]
    Shared(PathBuf),
    #[error("more than {MAX_PASSWORD} bytes came by {0}")]
    TooLong(PathBuf),
    #[error("cannot hand over the password")]
    Output(#[source] io::Error),
}

impl AppletError for FifoError {
    fn exit(&self) -> Exit {
        match self {
            Self::Make(..) | Self::Read(..) => Exit::File,
            Self::Output(_) => Exit::Output,
            _ => Exit::Unavailable,
        }
    }
}

/// Signals end it as they come, until there is a password: it has nothing to put back.
fn fetch(options: &AskpassFifoOptions, log: AppletLog) -> Result<Option<Signal>, FifoError> {
    let password = read(&options.fifo, log)?;
    let signals = EndSignals::hold().map_err(FifoError::Output)?;
    write_out(&password, &signals).map_err(FifoError::Output)
}

/// All that the first writer writes. One that writes nothing has no password: the next is waited for.
fn read(path: &Path, log: AppletLog) -> Result<Secret, FifoError> {
    make(path).map_err(|error| FifoError::Make(path.to_owned(), error))?;
    loop {
        log.debug(|| format!("waiting for a password at {}", path.display()));
        let mut fifo = open(path)?;
        let mut password = SecretBuffer::default();
        let mut chunk = Zeroizing::new([0; 4096]);
        loop {
            let count = match fifo.read(&mut chunk[..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| FifoError::Read(path.to_owned(), error))?,
            };
            if count == 0 {
                break;
            }
            if password.len() + count > MAX_PASSWORD {
                return Err(FifoError::TooLong(path.to_owned()));
            }
            password.append(&chunk[..count]);
        }
        if !password.is_empty() {
            return Ok(password.finish());
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    let owner_only = Mode::RUSR | Mode::WUSR;
    match mknodat(CWD, path, FileType::Fifo, owner_only, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens it, which waits for a writer. A FIFO that other users can use is refused: they could read a password, or
/// unlock a disk that they made.
fn open(path: &Path) -> Result<File, FifoError> {
    let failed = |error| FifoError::Read(path.to_owned(), error);
    let found = PathHandle::at(path).map_err(failed)?;
    if !found.about().file_type().is_fifo() {
        return Err(FifoError::NoFifo(path.to_owned()));
    }
    if !is_private(found.about()) {
        return Err(FifoError::Shared(path.to_owned()));
    }
    found.open(OpenOptions::new().read(true)).map_err(failed)
}
