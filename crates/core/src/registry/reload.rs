//! Reloading the configuration: changed, new, renamed and missing sections, and several sections with one key.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::identity::{ClientIdentity, match_sections};
use super::load::RandomDelay;
use super::load::{ConfiguredClients, SectionOrigin, first_of_each_name};
use super::{Action, ClientId, ClientKeys, DisableReason, Durability, Event, Refusal, Registry};
use crate::client::Client;
use crate::client::saved::{Change, ClientPresence, PresentClient, Saved, SavedClient, Tombstone};
use crate::deadline::restore;
use crate::event::Alarm;
use crate::guard::{Guard, Suspicion};
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::settings::client::ClientConfig;
use crate::time::{Monotonic, Now};

/// A configuration that lacks all or most of the known clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MassRemoval {
    /// Number of known clients that came from a file.
    pub known: usize,
    /// Names of those without a section, sorted.
    pub missing: Vec<ClientName>,
}

/// Number of missing clients that the message names.
const MAX_NAMES: usize = 5;

impl fmt::Display for MassRemoval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, known) = (self.missing.len(), self.known);
        write!(
            f,
            "{missing} of the {known} known clients are missing in the configuration: "
        )?;
        for (number, name) in self.missing.iter().take(MAX_NAMES).enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{name}")?;
        }
        if missing > MAX_NAMES {
            write!(f, ", ...")?;
        }
        Ok(())
    }
}

/// The clients that a start with this configuration would remove, if these are all or most of the known ones. The
/// usual cause is a file that is empty for a moment, or a link into a file system that is not mounted.
pub fn mass_removal(configured: &[ClientConfig], saved: &Saved) -> Option<MassRemoval> {
    let present =
        |row: &&SavedClient| row.added.is_none() && row.presence != ClientPresence::Removed;
    let known = saved.clients.iter().filter(present);
    find_mass_removal(configured, known.map(ClientIdentity::of_row).collect())
}

fn find_mass_removal(
    configured: &[ClientConfig],
    known: Vec<ClientIdentity<'_>>,
) -> Option<MassRemoval> {
    let sections: Vec<_> = configured.iter().map(ClientIdentity::of_section).collect();
    let mut missing = vec![true; known.len()];
    for number in match_sections(&sections, &known).into_iter().flatten() {
        missing[number] = false;
    }
    let names = known.iter().zip(&missing).filter(|(_, missing)| **missing);
    let mut missing: Vec<ClientName> = names.map(|(it, _)| it.name.clone()).collect();
    missing.sort_unstable();
    let (known, gone) = (known.len(), missing.len());
    let all_or_most = gone > 0 && (gone == known || gone > known / 2);
    all_or_most.then_some(MassRemoval { known, missing })
}

/// A key of several clients, as it was before a reload.
struct SharedKey {
    key: KeyId,
    /// The client that counts for the key.
    first: ClientId,
    restrictions: Restrictions,
}

/// Restrictions of a client that others with its key inherit.
#[derive(Clone, Copy, Default)]
pub(super) struct Restrictions {
    pub(super) disabled: bool,
    /// End of a denial in force.
    pub(super) denial: Option<Monotonic>,
    pub(super) suspicion: Option<Suspicion>,
}

