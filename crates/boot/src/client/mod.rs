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
mod remembered;
mod resolve;
mod schedule;
mod search;
mod targets;

use std::ffi::OsString;
use std::io;
use std::path::Path;

use nightlatch_core::boot_nonce::BootSeed;
use nightlatch_core::network::Definition;
use nightlatch_core::secret::Secret;
use nightlatch_openpgp::SignaturePolicy;
use nightlatch_proto::tls::BootTls;
use nightlatch_sys::boot_seed;
use nightlatch_sys::capabilities::{Capability, lower};
use nightlatch_sys::signals::{EndSignals, Signal};

use crate::applet::{Applet, AppletError, Ending, Privilege, protect_memory};
use crate::cli::{CliAction, UsageError};
use crate::exit::Exit;
use crate::kernel_command_line;
use crate::log::{AppletLog, format_error};
use crate::output::write_out;
use attempt::Credentials;
use files::Files;
use keys::KeysError;
use options::{ClientOptions, OptionsFileError};
use search::NetworkKnowledge;

const NAME: &str = "client";

pub(crate) const APPLET: Applet = Applet {
    names: &[NAME, "mandos-client"],
    about: "fetch the disk password from a server",
    help: options::HELP,
    privilege: Privilege::Lowers,
    start: |applet, arguments| {
        // Without the files: `--help` needs none.
        let alone = options::parse(ClientOptions::default(), arguments.iter().cloned());
        let action = alone.map(|action| action.map(|alone| (alone, arguments)));
        applet.run(
            action,
            |(alone, _)| alone.debug,
            |(alone, arguments), log| run(&alone, arguments, log),
        )
    },
};

/// Names the interface to use where nothing else does, as the boot system's own setting has it.
const INTERFACE: &str = "NIGHTLATCH_INTERFACE";

/// `alone` are the options of the command line, without those of the files and of the kernel.
fn run(
    alone: &ClientOptions,
    mut arguments: Vec<OsString>,
    log: AppletLog,
) -> Result<Ending, FatalError> {
    if alone.kernel_command_line {
        let parameters = kernel_command_line::of_this_boot();
        parameters
            .warnings
            .iter()
            .for_each(|warning| log.info(warning));
        if parameters.off {
            log.info("switched off on the kernel's command line");
            return Ok(Ending::Exit(Exit::Unavailable));
        }
        arguments.extend(parameters.arguments().into_iter().map(OsString::from));
    }
    let CliAction::Run(mut options) = options::parse(options::configured()?, arguments)? else {
        // Neither the kernel's command line nor the options read above ask for anything else.
        return Ok(Ending::Exit(Exit::Success));
    };
    options.remarks().for_each(|remark| log.info(&remark));
    use_fallback(&mut options, log);
    let log = AppletLog::new(NAME, options.debug);
    fetch(&options, log).map(Ending::from)
}

/// Uses the interface of the boot system where no option names one.
pub(crate) fn use_fallback(options: &mut ClientOptions, log: AppletLog) {
    let named = std::env::var(INTERFACE).unwrap_or_default();
    if options.devices.is_empty()
        && let Err(error) = options.use_interfaces(&[named])
    {
        log.info(&format!("left out {INTERFACE}: {}", format_error(&error)));
    }
}

/// The end of a search that met no error.
enum SearchOutcome {
    Password(Secret),
    Signal(Signal),
}

