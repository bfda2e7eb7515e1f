//! A configuration that was read anew, and clients that leave it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use super::identity::{Identity, continued};
use super::load::{Configured, Origin, first_of_each_name};
use super::{Action, ClientId, DisableReason, Durability, Event, Refusal, Registry};
use crate::client::Client;
use crate::client::deadline::restore;
use crate::client::saved::{Change, Life, Saved, SavedClient, Tombstone};
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::settings::client::ClientConfig;
use crate::time::{Monotonic, Now};

/// A configuration that misses all clients that are known, or most of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drops {
    /// How many clients are known and stand in a file.
    pub known: usize,
    /// Those that are missing.
    pub missing: Vec<ClientName>,
}

/// So many missing clients are named.
const NAMED: usize = 5;

impl fmt::Display for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, known) = (self.missing.len(), self.known);
        write!(
            f,
            "{missing} of the {known} known clients are missing in the configuration: "
        )?;
        for (number, name) in self.missing.iter().take(NAMED).enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{name}")?;
        }
        if missing > NAMED {
            write!(f, ", ...")?;
        }
        Ok(())
    }
}

/// What a start with this configuration would drop, when that is all clients that are known or most of
/// them: more often a file that is empty for a moment or a link to what is not mounted than a decision.
pub fn drops(configured: &[ClientConfig], saved: &Saved) -> Option<Drops> {
    let present = |row: &&SavedClient| row.added.is_none() && row.life != Life::Removed;
    let known = saved.clients.iter().filter(present);
    dropped(configured, known.map(Identity::of_row).collect())
}

fn dropped(configured: &[ClientConfig], known: Vec<Identity<'_>>) -> Option<Drops> {
    let sections: Vec<_> = configured.iter().map(Identity::of_section).collect();
    let mut missing = vec![true; known.len()];
    for number in continued(&sections, &known).into_iter().flatten() {
        missing[number] = false;
    }
    let names = known.iter().zip(&missing).filter(|(_, missing)| **missing);
    let mut missing: Vec<ClientName> = names.map(|(it, _)| it.name.clone()).collect();
    missing.sort_unstable();
    let (known, gone) = (known.len(), missing.len());
    let all_or_most = gone > 0 && (gone == known || gone > known / 2);
    all_or_most.then_some(Drops { known, missing })
}

/// A key that several clients have, before a reload.
struct Double {
    key: KeyId,
    /// The one that counts.
    first: ClientId,
    is_open: bool,
    /// Until when a denial counts.
    denial: Option<Monotonic>,
}

/// How a section's client is known at a reload.
enum Known {
    Nothing,
    Living(ClientId),
    /// It has to live anew, under another name or after it was removed.
    Row(Box<SavedClient>),
}

impl Registry {
    /// What a reload of this configuration would drop: see [`drops`].
    pub fn drops(&self, configured: &[ClientConfig]) -> Option<Drops> {
        let known = self.clients.values().filter(|client| !client.added);
        dropped(configured, known.map(identity).collect())
    }

    /// Takes over a configuration that was read anew, by the same merge as at the start. Requests that wait
    /// are decided anew; what runs goes on.
    pub fn reload(
        &mut self,
        configured: impl Into<Configured>,
        now: Now,
        spread: &mut dyn FnMut(Duration) -> Duration,
    ) {
        let configured = configured.into();
        self.is_whole = configured.is_whole;
        self.handle_timeout(now);
        let doubles = self.doubles(now);
        let sections = first_of_each_name(configured.clients);
        let known = self.known_of(&sections, now);
        for (place, (config, known)) in (0..).zip(sections.into_iter().zip(known)) {
            let row = match known {
                Known::Living(id) => {
                    self.reconfigure(id, config, place, now);
                    continue;
                }
                Known::Row(row) => Some(*row),
                Known::Nothing => None,
            };
            self.arrive(config, Origin::File, row, (place, true), now, spread);
        }
        let holders = self.clients.iter().map(|(id, client)| {
            let key = client.settings.key_id.as_ref();
            (*id, key, client.place)
        });
        self.index.set_keys(holders);
        for double in doubles {
            self.go_on_as(double, now);
        }
        self.uphold(now);
        self.settle_trust();
    }