impl Restrictions {
    pub(super) fn of(client: &Client, now: Now) -> Self {
        Self {
            disabled: !client.is_enabled(),
            denial: client.denial(now),
            suspicion: client.guard.suspect(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            disabled: self.disabled || other.disabled,
            denial: self.denial.max(other.denial),
            suspicion: self.suspicion.max(other.suspicion),
        }
    }
}

/// The known client that a section continues at a reload.
enum PriorState {
    None,
    InMemory(ClientId),
    /// It is restored from this row: it was renamed, or removed at run time.
    Saved(Box<SavedClient>),
}

impl Registry {
    /// Applies a configuration that was read again, by the same merge as [`Self::load`]. Waiting requests are decided
    /// again; running checks and releases continue.
    ///
    /// Without `may_drop` it refuses a [`mass_removal`], and nothing changes.
    pub fn reload(
        &mut self,
        configured: impl Into<ConfiguredClients>,
        may_drop: bool,
        now: Now,
        random_delay: RandomDelay<'_>,
    ) -> Result<(), MassRemoval> {
        let configured = configured.into();
        if !may_drop {
            let known = self.clients.values().filter(|client| !client.added);
            let known = known.map(identity).collect();
            if let Some(removal) = find_mass_removal(&configured.clients, known) {
                return Err(removal);
            }
        }
        self.is_complete = configured.is_complete;
        self.handle_timeout(now);
        let shared_keys = self.shared_keys(now);
        let sections = first_of_each_name(configured.clients);
        let known = self.match_known_clients(&sections, now);
        for (place, (config, known)) in (0..).zip(sections.into_iter().zip(known)) {
            let row = match known {
                PriorState::InMemory(id) => {
                    self.reconfigure(id, config, place, now);
                    continue;
                }
                PriorState::Saved(row) => Some(*row),
                PriorState::None => None,
            };
            self.load_section(
                config,
                SectionOrigin::File,
                row,
                (place, true),
                now,
                random_delay,
            );
        }
        self.announce_new_clients(now);
        let holders = self.clients.iter();
        let holders = holders.map(|(id, client)| (*id, ClientKeys::of(client)));
        self.index.set_keys(holders);
        for shared in shared_keys {
            self.inherit_restrictions(shared, now);
        }
        self.restrict_new_clients(now);
        self.update_trust();
        self.drop_all_superseded(now);
        Ok(())
    }

    /// The known client of each section. Clients without a section are retired, and renamed ones removed under the old
    /// name.
    fn match_known_clients(&mut self, sections: &[ClientConfig], now: Now) -> Vec<PriorState> {
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        let removed: Vec<ClientName> = self.removed.keys().cloned().collect();
        let plan = {
            let living = self.clients.values().map(identity);
            let removed = self.removed.values().map(ClientIdentity::of_row);
            let known: Vec<_> = living.chain(removed).collect();
            let sections: Vec<_> = sections.iter().map(ClientIdentity::of_section).collect();
            match_sections(&sections, &known)
        };
        let mut section_of: HashMap<usize, usize> = HashMap::new();
        for (section, number) in plan.iter().enumerate() {
            section_of.extend(number.map(|number| (number, section)));
        }
        let mut known: Vec<PriorState> = sections.iter().map(|_| PriorState::None).collect();
        for (number, id) in ids.iter().enumerate() {
            let section = section_of.get(&number).copied();
            let same_name =
                section.is_some_and(|section| self.name(*id) == Some(&sections[section].name));
            match section {
                Some(section) if same_name => known[section] = PriorState::InMemory(*id),
                Some(section) => {
                    if let Some(row) = self.remove_for_rename(*id, now) {
                        known[section] = PriorState::Saved(Box::new(row));
                    }
                }
                None => self.retire_unless_added(*id, now),
            }
        }
        for (number, name) in (ids.len()..).zip(removed) {
            let Some(row) = self.removed.remove(&name) else {
                continue;
            };
            match section_of.get(&number) {
                Some(section) => {
                    if sections[*section].name != name {
                        self.persist(Change::Forget(name));
                    }
                    known[*section] = PriorState::Saved(Box::new(row));
                }
                None => self.retire_row(row, now),
            }
        }
        known
    }

    /// Removes a client in memory that is to be restored under another name; returns its row.
    fn remove_for_rename(&mut self, id: ClientId, now: Now) -> Option<SavedClient> {
        let client = self.clients.get(&id)?;
        let mut row = client.to_saved(self.boot, now);
        row.added = None;
        let name = client.name.clone();
        self.remove_client(id, Change::Forget(name), now);
        Some(row)
    }

    fn retire_unless_added(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get(&id).filter(|it| !it.added) else {
            return;
        };
        let row = client.to_saved(self.boot, now);
        let name = client.name.clone();
        self.add_tombstone(row, now);
        self.remove_client(id, Change::Forget(name), now);
    }

    /// Replaces the row of a client that left the configuration by a tombstone.
    pub(super) fn retire_row(&mut self, row: SavedClient, now: Now) {
        let name = row.name.clone();
        self.add_tombstone(row, now);
        self.persist(Change::Forget(name));
    }

