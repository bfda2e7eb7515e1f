//! The running server: starts its tasks, handles signals, notifies the service manager.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::registry::Registry;
use nightlatch_core::settings::server::ServerSettings;
use nightlatch_proto::tls::ServerTls;
use nightlatch_store::Store;
use nightlatch_sys::privileges::Account;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tracing::{info, warn};

use crate::checker::Runner;
use crate::dbus::{self, ServerStatus};
use crate::driver::{self, Driver};
use crate::error::BoxError;
use crate::limits::{self, ConnectionLimits};
use crate::publish::{self, Publisher, ServiceAnnouncement};
use crate::reload::{ReloadRequest, ReloadRequests, Reloader};
use crate::service_manager::ServiceManager;
use crate::session::{self, Deadlines, Sessions};
use crate::warnings::Warnings;

/// Longest time for withdrawing the announcement at the end.
const WITHDRAWAL: Duration = Duration::from_millis(600);

/// Longest time for the last commit: SIGTERM has to end the server within a second.
const LAST_COMMIT: Duration = Duration::from_millis(800);

/// A server that is ready to run.
pub(crate) struct PreparedServer {
    pub(crate) settings: Arc<ServerSettings>,
    pub(crate) configdir: PathBuf,
    pub(crate) account: Option<Account>,
    /// The socket to the process that runs checkers.
    pub(crate) commands: OwnedFd,
    pub(crate) registry: Registry,
    pub(crate) store: Box<dyn Store>,
    pub(crate) sockets: Vec<TcpListener>,
    pub(crate) tls: ServerTls,
    pub(crate) info: ServerStatus,
    pub(crate) manager: ServiceManager,
    pub(crate) warnings: Warnings,
    pub(crate) reload_requests: ReloadRequests,
}

impl PreparedServer {
    /// Runs until a signal ends it.
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let manager = self.manager.notifier();
        let mut hangup = signal(SignalKind::hangup())?;
        let mut end = TerminationSignals::new()?;
        let (stop, stopped) = watch::channel(());
        let (runner, lost) = Runner::new(self.commands)?;
        let mut lost = tokio::spawn(lost);
        let (driver, handle) = Driver::new(
            self.registry,
            self.store,
            driver::DriverOptions {
                runner,
                alarm_command: self.settings.alarm_command.clone(),
                keep_records: self.settings.keep_records,
                warnings: self.warnings.clone(),
            },
        );
        let mut driver = tokio::spawn(driver.run());

        let port = self
            .sockets
            .first()
            .map(|socket| socket.local_addr())
            .transpose()?;
        let sessions = Sessions::new(handle.clone(), &self.tls, Deadlines::default());
        let limits = ConnectionLimits::new(
            limits::within_descriptors(self.settings.max_connections),
            self.settings.max_connections_per_source,
        );
        let mut serving = tokio::spawn(session::serve(
            self.sockets,
            sessions,
            limits,
            until_stopped(stopped.clone()),
        ));
        let administration = self
            .settings
            .use_dbus
            .then(|| dbus::spawn(handle.clone(), self.info, until_stopped(stopped.clone())));
        let publisher = port
            .filter(|_| self.settings.zeroconf)
            .map(|address| publish(&self.settings, address.port(), stopped));
        manager.notify(&[NotifyState::Ready]);
        let mut watchdog = sd_notify::watchdog_enabled().map(|limit| interval(limit / 2));

        let mut reload_requests = self.reload_requests;
        let reloader = Reloader {
            folder: self.configdir,
            account: self.account,
            handle: handle.clone(),
            manager: manager.clone(),
            warnings: self.warnings,
        };
        let ended: Result<(), BoxError> = loop {
            tokio::select! {
                () = end.next() => break Ok(()),
                _ = hangup.recv() => reloader.reload(ReloadRequest::default()),
                Some(request) = reload_requests.next() => reloader.reload(request),
                () = tick(&mut watchdog) => manager.notify(&[NotifyState::Watchdog]),
                lost = &mut lost => break Err(lost.map_or_else(BoxError::from, BoxError::from)),
                ended = &mut driver => break flatten(ended),
                ended = &mut serving => break flatten(ended),
            }
        };
        manager.notify(&[NotifyState::Stopping]);
        drop(stop);
        let withdrawn = async {
            if let Some(publisher) = publisher {
                let _ = timeout(WITHDRAWAL, publisher.finished()).await;
            }
        };
        if let Some(administration) = administration {
            administration.abort();
        }
        let written = async {
            let written = timeout(LAST_COMMIT, handle.stop()).await;
            // Its last log lines count those that were left out.
            if !driver.is_finished() {
                let _ = timeout(WITHDRAWAL, &mut driver).await;
            }
            written
        };
        // Its last log line counts those that were left out.
        let closed = async {
            if !serving.is_finished() {
                let _ = timeout(WITHDRAWAL, &mut serving).await;
            }
        };
        let (_, written, (), ()) = tokio::join!(withdrawn, written, closed, manager.flush());
        if written.is_err() {
            warn!("the last proofs of life could not be written in time");
        }
        info!("ended");
        ended
    }
}

/// SIGTERM and SIGINT.
struct TerminationSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl TerminationSignals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn publish(settings: &ServerSettings, port: u16, stopped: watch::Receiver<()>) -> Publisher {
    let announcement = ServiceAnnouncement {
        name: settings.servicename.clone(),
        port,
        interface: settings.interface.clone(),
        ipv6: settings.use_ipv6,
        // Not when it listens on one IPv6 address only.
        ipv4: !settings.use_ipv6 || settings.address.is_none(),
    };
    publish::spawn(announcement, until_stopped(stopped))
}

/// Ready when the sender is gone.
async fn until_stopped(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

async fn tick(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(watchdog) => drop(watchdog.tick().await),
        None => std::future::pending().await,
    }
}

fn flatten<E: Into<BoxError>>(
    ended: Result<Result<(), E>, tokio::task::JoinError>,
) -> Result<(), BoxError> {
    ended?.map_err(Into::into)
}