/// An error that ends the client. What fails at one server does not.
#[derive(Debug, thiserror::Error)]
enum FatalError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Options(#[from] OptionsFileError),
    #[error(transparent)]
    ClientKeys(#[from] KeysError),
    #[error(transparent)]
    Network(#[from] links::UnreadableError),
    #[error("cannot set up TLS")]
    Tls(#[from] nightlatch_proto::tls::SetupError),
    #[error("the system refused to {0}")]
    System(&'static str, #[source] io::Error),
    #[error("cannot hand over the password")]
    Output(#[source] io::Error),
}

impl AppletError for FatalError {
    fn exit(&self) -> Exit {
        match self {
            Self::Usage(error) => error.exit(),
            Self::Options(_) => Exit::Config,
            Self::ClientKeys(error) => error.exit(),
            Self::Network(_) => Exit::File,
            Self::Tls(_) => Exit::Unavailable,
            Self::System(..) => Exit::System,
            Self::Output(_) => Exit::Output,
        }
    }

    fn hint(&self, applet: &str) -> Option<String> {
        match self {
            Self::Usage(error) => error.hint(applet),
            Self::Options(_) => {
                Some("correct `options` in client.conf and rebuild the initramfs".to_owned())
            }
            Self::ClientKeys(error) => Some(error.hint().to_owned()),
            Self::Network(_) | Self::Tls(_) | Self::System(..) | Self::Output(_) => None,
        }
    }
}

/// The links that the client makes with these options.
pub(crate) fn definition(options: &ClientOptions) -> Definition {
    let all = links::read_unlogged(options.network.as_deref());
    options.selection.narrow(all).0
}

/// Signals first, then the boot seed, for which privileges are needed that are given up next; memory, the keys; the
/// network only when all that is well.
fn fetch(options: &ClientOptions, log: AppletLog) -> Result<Option<Signal>, FatalError> {
    let system = |what| move |error| FatalError::System(what, error);
    let signals = EndSignals::hold().map_err(system("hold back signals"))?;
    let seed = boot_seed(log).map_err(system("make random numbers"))?;
    let capabilities = lower(&kept()).map_err(system("lower privileges"))?;
    protect_memory(Some(capabilities), log).map_err(system("forbid core dumps"))?;
    let files = Files::new(capabilities);
    let credentials = credentials(options, files, seed)?;
    let knowledge = NetworkKnowledge {
        links: links::read(options.network.as_deref(), files, log)?,
        remembered: remembered::read(options.remembered_servers.as_deref(), files, log),
    };
    // From here on there is no file that it could read and its user could not.
    let capabilities = capabilities
        .without(&[Files::NEEDED])
        .map_err(system("give up a privilege"))?;
    if let Some(signal) = hooks::run(
        hooks::HookPhase::Start,
        options,
        capabilities,
        &signals,
        log,
    ) {
        hooks::run(hooks::HookPhase::Stop, options, capabilities, &signals, log);
        return Ok(Some(signal));
    }
    let end = search::run(
        options,
        credentials,
        knowledge,
        capabilities,
        &signals,
        log,
        |password| write_out(password, &signals).map_err(FatalError::Output),
    );
    hooks::run(hooks::HookPhase::Stop, options, capabilities, &signals, log);
    end
}

/// The seed that the agent of the booted system will know too; any other where there is no place for it.
fn boot_seed(log: AppletLog) -> io::Result<BootSeed> {
    boot_seed::read_or_make(Path::new(boot_seed::PATH)).or_else(|error| {
        log.info(&format!(
            "cannot use {}: {error}; the server cannot tell that further requests are of this boot",
            boot_seed::PATH
        ));
        boot_seed::fresh()
    })
}

/// Everything that may be needed later.
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

fn credentials(
    options: &ClientOptions,
    files: Files,
    seed: BootSeed,
) -> Result<Credentials, FatalError> {
    let keys = keys::read(&options.keys, files)?;
    let mut trusted = keys.trusted_servers;
    trusted.extend(&options.server_key_ids);
    let tls = BootTls::new(keys.tls, trusted, &options.priority, seed)?;
    Ok(Credentials {
        tls: match options.rehearsal {
            true => tls.rehearsing(),
            false => tls,
        },
        secret: keys.secret,
        public: keys.public,
        signature: match options.allow_unsigned {
            true => SignaturePolicy::Optional,
            false => SignaturePolicy::Required,
        },
    })
}