    /// Adds a tombstone for a client that leaves the configuration.
    pub(super) fn add_tombstone(&mut self, client: SavedClient, now: Now) {
        let tombstone = Tombstone {
            since: now.wall,
            client,
        };
        let change = Change::PutTombstone(Box::new(tombstone.clone()));
        let dropped = self.tombstones.insert(tombstone);
        self.push_action(Action::Persist(change, Durability::BeforeUnlessFailing));
        if let Some(dropped) = dropped {
            self.persist(Change::DeleteTombstone(dropped.owner()));
            self.emit(Event::TombstoneDropped(dropped.client.name));
        }
    }

    /// Keys of several clients, with the restrictions on the client that counts.
    fn shared_keys(&self, now: Now) -> Vec<SharedKey> {
        let shared_keys = self.index.shared_keys().filter_map(|(key, first)| {
            let client = self.clients.get(&first)?;
            Some(SharedKey {
                key: *key,
                first,
                restrictions: Restrictions::of(client, now),
            })
        });
        shared_keys.collect()
    }

    /// If another client counts for the key now, it inherits the restrictions.
    fn inherit_restrictions(&mut self, shared: SharedKey, now: Now) {
        let Some(id) = self.by_key(&shared.key).filter(|id| *id != shared.first) else {
            return;
        };
        self.apply_restrictions(id, shared.restrictions, now);
    }

    /// Applies to new sections the restrictions on other clients with the same key, removed ones included: a second
    /// section must not lift them.
    pub(super) fn restrict_new_clients(&mut self, now: Now) {
        let fresh = std::mem::take(&mut self.new_clients);
        if fresh.is_empty() {
            return;
        }
        let removed: HashSet<KeyId> = self
            .removed
            .values()
            .filter_map(|row| row.key().copied())
            .collect();
        for id in fresh {
            let key = self.clients.get(&id).and_then(|it| it.settings.key_id);
            let Some(key) = key else { continue };
            let others = self.index.holders(&key).filter(|other| *other != id);
            let others = others.filter_map(|other| self.clients.get(&other));
            let of_removed = Restrictions {
                disabled: removed.contains(&key),
                ..Restrictions::default()
            };
            let restrictions = others
                .map(|other| Restrictions::of(other, now))
                .fold(of_removed, Restrictions::and);
            self.apply_restrictions(id, restrictions, now);
        }
    }

    /// Puts the restrictions in force, in addition to its own.
    pub(super) fn apply_restrictions(
        &mut self,
        id: ClientId,
        restrictions: Restrictions,
        now: Now,
    ) {
        let can_be_disabled = |it: &Client| it.is_enabled() || it.needs_proof;
        if restrictions.disabled && self.clients.get(&id).is_some_and(can_be_disabled) {
            self.disable(id, DisableReason::Remembered, now);
        }
        if let Some(reason) = restrictions.suspicion
            && let Some(client) = self.clients.get_mut(&id)
        {
            let is_news = client.guard.suspect() < Some(reason);
            client.guard.inherit_suspicion(reason);
            self.persist_state(id, Durability::BeforeUnlessFailing, now);
            if is_news {
                self.emit(Event::Alarmed(Some(id), Alarm::from(reason)));
                self.revoke_all_named(id, Refusal::MachineIsSuspect);
            }
            self.reconsider(id, now);
        }
        let Some(denial) = restrictions.denial else {
            return;
        };
        if let Some(client) = self.clients.get_mut(&id) {
            client.denied = client.denied.max(Some(denial));
        }
        self.revoke(id, Refusal::Denied);
        self.persist_state(id, Durability::BeforeUnlessFailing, now);
        self.reconsider(id, now);
    }

    fn is_enabled(&self, id: ClientId) -> bool {
        self.clients.get(&id).is_some_and(Client::is_enabled)
    }

