//! Merges configuration and saved state into clients at the start, and adds clients later.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::clients::Clients;
use super::identity::{ClientIdentity, match_sections};
use super::tombstones::{TombstoneIndex, stricter};
use super::{
    CheckQueue, ClientId, ClientKeys, DisableReason, Durability, Event, Index, NamedSecrets,
    Registry, RegistryLimits, Timer, Timers, UnknownKeyLimiter,
};
use crate::client::Client;
use crate::client::saved::{Change, ClientPresence, Saved, SavedClient, Trust};
use crate::deadline::Deadline;
use crate::name::ClientName;
use crate::secret::Secret;
use crate::settings::client::{ClientConfig, ConfiguredSecrets};
use crate::time::{BootId, Now};

/// Picks a random delay from zero up to its argument.
pub(super) type RandomDelay<'a> = &'a mut dyn FnMut(Duration) -> Duration;

/// The client sections of all files.
#[derive(Debug)]
pub struct ConfiguredClients {
    /// In the order of the files. Of several with one name the first counts.
    pub clients: Vec<ClientConfig>,
    /// False when a file with sections could not be used, so that clients may be missing.
    pub is_complete: bool,
}

impl From<Vec<ClientConfig>> for ConfiguredClients {
    fn from(clients: Vec<ClientConfig>) -> Self {
        Self {
            clients,
            is_complete: true,
        }
    }
}

impl Registry {
    /// Merges the configuration with the saved state and schedules all deadlines and checks. A setting that changed in
    /// the file since it was last read replaces the saved one. `random_delay` picks a random delay from zero up to its
    /// argument; it spreads the first checks over the interval.
    pub fn load(
        configured: impl Into<ConfiguredClients>,
        saved: Saved,
        limits: RegistryLimits,
        boot: BootId,
        now: Now,
        random_delay: RandomDelay<'_>,
    ) -> Self {
        let configured = configured.into();
        let mut registry = Self {
            boot,
            clients: Clients::default(),
            next_id: 0,
            index: Index::default(),
            removed: BTreeMap::new(),
            tombstones: TombstoneIndex::new(saved.tombstones),
            trust: saved.trust,
            is_complete: configured.is_complete,
            waiting_for_proof: BTreeSet::new(),
            new_clients: Vec::new(),
            removed_names: HashMap::new(),
            requests: HashMap::new(),
            named: NamedSecrets::new(saved.secrets),
            check_queue: CheckQueue::new(limits.concurrent_checks),
            check_on_release: limits.check_on_release,
            allow_rehearsals: limits.allow_rehearsals,
            unknown_keys: UnknownKeyLimiter::default(),
            timers: Timers::default(),
            actions: VecDeque::new(),
        };
        let renews = saved.end.allows_renewal(boot);
        let sections = first_of_each_name(configured.clients);
        let mut rows = saved.clients;
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let plan = {
            let sections: Vec<_> = sections.iter().map(ClientIdentity::of_section).collect();
            let rows: Vec<_> = rows.iter().map(ClientIdentity::of_row).collect();
            match_sections(&sections, &rows)
        };
        let mut rows: Vec<Option<SavedClient>> = rows.into_iter().map(Some).collect();
        let known: Vec<Option<SavedClient>> = plan
            .into_iter()
            .map(|row| rows.get_mut(row?)?.take())
            .collect();
        let (added, left): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .flatten()
            .partition(|row| row.added.is_some());
        for row in left {
            registry.retire_row(row, now);
        }
        // Includes the tombstones made just above: their state is as old as the rest.
        if saved.trust == Trust::None {
            registry.require_proof_of_tombstones();
            registry.distrust_secrets();
        }
        registry.forget_renamed_rows(sections.iter().zip(&known));
        let mut place = 0;
        for (config, row) in sections.into_iter().zip(known) {
            registry.load_section(
                config,
                SectionOrigin::File,
                row,
                (place, renews),
                now,
                random_delay,
            );
            place += 1;
        }
        registry.announce_new_clients(now);
        for row in added {
            if let Some(config) = added_section(&row) {
                let row = Some(row);
                registry.load_section(
                    config,
                    SectionOrigin::RunTime,
                    row,
                    (place, renews),
                    now,
                    random_delay,
                );
                place += 1;
            }
        }
        registry.restrict_new_clients(now);
        registry.update_trust();
        registry.drop_all_superseded(now);
        registry
    }

