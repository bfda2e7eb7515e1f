//! `alarm_command`: tells a person of an alarm, or that a machine waits for approval.
//!
//! It gets the record on standard input and can answer nothing: to approve needs the bus. It never
//! holds anything up; when it hangs it is killed. Repeats of one kind about one client wait together and
//! reach it as one record with a count ([`AlarmQueue`]).

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nightlatch_core::alarm_queue::{AlarmQueue, QueuedAlarm};
use nightlatch_core::record::RecordEntry;
use nightlatch_sys::clock;
use nightlatch_sys::process::kill_group;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// Time limit of one run. Runs do not overlap.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the command for the entries that call for it.
#[derive(Debug)]
pub(crate) struct AlarmCommand {
    queue: Arc<Queue>,
    runner: AbortHandle,
}

#[derive(Default, Debug)]
struct Queue {
    waiting: Mutex<AlarmQueue<Arc<str>>>,
    pushed: Notify,
}

impl AlarmCommand {
    /// Needs a tokio runtime.
    pub(crate) fn new(command: String) -> Self {
        let queue = Arc::new(Queue::default());
        let records = Arc::clone(&queue);
        let runner = tokio::spawn(async move {
            loop {
                let record = records.next().await;
                if let Err(fault) = run(&command, &record, LIMIT).await {
                    warn!(%fault, "alarm_command failed");
                }
            }
        });
        Self {
            queue,
            runner: runner.abort_handle(),
        }
    }

    /// Runs the command for `entry`, which calls for a person; `kind` tells it from others about the client.
    pub(crate) fn enqueue(&self, kind: &'static str, entry: &RecordEntry) {
        let record = Arc::clone(&entry.text);
        self.queue.lock().push(entry.client.as_ref(), kind, record);
        self.queue.pushed.notify_one();
    }

    /// Number of alarms told that it was not run for yet.
    #[cfg(test)]
    pub(crate) fn count_waiting(&self) -> u64 {
        let far = clock::now().mono.after(Duration::from_secs(1 << 30));
        let mut queue = self.queue.lock();
        let messages = std::iter::from_fn(|| queue.pop(far));
        messages.map(|message| 1 + message.repeats).sum()
    }
}

impl Drop for AlarmCommand {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

impl Queue {
    async fn next(&self) -> String {
        loop {
            let now = clock::now().mono;
            let (message, due) = {
                let mut waiting = self.lock();
                (waiting.pop(now), waiting.next_due(now))
            };
            if let Some(message) = message {
                return with_repeats(&message);
            }
            let pause = async {
                match due {
                    Some(due) => sleep(due.since(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.pushed.notified() => {}
                () = pause => {}
            }
        }
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, AlarmQueue<Arc<str>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record, with the number of its repeats as one more key.
fn with_repeats(message: &QueuedAlarm<Arc<str>>) -> String {
    match message.first.strip_suffix('}') {
        Some(open) if message.repeats > 0 => format!("{open},\"repeats\":{}}}", message.repeats),
        _ => message.first.as_ref().to_owned(),
    }
}

/// A run of `alarm_command` that failed: its alarm may have reached nobody.
#[derive(Debug, thiserror::Error)]
enum AlarmCommandError {
    #[error("it cannot be run: {0}")]
    Start(#[source] io::Error),
    #[error("it did not end within {} seconds and was killed", .0.as_secs())]
    Late(Duration),
    #[error("it ended with {0}")]
    Status(std::process::ExitStatus),
}

async fn run(command: &str, record: &str, limit: Duration) -> Result<(), AlarmCommandError> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(AlarmCommandError::Start)?;
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
        Err(_) => Err(AlarmCommandError::Late(limit)),
        Ok(Err(error)) => Err(AlarmCommandError::Start(error)),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(AlarmCommandError::Status(status)),
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
        assert!(
            matches!(other, Err(AlarmCommandError::Status(_))),
            "{other:?}"
        );
        // One that reads nothing of much is no trouble.
        assert!(run("true", &"x".repeat(1 << 20), PATIENCE).await.is_ok());
    }

    #[test]
    fn repeats_are_a_key_of_the_record() {
        let with_repeats = |repeats| {
            let first = Arc::from(r#"{"kind":"alarm"}"#);
            with_repeats(&QueuedAlarm { first, repeats })
        };
        assert_eq!(with_repeats(0), r#"{"kind":"alarm"}"#);
        assert_eq!(with_repeats(7), r#"{"kind":"alarm","repeats":7}"#);
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
        assert!(matches!(late, Err(AlarmCommandError::Late(_))), "{late:?}");
        timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap();
    }
}