    /// What is known of each section's client. Whoever has no section leaves, and whoever has another name
    /// ends under the old one.
    fn known_of(&mut self, sections: &[ClientConfig], now: Now) -> Vec<Known> {
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        let removed: Vec<ClientName> = self.removed.keys().cloned().collect();
        let plan = {
            let living = self.clients.values().map(identity);
            let removed = self.removed.values().map(Identity::of_row);
            let known: Vec<_> = living.chain(removed).collect();
            let sections: Vec<_> = sections.iter().map(Identity::of_section).collect();
            continued(&sections, &known)
        };
        let mut section_of: HashMap<usize, usize> = HashMap::new();
        for (section, number) in plan.iter().enumerate() {
            section_of.extend(number.map(|number| (number, section)));
        }
        let mut known: Vec<Known> = sections.iter().map(|_| Known::Nothing).collect();
        for (number, id) in ids.iter().enumerate() {
            let section = section_of.get(&number).copied();
            let same_name =
                section.is_some_and(|section| self.name(*id) == Some(&sections[section].name));
            match section {
                Some(section) if same_name => known[section] = Known::Living(*id),
                Some(section) => {
                    if let Some(row) = self.end_under_name(*id, now) {
                        known[section] = Known::Row(Box::new(row));
                    }
                }
                None => self.leave_unless_added(*id, now),
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
                    known[*section] = Known::Row(Box::new(row));
                }
                None => self.leave(row, now),
            }
        }
        known
    }

    /// Ends a living client to have it live anew under another name; how it stood.
    fn end_under_name(&mut self, id: ClientId, now: Now) -> Option<SavedClient> {
        let client = self.clients.get(&id)?;
        let mut row = client.to_saved(self.boot, now);
        row.added = None;
        let name = client.name.clone();
        self.take_out(id, Change::Forget(name));
        Some(row)
    }

    fn leave_unless_added(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.get(&id).filter(|it| !it.added) else {
            return;
        };
        let row = client.to_saved(self.boot, now);
        let name = client.name.clone();
        self.bury(row, now);
        self.take_out(id, Change::Forget(name));
    }

    /// A client that does not live leaves the configuration.
    pub(super) fn leave(&mut self, row: SavedClient, now: Now) {
        let name = row.name.clone();
        self.bury(row, now);
        self.persist(Change::Forget(name));
    }

    /// Remembers a client that leaves.
    pub(super) fn bury(&mut self, client: SavedClient, now: Now) {
        let tombstone = Tombstone {
            since: now.wall,
            client,
        };
        let change = Change::Bury(Box::new(tombstone.clone()));
        let dropped = self.tombstones.insert(tombstone);
        self.act(Action::Persist(change, Durability::BeforeUnlessFailing));
        if let Some(dropped) = dropped {
            self.persist(Change::Unbury(dropped.holder()));
            self.tell(Event::TombstoneDropped(dropped.client.name));
        }
    }

    /// The keys that several clients have, with how the one that counts stands.
    fn doubles(&self, now: Now) -> Vec<Double> {
        let doubles = self.index.doubles().filter_map(|(key, first)| {
            let client = self.clients.get(&first)?;
            Some(Double {
                key: *key,
                first,
                is_open: client.is_enabled(),
                denial: client.denial(now),
            })
        });
        doubles.collect()
    }

    /// When another client counts for the key now, what stood against the one before stands against it.
    fn go_on_as(&mut self, double: Double, now: Now) {
        let Some(id) = self.by_key(&double.key).filter(|id| *id != double.first) else {
            return;
        };
        self.hold_against(id, !double.is_open, double.denial, now);
    }

    /// Sections that are new but have the key of a client that stands otherwise, or was removed: they are
    /// no way around it.
    pub(super) fn uphold(&mut self, now: Now) {
        let fresh = std::mem::take(&mut self.fresh);
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
            let others: Vec<&Client> = self
                .index
                .holders(&key)
                .filter(|other| *other != id)
                .filter_map(|other| self.clients.get(&other))
                .collect();
            let closed = removed.contains(&key) || others.iter().any(|it| !it.is_enabled());
            let denial = others.iter().filter_map(|it| it.denial(now)).max();
            self.hold_against(id, closed, denial, now);
        }
    }

    /// What stands against the key of this client stands against it.
    pub(super) fn hold_against(
        &mut self,
        id: ClientId,
        closed: bool,
        denial: Option<Monotonic>,
        now: Now,
    ) {
        let open = |it: &Client| it.is_enabled() || it.needs_proof;
        if closed && self.clients.get(&id).is_some_and(open) {
            self.disable(id, DisableReason::Remembered, now);
        }
        let Some(denial) = denial else {
            return;
        };
        if let Some(client) = self.clients.get_mut(&id) {
            client.denied = client.denied.max(Some(denial));
        }
        self.revoke(id, Refusal::Denied);
        self.persist_state(id, Durability::BeforeUnlessFailing, now);
        self.reconsider(id, now);
    }

    fn is_open(&self, id: ClientId) -> bool {
        self.clients.get(&id).is_some_and(Client::is_enabled)
    }

    /// A client that lives already, with its section as it is now.
    fn reconfigure(&mut self, id: ClientId, config: ClientConfig, place: u32, now: Now) {
        let tombstone = self.tombstones.take(&config, false);
        if let Some(tombstone) = &tombstone {
            self.persist(Change::Unbury(tombstone.holder()));
        }
        self.adopt(id, config, place, now);
        match tombstone.map(|it| it.client.life) {
            Some(Life::Removed) => self.handle_remove(id, now),
            Some(Life::Present(present)) => {
                let state = &present.state;
                // Who only waits for a proof goes on waiting for it.
                let closed = !state.enabled && (!state.needs_proof || self.is_open(id));
                let denial = state.denied.as_ref();
                let denial = denial.map(|it| restore(it, self.boot, now).0);
                self.hold_against(id, closed, denial, now);
            }
            None => {}
        }
    }

    fn adopt(&mut self, id: ClientId, config: ClientConfig, place: u32, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.place = place;
        let interval = client.settings.interval;
        let key = client.settings.key_id;
        let replaced = key.is_some() && key != config.settings.key_id;
        let before = replaced.then(|| client.to_saved(self.boot, now));
        let mut changed = client.reconfigure(config, now);
        changed.row |= std::mem::take(&mut client.added);
        let other_key = client.settings.key_id != key;
        let check_anew = changed
            .settings
            .iter()
            .any(|it| matches!(*it, "checker" | "host"));
        if let Some(deadline) = client.deadline {
            self.set_deadline(id, deadline);
        }
        if !changed.row {
            return;
        }
        if check_anew {
            self.check_anew(id);
        }
        if let Some(before) = before.filter(|_| other_key) {
            self.bury(before, now);
        }
        if other_key {
            if let Some(client) = self.clients.get_mut(&id) {
                // Nothing is known of the new one.
                client.proved = None;
                client.rehearsals_until = None;
            }
            // They proved a key that is this client's no more.
            self.revoke(id, Refusal::UnknownKey);
            self.refuse_waiting(id, Refusal::UnknownKey);
        }
        let enabled = self.clients.get(&id).is_some_and(Client::is_enabled);
        let waits = self.clients.get(&id).is_some_and(Client::needs_proof);
        match changed.enabled {
            Some(true) if !enabled => {
                self.enable(id, now);
                self.persist_state(id, Durability::Before, now);
                self.tell(Event::Enabled(id));
            }
            Some(false) if enabled || waits => self.disable(id, DisableReason::Configuration, now),
            _ => {}
        }
        self.put_in_force(id, interval, now);
        if !changed.settings.is_empty() {
            self.tell(Event::Changed(id, changed.settings));
        }
    }
}

fn identity(client: &Client) -> Identity<'_> {
    Identity {
        name: &client.name,
        key: client.settings.key_id.as_ref(),
    }
}
