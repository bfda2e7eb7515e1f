//! The applet `client`: finds a server and fetches the disk password.
//!
//! The order of things on the way in and out is here; what happens between is in `search`.

mod attempt;
mod attempts;
pub mod connect;
mod discovery;
mod hooks;
pub mod interfaces;
mod keys;
mod network;
pub mod options;
mod schedule;
mod search;
mod targets;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nightlatch_core::secret::Secret;
use nightlatch_openpgp::SignaturePolicy;
use nightlatch_proto::greeting::{BootNonce, Words};
use nightlatch_proto::tls::BootTls;
use nightlatch_sys::capabilities::{self, Capabilities, Capability, lower};
use nightlatch_sys::signals::{EndSignals, Signal, die_of};
use nightlatch_sys::{clock, locked, memory};
use rustix::event::{PollFd, PollFlags, poll};

use crate::exit::Exit;
use crate::log::{self, Log, chain};
use attempt::Equipment;
use keys::KeysError;
use options::{Action, Options, UsageError};

const NAME: &str = "client";

/// The most that a pipe takes at once without waiting (pipe(7), `PIPE_BUF`).
const PIPE_BUF: usize = 4096;

/// Runs the applet with the arguments that follow its name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    match options::parse(arguments) {
        Ok(Action::Help) => log::print(options::HELP),
        Ok(Action::Usage) => log::print(options::USAGE),
        Ok(Action::Version) => log::print(concat!(
            "nightlatch-boot client ",
            env!("CARGO_PKG_VERSION"),
            "\n"
        )),
        Ok(Action::Fetch(options)) => fetch(&options),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &UsageError) -> ExitCode {
    let log = Log::new(NAME, false);
    log.say(&chain(error));
    log.hint("`nightlatch-boot client --help` explains the options");
    Exit::Usage.into()
}

/// How the search ended.
enum End {
    Password(Secret),
    Signal(Signal),
}

/// Why there is no password and never will be.
#[derive(Debug, thiserror::Error)]
enum FatalError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("cannot set up TLS")]
    Tls(#[from] nightlatch_proto::tls::SetupError),
    #[error("the system refused to {0}")]
    System(&'static str, #[source] io::Error),
    #[error("cannot hand over the password")]
    Output(#[source] io::Error),
}

impl FatalError {
    fn exit(&self) -> Exit {
        match self {
            Self::Keys(error) => error.exit(),
            Self::Tls(_) => Exit::Unavailable,
            Self::System(..) => Exit::System,
            Self::Output(_) => Exit::Output,
        }
    }
}

fn fetch(options: &Options) -> ExitCode {
    let log = Log::new(NAME, options.debug);
    match prepared(options, log) {
        Ok(None) => Exit::Success.into(),
        Ok(Some(signal)) => die_of(signal),
        Err(error) => {
            log.say(&chain(&error));
            if let FatalError::Keys(error) = &error {
                log.hint(error.hint());
            }
            error.exit().into()
        }
    }
}

/// Signals, privileges and memory first, then the keys; the network only when all that is well.
fn prepared(options: &Options, log: Log) -> Result<Option<Signal>, FatalError> {
    silence_panics();
    let system = |what| move |error| FatalError::System(what, error);
    let signals = EndSignals::hold().map_err(system("hold back signals"))?;
    let capabilities = lower(&kept()).map_err(system("lower privileges"))?;
    memory::forbid_core_dumps().map_err(system("forbid core dumps"))?;
    let limits = [Capability::IpcLock, Capability::SysResource];
    if let Err(error) = capabilities.with(&limits, locked::lock_everything) {
        log.debug(|| format!("memory is not locked: {error}"));
    }
    let equipment = equipment(options, capabilities)?;
    if let Some(signal) = hooks::run(hooks::Mode::Start, options, capabilities, &signals, log) {
        hooks::run(hooks::Mode::Stop, options, capabilities, &signals, log);
        return Ok(Some(signal));
    }
    let end = search::run(
        options,
        equipment,
        capabilities,
        &signals,
        log,
        |password| write_out(password, &signals),
    );
    hooks::run(hooks::Mode::Stop, options, capabilities, &signals, log);
    end
}

/// What may be needed later. Files of others are for root alone: an ordinary user who got this
/// capability with the program could read everything with `--seckey`.
fn kept() -> Vec<Capability> {
    let mut kept = vec![
        Capability::NetAdmin,
        Capability::Syslog,
        Capability::SetUid,
        Capability::SetGid,
        Capability::Kill,
        Capability::IpcLock,
        Capability::SysResource,
    ];
    if capabilities::is_root() {
        kept.push(Capability::DacReadSearch);
    }
    kept
}

/// A panic's message may quote what was being worked on: only its place is told.
fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        log::line(&format!(
            "nightlatch-boot {NAME}: fault of this program at {place}"
        ));
    }));
}

fn equipment(options: &Options, capabilities: Capabilities) -> Result<Equipment, FatalError> {
    let readable = [Capability::DacReadSearch];
    let keys = capabilities.with(&readable, || keys::read(&options.keys))?;
    let mut trusted = keys.trusted_servers;
    trusted.extend(&options.server_key_ids);
    let words = Words {
        rehearsal: false,
        // The kernel's id is random and lasts as long as the boot: just what the word means.
        boot: clock::boot_id()
            .ok()
            .map(|id| BootNonce::from_bytes(*id.as_bytes())),
    };
    Ok(Equipment {
        tls: BootTls::new(keys.tls, trusted, &options.priority)?.with_words(words),
        secret: keys.secret,
        public: keys.public,
        signature: match options.allow_unsigned {
            true => SignaturePolicy::Optional,
            false => SignaturePolicy::Required,
        },
    })
}

/// Writes the password to standard output, byte for byte, without a buffer that would keep a copy.
/// A reader that does not read cannot keep a signal from ending the program.
fn write_out(password: &Secret, signals: &EndSignals) -> Result<Option<Signal>, FatalError> {
    let out = io::stdout();
    let failed = |errno: rustix::io::Errno| FatalError::Output(errno.into());
    let mut rest = password.expose();
    while !rest.is_empty() {
        let mut waited = [
            PollFd::new(&out, PollFlags::OUT),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match poll(&mut waited, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        if let Some(signal) = signals.next().map_err(FatalError::Output)? {
            return Ok(Some(signal));
        }
        if waited[0].revents().is_empty() {
            continue;
        }
        match rustix::io::write(&out, &rest[..rest.len().min(PIPE_BUF)]) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(None)
}
