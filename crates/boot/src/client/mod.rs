//! The applet `client`: finds a server and fetches the disk password.
//!
//! The order of things on the way in and out is here; what happens between is in `search`.

mod attempt;
mod attempts;
mod discovery;
mod files;
mod hooks;
pub mod interfaces;
mod keys;
mod links;
mod network;
pub mod options;
mod resolve;
mod schedule;
mod search;
mod targets;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use nightlatch_core::network::Definition;
use nightlatch_core::secret::Secret;
use nightlatch_openpgp::SignaturePolicy;
use nightlatch_proto::greeting::{BootNonce, GreetingOptions};
use nightlatch_proto::tls::BootTls;
use nightlatch_sys::capabilities::{Capability, lower};
use nightlatch_sys::signals::{EndSignals, Signal, die_of};
use nightlatch_sys::{clock, locked, memory};

use crate::cli::{self, About, Action};
use crate::exit::Exit;
use crate::kernel_command_line;
use crate::log::{self, Log, chain};
use crate::output::write_out;
use attempt::Equipment;
use files::Files;
use keys::KeysError;
use options::Options;

const NAME: &str = "client";

const ABOUT: About = About {
    name: NAME,
    help: options::HELP,
};

/// Names the interface to use where nothing else does, as the boot system's own setting has it.
const INTERFACE: &str = "NIGHTLATCH_INTERFACE";

/// Runs the applet with the arguments that follow its name.
pub fn run(mut arguments: Vec<OsString>) -> ExitCode {
    // Alone first: who asks for help has nothing to do with files.
    let alone = options::parse(Options::default(), arguments.iter().cloned());
    let Ok(Action::Run(alone)) = alone else {
        return cli::run(&ABOUT, alone, |_| Exit::Success.into());
    };
    let log = Log::new(NAME, alone.debug);
    if alone.kernel_command_line {
        let parameters = kernel_command_line::of_this_boot();
        parameters
            .warnings
            .iter()
            .for_each(|warning| log.say(warning));
        if parameters.off {
            log.say("switched off on the kernel's command line");
            return Exit::Unavailable.into();
        }
        arguments.extend(parameters.arguments().into_iter().map(OsString::from));
    }
    let configured = match options::configured() {
        Ok(configured) => configured,
        Err(error) => {
            log.say(&chain(&error));
            log.hint("mend `options` in client.conf and build the initramfs anew");
            return Exit::Config.into();
        }
    };
    let action = options::parse(configured, arguments);
    cli::run(&ABOUT, action, |mut options| {
        options.remarks().for_each(|remark| log.say(&remark));
        use_fallback(&mut options, log);
        fetch(&options)
    })
}

/// Lets the boot system choose the interface where nobody else did.
pub(crate) fn use_fallback(options: &mut Options, log: Log) {
    let named = std::env::var(INTERFACE).unwrap_or_default();
    if options.devices.is_empty()
        && let Err(error) = options.use_interfaces(&[named])
    {
        log.say(&format!("left out {INTERFACE}: {}", chain(&error)));
    }
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
    #[error(transparent)]
    Network(#[from] links::UnreadableError),
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
            Self::Network(_) => Exit::File,
            Self::Tls(_) => Exit::Unavailable,
            Self::System(..) => Exit::System,
            Self::Output(_) => Exit::Output,
        }
    }
}

/// The links that the client makes with these options.
pub(crate) fn definition(options: &Options) -> Definition {
    let all = links::glance(options.network.as_deref());
    options.selection.narrow(all).0
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
    log::silence_panics(NAME);
    let system = |what| move |error| FatalError::System(what, error);
    let signals = EndSignals::hold().map_err(system("hold back signals"))?;
    let capabilities = lower(&kept()).map_err(system("lower privileges"))?;
    memory::forbid_core_dumps().map_err(system("forbid core dumps"))?;
    let limits = [Capability::IpcLock, Capability::SysResource];
    if let Err(error) = capabilities.with(&limits, locked::lock_everything) {
        log.debug(|| format!("memory is not locked: {error}"));
    }
    let files = Files::new(capabilities);
    let equipment = equipment(options, files)?;
    let links = links::read(options.network.as_deref(), files, log)?;
    // From here on there is no file that it could read and its user could not.
    let capabilities = capabilities
        .without(&[Files::NEEDED])
        .map_err(system("give up a privilege"))?;
    if let Some(signal) = hooks::run(hooks::Mode::Start, options, capabilities, &signals, log) {
        hooks::run(hooks::Mode::Stop, options, capabilities, &signals, log);
        return Ok(Some(signal));
    }
    let end = search::run(
        options,
        equipment,
        links,
        capabilities,
        &signals,
        log,
        |password| write_out(password, &signals).map_err(FatalError::Output),
    );
    hooks::run(hooks::Mode::Stop, options, capabilities, &signals, log);
    end
}

/// What may be needed later.
fn kept() -> [Capability; 8] {
    [
        Capability::NetAdmin,
        Capability::Syslog,
        Capability::SetUid,
        Capability::SetGid,
        Capability::Kill,
        Capability::IpcLock,
        Capability::SysResource,
        Files::NEEDED,
    ]
}

fn equipment(options: &Options, files: Files) -> Result<Equipment, FatalError> {
    let keys = keys::read(&options.keys, files)?;
    let mut trusted = keys.trusted_servers;
    trusted.extend(&options.server_key_ids);
    let words = GreetingOptions {
        rehearsal: options.rehearsal,
        // The kernel's id is random and lasts as long as the boot: just what the word means.
        boot: clock::boot_id()
            .ok()
            .map(|id| BootNonce::from_bytes(*id.as_bytes())),
    };
    Ok(Equipment {
        tls: BootTls::new(keys.tls, trusted, &options.priority)?.with_options(words),
        secret: keys.secret,
        public: keys.public,
        signature: match options.allow_unsigned {
            true => SignaturePolicy::Optional,
            false => SignaturePolicy::Required,
        },
    })
}
