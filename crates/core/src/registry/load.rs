//! From configuration and saved state to living clients, at start and at a reload.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::{
    Action, ClientId, DisableReason, Event, Index, Limits, Refusal, Registry, Strangers, Timer,
    Timers, Turns,
};
use crate::client::saved::{Change, LastCheck, Life, Saved, SavedClient};
use crate::client::{Client, Deadline};
use crate::name::ClientName;
use crate::secret::Secret;
use crate::settings::client::ClientConfig;
use crate::time::{BootId, Now};

/// Picks a random delay from zero up to its argument.
type Spread<'a> = &'a mut dyn FnMut(Duration) -> Duration;

impl Registry {
    /// Merges what is configured with what was saved (mandos-behaviour 3.1 as changed by our
    /// decisions) and starts every client's life. `spread` picks a random delay from zero up to its
    /// argument: first checks are spread over the interval by it.
    pub fn load(
        configured: Vec<ClientConfig>,
        saved: Saved,
        limits: Limits,
        boot: BootId,
        now: Now,
        spread: &mut dyn FnMut(Duration) -> Duration,
    ) -> Self {
        let mut registry = Self {
            boot,
            clients: BTreeMap::new(),
            next_id: 0,
            index: Index::default(),
            removed: HashSet::new(),
            departed: HashMap::new(),
            requests: HashMap::new(),
            turns: Turns::new(limits.concurrent_checks),
            check_on_release: limits.check_on_release,
            allow_rehearsals: limits.allow_rehearsals,
            strangers: Strangers::default(),
            timers: Timers::default(),
            actions: VecDeque::new(),
        };
        let mut rows: HashMap<ClientName, SavedClient> = saved
            .clients
            .into_iter()
            .map(|row| (row.name.clone(), row))
            .collect();
        let added = added_at_run_time(&configured, &rows);
        let origins = configured.into_iter().map(|config| (config, Origin::File));
        let all = origins.chain(added.into_iter().map(|config| (config, Origin::RunTime)));
        for (place, (config, origin)) in (0..).zip(all) {
            if registry.by_name(config.name.as_str()).is_some() {
                continue;
            }
            match rows.remove(&config.name) {
                None => {
                    registry.add(config, origin, place, now, spread);
                }
                Some(SavedClient {
                    name,
                    life: Life::Removed,
                    ..
                }) => {
                    registry.removed.insert(name);
                }
                Some(row) => registry.restore((config, origin), row, place, now, spread),
            }
        }
        let mut forgotten: Vec<ClientName> = rows.into_keys().collect();
        forgotten.sort_unstable();
        registry.forget(forgotten);
        registry
    }

    /// Takes over a configuration that was read anew, by the same merge. Requests that wait are
    /// decided anew; what runs goes on.
    pub fn reload(
        &mut self,
        configured: Vec<ClientConfig>,
        now: Now,
        spread: &mut dyn FnMut(Duration) -> Duration,
    ) {
        self.handle_timeout(now);
        let names: HashSet<ClientName> = configured.iter().map(|it| it.name.clone()).collect();
        self.drop_unconfigured(&names);
        let mut seen = HashSet::new();
        for (place, config) in (0..).zip(configured) {
            if self.removed.contains(&config.name) || !seen.insert(config.name.clone()) {
                continue;
            }
            match self.by_name(config.name.as_str()) {
                Some(id) => self.reconfigure(id, config, place, now),
                None => {
                    self.add(config, Origin::File, place, now, spread);
                }
            }
        }
        let holders = self.clients.iter().map(|(id, client)| {
            let key = client.settings.key_id.as_ref();
            (*id, key, client.place)
        });
        self.index.set_keys(holders);
    }

    /// An administrator adds a client at run time. It stays until it is removed, or until a file has
    /// a section of its name.
    pub fn handle_add(
        &mut self,
        config: ClientConfig,
        now: Now,
        spread: &mut dyn FnMut(Duration) -> Duration,
    ) -> Result<ClientId, AddError> {
        self.handle_timeout(now);
        self.can_add(&config)?;
        // After everyone in a file: of two with the same key the file's counts.
        Ok(self.add(config, Origin::RunTime, u32::MAX, now, spread))
    }