    /// An administrator adds a client at run time, even one that was removed or disabled before. It lasts until it is
    /// removed, or until a file has a section of its name.
    pub fn handle_add(
        &mut self,
        config: ClientConfig,
        now: Now,
        random_delay: RandomDelay<'_>,
    ) -> Result<ClientId, AddError> {
        self.handle_timeout(now);
        self.check_add(&config)?;
        self.removed.remove(&config.name);
        if let Some(tombstone) = self.tombstones.take(&config, true) {
            self.persist(Change::DeleteTombstone(tombstone.owner()));
        }
        // Placed after all sections of files: of several clients with one key the one in a file counts.
        let id = self.admit(config, SectionOrigin::RunTime, u32::MAX, now, random_delay);
        self.announce(id, now);
        // Otherwise the next start would treat it as a client whose state was lost.
        self.update_trust();
        Ok(id)
    }

    /// Returns the error of [`Self::handle_add`] without adding the client.
    pub fn check_add(&self, config: &ClientConfig) -> Result<(), AddError> {
        if self.by_name(config.name.as_str()).is_some() {
            return Err(AddError::NameTaken);
        }
        let key = config.settings.key_id.as_ref();
        let holder = key
            .and_then(|key| self.by_key(key))
            .and_then(|id| self.name(id));
        if let Some(holder) = holder {
            return Err(AddError::KeyTaken(holder.clone()));
        }
        self.check_host_key(config)
    }

    /// Refuses a host key that identifies something else, and a boot key that is a host key.
    fn check_host_key(&self, config: &ClientConfig) -> Result<(), AddError> {
        let (boot, host) = (config.settings.key_id, config.settings.host_key_id);
        if host.is_some() && host == boot {
            return Err(AddError::HostKeyTaken(config.name.clone()));
        }
        let of_boot = boot.and_then(|key| self.index.by_host_key(&key));
        let of_host = host.and_then(|key| self.by_key(&key).or(self.index.by_host_key(&key)));
        match of_boot.or(of_host).and_then(|id| self.name(id)) {
            Some(holder) => Err(AddError::HostKeyTaken(holder.clone())),
            None => Ok(()),
        }
    }

