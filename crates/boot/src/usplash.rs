//! The applet `usplash`: asks on Usplash's screen by its two FIFOs (usplash(8mandos)).

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_sys::signals::{EndSignals, Signal};
use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::applet::{Applet, AppletError, Ending, Privilege};
use crate::cli;
use crate::daemon::SplashDaemon;
use crate::exit::Exit;
use crate::files::{PathHandle, is_owned, is_private};
use crate::log::AppletLog;
use crate::output::write_out;
use crate::prompt::{self, Wording};
use crate::wait;

/// The daemon (usplash(8mandos), FILES).
const DAEMON: &str = "/sbin/usplash";

/// The FIFO for commands, each with a NUL at its end.
const COMMANDS: &str = "/dev/.initramfs/usplash_fifo";

/// The FIFO of answers.
const ANSWERS: &str = "/dev/.initramfs/usplash_outfifo";

/// The longest line of a person's.
const MAX_LINE: usize = 64 * 1024;

pub(crate) const APPLET: Applet = Applet {
    names: &["usplash"],
    about: "ask for the password on Usplash's screen",
    help: HELP,
    privilege: Privilege::Root,
    start: |applet, arguments| {
        let action = cli::parse_debug(arguments);
        applet.run(action, |debug| *debug, |_, log| ask(log))
    },
};

const HELP: &str = "\
Usage: nightlatch-boot usplash [-?V] [--debug] [--help] [--usage] [--version]

Asks for a password on Usplash's screen and prints it, without an end of line.

      --debug    tell each step on standard error
  -?, --help     show this help
      --usage    show a short usage message
  -V, --version  show the version

The question names the disk by CRYPTTAB_SOURCE and CRYPTTAB_NAME, or cryptsource and crypttarget.
A signal takes the question from the screen: Usplash is started again for that.

Example:
  nightlatch-boot usplash | cryptsetup open --key-file - /dev/sda3 root
";

/// The question could not be put on the screen.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask on Usplash's screen")]
struct UsplashError(#[from] io::Error);

impl AppletError for UsplashError {
    fn exit(&self) -> Exit {
        Exit::Unavailable
    }
}

fn ask(log: AppletLog) -> Result<Ending, UsplashError> {
    let signals = EndSignals::hold()?;
    let Some(daemon) = SplashDaemon::of_program(Path::new(DAEMON)).map_err(io::Error::other)?
    else {
        log.info("Usplash does not run");
        return Ok(Ending::Exit(Exit::Unavailable));
    };
    let mut commands = open(COMMANDS, is_owned, OpenOptions::new().write(true))?;
    // Another reader would get the password or a part of it.
    let answers = open(ANSWERS, is_private, OpenOptions::new().read(true))?;
    let question = prompt::question(&Wording::default()).replace('\0', "");
    // A time-out would end the question while a person types.
    commands.write_all(format!("TIMEOUT 0\0INPUTQUIET {question}\0").as_bytes())?;
    match read_line(&answers, &signals)? {
        Ok(password) => {
            let signal = write_out(&password, &signals)?;
            Ok(signal.into())
        }
        Err(signal) => {
            if let Err(error) = daemon.replace() {
                log.info(&format!(
                    "cannot take the question from the screen: {error}"
                ));
            }
            Ok(Ending::Signal(signal))
        }
    }
}

/// Without waiting for the other side: a daemon that runs has its end open.
fn open(path: &str, accept: fn(&Metadata) -> bool, options: &mut OpenOptions) -> io::Result<File> {
    let with_path = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
    let found = PathHandle::at(Path::new(path)).map_err(with_path)?;
    if !found.about().file_type().is_fifo() || !accept(found.about()) {
        let expected = "expected a FIFO of root's that others cannot use";
        return Err(io::Error::other(format!("{path}: {expected}")));
    }
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    found.open(options.custom_flags(flags)).map_err(with_path)
}

/// A line, without its end, or the signal that came first.
fn read_line(answers: &File, signals: &EndSignals) -> io::Result<Result<Secret, Signal>> {
    let mut line = SecretBuffer::default();
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        wait::for_any([answers.as_fd(), signals.as_fd()], None)?;
        if let Some(signal) = signals.next()? {
            return Ok(Err(signal));
        }
        let ended = match rustix::io::read(answers, &mut chunk[..]) {
            Ok(count) => {
                line.append(&chunk[..count]);
                count == 0
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            Err(errno) => return Err(errno.into()),
        };
        let end = line.expose().iter().position(|byte| *byte == b'\n');
        if let Some(end) = end.or(ended.then_some(line.len())) {
            return match line.is_empty() {
                true => Err(io::ErrorKind::UnexpectedEof.into()),
                false => Ok(Ok(Secret::new(line.expose()[..end].to_vec()))),
            };
        }
        if line.len() > MAX_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
