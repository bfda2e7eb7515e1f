//! Reloads of the configuration: requests for them, and their course.

use std::path::PathBuf;

use nightlatch_core::checker::Checker;
use nightlatch_core::error_chain::format_error;
use nightlatch_sys::privileges::Account;
use nightlatch_sys::{clock, memory};
use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::checker::warn_if_pings_are_not_allowed;
use crate::config::{self, Configuration};
use crate::driver::{Handle, Reloaded};
use crate::secrets::lock_secrets;
use crate::service_manager::Notifier;
use crate::warnings::{Topic, Warnings};

#[derive(Default)]
pub(crate) struct ReloadRequest {
    /// It may drop all known clients, or most of them.
    may_drop: bool,
    answer: Option<oneshot::Sender<Result<(), String>>>,
}

/// Requests reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ReloadHandle(mpsc::UnboundedSender<ReloadRequest>);

/// The receiving end of [`ReloadHandle`].
pub(crate) struct ReloadRequests(mpsc::UnboundedReceiver<ReloadRequest>);

impl ReloadRequests {
    /// The next request; `None` when every handle is gone.
    pub(crate) async fn next(&mut self) -> Option<ReloadRequest> {
        self.0.recv().await
    }
}

impl ReloadHandle {
    pub(crate) fn new() -> (Self, ReloadRequests) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), ReloadRequests(receiver))
    }

    /// Requests a reload. The future is ready when its changes are durable, or with the reason why nothing
    /// changed.
    pub(crate) fn request(
        &self,
        may_drop: bool,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let answer = Some(answer);
        let _ = self.0.send(ReloadRequest { may_drop, answer });
        async move {
            let ended = |_| Err("the server ended before".to_owned());
            answered.await.unwrap_or_else(ended)
        }
    }
}

/// Carries reloads out.
pub(crate) struct Reloader {
    pub(crate) folder: PathBuf,
    pub(crate) account: Option<Account>,
    pub(crate) handle: Handle,
    pub(crate) manager: Notifier,
    pub(crate) warnings: Warnings,
}

impl Reloader {
    /// Reads the configuration again. A faulty one changes nothing.
    pub(crate) fn reload(&self, request: ReloadRequest) {
        let usec = i128::from(clock::monotonic_usec());
        self.manager
            .notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(usec)]);
        match config::read_all(&self.folder, self.account.as_ref()) {
            Ok(configuration) => self.apply(configuration, request),
            Err(faulty) => {
                for fault in &faulty.faults {
                    error!(hint = fault.hint(), "{}", format_error(fault));
                }
                error!("not reloaded, everything stays as it was: {faulty}");
                let faults: Vec<String> = faulty
                    .faults
                    .iter()
                    .map(|it| format_error(it).to_string())
                    .collect();
                request.answer(Err(faults.join("\n")));
                self.manager.notify(&[NotifyState::Ready]);
            }
        }
    }

    fn apply(&self, configuration: Configuration, request: ReloadRequest) {
        for warning in &configuration.warnings {
            warn!("{warning}");
        }
        let clients = configuration.clients.len();
        let mut checkers = configuration.clients.iter().map(|it| &it.settings.checker);
        let pings = checkers.any(Checker::is_ping);
        lock_secrets(configuration.clients.iter().map(|client| &client.secret));
        let reloaded = self
            .handle
            .reload(configuration.into_configured(), request.may_drop);
        // A full disk delays this. The watchdog and SIGTERM must not wait for it.
        let manager = self.manager.clone();
        let warnings = self.warnings.clone();
        tokio::spawn(async move {
            match reloaded.await {
                Reloaded::Ended => return,
                Reloaded::Durable => {
                    warnings.set(Topic::Configuration, Vec::new());
                    warn_if_pings_are_not_allowed(pings, &warnings);
                    // Not waited for: nothing depends on it.
                    drop(tokio::task::spawn_blocking(memory::release_freed));
                    // The socket, the state and the log keep the settings of the start.
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
            manager.notify(&[NotifyState::Ready]);
        });
    }
}

impl ReloadRequest {
    fn answer(self, result: Result<(), String>) {
        if let Some(answer) = self.answer {
            // The receiver may be gone.
            let _ = answer.send(result);
        }
    }
}