    /// Deletes the old rows of renamed clients before any new one is written: two clients may have swapped names.
    pub(super) fn forget_renamed_rows<'a>(
        &mut self,
        known: impl Iterator<Item = (&'a ClientConfig, &'a Option<SavedClient>)>,
    ) {
        let renamed = known.filter_map(|(config, row)| {
            let row = row.as_ref()?;
            (row.name != config.name).then(|| row.name.clone())
        });
        for name in renamed.collect::<Vec<_>>() {
            self.persist(Change::Forget(name));
        }
    }

    /// Loads the client of a section that is not in memory: from its saved row, from its tombstone, or as a new
    /// client.
    pub(super) fn load_section(
        &mut self,
        config: ClientConfig,
        origin: SectionOrigin,
        row: Option<SavedClient>,
        (place, renews): (u32, bool),
        now: Now,
        random_delay: RandomDelay<'_>,
    ) {
        let renamed = row.as_ref().is_some_and(|row| row.name != config.name);
        let tombstone = self.tombstones.take(&config, row.is_none());
        let unbury = tombstone
            .as_ref()
            .map(|it| Change::DeleteTombstone(it.owner()));
        let comes_back = renamed || tombstone.is_some();
        let replaced = row.as_ref().filter(|row| {
            let key = row.key();
            key.is_some() && key != config.settings.key_id.as_ref()
        });
        if let Some(row) = replaced.cloned() {
            self.add_tombstone(row, now);
        }
        let also = match (&row, &tombstone) {
            (Some(_), Some(tombstone)) => match &tombstone.client.presence {
                ClientPresence::Present(present) => Some(present.clone()),
                ClientPresence::Removed => None,
            },
            _ => None,
        };
        let name = config.name.clone();
        let row = match (row, tombstone) {
            (Some(row), Some(tombstone)) => Some(stricter(row, tombstone.client, (self.boot, now))),
            (row, tombstone) => row.or(tombstone.map(|it| it.client)),
        };
        match row {
            None => {
                let id = self.admit(config, origin, place, now, random_delay);
                match origin {
                    SectionOrigin::File => self.new_clients.push(id),
                    SectionOrigin::RunTime => self.announce(id, now),
                }
            }
            Some(mut row) if row.presence == ClientPresence::Removed => {
                row.name = config.name;
                if comes_back {
                    self.persist(Change::Put(Box::new(row.clone())));
                }
                self.removed.insert(row.name.clone(), row);
            }
            Some(row) => {
                let renews = renews || unbury.is_some();
                let how = (place, renews, comes_back);
                self.restore((config, origin), row, how, now, random_delay);
                if let Some(also) = also
                    && let Some(id) = self.by_name(name.as_str())
                {
                    self.merge_guard(id, &also, now);
                }
            }
        }
        // After the row is written, so that one of the two exists at any time.
        if let Some(change) = unbury {
            self.persist(change);
        }
    }

    /// Adds a client without saved state. [`Self::announce`] follows.
    fn admit(
        &mut self,
        config: ClientConfig,
        origin: SectionOrigin,
        place: u32,
        now: Now,
        random_delay: RandomDelay<'_>,
    ) -> ClientId {
        let enabled = config.settings.enabled;
        let mut client = Client::fresh(config, place, now);
        client.added = origin == SectionOrigin::RunTime;
        // The lost state may have said that it is disabled. An administrator who adds it vouches for it.
        let unknown = self.trust != Trust::Full && origin == SectionOrigin::File;
        client.needs_proof = enabled && unknown;
        let id = self.insert(client);
        if enabled && !unknown {
            self.enable(id, now);
        }
        self.schedule_first_check(id, random_delay, now);
        id
    }

    /// Writes the row of a client without saved state, and reports it.
    fn announce(&mut self, id: ClientId, now: Now) {
        self.persist_row(id, now);
        self.emit(Event::Added(id));
        if self.clients.get(&id).is_some_and(|it| it.needs_proof) {
            self.emit(Event::Disabled(id, DisableReason::StateLost));
        }
    }

    /// Announces the new clients of files, once all of them are there: what is kept of a hundred thousand clients does not lie
    /// between rows that are dropped once they are written.
    pub(super) fn announce_new_clients(&mut self, now: Now) {
        let fresh = std::mem::take(&mut self.new_clients);
        fresh.iter().for_each(|id| self.announce(*id, now));
        self.new_clients = fresh;
    }

    /// Restores a client from its saved row.
    fn restore(
        &mut self,
        (config, origin): (ClientConfig, SectionOrigin),
        row: SavedClient,
        (place, renews, comes_back): (u32, bool, bool),
        now: Now,
        random_delay: RandomDelay<'_>,
    ) {
        let ClientPresence::Present(present) = row.presence else {
            return;
        };
        // A deadline of another boot is rewritten for this one; otherwise each further restart would trust the wall
        // clock again.
        let other_boot = [present.state.deadline, present.state.denied]
            .iter()
            .flatten()
            .any(|moment| moment.boot != self.boot);
        let guard = present.state.guard.as_ref();
        let other_boot = other_boot || guard.is_some_and(|it| it.written_in() != self.boot);
        let was_added = row.added.is_some();
        let (mut client, mut changed) = Client::restored(
            config,
            row.configured,
            row.configured_secret,
            *present,
            place,
            (self.boot, now),
        );
        client.added = origin == SectionOrigin::RunTime;
        changed.row |= comes_back || client.added != was_added;
        let mut outcome = outcome_of_restart(&mut client, changed.enabled, renews, now);
        let mut other_boot = other_boot;
        if self.trust == Trust::None {
            client.guard.distrust_state();
            other_boot |= client.is_armed();
        }
        if self.trust == Trust::None && client.is_enabled() {
            client.deadline = None;
            client.needs_proof = true;
            outcome = RestartOutcome::Disabled(DisableReason::StateLost);
        } else if comes_back && outcome == RestartOutcome::AsSaved && !client.is_enabled() {
            outcome = RestartOutcome::Disabled(if client.needs_proof {
                DisableReason::StateLost
            } else {
                DisableReason::Remembered
            });
        }
        let id = self.insert(client);
        self.schedule_first_check(id, random_delay, now);
        if changed.row {
            self.persist_row(id, now);
        } else if other_boot || outcome != RestartOutcome::AsSaved {
            self.persist_state(id, Durability::Before, now);
        }
        if comes_back {
            self.emit(Event::Added(id));
        }
        match outcome {
            RestartOutcome::AsSaved | RestartOutcome::Renewed => {}
            RestartOutcome::Enabled => self.emit(Event::Enabled(id)),
            RestartOutcome::Disabled(reason) => self.emit(Event::Disabled(id, reason)),
        }
    }

    fn insert(&mut self, client: Client) -> ClientId {
        let id = ClientId(self.next_id);
        self.next_id += 1;
        self.index.insert(id, &client.name, ClientKeys::of(&client));
        if client.needs_proof {
            self.waiting_for_proof.insert(id);
        }
        let deadline = client.deadline;
        self.clients.insert(id, client);
        self.set_timer(id, Timer::Deadline, deadline.map(|it| it.mono));
        self.set_guard_timer(id);
        id
    }

    /// Delays the first check by a random part of the interval, so that ten thousand clients are not all checked in
    /// the first second.
    fn schedule_first_check(&mut self, id: ClientId, random_delay: RandomDelay<'_>, now: Now) {
        let Some(client) = self.clients.get(&id).filter(|it| it.is_checked()) else {
            return;
        };
        let interval = client.interval();
        let first = now.mono.after(random_delay(interval).min(interval));
        self.set_timer(id, Timer::Check, Some(first));
    }
}

