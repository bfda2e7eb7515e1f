//! Starts the server: reads the configuration, drops root, opens the state, runs until the end.
//!
//! As root it reads the configuration, binds the sockets and creates the state directory. It drops root for
//! good before it opens the state.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nightlatch_core::client::saved::{Saved, Trust};
use nightlatch_core::error_chain::format_error;
use nightlatch_core::registry::{self, Registry, RegistryLimits};
use nightlatch_core::settings::server::ServerSettings;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::ServerTls;
use nightlatch_store::{SqliteStore, Store};
use nightlatch_sys::spawner::{self, Spawner};
use nightlatch_sys::{clock, memory};
use tracing::{error, info, warn};

use crate::accounts::{Accounts, NOT_SEPARATED};
use crate::checker::{environment, warn_if_pings_are_not_allowed};
use crate::cli::ServerOptions;
use crate::config::{self, Configuration};
use crate::dbus::ServerStatus;
use crate::error::{RunError, host};
use crate::listen;
use crate::own_key;
use crate::reload::ReloadHandle;
use crate::secrets::lock_secrets;
use crate::service_manager::ServiceManager;
use crate::state_folder::{become_owner, open};
use crate::warnings::{Topic, Warnings};
use crate::{logging, random, serve};

/// Reads the configuration and returns a summary; changes nothing.
pub fn check_config(options: &ServerOptions) -> Result<String, RunError> {
    let accounts = Accounts::find(&options.configdir)?;
    let account = accounts.as_ref().map(|accounts| &accounts.server);
    let configuration = config::read_all(&options.configdir, account).map_err(RunError::Config)?;
    let settings = settings(options, &configuration)?;
    priority(&settings)?;
    let mut summary = String::new();
    let mut add = |line: String| {
        summary.push_str(&line);
        summary.push('\n');
    };
    match &configuration.server_file {
        Some(file) => add(format!("{}: read", file.display())),
        None => add(format!(
            "{}: no nightlatch.conf or mandos.conf, defaults hold",
            options.configdir.display()
        )),
    }
    for file in &configuration.client_files {
        add(format!("{}: read", file.display()));
    }
    let enabled = configuration
        .clients
        .iter()
        .filter(|client| client.settings.enabled)
        .count();
    add(format!(
        "clients: {}, of which {enabled} start enabled",
        configuration.clients.len()
    ));
    for warning in &configuration.warnings {
        add(format!("warning: {warning}"));
    }
    Ok(summary)
}

/// Serves until a signal ends it.
pub fn serve(options: ServerOptions) -> Result<(), RunError> {
    let accounts = Accounts::find(&options.configdir)?;
    // Before there is a secret in memory, and before the first thread.
    let commands = start_spawner(accounts.as_ref())?;
    let account = accounts.as_ref().map(|accounts| &accounts.server);
    let configuration =
        config::read_for_start(&options.configdir, account).map_err(RunError::Config)?;
    let settings = settings(&options, &configuration)?;
    let log = logging::start(&settings);
    let warnings = Warnings::default();
    warn_of_faults(&configuration, &warnings);
    for warning in &configuration.warnings {
        warn!("{warning}");
    }
    warn_of_accounts(accounts.as_ref());
    let priority = priority(&settings)?;
    let sockets = listen::bind(&listen::ListenOptions {
        interface: settings.interface.clone(),
        address: settings.address.as_ref().map(ToString::to_string),
        port: settings.port,
        ipv6: settings.use_ipv6,
        socket: settings.socket,
    })
    .map_err(RunError::Listen)?;
    lock_secrets(configuration.clients.iter().map(|client| &client.secret));
    let manager = ServiceManager::connect();
    become_owner(&settings.statedir, account)?;
    let boot = clock::boot_id().map_err(host("cannot read the boot ID"))?;
    let mut store = open(&settings.statedir)?;
    let own_key = own_key::load_or_make(&settings.statedir).map_err(RunError::OwnKey)?;
    info!(key_id = %own_key.key_id(), "this server's own key");
    let saved = if settings.restore {
        store.load().map_err(RunError::Store)?
    } else {
        forget_all(&mut store)?
    };
    refuse_drops(&options, &configuration, &saved)?;
    // All that can fail comes first: a start that fails after `begin` would extend no deadline at the next.
    let tls = ServerTls::new(Some(&own_key), &priority)
        .map_err(host("cannot set up TLS"))?
        .offering_release();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(host("cannot start the runtime"))?;
    store.begin().map_err(RunError::Store)?;
    log_loss(&saved);
    warnings.set(Topic::NamedSecrets, lost_secrets(&saved));
    let limits = RegistryLimits {
        concurrent_checks: settings.concurrent_checks,
        check_on_release: settings.check_on_release,
        allow_rehearsals: settings.allow_rehearsals,
    };
    info!(clients = configuration.clients.len(), "configuration read");
    let registry = Registry::load(
        configuration.into_configured(),
        saved,
        limits,
        boot,
        clock::now(),
        &mut random::up_to,
    );
    // Most of it held the text of the configuration.
    memory::release_freed();
    let pings = registry
        .iter()
        .any(|(_, client)| client.settings().checker.is_ping());
    warn_if_pings_are_not_allowed(pings, &warnings);
    let (reloads, reload_requests) = ReloadHandle::new();
    let server = serve::PreparedServer {
        settings: Arc::new(settings),
        configdir: options.configdir,
        account: account.cloned(),
        commands,
        registry,
        store: Box::new(store),
        info: ServerStatus {
            key_id: own_key.key_id().to_string(),
            addresses: addresses(&sockets),
            log,
            warnings: warnings.clone(),
            reloads,
        },
        sockets,
        tls,
        manager,
        warnings,
        reload_requests,
    };
    let ended = runtime.block_on(server.run());
    // Tasks that are left must not delay the end: all that counts is durable.
    runtime.shutdown_background();
    ended.map_err(|error| RunError::Host("the server ended by a fault", error))
}

