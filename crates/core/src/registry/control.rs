//! Enabling, disabling, removing and changing a client, by an administrator, the configuration or a timer.

use super::reload::Restrictions;
use super::{
    Action, ClientId, ClientKeys, DisableReason, Durability, Event, Refusal, Registry, Timer,
};
use crate::client::Client;
use crate::client::saved::Change;
use crate::deadline::Deadline;
use crate::settings::client::{SettingChange, SettingError};
use crate::time::Now;

impl Registry {
    /// An administrator enables the client. No effect when it is enabled.
    pub fn handle_enable(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        if self.clients.get(&id).is_some_and(|it| !it.is_enabled()) {
            self.enable(id, now);
            self.persist_state(id, Durability::Before, now);
            self.emit(Event::Enabled(id));
        }
    }

    /// An administrator disables the client. No effect when it is disabled.
    pub fn handle_disable(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        // A client that waits for a proof would otherwise be enabled by that proof.
        let can_be_disabled = |it: &Client| it.is_enabled() || it.needs_proof;
        if self.clients.get(&id).is_some_and(can_be_disabled) {
            self.disable(id, DisableReason::Administrator, now);
        }
    }

    /// An administrator removes the client. It stays removed until it is added again, even if its section remains.
    pub fn handle_remove(&mut self, id: ClientId, now: Now) {
        self.handle_timeout(now);
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let name = client.name.clone();
        let row = client.to_removed();
        let key = client.settings.key_id;
        let restrictions = Restrictions::of(client, now);
        if client.added {
            self.add_tombstone(row, now);
            self.remove_client(id, Change::Forget(name), now);
        } else {
            self.removed.insert(name, row.clone());
            self.remove_client(id, Change::Put(Box::new(row)), now);
        }
        // Another section with the same key inherits the restrictions.
        if let Some(next) = key.and_then(|key| self.by_key(&key)) {
            self.apply_restrictions(next, restrictions, now);
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
            self.replace_running_check(id);
        }
        self.apply_settings(id, interval, now);
        self.emit(Event::Changed(id, vec![key]));
        Ok(())
    }

    /// Persists changed settings and applies them; `interval` is the previous one.
    pub(super) fn apply_settings(&mut self, id: ClientId, interval: std::time::Duration, now: Now) {
        // If the change moved the deadline into the past, requests in progress are stopped first.
        self.expire(id, now);
        self.persist_row(id, now);
        // A client that waits for a proof is checked only by a checker that gives one, and the checker may have
        // changed.
        let restart = self.clients.get(&id).is_some_and(|it| {
            let other = it.settings.interval != interval;
            it.is_checked() && (other || it.timers[Timer::Check as usize].is_none())
        });
        if restart {
            self.restart_checks(id, now);
        }
        self.set_guard_timer(id);
        self.reconsider(id, now);
    }

    /// Gives the client its whole timeout, and its first check after one interval.
    pub(super) fn enable(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.last_enabled = Some(now.wall);
        client.enabled_since_release = true;
        client.needs_proof = false;
        let deadline = Deadline::within(client.settings.timeout, now);
        let first_check = now.mono.after(client.interval());
        self.set_deadline(id, deadline);
        let is_checked = self.clients.get(&id).is_some_and(Client::is_checked);
        self.set_timer(id, Timer::Check, is_checked.then_some(first_check));
        self.end_wait_for_proof(id);
    }

    /// Disables the client: revokes grants first, then persists, then reports it.
    pub(super) fn disable(&mut self, id: ClientId, reason: DisableReason, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.deadline = None;
        client.disabled_alarm.forget();
        client.rehearsals_until = None;
        client.needs_proof = false;
        self.end_wait_for_proof(id);
        self.set_timer(id, Timer::Deadline, None);
        self.set_timer(id, Timer::Check, None);
        self.revoke(id, Refusal::Disabled);
        self.persist_state(id, Durability::BeforeUnlessFailing, now);
        self.refuse_waiting(id, Refusal::Disabled, now);
        self.stop_check(id);
        self.emit(Event::Disabled(id, reason));
    }

    /// Removes the client from memory; `change` is the matching change of the store.
    pub(super) fn remove_client(&mut self, id: ClientId, change: Change, now: Now) {
        self.revoke(id, Refusal::Removed);
        self.push_action(Action::Persist(change, Durability::BeforeUnlessFailing));
        self.refuse_waiting(id, Refusal::Removed, now);
        self.stop_check(id);
        for timer in Timer::ALL {
            self.set_timer(id, timer, None);
        }
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        self.index.remove(id, &client.name, ClientKeys::of(&client));
        self.removed_names.insert(id, client.name.clone());
        self.emit(Event::Removed(id, client.name));
        self.end_wait_for_proof(id);
    }
}