/// Source of a client's section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SectionOrigin {
    File,
    /// No file: the client was added at run time.
    RunTime,
}

/// A client could not be added at run time. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddError {
    /// A client of this name exists.
    #[error("there is a client of this name already")]
    NameTaken,
    /// Another client has the same key.
    #[error("the client [{0}] has the same key_id")]
    KeyTaken(ClientName),
    /// A key would be a host key and something else too.
    #[error(
        "the host key is also a key of the client [{0}]; each machine needs a boot key and a host key of its own"
    )]
    HostKeyTaken(ClientName),
}

pub(super) fn first_of_each_name(configured: Vec<ClientConfig>) -> Vec<ClientConfig> {
    let mut seen = HashSet::new();
    let first = |config: &ClientConfig| seen.insert(config.name.clone());
    configured.into_iter().filter(first).collect()
}

/// The section of a client that was added at run time, rebuilt from its row; `None` for any other client.
fn added_section(row: &SavedClient) -> Option<ClientConfig> {
    let secret = row.added.as_ref()?;
    Some(ClientConfig {
        name: row.name.clone(),
        settings: row.configured.clone(),
        secret: Secret::new(secret.expose().to_vec()),
        named: ConfiguredSecrets::default(),
    })
}

/// Effect of a restart on a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RestartOutcome {
    AsSaved,
    /// Its deadline passed while the server was down; it gets another timeout.
    Renewed,
    Enabled,
    Disabled(DisableReason),
}

/// Decides on a restored client. `enabled` is the file's setting if it changed. `renews` is true when the end of the
/// last run explains why no check succeeded.
fn outcome_of_restart(
    client: &mut Client,
    enabled: Option<bool>,
    renews: bool,
    now: Now,
) -> RestartOutcome {
    let whole = Deadline::within(client.settings.timeout, now);
    match (client.deadline, enabled) {
        (None, Some(true)) => {
            client.last_enabled = Some(now.wall);
            client.needs_proof = false;
            client.enabled_since_release = true;
            client.deadline = Some(whole);
            RestartOutcome::Enabled
        }
        (Some(_), Some(false)) => {
            client.deadline = None;
            RestartOutcome::Disabled(DisableReason::Configuration)
        }
        (None, Some(false)) => {
            client.needs_proof = false;
            RestartOutcome::AsSaved
        }
        (Some(deadline), _) if deadline.passed(now) => {
            // Only once until the next proof of life: keeping the server down repeatedly gains one timeout.
            if renews && client.was_seen_up() && !client.renewed {
                client.renewed = true;
                client.deadline = Some(whole);
                RestartOutcome::Renewed
            } else {
                client.deadline = None;
                RestartOutcome::Disabled(DisableReason::ExpiredWhileDown)
            }
        }
        _ => RestartOutcome::AsSaved,
    }
}