/// Logs the files and the named secrets that are not used, and keeps a warning about them.
fn warn_of_faults(configuration: &Configuration, warnings: &Warnings) {
    for fault in &configuration.faults {
        error!(
            hint = fault.hint(),
            "{}; this file is not used, and its clients get nothing",
            format_error(fault)
        );
    }
    let left_out = configuration.left_out.iter().map(|fault| {
        format!(
            "{}; the rest of the section is used, without this named secret; a policy that cannot be read counts as approval",
            format_error(fault)
        )
    });
    let left_out: Vec<String> = left_out.collect();
    for line in &left_out {
        error!("{line}");
    }
    let lines = configuration.faults.iter();
    let lines = lines.map(|fault| format!("{}; this file is not used", format_error(fault)));
    let lines = lines.chain(left_out);
    warnings.set(Topic::Configuration, lines.collect());
}

fn settings(
    options: &ServerOptions,
    configuration: &Configuration,
) -> Result<ServerSettings, RunError> {
    let mut settings = ServerSettings::default();
    settings.apply(configuration.server.clone());
    settings.apply(options.settings());
    match settings.contradictions().first() {
        Some(contradiction) => Err(RunError::Usage(contradiction.to_string())),
        None => Ok(settings),
    }
}

fn priority(settings: &ServerSettings) -> Result<Priority, RunError> {
    match &settings.priority {
        Some(text) => text
            .parse()
            .map_err(|error| RunError::Usage(format!("priority: {error}"))),
        None => Ok(Priority::default()),
    }
}

/// Starts the process that runs checkers, as another user when this one is root.
fn start_spawner(accounts: Option<&Accounts>) -> Result<OwnedFd, RunError> {
    let environment = match accounts {
        Some(Accounts { checkers, .. }) => environment(&checkers.name, &checkers.home),
        None => {
            let variable = |name| std::env::var(name).unwrap_or_default();
            environment(&variable("USER"), &variable("HOME"))
        }
    };
    let config = spawner::SpawnerConfig {
        separation: accounts.map(Accounts::separation),
        environment,
    };
    Spawner::start(&config).map_err(host("cannot start the process that runs checkers"))
}

fn warn_of_accounts(accounts: Option<&Accounts>) {
    match accounts {
        Some(accounts) => accounts.warnings().iter().for_each(|it| warn!("{it}")),
        None => warn!("{NOT_SEPARATED}"),
    }
}

/// Refuses a configuration that misses all known clients, or most of them: that is more often a mistake than
/// intended. Faulty files are reported already, and the missing clients may be theirs.
fn refuse_drops(
    options: &ServerOptions,
    configuration: &Configuration,
    saved: &Saved,
) -> Result<(), RunError> {
    let drops = registry::mass_removal(&configuration.clients, saved);
    let drops =
        drops.filter(|drops| configuration.faults.is_empty() || drops.missing.len() == drops.known);
    match drops {
        Some(drops) if options.accept_fewer_clients => {
            warn!("{drops}; that is accepted");
            Ok(())
        }
        Some(drops) => Err(RunError::MassRemoval(drops)),
        None => Ok(()),
    }
}

/// Logs that the state cannot be trusted.
fn log_loss(saved: &Saved) {
    for lost in lost_secrets(saved) {
        error!("{lost}");
    }
    if saved.trust == Trust::None {
        error!(
            hint = "look whether each machine is where it belongs, then: nightlatch enable NAME",
            "the state was lost, or is older than it has been: no client gets its secret before a person enables it or a check proves its private key, and named secrets need approval until they are put with --no-approval"
        );
    }
}

/// The warning about named secrets that cannot be read, if there are any.
fn lost_secrets(saved: &Saved) -> Vec<String> {
    let lost = Some(saved.lost_secrets).filter(|lost| *lost > 0);
    let line = |lost| {
        format!(
            "{lost} named secrets in the state cannot be read, and their machines do not get them: look at those that are \
             left (nightlatch secret list), and put the others again, with --approval where a person is to decide"
        )
    };
    lost.map(line).into_iter().collect()
}

fn addresses(sockets: &[TcpListener]) -> Vec<String> {
    let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok());
    addresses.map(|address| address.to_string()).collect()
}

/// `--no-restore`: deletes the saved state, or the next start would bring it back.
fn forget_all(store: &mut SqliteStore) -> Result<Saved, RunError> {
    use nightlatch_core::client::saved::Change;
    warn!(
        "started without the saved state: clients that were disabled are as the configuration says"
    );
    let saved = store.load().map_err(RunError::Store)?;
    let clients = saved.clients.into_iter();
    let clients = clients.map(|client| Change::Forget(client.name));
    let left = saved
        .tombstones
        .iter()
        .map(|it| Change::DeleteTombstone(it.owner()));
    let whole = [Change::ForgetSecrets, Change::Trust(Trust::Full)];
    let changes: Vec<Change> = clients.chain(left).chain(whole).collect();
    store.commit(&changes).map_err(RunError::Store)?;
    Ok(Saved::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damaged_store::DamagedStore;

    #[test]
    fn without_the_saved_state_no_named_secret_is_left_not_even_a_damaged_one() {
        let damaged = DamagedStore::new();
        let mut store = damaged.open();
        assert_eq!(store.load().unwrap().lost_secrets, 1);
        forget_all(&mut store).unwrap();
        let saved = store.load().unwrap();
        assert_eq!((saved.secrets.len(), saved.lost_secrets), (0, 0));
    }
}
