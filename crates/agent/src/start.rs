//! The start of the daemon, in order: signals, what root alone can read, the note of this boot, sockets, another user.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nightlatch_core::boot_nonce::BootSeed;
use nightlatch_core::connect::Target;
use nightlatch_core::error_chain::format_error;
use nightlatch_core::remembered_servers;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{HostTls, SetupError};
use nightlatch_sys::privileges::{self, Account, DropError, account, become_account};
use nightlatch_sys::signals::{EndSignals, Signal};
use nightlatch_sys::{clock, memory, random};

use crate::boots::Boots;
use crate::control::ControlSocket;
use crate::daemon::{Daemon, DaemonParts};
use crate::files::{self, Access};
use crate::get::{GetSocket, NamedSecrets, NamedSecretsParts, warn_of_unknown_callers};
use crate::jitter::Jitter;
use crate::log::Log;
use crate::options::Options;
use crate::place::Place;
use crate::pokes::PokeSocket;
use crate::rejections::Rejections;
use crate::reporter::{Reporter, ReporterParts, read_sleeps};
use crate::schedule::Schedule;
use crate::service_manager::ServiceManager;
use crate::setup::{self, Setup, SetupFault, credentials, read_seed};
use crate::sleeps::{SleepCounter, Sleeps};

/// The longest file with boots, in bytes: nine boots, each with a thousand servers.
const MAX_BOOTS: usize = 1024 * 1024;

/// The longest file with rejections, in bytes: eight for each of a thousand servers.
const MAX_REJECTIONS_FILE: usize = 2 * 1024 * 1024;

/// The longest file with the count of resumes, in bytes.
const MAX_SLEEPS: usize = 1024;