    /// Whether [`Self::handle_add`] would take this client.
    pub fn can_add(&self, config: &ClientConfig) -> Result<(), AddError> {
        if self.by_name(config.name.as_str()).is_some() {
            return Err(AddError::NameTaken);
        }
        if self.removed.contains(&config.name) {
            return Err(AddError::Removed);
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
        let id = self.insert(client);
        if enabled {
            self.enable(id, now);
            self.spread_first_check(id, spread, now);
        }
        self.persist_row(id, now);
        self.tell(Event::Added(id));
        id
    }

    /// A client known from before.
    fn restore(
        &mut self,
        (config, origin): (ClientConfig, Origin),
        row: SavedClient,
        place: u32,
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
        changed.row |= client.added != was_added;
        let outcome = wake(&mut client, changed.enabled, now);
        let id = self.insert(client);
        self.spread_first_check(id, spread, now);
        if changed.row {
            self.persist_row(id, now);
        } else if other_boot || outcome != Outcome::AsSaved {
            self.persist_state(id, now);
        }
        match outcome {
            Outcome::AsSaved | Outcome::Renewed => {}
            Outcome::Enabled => self.tell(Event::Enabled(id)),
            Outcome::Disabled(reason) => self.tell(Event::Disabled(id, reason)),
        }
    }

    /// A client that lives already, with its section as it is now.
    fn reconfigure(&mut self, id: ClientId, config: ClientConfig, place: u32, now: Now) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.place = place;
        let interval = client.settings.interval;
        let key = client.settings.key_id;
        let mut changed = client.reconfigure(config, now);
        changed.row |= std::mem::take(&mut client.added);
        let other_key = client.settings.key_id != key;
        if let Some(deadline) = client.deadline {
            self.set_deadline(id, deadline);
        }
        if !changed.row {
            return;
        }
        if other_key {
            // They proved a key that is this client's no more.
            self.revoke(id, Refusal::UnknownKey);
            self.refuse_waiting(id, Refusal::UnknownKey);
        }
        let enabled = self.clients.get(&id).is_some_and(Client::is_enabled);
        match changed.enabled {
            Some(true) if !enabled => {
                self.enable(id, now);
                self.persist_state(id, now);
                self.tell(Event::Enabled(id));
            }
            Some(false) if enabled => self.disable(id, DisableReason::Configuration, now),
            _ => {}
        }
        self.put_in_force(id, interval, now);
        if !changed.settings.is_empty() {
            self.tell(Event::Changed(id, changed.settings));
        }
    }

    fn insert(&mut self, client: Client) -> ClientId {
        let id = ClientId(self.next_id);
        self.next_id += 1;
        let key = client.settings.key_id.as_ref();
        self.index.insert(id, &client.name, key, client.place);
        let deadline = client.deadline;
        self.clients.insert(id, client);
        self.set_timer(id, Timer::Deadline, deadline.map(|it| it.mono));
        id
    }

    /// Spreads the first check of an enabled client over its interval: ten thousand clients do not
    /// all get theirs in the first second.
    fn spread_first_check(&mut self, id: ClientId, spread: Spread<'_>, now: Now) {
        let Some(client) = self.clients.get(&id).filter(|it| it.is_enabled()) else {
            return;
        };
        let interval = client.interval();
        let first = now.mono.after(spread(interval).min(interval));
        self.set_timer(id, Timer::Check, Some(first));
    }

    /// Clients that are no longer configured are no more, nor is what was kept of removed ones.
    fn drop_unconfigured(&mut self, configured: &HashSet<ClientName>) {
        let gone: Vec<(ClientId, ClientName)> = self
            .clients
            .iter()
            .filter(|(_, client)| !client.added && !configured.contains(&client.name))
            .map(|(id, client)| (*id, client.name.clone()))
            .collect();
        for (id, name) in gone {
            self.take_out(id, Change::Forget(name));
        }
        let mut forgotten: Vec<ClientName> = self
            .removed
            .extract_if(|name| !configured.contains(name))
            .collect();
        forgotten.sort_unstable();
        self.forget(forgotten);
    }

    fn forget(&mut self, names: Vec<ClientName>) {
        for name in names {
            self.act(Action::Persist(Change::Forget(name)));
        }
    }
}

/// Where a client's section stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
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
    /// It was removed while its section is still in a file.
    #[error("this client was removed, but its section is still in the configuration file")]
    Removed,
    /// Another client has the same key.
    #[error("the client [{0}] has the same key_id")]
    KeyTaken(ClientName),
}

/// The sections of clients that were added at run time and stand in no file, by name.
fn added_at_run_time(
    configured: &[ClientConfig],
    rows: &HashMap<ClientName, SavedClient>,
) -> Vec<ClientConfig> {
    let in_file: HashSet<&ClientName> = configured.iter().map(|it| &it.name).collect();
    let mut added: Vec<ClientConfig> = rows
        .values()
        .filter(|row| !in_file.contains(&row.name))
        .filter_map(|row| {
            let secret = row.added.as_ref()?;
            Some(ClientConfig {
                name: row.name.clone(),
                settings: row.configured.clone(),
                secret: Secret::new(secret.expose().to_vec()),
            })
        })
        .collect();
    added.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    added
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
fn wake(client: &mut Client, enabled: Option<bool>, now: Now) -> Outcome {
    let whole = Deadline::within(client.settings.timeout, now);
    match (client.deadline, enabled) {
        (None, Some(true)) => {
            client.last_enabled = Some(now.wall);
            client.deadline = Some(whole);
            Outcome::Enabled
        }
        (Some(_), Some(false)) => {
            client.deadline = None;
            Outcome::Disabled(DisableReason::Configuration)
        }
        (Some(deadline), _) if deadline.passed(now) => {
            if client.last_check == LastCheck::Exited(0) {
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
