//! Reloads: by whom they are asked for, and how one goes.

use std::path::PathBuf;

use nightlatch_core::chain::chain;
use nightlatch_sys::clock;
use nightlatch_sys::privileges::Account;
use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::config::{self, Configuration};
use crate::driver::{Handle, Reloaded};
use crate::secrets::lock_secrets;
use crate::service_manager::Notifier;
use crate::warnings::{Topic, Warnings};

/// A reload that is asked for.
#[derive(Default)]
pub(crate) struct Request {
    /// It may drop all clients that are known, or most of them.
    may_drop: bool,
    answer: Option<oneshot::Sender<Result<(), String>>>,
}

/// By which a reload is asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reloads(mpsc::UnboundedSender<Request>);

/// The reloads that are asked for.
pub(crate) struct Asked(mpsc::UnboundedReceiver<Request>);

impl Asked {
    /// The next one; `None` when nobody can ask any more.
    pub(crate) async fn next(&mut self) -> Option<Request> {
        self.0.recv().await
    }
}

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
pub(crate) struct Reading {
    pub(crate) folder: PathBuf,
    pub(crate) account: Option<Account>,
    pub(crate) handle: Handle,
    pub(crate) manager: Notifier,
    pub(crate) warnings: Warnings,
}

impl Reading {
    /// Reads the configuration anew. A faulty one changes nothing.
    pub(crate) fn reload(&self, request: Request) {
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
