//! Runs checkers: `/bin/sh -c COMMAND` in a process group of its own, killed whole, or a check that the server
//! does itself.
//!
//! When one is due and what its result means is the registry's to decide.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nightlatch_core::checker::Probe;
use nightlatch_core::client::saved::LastCheck;
use nightlatch_core::registry::ClientId;
use nightlatch_core::ssh::HostKey;
use nightlatch_sys::process::{kill_group, terminate_group};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};

mod host_key;

/// How long a checker that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// What is reported of a built-in check that failed: as of a command that did.
const FAILED: LastCheck = LastCheck::Exited(1);

/// What is reported of a built-in check that was broken off: as of a command that was (`SIGTERM`).
const BROKEN_OFF: LastCheck = LastCheck::Signaled(15);

/// What is reported of a check that could not be run at all: the shell's own "command not found".
pub(crate) const NOT_RUN: LastCheck = LastCheck::Exited(127);

/// The checkers that run.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    running: HashMap<ClientId, Running>,
}

#[derive(Debug)]
struct Running {
    /// Of the process group; a built-in check has none.
    leader: Option<u32>,
    /// Dropped to end it.
    stop: Option<oneshot::Sender<()>>,
}

impl Checks {
    /// Starts the check of `client`, which is called `name`; `report` hears how it ended, once, whatever
    /// happens.
    pub(crate) fn start(
        &mut self,
        client: ClientId,
        name: String,
        probe: Probe,
        report: impl FnOnce(LastCheck) + Send + 'static,
    ) {
        match probe {
            Probe::Command { line, .. } => self.start_command(client, &line, report),
            Probe::SshHostKey { host, key } => {
                let stopped = self.insert(client, None);
                tokio::spawn(async move { report(by_host_key(&name, &host, &key, stopped).await) });
            }
        }
    }

    fn insert(&mut self, client: ClientId, leader: Option<u32>) -> oneshot::Receiver<()> {
        let (stop, stopped) = oneshot::channel();
        let stop = Some(stop);
        self.running.insert(client, Running { leader, stop });
        stopped
    }

    fn start_command(
        &mut self,
        client: ClientId,
        command: &str,
        report: impl FnOnce(LastCheck) + Send + 'static,
    ) {
        let child = match spawn(command) {
            Ok(child) => child,
            Err(error) => {
                warn!(%error, "cannot run a checker");
                return report(NOT_RUN);
            }
        };
        // Only a child that was waited for has no id, and nobody has.
        let leader = child.id().unwrap_or_default();
        let stopped = self.insert(client, Some(leader));
        tokio::spawn(async move { report(attend(child, leader, stopped).await) });
    }

    /// Ends the client's checker, its whole group. It still reports.
    pub(crate) fn kill(&mut self, client: ClientId) {
        if let Some(running) = self.running.get_mut(&client) {
            running.stop = None;
        }
    }

    /// The client's checker has reported.
    pub(crate) fn ended(&mut self, client: ClientId) {
        self.running.remove(&client);
    }

    /// Kills every checker at once: the server ends.
    pub(crate) fn kill_all(&mut self) {
        for (_, running) in self.running.drain() {
            // Without a group, dropping what stops it does.
            if let Some(leader) = running.leader {
                log_failure(kill_group(leader));
            }
        }
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
            if fault.is_somebody_else() {
                warn!(client = name, host, %fault, "whoever answers for a client is not that client, or it has new host keys");
            } else {
                debug!(client = name, host, %fault, "a check of an SSH host key failed");
            }
            FAILED
        }
    }
}

fn spawn(command: &str) -> std::io::Result<Child> {
    // What a checker prints is seen when the server is being debugged, and belongs nowhere else.
    let output = || {
        if tracing::enabled!(tracing::Level::DEBUG) {
            Stdio::inherit()
        } else {
            Stdio::null()
        }
    };
    Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn attend(mut child: Child, leader: u32, stopped: oneshot::Receiver<()>) -> LastCheck {
    let ended = tokio::select! {
        ended = child.wait() => ended,
        _ = stopped => {
            log_failure(terminate_group(leader));
            match timeout(GRACE, child.wait()).await {
                Ok(ended) => {
                    // What it had started and left behind ends with it.
                    log_failure(kill_group(leader));
                    ended
                }
                Err(_) => {
                    log_failure(kill_group(leader));
                    child.wait().await
                }
            }
        }
    };
    match ended {
        Ok(status) => result(status),
        Err(error) => {
            debug!(%error, "lost track of a checker");
            NOT_RUN
        }
    }
}

fn result(status: ExitStatus) -> LastCheck {
    match (status.code(), status.signal()) {
        (Some(code), _) => LastCheck::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => LastCheck::Signaled(signal),
        (None, None) => NOT_RUN,
    }
}

fn log_failure(result: std::io::Result<()>) {
    if let Err(error) = result {
        debug!(%error, "cannot signal a checker");
    }
}