    /// Applies the current section to a client in memory, and the restrictions of a tombstone with its key.
    fn reconfigure(&mut self, id: ClientId, config: ClientConfig, place: u32, now: Now) {
        let tombstone = self.tombstones.take(&config, false);
        if let Some(tombstone) = &tombstone {
            self.persist(Change::DeleteTombstone(tombstone.owner()));
        }
        self.adopt(id, config, place, now);
        match tombstone.map(|it| it.client.presence) {
            Some(ClientPresence::Removed) => self.handle_remove(id, now),
            Some(ClientPresence::Present(present)) => {
                let state = &present.state;
                // A client that waits for a proof keeps waiting for it.
                let disabled = !state.enabled && (!state.needs_proof || self.is_enabled(id));
                let denial = state.denied.as_ref();
                let denial = denial.map(|it| restore(it, self.boot, now).0);
                self.merge_guard(id, &present, now);
                let restrictions = Restrictions {
                    disabled,
                    denial,
                    suspicion: None,
                };
                self.apply_restrictions(id, restrictions, now);
            }
            None => {}
        }
    }

    /// Merges the guard that was remembered of its key.
    pub(super) fn merge_guard(&mut self, id: ClientId, other: &PresentClient, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let mut guard = Guard::of_saved(other.state.guard.as_ref(), self.boot, now);
        if other.settings.host_key_id != client.settings.host_key_id {
            guard.host_key_changed();
        }
        let before = client.guard.suspect();
        client.guard = std::mem::take(&mut client.guard).merged(guard);
        let suspect = client.guard.suspect();
        self.set_guard_timer(id);
        self.persist_state(id, Durability::Before, now);
        if let Some(reason) = suspect.filter(|reason| Some(*reason) > before) {
            self.emit(Event::Alarmed(Some(id), Alarm::from(reason)));
            self.revoke_all_named(id, Refusal::MachineIsSuspect);
        }
        self.reconsider(id, now);
    }

    fn adopt(&mut self, id: ClientId, config: ClientConfig, place: u32, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.place = place;
        let interval = client.settings.interval;
        let (key, host_key) = (client.settings.key_id, client.settings.host_key_id);
        let was_guarded = client.is_guarded();
        let replaced = key.is_some() && key != config.settings.key_id;
        let before = replaced.then(|| client.to_saved(self.boot, now));
        let secrets = client.named.clone();
        let mut changed = client.reconfigure(config, now);
        changed.row |= std::mem::take(&mut client.added);
        let other_key = client.settings.key_id != key;
        let other_host_key = client.settings.host_key_id != host_key;
        let check_anew = changed
            .settings
            .iter()
            .any(|it| matches!(*it, "checker" | "host"));
        if let Some(deadline) = client.deadline {
            self.set_deadline(id, deadline);
        }
        let other_policies = self.configured_secrets_changed(id, &secrets, now);
        if !changed.row {
            if other_policies {
                self.reconsider(id, now);
            }
            return;
        }
        if check_anew {
            self.replace_running_check(id);
        }
        if let Some(before) = before.filter(|_| other_key) {
            self.add_tombstone(before, now);
        }
        if other_key {
            if let Some(client) = self.clients.get_mut(&id) {
                // Nothing is known of the new key.
                client.proved = None;
                client.rehearsals_until = None;
            }
            // Their peers proved the previous key.
            self.revoke(id, Refusal::UnknownKey);
            self.refuse_waiting(id, Refusal::UnknownKey, now);
        }
        // What was held back must not pass because of that: an honest machine asks again.
        let is_guarded = self.clients.get(&id).is_some_and(Client::is_guarded);
        if (other_host_key || was_guarded && !is_guarded) && !other_key {
            self.revoke(id, Refusal::GuardChanged);
            self.refuse_waiting(id, Refusal::GuardChanged, now);
        }
        let enabled = self.clients.get(&id).is_some_and(Client::is_enabled);
        let waits = self.clients.get(&id).is_some_and(Client::needs_proof);
        match changed.enabled {
            Some(true) if !enabled => {
                self.enable(id, now);
                self.persist_state(id, Durability::Before, now);
                self.emit(Event::Enabled(id));
            }
            Some(false) if enabled || waits => self.disable(id, DisableReason::Configuration, now),
            _ => {}
        }
        self.apply_settings(id, interval, now);
        if !changed.settings.is_empty() {
            self.emit(Event::Changed(id, changed.settings));
        }
    }
}

fn identity(client: &Client) -> ClientIdentity<'_> {
    ClientIdentity {
        name: &client.name,
        key: client.settings.key_id.as_ref(),
    }
}
