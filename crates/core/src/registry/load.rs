//! From configuration and saved state to living clients at the start, and clients that come later.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::identity::{Identity, continued};
use super::tombstones::{Tombstones, stricter};
use super::{
    ClientId, DisableReason, Durability, Event, Index, Limits, Registry, Strangers, Timer, Timers,
    Turns,
};
use crate::checker::LastCheck;
use crate::client::saved::{Change, Life, Saved, SavedClient, Trust};
use crate::client::{Client, Deadline};
use crate::name::ClientName;
use crate::secret::Secret;
use crate::settings::client::ClientConfig;
use crate::time::{BootId, Now};

/// Picks a random delay from zero up to its argument.
pub(super) type Spread<'a> = &'a mut dyn FnMut(Duration) -> Duration;

/// The sections that were read at the start.
#[derive(Debug)]
pub struct Configured {
    /// Of two with one name the first counts.
    pub clients: Vec<ClientConfig>,
    /// False when a file with sections could not be used.
    pub is_whole: bool,
}

impl From<Vec<ClientConfig>> for Configured {
    fn from(clients: Vec<ClientConfig>) -> Self {
        Self {
            clients,
            is_whole: true,
        }
    }
}

impl Registry {
    /// Merges what is configured with what was saved (mandos-behaviour 3.1 as changed by our
    /// decisions) and starts every client's life. `spread` picks a random delay from zero up to its
    /// argument: first checks are spread over the interval by it.
    pub fn load(
        configured: impl Into<Configured>,
        saved: Saved,
        limits: Limits,
        boot: BootId,
        now: Now,
        spread: &mut dyn FnMut(Duration) -> Duration,
    ) -> Self {
        let configured = configured.into();
        let mut registry = Self {
            boot,
            clients: BTreeMap::new(),
            next_id: 0,
            index: Index::default(),
            removed: BTreeMap::new(),
            tombstones: Tombstones::new(saved.tombstones),
            trust: saved.trust,
            is_whole: configured.is_whole,
            unproved: BTreeSet::new(),
            fresh: Vec::new(),
            departed: HashMap::new(),
            requests: HashMap::new(),
            turns: Turns::new(limits.concurrent_checks),
            check_on_release: limits.check_on_release,
            allow_rehearsals: limits.allow_rehearsals,
            strangers: Strangers::default(),
            timers: Timers::default(),
            actions: VecDeque::new(),
        };
        let renews = saved.end.allows_renewal(boot);
        let sections = first_of_each_name(configured.clients);
        let mut rows = saved.clients;
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let plan = {
            let sections: Vec<_> = sections.iter().map(Identity::of_section).collect();
            let rows: Vec<_> = rows.iter().map(Identity::of_row).collect();
            continued(&sections, &rows)
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
            registry.leave(row, now);
        }
        // Those that leave just now too: they are as old as the rest.
        if saved.trust == Trust::None {
            registry.doubt_tombstones();
        }
        registry.give_up_names(sections.iter().zip(&known));
        let mut place = 0;
        for (config, row) in sections.into_iter().zip(known) {
            registry.arrive(config, Origin::File, row, (place, renews), now, spread);
            place += 1;
        }
        for row in added {
            if let Some(config) = added_section(&row) {
                let row = Some(row);
                registry.arrive(config, Origin::RunTime, row, (place, renews), now, spread);
                place += 1;
            }
        }
        registry.uphold(now);
        registry.settle_trust();
        registry
    }

    /// An administrator adds a client at run time, also one that was removed or disabled before. It stays
    /// until it is removed, or until a file has a section of its name.
    pub fn handle_add(
        &mut self,
        config: ClientConfig,
        now: Now,
        spread: &mut dyn FnMut(Duration) -> Duration,
    ) -> Result<ClientId, AddError> {
        self.handle_timeout(now);
        self.can_add(&config)?;
        self.removed.remove(&config.name);
        if let Some(tombstone) = self.tombstones.take(&config, true) {
            self.persist(Change::Unbury(tombstone.holder()));
        }
        // After everyone in a file: of two with the same key the file's counts.
        let id = self.add(config, Origin::RunTime, u32::MAX, now, spread);
        // Otherwise the next start would take it for one of those that were lost.
        self.settle_trust();
        Ok(id)
    }

