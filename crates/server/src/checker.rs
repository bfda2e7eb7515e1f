//! Runs checks: a command, by the process that runs them as another user, or a check that the server does itself.
//!
//! When one is due and what its result means is the registry's to decide.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nightlatch_core::checker::LastCheck;
use nightlatch_core::checker::Probe;
use nightlatch_core::event::ClientId;
use nightlatch_core::ssh::HostKey;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};

mod host_key;
mod runner;
use runner::Job;
pub(crate) use runner::{Runner, environment};

/// How long a checker that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// What is reported of a built-in check that failed: as of a command that did.
const FAILED: LastCheck = LastCheck::Exited(1);

/// What is reported of a built-in check that was broken off: as of a command that was (`SIGTERM`).
const BROKEN_OFF: LastCheck = LastCheck::Signaled(15);

/// What is reported of a check that could not be run at all: the shell's own "command not found".
pub(crate) const NOT_RUN: LastCheck = LastCheck::Exited(127);

/// The checkers that run.
#[derive(Debug)]
pub(crate) struct Checks {
    runner: Runner,
    /// What ends each when it is dropped.
    running: HashMap<ClientId, Option<oneshot::Sender<()>>>,
}

impl Checks {
    pub(crate) fn new(runner: Runner) -> Self {
        Self {
            runner,
            running: HashMap::new(),
        }
    }

    /// Starts the check of `client`, which is called `name`; `report` hears how it ended, once, whatever
    /// happens.
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
                tokio::spawn(async move { report(attend(job, stopped).await) });
            }
            Probe::SshHostKey { host, key } => {
                tokio::spawn(async move { report(by_host_key(&name, &host, &key, stopped).await) });
            }
        }
    }

    /// Ends the client's check, with all that it started. It still reports.
    pub(crate) fn kill(&mut self, client: ClientId) {
        if let Some(stop) = self.running.get_mut(&client) {
            *stop = None;
        }
    }

    /// The client's check has reported.
    pub(crate) fn ended(&mut self, client: ClientId) {
        self.running.remove(&client);
    }

    /// Ends every check: the server ends. What does not listen is killed when the server is gone.
    pub(crate) fn kill_all(&mut self) {
        self.running.clear();
    }
}

async fn by_host_key(
    name: &str,
    host: &str,
    key: &HostKey,
    stopped: oneshot::Receiver<()>,
) -> LastCheck {
    let ended = tokio::select! {
        ended = host_key::check(host, key) => ended,
        _ = stopped => return BROKEN_OFF,
    };
    match ended {
        Ok(()) => LastCheck::Exited(0),
        Err(fault) => {
            if fault.is_other_host() {
                warn!(client = name, host, %fault, "whoever answers for a client is not that client, or it has new host keys");
            } else {
                debug!(client = name, host, %fault, "a check of an SSH host key failed");
            }
            FAILED
        }
    }
}

async fn attend(mut job: Job, stopped: oneshot::Receiver<()>) -> LastCheck {
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
    ended.map_or(NOT_RUN, result)
}

fn result(status: ExitStatus) -> LastCheck {
    match (status.code(), status.signal()) {
        (Some(code), _) => LastCheck::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => LastCheck::Signaled(signal),
        (None, None) => NOT_RUN,
    }
}
