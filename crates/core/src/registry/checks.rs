//! Whose check runs, and whose turn is next: at most so many at once, first due first served.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Alarm, ClientId, Durability, Event, Registry, Timer};
use crate::checker::LastCheck;
use crate::client::{Check, Client, Deadline};
use crate::time::Now;

/// The checks that run and those that wait for their turn.
#[derive(Debug)]
pub(super) struct Turns {
    limit: usize,
    /// Every check that was started and has not reported, also of clients that are gone since.
    running: BTreeSet<ClientId>,
    queue: BTreeMap<u64, ClientId>,
    next_number: u64,
}

impl Turns {
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
    /// The client's check ended, with this result.
    pub fn handle_check_finished(&mut self, id: ClientId, result: LastCheck, now: Now) {
        self.handle_timeout(now);
        if !self.turns.running.remove(&id) {
            return;
        }
        if let Some(client) = self.clients.get_mut(&id) {
            let before = client.last_check;
            let (stopped, again) = match client.check {
                Check::Stopping { again } => (true, again),
                _ => (false, false),
            };
            client.check = Check::Idle;
            client.note_check(result, stopped, now);
            let after = client.last_check;
            let proved = result == LastCheck::Exited(0) && !stopped;
            // One that was told to stop tells nothing: the next one does.
            let still_answers = !stopped && std::mem::take(&mut client.watched) && proved;
            let shortened = proved && self.prolong(id, now);
            let vouched = proved && self.vouch(id, now);
            // After a restart past the deadline a last check that succeeded means another chance:
            // that it failed since must not get lost.
            let fell = before == LastCheck::Exited(0) && after != before;
            if vouched {
                self.persist_state(id, Durability::Before, now);
            } else if shortened || fell {
                self.persist_state(id, Durability::BeforeUnlessFailing, now);
            } else {
                self.persist_state(id, Durability::Soon, now);
            }
            self.tell(Event::CheckFinished(id, result));
            if vouched {
                self.tell(Event::Enabled(id));
            }
            if still_answers {
                self.tell(Event::Alarmed(Some(id), Alarm::StillAnswers));
            }
            if again {
                self.queue_check(id);
            }
        }
        self.start_checks();
    }

    /// A proof of life that came otherwise than by a check.
    pub fn handle_checked_ok(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.note_check(LastCheck::Exited(0), false, now);
        if self.prolong(id, now) {
            self.persist_state(id, Durability::BeforeUnlessFailing, now);
        } else {
            self.persist_state(id, Durability::Soon, now);
        }
        self.tell(Event::CheckedOk(id));
    }

    /// An administrator wants a check now; nothing when one runs or is due already.
    pub fn handle_start_checker(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        self.queue_check(id);
        self.start_checks();
    }

    /// An administrator wants the running check stopped. The next one comes when it is due.
    pub fn handle_stop_checker(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        self.stop_check(id);
        self.start_checks();
    }

    /// The client's check is due: at most one of it runs or waits.
    pub(super) fn check_is_due(&mut self, id: ClientId, now: Now) {
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

    /// Checks at once whether the machine still answers, though something just got its secret. A check
    /// that runs already serves as well.
    pub(super) fn watch(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.watched = true;
            self.queue_check(id);
            self.start_checks();
        }
    }

    /// Starts the interval anew with a check at once.
    pub(super) fn restart_checks(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let next = now.mono.after(client.interval());
        self.set_timer(id, Timer::Check, Some(next));
        self.queue_check(id);
        self.start_checks();
    }

    /// A check of another checker, or of another host, tells nothing of what holds now.
    pub(super) fn check_anew(&mut self, id: ClientId) {
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
            Check::Idle => client.check = Check::Queued(self.turns.join(id)),
            Check::Stopping { .. } => client.check = Check::Stopping { again: true },
            Check::Queued(_) | Check::Running => {}
        }
    }

    fn start_checks(&mut self) {
        while let Some(id) = self.turns.next() {
            if let Some(client) = self.clients.get_mut(&id) {
                client.check = Check::Running;
            }
            self.act(Action::StartCheck { client: id });
            self.tell(Event::CheckStarted(id));
        }
    }

    /// Stops the client's check, whether it runs or waits for its turn.
    pub(super) fn stop_check(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match client.check {
            Check::Idle => {}
            Check::Queued(number) => {
                self.turns.queue.remove(&number);
                client.check = Check::Idle;
            }
            Check::Running => {
                client.check = Check::Stopping { again: false };
                self.act(Action::StopCheck { client: id });
                self.tell(Event::CheckStopping(id));
            }
            Check::Stopping { .. } => client.check = Check::Stopping { again: false },
        }
    }

    /// A check that proves the private key: who waits for such a proof is enabled; says whether it is one.
    fn vouch(&mut self, id: ClientId, now: Now) -> bool {
        let waits = self
            .clients
            .get(&id)
            .is_some_and(|it| it.needs_proof && it.is_checked());
        if waits {
            self.enable(id, now);
        }
        waits
    }

    /// A proof of life: an enabled client has its whole timeout again. Says whether that is less
    /// than it had, as after a delivery: such a proof must not get lost.
    fn prolong(&mut self, id: ClientId, now: Now) -> bool {
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
