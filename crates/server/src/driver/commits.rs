//! When what is unwritten goes to the store, what waits for that, and what is read in between.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use crate::warnings::Topic;

use super::actor::{Driver, DriverError, Effect};
use super::listener::Told;
use super::order::OrderError;
use super::shelf::{Committed, Worked};

/// Proofs of life reach the store this late at most. Losing them can only shorten a deadline.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Under load changes are gathered for so long before the next commit: each costs the disk as much as
/// many, and nobody who asked for one notices.
const GATHER: Duration = Duration::from_millis(10);

/// How long after a failed commit it is tried again: a full disk stays full for a while.
const RETRY_COMMIT: Duration = Duration::from_secs(1);

/// What holds while the store fails.
const FAILING: &str = "cannot write the state: machines are served by what is known, nobody is enabled or \
                       added until it can be written, and if the server ends before, every client waits \
                       until it is enabled again";

impl Driver {
    /// Gives the store its next piece of work.
    pub(super) fn work(&mut self) {
        self.write();
        let written = !self.outbox.is_unwritten() || self.outbox.is_failing();
        if self.store.is_idle()
            && written
            && let Some(reading) = self.readings.pop_front()
        {
            self.store.read(reading);
        }
    }

    /// Starts a commit when something waits for it, or has waited long enough.
    pub(super) fn write(&mut self) {
        if !self.outbox.is_unwritten() || self.given_up {
            self.flush_at = None;
            return;
        }
        let now = Instant::now();
        // A failed commit is not urgent before its time has come again.
        let urgent = self.outbox.is_urgent() && !self.outbox.is_failing();
        let latest = if urgent {
            self.committed_at.map_or(now, |last| last + GATHER)
        } else {
            now + FLUSH_WITHIN
        };
        let flush_at = self.flush_at.map_or(latest, |at| at.min(latest));
        self.flush_at = Some(flush_at);
        if !(self.stopping || flush_at <= now) {
            return;
        }
        if self.store.is_idle() {
            self.flush_at = None;
            self.store.commit(self.outbox.take());
        }
    }

    pub(super) fn worked(&mut self, worked: Option<Worked>) -> Result<(), DriverError> {
        let worked = worked.ok_or(DriverError::Store)?;
        if let Some(committed) = self.store.put_back(worked) {
            self.committed(committed);
            if self.stopping && !self.outbox.is_unwritten() {
                self.store.close();
            }
            // A reading that waits has its turn even when commits come one after the other.
            if let Some(reading) = self.readings.pop_front() {
                self.store.read(reading);
            }
        }
        Ok(())
    }

    pub(super) fn committed(&mut self, Committed { changes, result }: Committed) {
        self.committed_at = Some(Instant::now());
        match result {
            Ok(lines) => {
                if self.outbox.is_failing() {
                    info!("the state can be written again");
                    self.own_up();
                }
                self.outbox.committed();
                self.warnings.set(Topic::Store, Vec::new());
                if let Some(listener) = &mut self.listener {
                    let told = lines.into_iter().map(Told::Recorded);
                    told.for_each(|line| listener.tell(line));
                }
            }
            Err(failure) => {
                let was_failing = self.outbox.is_failing();
                for effect in self.outbox.failed(changes) {
                    if let Effect::Reply(number, _) = effect {
                        self.reply(number, Err(OrderError::NotDurable));
                    }
                }
                self.given_up = self.stopping;
                self.flush_at = Some(Instant::now() + RETRY_COMMIT);
                if !was_failing {
                    let hint = failure.hint();
                    error!(error = %failure, hint, "{FAILING}");
                    let line = format!("{failure}: {FAILING}");
                    self.warnings.set(Topic::Store, vec![line]);
                }
            }
        }
    }
}
