//! Runs checks: commands, through the process that runs them as another user, and built-in ones.
//!
//! The registry decides when one is due and what its result means.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nightlatch_core::checker::{LastCheck, Probe};
use nightlatch_core::event::ClientId;
use nightlatch_core::ssh::HostKey;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};

mod host_key;
mod lookup;
mod ping;
mod runner;
use runner::Job;
pub(crate) use runner::{Runner, environment};

use crate::warnings::{Topic, Warnings};

/// Time between telling a checker to end and killing it.
const GRACE: Duration = Duration::from_millis(500);

/// The result of a built-in check that failed, as of a command that did.
const FAILED: LastCheck = LastCheck::Exited(1);

/// The result of a built-in check that was stopped, as of a command that was (`SIGTERM`).
const STOPPED: LastCheck = LastCheck::Signaled(15);

/// The result of a check that could not be run: the shell's status for "command not found".
pub(crate) const NOT_RUN: LastCheck = LastCheck::Exited(127);

/// The running checks.
#[derive(Debug)]
pub(crate) struct Checks {
    runner: Runner,
    /// Dropping a sender ends the check.
    running: HashMap<ClientId, Option<oneshot::Sender<()>>>,
    warnings: Warnings,
}

impl Checks {
    pub(crate) fn new(runner: Runner, warnings: Warnings) -> Self {
        Self {
            runner,
            running: HashMap::new(),
            warnings,
        }
    }

    /// Starts the check of `client`, whose name is `name`; `report` is called with its result exactly once.
    pub(crate) fn start(
        &mut self,
        client: ClientId,
        name: String,
        probe: Probe,
        report: impl FnOnce(LastCheck) + Send + 'static,
    ) {
        let (stop, stopped) = oneshot::channel();
        self.running.insert(client, Some(stop));
        match probe {
            Probe::Command { line, pings } => {
                let job = self.runner.run(&line, pings);
                tokio::spawn(async move { report(wait_for(job, stopped).await) });
            }
            Probe::SshHostKey { host, key } => {
                tokio::spawn(
                    async move { report(check_host_key(&name, &host, &key, stopped).await) },
                );
            }
            Probe::Ping { host } => {
                let warnings = self.warnings.clone();
                tokio::spawn(async move {
                    report(check_ping(&name, &host, &warnings, stopped).await);
                });
            }
        }
    }

    /// Ends the client's check, with all processes that it started. It still reports.
    pub(crate) fn kill(&mut self, client: ClientId) {
        if let Some(stop) = self.running.get_mut(&client) {
            *stop = None;
        }
    }

    /// Called when the client's check has reported.
    pub(crate) fn ended(&mut self, client: ClientId) {
        self.running.remove(&client);
    }

    /// Ends every check, at the end of the server. Those that ignore SIGTERM are killed when the server is gone.
    pub(crate) fn kill_all(&mut self) {
        self.running.clear();
    }
}

async fn check_host_key(
    name: &str,
    host: &str,
    key: &HostKey,
    stopped: oneshot::Receiver<()>,
) -> LastCheck {
    let ended = tokio::select! {
        ended = host_key::check(host, key) => ended,
        _ = stopped => return STOPPED,
    };
    match ended {
        Ok(()) => LastCheck::Exited(0),
        Err(error) => {
            if error.is_other_host() {
                warn!(client = name, host, fault = %error, "whoever answers for a client is not that client, or it has new host keys");
            } else {
                debug!(client = name, host, fault = %error, "a check of an SSH host key failed");
            }
            FAILED
        }
    }
}

async fn check_ping(
    name: &str,
    host: &str,
    warnings: &Warnings,
    stopped: oneshot::Receiver<()>,
) -> LastCheck {
    let ended = tokio::select! {
        ended = ping::check(host) => ended,
        _ = stopped => return STOPPED,
    };
    match ended {
        Ok(()) => {
            warnings.set(Topic::Ping, Vec::new());
            LastCheck::Exited(0)
        }
        Err(error) if error.is_not_allowed() => {
            if warnings.set(Topic::Ping, vec![no_ping(&error)]) {
                warn!(client = name, hint = ping::ALLOW, "not checked: {error}");
            }
            NOT_RUN
        }
        Err(error) => {
            if error.shows_permission() {
                warnings.set(Topic::Ping, Vec::new());
            }
            debug!(client = name, host, fault = %error, "a ping failed");
            FAILED
        }
    }
}

/// Warns if the kernel does not allow pings and some checker needs them (`pings`). Called at the start and after a reload.
pub(crate) fn warn_if_pings_are_not_allowed(pings: bool, warnings: &Warnings) {
    let lines = match pings.then(ping::obstacle).flatten() {
        Some(error) => {
            warn!(hint = ping::ALLOW, "{}", no_ping(&error));
            vec![no_ping(&error)]
        }
        None => Vec::new(),
    };
    warnings.set(Topic::Ping, lines);
}

fn no_ping(error: &dyn std::error::Error) -> String {
    format!("every check by builtin:ping fails: {error}")
}

async fn wait_for(mut job: Job, stopped: oneshot::Receiver<()>) -> LastCheck {
    let ended = tokio::select! {
        ended = job.ended() => ended,
        _ = stopped => {
            job.terminate();
            match timeout(GRACE, job.ended()).await {
                Ok(ended) => ended,
                Err(_) => {
                    job.kill();
                    job.ended().await
                }
            }
        }
    };
    ended.map_or(NOT_RUN, last_check)
}

fn last_check(status: ExitStatus) -> LastCheck {
    match (status.code(), status.signal()) {
        (Some(code), _) => LastCheck::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => LastCheck::Signaled(signal),
        (None, None) => NOT_RUN,
    }
}
