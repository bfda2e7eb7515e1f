//! The queue of checks: a limited number runs at once, the others start in the order in which they became due.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Alarm, CheckError, ClientId, Durability, Event, Registry, Timer};
use crate::checker::LastCheck;
use crate::client::{CheckState, Client};
use crate::deadline::Deadline;
use crate::time::Now;

/// Running and queued checks of all clients.
#[derive(Debug)]
pub(super) struct CheckQueue {
    limit: usize,
    /// Clients whose check was started and has not been reported, removed clients included.
    running: BTreeSet<ClientId>,
    queue: BTreeMap<u64, ClientId>,
    next_number: u64,
}

impl CheckQueue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            running: BTreeSet::new(),
            queue: BTreeMap::new(),
            next_number: 0,
        }
    }

    fn join(&mut self, id: ClientId) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.queue.insert(number, id);
        number
    }

    fn next(&mut self) -> Option<ClientId> {
        if self.running.len() >= self.limit {
            return None;
        }
        let (_, id) = self.queue.pop_first()?;
        self.running.insert(id);
        Some(id)
    }
}

impl Registry {
    /// The caller reports the result of a check.
    pub fn handle_check_finished(&mut self, id: ClientId, result: LastCheck, now: Now) {
        self.handle_timeout(now);
        if !self.check_queue.running.remove(&id) {
            return;
        }
        if let Some(client) = self.clients.get_mut(&id) {
            let before = client.last_check;
            let (stopped, again) = match client.check {
                CheckState::Stopping { again } => (true, again),
                _ => (false, false),
            };
            client.check = CheckState::Idle;
            client.note_check(result, stopped, now);
            let after = client.last_check;
            let proved = result == LastCheck::Exited(0) && !stopped;
            // A check that was told to stop says nothing about the machine; the next one does.
            let still_answers =
                !stopped && std::mem::take(&mut client.check_follows_release) && proved;
            let shortened = proved && self.extend_deadline(id, now);
            let enabled = proved && self.enable_if_proved(id, now);
            // A successful last check renews an expired client at the next start, so a later failure must not get
            // lost.
            let fell = before == LastCheck::Exited(0) && after != before;
            if enabled {
                self.persist_state(id, Durability::Before, now);
            } else if shortened || fell {
                self.persist_state(id, Durability::BeforeUnlessFailing, now);
            } else {
                self.persist_state(id, Durability::Soon, now);
            }
            self.emit(Event::CheckFinished(id, result));
            if enabled {
                self.emit(Event::Enabled(id));
            }
            if still_answers {
                self.emit(Event::Alarmed(Some(id), Alarm::StillAnswers));
            }
            if again {
                self.queue_check(id);
            }
        }
        self.start_checks();
    }

    /// An administrator reports a proof of life without a check.
    pub fn handle_checked_ok(&mut self, id: ClientId, now: Now) -> Result<(), CheckError> {
        self.handle_timeout(now);
        self.can_be_checked(id)?;
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        client.note_check(LastCheck::Exited(0), false, now);
        if self.extend_deadline(id, now) {
            self.persist_state(id, Durability::BeforeUnlessFailing, now);
        } else {
            self.persist_state(id, Durability::Soon, now);
        }
        self.emit(Event::CheckedOk(id));
        Ok(())
    }

    /// An administrator starts a check. No effect while one runs or is queued.
    pub fn handle_start_checker(&mut self, id: ClientId, now: Now) -> Result<(), CheckError> {
        self.handle_timeout(now);
        self.can_be_checked(id)?;
        self.queue_check(id);
        self.start_checks();
        Ok(())
    }

    fn can_be_checked(&self, id: ClientId) -> Result<(), CheckError> {
        match self.clients.get(&id).is_some_and(Client::is_armed) {
            true => Err(CheckError::HasAgent),
            false => Ok(()),
        }
    }

    /// An administrator stops the running check. The next one starts when it is due.
    pub fn handle_stop_checker(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        self.stop_check(id);
        self.start_checks();
    }

    /// The check timer went off. At most one check of a client runs or is queued.
    pub(super) fn handle_check_due(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        if !client.is_checked() {
            return self.set_timer(id, Timer::Check, None);
        }
        let due = client.timers[Timer::Check as usize].unwrap_or(now.mono);
        let next = client.next_check(due, now);
        self.set_timer(id, Timer::Check, Some(next));
        self.queue_check(id);
        self.start_checks();
    }

    /// Checks at once if the machine still answers although its secret was just released. A running check serves as
    /// well.
    pub(super) fn check_after_release(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.check_follows_release = true;
            self.queue_check(id);
            self.start_checks();
        }
    }

    /// Starts a check now and counts the interval from now.
    pub(super) fn restart_checks(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let next = now.mono.after(client.interval());
        self.set_timer(id, Timer::Check, Some(next));
        self.queue_check(id);
        self.start_checks();
    }

    /// Replaces a running check after its checker or host was changed.
    pub(super) fn replace_running_check(&mut self, id: ClientId) {
        if self.clients.get(&id).is_some_and(Client::checker_running) {
            self.stop_check(id);
            self.queue_check(id);
        }
    }

    fn queue_check(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match client.check {
            CheckState::Idle => client.check = CheckState::Queued(self.check_queue.join(id)),
            CheckState::Stopping { .. } => client.check = CheckState::Stopping { again: true },
            CheckState::Queued(_) | CheckState::Running => {}
        }
    }

    fn start_checks(&mut self) {
        while let Some(id) = self.check_queue.next() {
            if let Some(client) = self.clients.get_mut(&id) {
                client.check = CheckState::Running;
            }
            self.push_action(Action::StartCheck { client: id });
            self.emit(Event::CheckStarted(id));
        }
    }

    /// Stops a running check, or removes a queued one.
    pub(super) fn stop_check(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match client.check {
            CheckState::Idle => {}
            CheckState::Queued(number) => {
                self.check_queue.queue.remove(&number);
                client.check = CheckState::Idle;
            }
            CheckState::Running => {
                client.check = CheckState::Stopping { again: false };
                self.push_action(Action::StopCheck { client: id });
                self.emit(Event::CheckStopping(id));
            }
            CheckState::Stopping { .. } => client.check = CheckState::Stopping { again: false },
        }
    }

    /// Enables a client that waits for a proof of its private key, if its checker gives one. True when it did.
    fn enable_if_proved(&mut self, id: ClientId, now: Now) -> bool {
        let waits = self
            .clients
            .get(&id)
            .is_some_and(|it| it.needs_proof && it.is_checked());
        if waits {
            self.enable(id, now);
        }
        waits
    }

    /// Gives an enabled client its whole timeout. True when this moved the deadline backwards, as after a delivery:
    /// such a proof must not get lost.
    fn extend_deadline(&mut self, id: ClientId, now: Now) -> bool {
        let Some(client) = self.clients.get(&id) else {
            return false;
        };
        let Some(old) = client.deadline else {
            return false;
        };
        let new = Deadline::within(client.settings.timeout, now);
        self.set_deadline(id, new);
        new.mono < old.mono
    }
}
