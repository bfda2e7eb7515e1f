//! Test set-up: a registry with a manual clock and a store that can crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::checker::Checker;
use crate::client::Client;
use crate::client::saved::{
    Change, ClientPresence, End, Saved, SavedClient, SavedSecret, StateOwner, Tombstone, Trust,
};
use crate::event::{ClientId, Durability, Event, Refusal, RequestClaims, RequestId};
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::registry::{Action, ConfiguredClients, Registry, RegistryLimits, RequestAnswer};
use crate::secret::Secret;
use crate::secret_name::SecretName;
use crate::settings::client::{ClientConfig, ClientSettings, ConfiguredSecrets};
use crate::time::{BootId, Monotonic, Now, Wall};

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; 32]).unwrap()
}

/// Client `number` with Mandos's defaults: 5 minutes, 15 after a delivery, a check every 2.
pub(super) fn config(number: u8) -> ClientConfig {
    ClientConfig {
        name: ClientName::new(&format!("client{number}")).unwrap(),
        settings: ClientSettings {
            key_id: Some(key(number)),
            fingerprint: None,
            host: format!("host{number}"),
            checker: Checker::new("true").unwrap(),
            timeout: seconds(300),
            extended_timeout: seconds(900),
            interval: seconds(120),
            approval_delay: Duration::ZERO,
            approval_duration: seconds(1),
            approved_by_default: true,
            enabled: true,
            ..ClientSettings::default()
        },
        secret: Secret::new(vec![number; 8]),
        named: ConfiguredSecrets::default(),
    }
}

pub(super) fn config_with(number: u8, change: impl FnOnce(&mut ClientSettings)) -> ClientConfig {
    let mut config = config(number);
    change(&mut config.settings);
    config
}

/// Client `number` under another name.
pub(super) fn named(number: u8, name: &str) -> ClientConfig {
    let mut config = config(number);
    config.name = ClientName::new(name).unwrap();
    config
}

/// A checker that proves the private key.
pub(super) const PROOF: &str = "builtin:ssh-hostkey ssh-ed25519 \
                                AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

impl Registry {
    /// The client's encrypted secret. A server gets one only by [`Registry::release`].
    pub(super) fn secret(&self, id: ClientId) -> Option<Arc<Secret>> {
        Some(Arc::clone(&self.clients.get(&id)?.secret))
    }
}

/// A store: durable changes are written at once, the others with [`Self::flush`].
#[derive(Default, Clone, Debug)]
pub(super) struct Disk {
    durable: BTreeMap<ClientName, SavedClient>,
    /// Changes that a crash may lose, in order.
    soon: Vec<Change>,
    tombstones: BTreeMap<StateOwner, Tombstone>,
    pub(super) secrets: BTreeMap<(KeyId, SecretName), SavedSecret>,
    pub(super) trust: Trust,
    /// End of the run for the next load; clean by default.
    pub(super) end: Option<End>,
}

impl Disk {
    pub(super) fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Persist(change, Durability::Soon) => self.soon.push(change.clone()),
            Action::Persist(change @ Change::PutSecret { .. }, _) => self.write(change.clone()),
            Action::Persist(change, _) => {
                // It contains everything that waited of this client, and nothing of others.
                self.soon.retain(|waiting| {
                    waiting.client().is_none() || waiting.client() != change.client()
                });
                self.write(change.clone());
            }
            _ => {}
        }
    }

    pub(super) fn flush(&mut self) {
        for change in std::mem::take(&mut self.soon) {
            self.write(change);
        }
    }

    pub(super) fn crash(&mut self) {
        self.soon.clear();
    }

    pub(super) fn load(&self) -> Saved {
        Saved {
            clients: self.durable.values().cloned().collect(),
            tombstones: self.tombstones.values().cloned().collect(),
            secrets: self.secrets.values().cloned().collect(),
            lost_secrets: 0,
            end: self.end.unwrap_or(End::Clean),
            trust: self.trust,
        }
    }

    pub(super) fn write(&mut self, change: Change) {
        match change {
            Change::Put(row) => {
                self.durable.insert(row.name.clone(), *row);
            }
            Change::State(name, state) => {
                if let Some(SavedClient {
                    presence: ClientPresence::Present(present),
                    ..
                }) = self.durable.get_mut(&name)
                {
                    present.state = *state;
                }
            }
            Change::Forget(name) => {
                self.durable.remove(&name);
            }
            Change::PutTombstone(tombstone) => {
                self.tombstones.insert(tombstone.owner(), *tombstone);
            }
            Change::DeleteTombstone(holder) => {
                self.tombstones.remove(&holder);
            }
            Change::PutSecret { secret, .. } => {
                let key = (secret.host, secret.name.clone());
                self.secrets.insert(key, *secret);
            }
            Change::DeleteSecret(host, name) => {
                self.secrets.remove(&(host, name));
            }
            Change::ForgetSecrets => self.secrets.clear(),
            Change::Trust(trust) => self.trust = trust,
            Change::Record(_) | Change::DropRecords(_) => unreachable!("not by the registry"),
        }
    }
}

pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) disk: Disk,
    pub(super) now: Now,
    pub(super) boot: BootId,
    requests: u64,
}