/// The daemon could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Setup(#[from] SetupFault),
    #[error("this system has no user {0}")]
    NoUser(String),
    #[error(transparent)]
    Drop(#[from] DropError),
    #[error("cannot {0}")]
    System(String, #[source] io::Error),
}

impl From<SetupError> for StartError {
    fn from(error: SetupError) -> Self {
        Self::System("set up TLS".to_owned(), io::Error::other(error))
    }
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    |error| StartError::System(what, error)
}

/// Reads everything and says what would be done.
pub(crate) fn check(options: &Options, log: Log) -> Result<String, StartError> {
    let setup = Setup::read(options, log)?;
    let mut text = format!("host key {}\n", setup.key.key_id());
    for server in &setup.trusted {
        text.push_str(&format!("reports to {server}\n"));
    }
    for target in &setup.settings.connect {
        text.push_str(&format!("connects to {target}\n"));
    }
    if let Err(why) = &setup.secret_key {
        text.push_str(&format!("no named secrets: {why}\n"));
    }
    for (name, callers) in &setup.settings.allow {
        let callers: Vec<String> = callers.iter().map(ToString::to_string).collect();
        let callers = if callers.is_empty() {
            "root".to_owned()
        } else {
            callers.join(", ")
        };
        text.push_str(&format!("gives {name} to {callers}\n"));
    }
    if setup.settings.searches() {
        text.push_str("searches for servers on the local networks\n");
    }
    Ok(text)
}

/// Notes this boot on the encrypted root, as root and before the network is up.
pub(crate) fn note_boot(options: &Options, log: Log) -> Result<(), StartError> {
    let account = account_to_become(options)?;
    let seed = read_seed(options)?;
    make_folder(&options.state, account.as_ref())?;
    noted_boots(options, &seed, log);
    Ok(())
}

/// Runs the daemon until a signal ends it.
pub(crate) fn run(options: &Options, log: Log) -> Result<Signal, StartError> {
    // Before the first thread.
    let signals = EndSignals::hold().map_err(system("hold back signals"))?;
    memory::forbid_core_dumps().map_err(system("forbid core dumps"))?;
    if let Err(error) = memory::lock_all() {
        log.info(&format!("memory is not locked: {error}"));
    }
    let manager = ServiceManager::connect();
    let account = account_to_become(options)?;
    let seed = read_seed(options)?;
    make_folder(&options.state, account.as_ref())?;
    // The first thing on the disk: what follows may take long, or fail.
    let boots = noted_boots(options, &seed, log);
    let setup = Setup::read(options, log)?;
    make_folder(&options.runtime, account.as_ref())?;
    if let Err(error) = make_folder(&options.get_folder, account.as_ref()) {
        log.info(&format!("no named secrets: {}", format_error(&error)));
    }
    if let Some(account) = account {
        become_account(&account)?;
    }
    let allow = setup.settings.allow.clone();
    let daemon = open(options, setup, seed, boots, signals, log)?;
    manager.ready();
    warn_of_unknown_callers(allow, log);
    let signal = daemon.run().map_err(system("wait for something to do"))?;
    manager.stopping();
    Ok(signal)
}

fn open(
    options: &Options,
    setup: Setup,
    seed: BootSeed,
    boots: Boots,
    signals: EndSignals,
    log: Log,
) -> Result<Daemon, StartError> {
    let settings = setup.settings;
    let pokes = PokeSocket::open(settings.poke_port).map_err(system(
        "open the UDP port that poke_port in agent.conf names",
    ))?;
    let control = ControlSocket::open(&options.runtime).map_err(system(format!(
        "open a socket in {}",
        options.runtime.display()
    )))?;
    let random = || random::bytes().map_err(system("make random numbers"));
    let now = clock::now().mono;
    let schedule = Schedule::new(setup.trusted.iter().copied(), Jitter::new(random()?), now);
    log.info(&format!(
        "host key {}, reports to {} trusted servers",
        setup.key.key_id(),
        setup.trusted.len()
    ));
    let sleeps_file = options.runtime.join("resumes");
    let remembered_file = options.state.join(remembered_servers::FILE);
    let rejections_file = options.state.join("rejections");
    let mut rejections = Rejections::new(setup.trusted.iter().copied());
    restore_rejections(&mut rejections, &rejections_file, log);
    let reporter = Reporter::new(ReporterParts {
        tls: HostTls::new(&setup.key, setup.trusted.clone(), &Priority::default())?,
        seed,
        poke_port: pokes.as_ref().map(PokeSocket::port),
        boots_file: boots_file(options),
        sleeps: SleepCounter::new(known_sleeps(&sleeps_file, log)),
        sleeps_file,
        remembered: remembered(&remembered_file, log),
        remembered_file,
        rejections_file,
        rejections,
        log,
        schedule,
        boots,
    })
    .map_err(system("make an event"))?;
    let searches = settings.searches();
    let reporter = Arc::new(reporter);
    serve_callers(
        options,
        NamedSecretsParts {
            reporter: Arc::clone(&reporter),
            host: setup.key.key_id(),
            secret_key: setup.secret_key,
            admin_keys: options.admin_keys.clone(),
            allow: settings.allow.clone(),
            serials: options.state.join("secrets"),
        },
    );
    Daemon::new(DaemonParts {
        reporter,
        named: settings.connect.into_iter().map(Place::Named).collect(),
        searches,
        pokes,
        control,
        signals,
    })
    .map_err(system("watch the network and the clocks"))
}

/// Serves those who ask for named secrets. A fault of this is no reason to let servers believe that this machine is down.
fn serve_callers(options: &Options, parts: NamedSecretsParts) {
    let log = parts.reporter.log;
    if let Err(why) = &parts.secret_key {
        log.info(&format!("no named secrets: {why}"));
    }
    let folder = options.get_folder.display();
    let started = GetSocket::open(&options.get_folder)
        .and_then(|socket| NamedSecrets::new(parts).start(socket));
    if let Err(error) = started {
        log.info(&format!(
            "no named secrets: cannot open a socket in {folder}: {error}"
        ));
    }
}

/// The user to become: when the service manager has not chosen one.
fn account_to_become(options: &Options) -> Result<Option<Account>, StartError> {
    if !privileges::is_root() || credentials().is_some() {
        return Ok(None);
    }
    let name = &options.user;
    let found = account(name).map_err(system(format!("look up the user {name}")))?;
    found
        .map(Some)
        .ok_or_else(|| StartError::NoUser(name.clone()))
}

/// Makes a folder that only the daemon's user can enter.
fn make_folder(path: &Path, account: Option<&Account>) -> Result<(), StartError> {
    let make = || {
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        match account {
            Some(account) if fs::metadata(path)?.uid() != account.uid => {
                chown(path, Some(account.uid), Some(account.gid))
            }
            _ => Ok(()),
        }
    };
    make().map_err(system(format!("make {}", path.display())))
}

fn boots_file(options: &Options) -> PathBuf {
    options.state.join("boots")
}

/// The boots with this one among them, on the disk. A file that cannot be used costs an alarm, and must not keep this
/// machine from saying that it is up.
fn noted_boots(options: &Options, seed: &BootSeed, log: Log) -> Boots {
    // A list that cannot be used is told when the daemon reads it.
    let trusted = setup::read_trusted(&options.trusted_servers).unwrap_or_default();
    let file = boots_file(options);
    let shown = file.display();
    let mut boots = match files::read(&file, MAX_BOOTS, Access::Own) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Boots::default(),
        Err(error) => {
            log.info(&format!(
                "cannot read {shown}, earlier boots are forgotten: {error}"
            ));
            Boots::default()
        }
        Ok(bytes) => {
            let text = std::str::from_utf8(&bytes).unwrap_or("not text");
            Boots::parse(text).unwrap_or_else(|error| {
                log.info(&format!(
                    "cannot use {shown}, earlier boots are forgotten: {error}"
                ));
                Boots::default()
            })
        }
    };
    if boots.note(seed, &trusted)
        && let Err(error) = files::replace(&file, boots.to_text().as_bytes())
    {
        log.info(&format!("cannot write {shown}: {error}"));
    }
    boots
}

/// The places where an earlier run has told servers.
fn remembered(file: &Path, log: Log) -> Vec<Target> {
    let text = read_own(file, remembered_servers::MAX_BYTES, log).unwrap_or_default();
    remembered_servers::parse(&text)
}

/// Adds the rejections of which an earlier run had not told every server. A file that cannot be used costs an alarm, and must
/// not keep this machine from saying that it is up.
fn restore_rejections(rejections: &mut Rejections, file: &Path, log: Log) {
    let text = read_own(file, MAX_REJECTIONS_FILE, log).unwrap_or_default();
    if let Err(error) = rejections.restore(&text) {
        let shown = file.display();
        log.info(&format!(
            "cannot use {shown}, earlier rejections are forgotten: {error}"
        ));
    }
}

/// The text of a file that this program has written; `None` where there is none, or it cannot be read.
fn read_own(file: &Path, max: usize, log: Log) -> Option<String> {
    match files::read(file, max, Access::Own) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            log.info(&format!("cannot read {}: {error}", file.display()));
            None
        }
    }
}

/// The count of an earlier run in this boot. Without one it begins now.
fn known_sleeps(file: &Path, log: Log) -> Sleeps {
    let fresh = Sleeps {
        resumes: 0,
        at: read_sleeps(),
    };
    let known = read_own(file, MAX_SLEEPS, log).and_then(|text| Sleeps::parse(&text));
    let sleeps = known.unwrap_or(fresh);
    if known.is_none()
        && let Err(error) = files::replace(file, sleeps.to_text().as_bytes())
    {
        log.info(&format!("cannot write {}: {error}", file.display()));
    }
    sleeps
}