    /// Whether [`Self::handle_add`] would take this client.
    pub fn can_add(&self, config: &ClientConfig) -> Result<(), AddError> {
        if self.by_name(config.name.as_str()).is_some() {
            return Err(AddError::NameTaken);
        }
        let key = config.settings.key_id.as_ref();
        let holder = key
            .and_then(|key| self.by_key(key))
            .and_then(|id| self.name(id));
        match holder {
            Some(holder) => Err(AddError::KeyTaken(holder.clone())),
            None => Ok(()),
        }
    }

    /// Rows of clients that go on under another name lose the old one first: two may have swapped theirs.
    pub(super) fn give_up_names<'a>(
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

    /// A section whose client does not live yet: one that is known by `row`, or by what was remembered when
    /// it left, or by nothing.
    pub(super) fn arrive(
        &mut self,
        config: ClientConfig,
        origin: Origin,
        row: Option<SavedClient>,
        (place, renews): (u32, bool),
        now: Now,
        spread: Spread<'_>,
    ) {
        let renamed = row.as_ref().is_some_and(|row| row.name != config.name);
        let tombstone = self.tombstones.take(&config, row.is_none());
        let unbury = tombstone.as_ref().map(|it| Change::Unbury(it.holder()));
        let comes_back = renamed || tombstone.is_some();
        let replaced = row.as_ref().filter(|row| {
            let key = row.key();
            key.is_some() && key != config.settings.key_id.as_ref()
        });
        if let Some(row) = replaced.cloned() {
            self.bury(row, now);
        }
        let row = match (row, tombstone) {
            (Some(row), Some(tombstone)) => Some(stricter(row, tombstone.client, (self.boot, now))),
            (row, tombstone) => row.or(tombstone.map(|it| it.client)),
        };
        match row {
            None => {
                let id = self.add(config, origin, place, now, spread);
                if origin == Origin::File {
                    self.fresh.push(id);
                }
            }
            Some(mut row) if row.life == Life::Removed => {
                row.name = config.name;
                if comes_back {
                    self.persist(Change::Put(Box::new(row.clone())));
                }
                self.removed.insert(row.name.clone(), row);
            }
            Some(row) => {
                let renews = renews || unbury.is_some();
                let how = (place, renews, comes_back);
                self.restore((config, origin), row, how, now, spread);
            }
        }
        // After the row: at no moment is it known by neither.
        if let Some(change) = unbury {
            self.persist(change);
        }
    }

    /// A client seen for the first time.
    fn add(
        &mut self,
        config: ClientConfig,
        origin: Origin,
        place: u32,
        now: Now,
        spread: Spread<'_>,
    ) -> ClientId {
        let enabled = config.settings.enabled;
        let mut client = Client::fresh(config, place, now);
        client.added = origin == Origin::RunTime;
        // Whether it was disabled is among what was lost. An administrator who adds it vouches for it.
        let unknown = self.trust != Trust::Full && origin == Origin::File;
        client.needs_proof = enabled && unknown;
        let id = self.insert(client);
        if enabled && !unknown {
            self.enable(id, now);
        }
        self.spread_first_check(id, spread, now);
        self.persist_row(id, now);
        self.tell(Event::Added(id));
        if enabled && unknown {
            self.tell(Event::Disabled(id, DisableReason::StateLost));
        }
        id
    }

    /// A client known from before.
    fn restore(
        &mut self,
        (config, origin): (ClientConfig, Origin),
        row: SavedClient,
        (place, renews, comes_back): (u32, bool, bool),
        now: Now,
        spread: Spread<'_>,
    ) {
        let Life::Present(present) = row.life else {
            return;
        };
        // A deadline of another boot is written again for this one: each further restart would
        // otherwise have to believe the wall clock anew.
        let other_boot = [present.state.deadline, present.state.denied]
            .iter()
            .flatten()
            .any(|moment| moment.boot != self.boot);
        let was_added = row.added.is_some();
        let (mut client, mut changed) = Client::restored(
            config,
            row.configured,
            row.configured_secret,
            *present,
            place,
            (self.boot, now),
        );
        client.added = origin == Origin::RunTime;
        changed.row |= comes_back || client.added != was_added;
        let mut outcome = wake(&mut client, changed.enabled, renews, now);
        if self.trust == Trust::None && client.is_enabled() {
            client.deadline = None;
            client.needs_proof = true;
            outcome = Outcome::Disabled(DisableReason::StateLost);
        } else if comes_back && outcome == Outcome::AsSaved && !client.is_enabled() {
            outcome = Outcome::Disabled(if client.needs_proof {
                DisableReason::StateLost
            } else {
                DisableReason::Remembered
            });
        }
        let id = self.insert(client);
        self.spread_first_check(id, spread, now);
        if changed.row {
            self.persist_row(id, now);
        } else if other_boot || outcome != Outcome::AsSaved {
            self.persist_state(id, Durability::Before, now);
        }
        if comes_back {
            self.tell(Event::Added(id));
        }
        match outcome {
            Outcome::AsSaved | Outcome::Renewed => {}
            Outcome::Enabled => self.tell(Event::Enabled(id)),
            Outcome::Disabled(reason) => self.tell(Event::Disabled(id, reason)),
        }
    }