impl World {
    /// A server that starts for the first time, its first actions carried out.
    pub(super) fn new(configured: Vec<ClientConfig>) -> Self {
        Self::with_limits(configured, LIMITS)
    }

    pub(super) fn with_limits(configured: Vec<ClientConfig>, limits: RegistryLimits) -> Self {
        let (now, boot) = (at_boot(), BootId::from_bytes([0; 16]));
        let registry = load(configured, Saved::default(), limits, boot, now);
        let mut world = Self {
            registry,
            disk: Disk::default(),
            now,
            boot,
            requests: 0,
        };
        world.actions();
        world
    }

    /// Restarts the server after `down`, and the host too when `reboot`.
    pub(super) fn restart(
        &mut self,
        configured: impl Into<ConfiguredClients>,
        down: Duration,
        reboot: bool,
    ) -> Vec<Action> {
        self.pass(down);
        if reboot {
            self.now.mono = Monotonic::from_boot(seconds(10));
            let mut bytes = *self.boot.as_bytes();
            bytes[0] = bytes[0].wrapping_add(1);
            self.boot = BootId::from_bytes(bytes);
        }
        self.registry = load(configured, self.disk.load(), LIMITS, self.boot, self.now);
        self.actions()
    }

    /// Carries out and returns all actions.
    pub(super) fn actions(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(action) = self.registry.poll_action() {
            self.disk.carry_out(&action);
            actions.push(action);
        }
        actions
    }

    /// Time passes without a call of `handle_timeout`.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono.after(time);
        self.now.wall = self.now.wall.after(time);
    }

    /// Time passes, and every timer goes off on time.
    pub(super) fn run(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now.mono.after(time);
        let mut actions = Vec::new();
        while let Some(next) = self.registry.poll_timeout().filter(|next| *next <= end) {
            self.pass(next.since(self.now.mono));
            self.registry.handle_timeout(self.now);
            actions.extend(self.actions());
        }
        self.pass(end.since(self.now.mono));
        actions
    }

    pub(super) fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests - 1)
    }

    pub(super) fn ask(&mut self, number: u8) -> (RequestId, Vec<Action>) {
        self.ask_as(number, RequestClaims::default())
    }

    pub(super) fn ask_as(&mut self, number: u8, claims: RequestClaims) -> (RequestId, Vec<Action>) {
        let request = self.next_request();
        self.registry
            .handle_request(request, &key(number), claims, self.now);
        (request, self.actions())
    }

    /// The immediate answer to a request of client `number`.
    pub(super) fn answer(&mut self, number: u8) -> Option<RequestAnswer> {
        let (request, actions) = self.ask(number);
        answer_to(&actions, request)
    }

    pub(super) fn id(&self, number: u8) -> ClientId {
        self.registry.by_name(&format!("client{number}")).unwrap()
    }

    pub(super) fn client(&self, number: u8) -> &Client {
        self.registry.client(self.id(number)).unwrap()
    }

    /// Time until the client's deadline; `None` when it is disabled.
    pub(super) fn left(&self, number: u8) -> Option<Duration> {
        let deadline = self.client(number).deadline?;
        Some(deadline.mono.since(self.now.mono))
    }
}

/// Reads the configuration again, by a reload or by a restart.
pub(super) fn read(world: &mut World, live: bool, configured: Vec<ClientConfig>) -> Vec<Action> {
    if !live {
        return world.restart(configured, seconds(1), false);
    }
    world
        .registry
        .reload(configured, true, world.now, &mut |most| most / 2)
        .unwrap();
    world.actions()
}

pub(super) fn is_released(world: &mut World, number: u8) -> bool {
    matches!(world.answer(number), Some(RequestAnswer::Release(_)))
}

pub(super) fn at_boot() -> Now {
    Now {
        mono: Monotonic::from_boot(seconds(1000)),
        wall: Wall::from_unix_micros(1_700_000_000_000_000),
    }
}

const LIMITS: RegistryLimits = RegistryLimits {
    concurrent_checks: 2,
    check_on_release: false,
    allow_rehearsals: false,
};

fn load(
    configured: impl Into<ConfiguredClients>,
    saved: Saved,
    limits: RegistryLimits,
    boot: BootId,
    now: Now,
) -> Registry {
    Registry::load(configured, saved, limits, boot, now, &mut |most| most / 2)
}

pub(super) fn answer_to(actions: &[Action], wanted: RequestId) -> Option<RequestAnswer> {
    let mut answers = actions.iter().filter_map(|action| match action {
        Action::Answer { request, answer } if *request == wanted => Some(*answer),
        _ => None,
    });
    let answer = answers.next();
    assert_eq!(answers.next(), None, "a second answer to {wanted:?}");
    answer
}

pub(super) fn refused(reason: Refusal) -> Option<RequestAnswer> {
    Some(RequestAnswer::Refuse(reason))
}

pub(super) fn has_event(actions: &[Action], event: &Event) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Event(it) if it == event))
}

pub(super) fn position(actions: &[Action], wanted: impl Fn(&Action) -> bool) -> usize {
    actions.iter().position(wanted).expect("no such action")
}
