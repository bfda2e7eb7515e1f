//! `alarm_command`: tells a person of an alarm, or that a machine waits for approval.
//!
//! It gets the record on standard input and can answer nothing: to approve needs the bus. It never
//! holds anything up; when it hangs it is killed, and when too many wait, some are left out and the log
//! says so.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::record::{Entry, Kind};
use nightlatch_sys::process::kill_group;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

/// How long the command may take.
const LIMIT: Duration = Duration::from_secs(30);

/// So many wait for their turn at most; one runs at a time.
const WAITING: usize = 100;

/// Runs the command for the entries that call for it.
#[derive(Debug)]
pub(crate) struct AlarmCommand(mpsc::Sender<Arc<str>>);

impl AlarmCommand {
    /// Needs a tokio runtime.
    pub(crate) fn new(command: String) -> Self {
        let (sender, mut records) = mpsc::channel::<Arc<str>>(WAITING);
        tokio::spawn(async move {
            while let Some(record) = records.recv().await {
                if let Err(fault) = run(&command, &record, LIMIT).await {
                    warn!(%fault, "alarm_command failed");
                }
            }
        });
        Self(sender)
    }

    /// Runs the command when `entry` calls for a person.
    pub(crate) fn hear(&self, entry: &Entry) {
        if !(entry.alarm || entry.kind == Kind::Waits) {
            return;
        }
        if self.0.try_send(Arc::clone(&entry.text)).is_err() {
            warn!(record = &*entry.text, "alarm_command is too slow: left out");
        }
    }
}

/// Why a person may not have been told.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it cannot be run: {0}")]
    Start(#[source] io::Error),
    #[error("it did not end within {} seconds and was killed", .0.as_secs())]
    Late(Duration),
    #[error("it ended with {0}")]
    Status(std::process::ExitStatus),
}

async fn run(command: &str, record: &str, limit: Duration) -> Result<(), Fault> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(Fault::Start)?;
    let leader = child.id().unwrap_or_default();
    let input = child.stdin.take();
    let fed_and_ended = async {
        if let Some(mut input) = input {
            // Whoever does not want to read it need not.
            let _ = input.write_all(format!("{record}\n").as_bytes()).await;
        }
        child.wait().await
    };
    let ended = timeout(limit, fed_and_ended).await;
    // What it left behind ends with it.
    let _ = kill_group(leader);
    match ended {
        Err(_) => Err(Fault::Late(limit)),
        Ok(Err(error)) => Err(Fault::Start(error)),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Fault::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_gets_the_record_and_its_status_counts() {
        let read = "test \"$(cat)\" = '{}'";
        assert!(run(read, "{}", PATIENCE).await.is_ok());
        let other = run(read, "[]", PATIENCE).await;
        assert!(matches!(other, Err(Fault::Status(_))), "{other:?}");
        // One that reads nothing of much is no trouble.
        assert!(run("true", &"x".repeat(1 << 20), PATIENCE).await.is_ok());
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        // All that it starts holds the pipe: its end is theirs.
        let reader = pipe.clone();
        let ended = tokio::task::spawn_blocking(move || std::fs::read(reader));
        let command = format!("exec 3> {}; sleep 1000 & sleep 1000", pipe.display());
        let late = run(&command, "{}", MOMENT).await;
        assert!(matches!(late, Err(Fault::Late(_))), "{late:?}");
        timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap();
    }
}
