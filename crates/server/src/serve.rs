//! The running server: who is started, what signals do, what systemd hears.

use std::error::Error;
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
use crate::dbus::{self, About};
use crate::driver::{self, Driver};
use crate::limits::{self, Limits};
use crate::publish::{self, Announcement, Publisher};
use crate::reload::{Asked, Reading, Request};
use crate::service_manager::ServiceManager;
use crate::session;
use crate::session::{Deadlines, Sessions};
use crate::warnings::Warnings;

/// How long withdrawing the announcement may take at the end.
const WITHDRAWAL: Duration = Duration::from_millis(600);

/// How long writing the last changes may take: SIGTERM has to end the server within a second.
const LAST_COMMIT: Duration = Duration::from_millis(800);

type Fault = Box<dyn Error + Send + Sync>;

/// A server that is ready to run.
pub(crate) struct Server {
    pub(crate) settings: Arc<ServerSettings>,
    pub(crate) configdir: PathBuf,
    pub(crate) account: Option<Account>,
    /// The way to the process that runs checkers.
    pub(crate) commands: OwnedFd,
    pub(crate) registry: Registry,
    pub(crate) store: Box<dyn Store>,
    pub(crate) sockets: Vec<TcpListener>,
    pub(crate) tls: ServerTls,
    pub(crate) about: About,
    pub(crate) manager: ServiceManager,
    pub(crate) warnings: Warnings,
    pub(crate) asked: Asked,
}

impl Server {
    /// Runs until a signal ends it.
    pub(crate) async fn run(self) -> Result<(), Fault> {
        let manager = self.manager.notifier();
        let mut hangup = signal(SignalKind::hangup())?;
        let end = Ends::new()?;
        let (stop, stopped) = watch::channel(());
        let (runner, lost) = Runner::new(self.commands)?;
        let mut lost = tokio::spawn(lost);
        let (driver, handle) = Driver::new(
            self.registry,
            self.store,
            driver::Options {
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
        let limits = Limits::new(
            limits::within_descriptors(self.settings.max_connections),
            self.settings.max_connections_per_source,
        );
        let mut serving = tokio::spawn(session::serve(
            self.sockets,
            sessions,
            limits,
            until(stopped.clone()),
        ));
        let administration = self
            .settings
            .use_dbus
            .then(|| dbus::spawn(handle.clone(), self.about, until(stopped.clone())));
        let publisher = port
            .filter(|_| self.settings.zeroconf)
            .map(|address| publish(&self.settings, address.port(), stopped));
        manager.tell(&[NotifyState::Ready]);
        let mut watchdog = sd_notify::watchdog_enabled().map(|limit| interval(limit / 2));

        let mut end = end;
        let mut asked = self.asked;
        let reading = Reading {
            folder: self.configdir,
            account: self.account,
            handle: handle.clone(),
            manager: manager.clone(),
            warnings: self.warnings,
        };
        let ended: Result<(), Fault> = loop {
            tokio::select! {
                () = end.next() => break Ok(()),
                _ = hangup.recv() => reading.reload(Request::default()),
                Some(request) = asked.next() => reading.reload(request),
                () = tick(&mut watchdog) => manager.tell(&[NotifyState::Watchdog]),
                lost = &mut lost => break Err(lost.map_or_else(Fault::from, Fault::from)),
                ended = &mut driver => break flatten(ended),
                ended = &mut serving => break flatten(ended),
            }
        };
        manager.tell(&[NotifyState::Stopping]);
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
            // Its last lines say how many it left out.
            if !driver.is_finished() {
                let _ = timeout(WITHDRAWAL, &mut driver).await;
            }
            written
        };
        // Its last line says how many it left out.
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
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
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
    let announcement = Announcement {
        name: settings.servicename.clone(),
        port,
        interface: settings.interface.clone(),
        ipv6: settings.use_ipv6,
        // Not where it listens on an address of IPv6 only.
        ipv4: !settings.use_ipv6 || settings.address.is_none(),
    };
    publish::spawn(announcement, until(stopped))
}

/// Ready when the sender is gone.
async fn until(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

async fn tick(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(watchdog) => drop(watchdog.tick().await),
        None => std::future::pending().await,
    }
}

fn flatten<E: Into<Fault>>(
    ended: Result<Result<(), E>, tokio::task::JoinError>,
) -> Result<(), Fault> {
    ended?.map_err(Into::into)
}
