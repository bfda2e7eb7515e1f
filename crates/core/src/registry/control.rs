//! What an administrator, the configuration or the clock does to a client as a whole.

use super::{Action, ClientId, DisableReason, Durability, Event, Refusal, Registry, Timer};
use crate::client::saved::Change;
use crate::client::{Client, Deadline};
use crate::settings::client::{SettingChange, SettingError};
use crate::time::Now;

impl Registry {
    /// An administrator enables the client; nothing when it is enabled already.
    pub fn handle_enable(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        if self.clients.get(&id).is_some_and(|it| !it.is_enabled()) {
            self.enable(id, now);
            self.persist_state(id, Durability::Before, now);
            self.tell(Event::Enabled(id));
        }
    }

    /// An administrator disables the client; nothing when it is disabled already.
    pub fn handle_disable(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        // One that waits for a proof would otherwise be enabled by it, whatever the administrator said.
        let open = |it: &Client| it.is_enabled() || it.needs_proof;
        if self.clients.get(&id).is_some_and(open) {
            self.disable(id, DisableReason::Administrator, now);
        }
    }

    /// An administrator removes the client. It stays removed until one adds it again, whatever the file says.
    pub fn handle_remove(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let name = client.name.clone();
        let row = client.to_removed();
        let key = client.settings.key_id;
        let (closed, denial) = (!client.is_enabled(), client.denial(now));
        if client.added {
            self.bury(row, now);
            self.take_out(id, Change::Forget(name));
        } else {
            self.removed.insert(name, row.clone());
            self.take_out(id, Change::Put(Box::new(row)));
        }
        // Another section with the key is no way around it.
        if let Some(next) = key.and_then(|key| self.by_key(&key)) {
            self.hold_against(next, closed, denial, now);
        }
    }

    /// An administrator changes a setting of the client.
    pub fn handle_set(
        &mut self,
        id: ClientId,
        change: SettingChange,
        now: Now,
    ) -> Result<(), SettingError> {
        self.handle_timeout(now);
        let client = self
            .clients
            .get_mut(&id)
            .ok_or(SettingError::NoSuchClient)?;
        let (timeout, interval) = (client.settings.timeout, client.settings.interval);
        let key = change.key();
        if !client.change(change)? {
            return Ok(());
        }
        let shifted = client
            .deadline
            .filter(|_| client.settings.timeout != timeout)
            .map(|deadline| deadline.shifted(timeout, client.settings.timeout, now));
        if let Some(deadline) = shifted {
            self.set_deadline(id, deadline);
        }
        if matches!(key, "checker" | "host") {
            self.check_anew(id);
        }
        self.put_in_force(id, interval, now);
        self.tell(Event::Changed(id, vec![key]));
        Ok(())
    }

    /// Persists changed settings and does what follows from them; `interval` is the one before.
    pub(super) fn put_in_force(&mut self, id: ClientId, interval: std::time::Duration, now: Now) {
        // A deadline that the change moved into the past must stop what is in flight first.
        self.expire(id, now);
        self.persist_row(id, now);
        // Which checker there is may have changed whether one that waits for a proof is checked.
        let restart = self.clients.get(&id).is_some_and(|it| {
            let other = it.settings.interval != interval;
            it.is_checked() && (other || it.timers[Timer::Check as usize].is_none())
        });
        if restart {
            self.restart_checks(id, now);
        }
        self.reconsider(id, now);
    }

    /// Gives the client its whole timeout, and its first check after one interval.
    pub(super) fn enable(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.last_enabled = Some(now.wall);
        client.vouched = true;
        client.needs_proof = false;
        let deadline = Deadline::within(client.settings.timeout, now);
        let first_check = now.mono.after(client.interval());
        self.set_deadline(id, deadline);
        self.set_timer(id, Timer::Check, Some(first_check));
        self.vouched_for(id);
    }

    /// Disables the client. What is in flight stops before anything else, then it is made durable,
    /// then it is told.
    pub(super) fn disable(&mut self, id: ClientId, reason: DisableReason, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.deadline = None;
        client.disabled_alarm.forget();
        client.rehearsals_until = None;
        client.needs_proof = false;
        self.vouched_for(id);
        self.set_timer(id, Timer::Deadline, None);
        self.set_timer(id, Timer::Check, None);
        self.revoke(id, Refusal::Disabled);
        self.persist_state(id, Durability::BeforeUnlessFailing, now);
        self.refuse_waiting(id, Refusal::Disabled);
        self.stop_check(id);
        self.tell(Event::Disabled(id, reason));
    }

    /// Takes the client out of everything; `change` makes it last.
    pub(super) fn take_out(&mut self, id: ClientId, change: Change) {
        self.revoke(id, Refusal::Removed);
        self.act(Action::Persist(change, Durability::BeforeUnlessFailing));
        self.refuse_waiting(id, Refusal::Removed);
        self.stop_check(id);
        for timer in [Timer::Deadline, Timer::ApprovalEnds, Timer::Check] {
            self.set_timer(id, timer, None);
        }
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        let key = client.settings.key_id.as_ref();
        self.index.remove(id, &client.name, key);
        self.departed.insert(id, client.name.clone());
        self.tell(Event::Removed(id, client.name));
        self.vouched_for(id);
    }
}
