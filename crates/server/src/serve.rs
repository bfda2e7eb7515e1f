//! The running server: who is started, what signals do, what systemd hears.

use std::error::Error;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::chain::chain;
use nightlatch_core::registry::Registry;
use nightlatch_core::settings::server::ServerSettings;
use nightlatch_proto::tls::ServerTls;
use nightlatch_store::Store;
use nightlatch_sys::clock;
use nightlatch_sys::privileges::Account;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{interval, timeout};
use tracing::{error, info, warn};

use crate::checker::Runner;
use crate::config::{self, Configuration};
use crate::dbus::{self, About};
use crate::driver::{self, Driver, Handle, Reloaded};
use crate::limits::{self, Limits};
use crate::publish::{self, Announcement, Publisher};
use crate::run::lock_secrets;
use crate::service_manager::{Notifier, ServiceManager};
use crate::session;
use crate::session::{Deadlines, Sessions};
use crate::warnings::{Topic, Warnings};

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
                Some(request) = asked.0.recv() => reading.reload(request),
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

/// A reload that is asked for.
#[derive(Default)]
struct Request {
    /// It may drop all clients that are known, or most of them.
    may_drop: bool,
    answer: Option<oneshot::Sender<Result<(), String>>>,
}

/// By which a reload is asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reloads(mpsc::UnboundedSender<Request>);

/// The reloads that are asked for.
pub(crate) struct Asked(mpsc::UnboundedReceiver<Request>);

impl Reloads {
    pub(crate) fn new() -> (Self, Asked) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Asked(receiver))
    }

    /// Asks for one; ready when it is durable, or with why nothing changed.
    pub(crate) fn ask(
        &self,
        may_drop: bool,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let answer = Some(answer);
        let _ = self.0.send(Request { may_drop, answer });
        async move {
            let ended = |_| Err("the server ended before".to_owned());
            answered.await.unwrap_or_else(ended)
        }
    }
}

/// What a reload needs.
struct Reading {
    folder: PathBuf,
    account: Option<Account>,
    handle: Handle,
    manager: Notifier,
    warnings: Warnings,
}

impl Reading {
    /// Reads the configuration anew. A faulty one changes nothing.
    fn reload(&self, request: Request) {
        let usec = i128::from(clock::monotonic_usec());
        self.manager
            .tell(&[NotifyState::Reloading, NotifyState::MonotonicUsec(usec)]);
        match config::read_all(&self.folder, self.account.as_ref()) {
            Ok(configuration) => self.take_over(configuration, request),
            Err(faulty) => {
                for fault in &faulty.faults {
                    error!(hint = fault.hint(), "{}", chain(fault));
                }
                error!("not reloaded, everything stays as it was: {faulty}");
                let faults: Vec<String> = faulty
                    .faults
                    .iter()
                    .map(|it| chain(it).to_string())
                    .collect();
                request.answer(Err(faults.join("\n")));
                self.manager.tell(&[NotifyState::Ready]);
            }
        }
    }

    fn take_over(&self, configuration: Configuration, request: Request) {
        for warning in &configuration.warnings {
            warn!("{warning}");
        }
        let clients = configuration.clients.len();
        lock_secrets(configuration.clients.iter().map(|client| &client.secret));
        let reloaded = self
            .handle
            .reload(configuration.into_configured(), request.may_drop);
        // A full disk keeps this waiting. The watchdog and SIGTERM cannot wait with it.
        let manager = self.manager.clone();
        let warnings = self.warnings.clone();
        tokio::spawn(async move {
            match reloaded.await {
                Reloaded::Ended => return,
                Reloaded::Durable => {
                    warnings.set(Topic::Configuration, Vec::new());
                    // What the socket, the state and the log were set up by is fixed for the process's life.
                    info!(
                        clients,
                        "configuration reloaded; changed settings of the server itself need a restart"
                    );
                    request.answer(Ok(()));
                }
                Reloaded::Refused(drops) => {
                    error!(
                        hint = "if that is meant: nightlatch reload --accept-fewer-clients",
                        "not reloaded, everything stays as it was: {drops}"
                    );
                    request.answer(Err(drops.to_string()));
                }
            }
            manager.tell(&[NotifyState::Ready]);
        });
    }
}

impl Request {
    fn answer(self, result: Result<(), String>) {
        if let Some(answer) = self.answer {
            // Who asked may have gone.
            let _ = answer.send(result);
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