    fn insert(&mut self, client: Client) -> ClientId {
        let id = ClientId(self.next_id);
        self.next_id += 1;
        let key = client.settings.key_id.as_ref();
        self.index.insert(id, &client.name, key, client.place);
        if client.needs_proof {
            self.unproved.insert(id);
        }
        let deadline = client.deadline;
        self.clients.insert(id, client);
        self.set_timer(id, Timer::Deadline, deadline.map(|it| it.mono));
        id
    }

    /// Spreads the first check of a client over its interval: ten thousand clients do not
    /// all get theirs in the first second.
    fn spread_first_check(&mut self, id: ClientId, spread: Spread<'_>, now: Now) {
        let Some(client) = self.clients.get(&id).filter(|it| it.is_checked()) else {
            return;
        };
        let interval = client.interval();
        let first = now.mono.after(spread(interval).min(interval));
        self.set_timer(id, Timer::Check, Some(first));
    }
}

/// Where a client's section stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    File,
    /// Nowhere: it was added at run time.
    RunTime,
}

/// Why a client cannot be added at run time. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddError {
    /// There is one of this name.
    #[error("there is a client of this name already")]
    NameTaken,
    /// Another client has the same key.
    #[error("the client [{0}] has the same key_id")]
    KeyTaken(ClientName),
}

pub(super) fn first_of_each_name(configured: Vec<ClientConfig>) -> Vec<ClientConfig> {
    let mut seen = HashSet::new();
    let first = |config: &ClientConfig| seen.insert(config.name.clone());
    configured.into_iter().filter(first).collect()
}

/// The section of a client that was added at run time and stands in no file.
fn added_section(row: &SavedClient) -> Option<ClientConfig> {
    let secret = row.added.as_ref()?;
    Some(ClientConfig {
        name: row.name.clone(),
        settings: row.configured.clone(),
        secret: Secret::new(secret.expose().to_vec()),
    })
}

/// What became of a client over a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    AsSaved,
    /// Its deadline passed while nobody could prove it alive; it gets another timeout.
    Renewed,
    Enabled,
    Disabled(DisableReason),
}

/// Decides how a restored client goes on; `enabled` is what the file newly says about it.
/// `renews` when the end of the last run explains why nobody checked it.
fn wake(client: &mut Client, enabled: Option<bool>, renews: bool, now: Now) -> Outcome {
    let whole = Deadline::within(client.settings.timeout, now);
    match (client.deadline, enabled) {
        (None, Some(true)) => {
            client.last_enabled = Some(now.wall);
            client.needs_proof = false;
            client.deadline = Some(whole);
            Outcome::Enabled
        }
        (Some(_), Some(false)) => {
            client.deadline = None;
            Outcome::Disabled(DisableReason::Configuration)
        }
        (None, Some(false)) => {
            client.needs_proof = false;
            Outcome::AsSaved
        }
        (Some(deadline), _) if deadline.passed(now) => {
            // Once only: who can keep the server down gains one timeout, however often he does it.
            if renews && client.last_check == LastCheck::Exited(0) && !client.renewed {
                client.renewed = true;
                client.deadline = Some(whole);
                Outcome::Renewed
            } else {
                client.deadline = None;
                Outcome::Disabled(DisableReason::ExpiredWhileDown)
            }
        }
        _ => Outcome::AsSaved,
    }
}
