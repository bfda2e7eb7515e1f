//! Compares a server whose store fails with one whose store works: after any events and restarts, the first releases
//! nothing that the second would not.

use proptest::prelude::*;

use super::world::*;
use crate::checker::LastCheck;
use crate::client::Client;
use crate::client::saved::{Change, ClientPresence, End, Saved, Trust};
use crate::event::{ClientId, Event, RequestClaims, RequestId};
use crate::outbox::Outbox;
use crate::registry::{Action, Registry, RegistryLimits, RequestAnswer};
use crate::settings::client::ClientConfig;
use crate::settings::client::Setting;
use crate::time::{BootId, Monotonic, Now};

const CLIENTS: u8 = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    Pass(u64),
    Ask(u8),
    /// Its running check, if any, ends; the flag is its success.
    Checked(u8, bool),
    CheckedOk(u8),
    Enable(u8),
    Disable(u8),
    Deny(u8),
    Remove(u8),
    /// Another timeout: a shorter one must not come back as the longer one.
    Timeout(u8, u64),
    /// Its section is removed from the configuration, or added again, by a reload.
    Section(u8),
    /// The store fails, or works again.
    Store(bool),
    Stop {
        down: u64,
        reboot: bool,
    },
    Kill {
        down: u64,
        reboot: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let client = 1..=CLIENTS;
    let pass = prop::sample::select(&[1_u64, 60, 120, 299, 400][..]);
    prop_oneof![
        6 => pass.clone().prop_map(Op::Pass),
        6 => client.clone().prop_map(Op::Ask),
        5 => (client.clone(), any::<bool>()).prop_map(|(it, ok)| Op::Checked(it, ok)),
        2 => client.clone().prop_map(Op::CheckedOk),
        1 => client.clone().prop_map(Op::Enable),
        2 => client.clone().prop_map(Op::Disable),
        1 => client.clone().prop_map(Op::Deny),
        1 => client.clone().prop_map(Op::Remove),
        1 => (client.clone(), prop::sample::select(&[100_u64, 300][..]))
            .prop_map(|(it, to)| Op::Timeout(it, to)),
        1 => client.prop_map(Op::Section),
        4 => any::<bool>().prop_map(Op::Store),
        1 => (pass.clone(), any::<bool>()).prop_map(|(down, reboot)| Op::Stop { down, reboot }),
        2 => (pass, any::<bool>()).prop_map(|(down, reboot)| Op::Kill { down, reboot }),
    ]
}

fn file(number: u8) -> ClientConfig {
    // A delivery never shortens a deadline here. If it did, the server that refused would rightly have the longer
    // deadline.
    config_with(number, |it| {
        it.approval_duration = seconds(500);
        it.extended_timeout = seconds(900);
    })
}

enum Effect {
    Check(ClientId),
    /// The secret of this client is sent.
    Release(ClientId),
}

/// A server with its store.
struct Side {
    registry: Registry,
    disk: Disk,
    outbox: Outbox<Effect>,
    failing: bool,
    /// True when the mark beside the store says that the store is behind.
    marked: bool,
    /// True when it was started with a state that was lost.
    lost: bool,
    running: Vec<ClientId>,
    /// Numbers of the requests that got a secret.
    released: Vec<u64>,
}

impl Side {
    fn start(configured: Vec<ClientConfig>, saved: Saved, disk: Disk, at: (BootId, Now)) -> Self {
        let limits = RegistryLimits {
            concurrent_checks: 8,
            check_on_release: false,
            allow_rehearsals: false,
        };
        let registry = Registry::load(configured, saved, limits, at.0, at.1, &mut |most| most / 2);
        Self {
            registry,
            disk,
            outbox: Outbox::default(),
            failing: false,
            marked: false,
            lost: false,
            running: Vec::new(),
            released: Vec::new(),
        }
    }

    fn settle(&mut self) {
        while let Some(action) = self.registry.poll_action() {
            let name = |client| self.registry.name(client).cloned();
            match action {
                Action::Persist(change, durability) => self.outbox.persist(change, durability),
                Action::StartCheck { client } => {
                    self.outbox
                        .effect(name(client).as_ref(), Effect::Check(client));
                }
                Action::Event(event) => {
                    if let Event::Granted { client, .. } = event {
                        let name = name(client).unwrap();
                        let content = event.record(None).unwrap();
                        self.outbox.require(name, content.durability);
                    }
                }
                Action::Answer {
                    request,
                    answer: RequestAnswer::Release(client),
                } => {
                    self.released.push(request.0);
                    self.outbox
                        .release(name(client).as_ref(), Effect::Release(client));
                }
                _ => {}
            }
        }
        self.commit();
        for effect in self.outbox.ready() {
            match effect {
                Effect::Check(client) => self.running.push(client),
                Effect::Release(client) => self.assert_survives(client),
            }
        }
    }

    fn commit(&mut self) {
        if !self.outbox.is_unwritten() {
            return;
        }
        let changes = self.outbox.take();
        if self.failing {
            let is_lost = |change: &Change| !matches!(change, Change::Record(_));
            self.marked |= changes.iter().any(is_lost);
            assert_eq!(self.outbox.failed(changes).len(), 0);
            return;
        }
        if std::mem::take(&mut self.marked) {
            self.disk.trust = self.registry.trust();
        }
        changes.into_iter().for_each(|it| self.disk.write(it));
        self.outbox.committed();
    }

    /// Every change that allowed the release is durable.
    fn assert_survives(&self, client: ClientId) {
        // A release that waited is revoked when its client is disabled meanwhile.
        let known = self.registry.client(client);
        let Some(name) = known.filter(|it| it.is_enabled()).map(Client::name) else {
            return;
        };
        let rows = self.disk.load().clients;
        let row = rows.into_iter().find(|row| row.name == *name);
        let is_enabled = row.is_some_and(
            |row| matches!(row.presence, ClientPresence::Present(present) if present.state.enabled),
        );
        assert!(is_enabled, "{name} got its secret by what would be lost");
    }

    fn restart(&mut self, files: &[u8], boots: (BootId, BootId), now: Now, stopped: bool) {
        let marked = self.marked;
        let mut saved = self.disk.load();
        let clean = stopped && !marked;
        saved.end = if clean { End::Clean } else { End::Cut(boots.0) };
        if marked {
            saved.trust = Trust::None;
        }
        let (failing, released) = (self.failing, std::mem::take(&mut self.released));
        let lost = self.lost || marked;
        let configured = files.iter().map(|number| file(*number)).collect();
        *self = Self::start(configured, saved, self.disk.clone(), (boots.1, now));
        (self.failing, self.released, self.marked) = (failing, released, marked);
        self.lost = lost;
    }

    fn play(&mut self, op: Op, number: u64, files: &[u8], now: Now) {
        self.registry.handle_timeout(now);
        let named = |it: &Self, client: u8| it.registry.by_name(&format!("client{client}"));
        match op {
            Op::Ask(client) => {
                let request = RequestId(number);
                self.registry
                    .handle_request(request, &key(client), RequestClaims::default(), now);
                self.settle();
                self.registry.handle_delivered(request, now);
            }
            Op::Checked(client, ok) => {
                let id = named(self, client);
                if let Some(place) = self.running.iter().position(|it| Some(*it) == id) {
                    let id = self.running.swap_remove(place);
                    let result = LastCheck::Exited(u8::from(!ok));
                    self.registry.handle_check_finished(id, result, now);
                }
            }
            Op::Section(_) => {
                let configured: Vec<_> = files.iter().map(|number| file(*number)).collect();
                self.registry
                    .reload(configured, true, now, &mut |most| most / 2)
                    .unwrap();
            }
            Op::CheckedOk(client)
            | Op::Enable(client)
            | Op::Disable(client)
            | Op::Deny(client)
            | Op::Remove(client)
            | Op::Timeout(client, _) => {
                let Some(id) = named(self, client) else {
                    return;
                };
                let registry = &mut self.registry;
                match op {
                    Op::CheckedOk(_) => registry.handle_checked_ok(id, now).unwrap(),
                    Op::Enable(_) => registry.handle_enable(id, now),
                    Op::Disable(_) => registry.handle_disable(id, now),
                    Op::Deny(_) => registry.handle_deny(id, now),
                    Op::Remove(_) => registry.handle_remove(id, now),
                    Op::Timeout(_, to) => {
                        registry
                            .handle_set(id, Setting::Timeout.to(seconds(to)), now)
                            .unwrap();
                    }
                    _ => {}
                }
            }
            Op::Pass(_) | Op::Store(_) | Op::Stop { .. } | Op::Kill { .. } => {}
        }
        self.settle();
    }
}

/// Plays `ops` on both; panics when the faulty one releases more.
fn compare(ops: &[Op]) {
    let mut now = at_boot();
    let mut boot = BootId::from_bytes([0; 16]);
    let mut files: Vec<u8> = (1..=CLIENTS).collect();
    let start = || {
        let configured = (1..=CLIENTS).map(file).collect();
        Side::start(configured, Saved::default(), Disk::default(), (boot, now))
    };
    let (mut sound, mut faulty) = (start(), start());
    sound.settle();
    faulty.settle();
    for (number, op) in (0..).zip(ops) {
        let pass = match *op {
            Op::Pass(pass) => pass,
            Op::Stop { down, .. } | Op::Kill { down, .. } => down,
            _ => 0,
        };
        now.mono = now.mono.after(seconds(pass));
        now.wall = now.wall.after(seconds(pass));
        match *op {
            Op::Store(failing) => faulty.failing = failing,
            Op::Stop { reboot, .. } | Op::Kill { reboot, .. } => {
                let before = boot;
                if reboot {
                    now.mono = Monotonic::from_boot(seconds(10));
                    let mut bytes = *boot.as_bytes();
                    bytes[0] = bytes[0].wrapping_add(1);
                    boot = BootId::from_bytes(bytes);
                }
                let stopped = matches!(op, Op::Stop { .. });
                sound.restart(&files, (before, boot), now, stopped);
                faulty.restart(&files, (before, boot), now, stopped);
            }
            Op::Section(client) => match files.iter().position(|it| *it == client) {
                Some(place) => drop(files.remove(place)),
                None => files.push(client),
            },
            // Enabling one and not the other would compare nothing. Neither would a person who learns that a state was
            // lost, perhaps with a denial or a shorter timeout, and vouches for the machine.
            Op::Enable(client) => {
                let id = sound.registry.by_name(&format!("client{client}"));
                let known = id.and_then(|id| sound.registry.client(id));
                let is_open = known.is_none_or(Client::is_enabled);
                if is_open || faulty.lost {
                    continue;
                }
            }
            _ => {}
        }
        sound.play(*op, number, &files, now);
        faulty.play(*op, number, &files, now);
        let more = faulty
            .released
            .iter()
            .find(|it| !sound.released.contains(it));
        assert_eq!(more, None, "the faulty one released more, at {op:?}");
    }
}

#[test]
fn an_expiry_that_could_not_be_written_renews_no_client() {
    for reboot in [false, true] {
        for kill in [false, true] {
            let down = 1;
            let end = if kill {
                Op::Kill { down, reboot }
            } else {
                Op::Stop { down, reboot }
            };
            compare(&[
                Op::CheckedOk(1),
                Op::Store(true),
                Op::Pass(120),
                Op::Checked(1, false),
                Op::Pass(299),
                Op::Ask(1),
                Op::Store(true),
                end,
                Op::Store(false),
                Op::Ask(1),
                Op::Kill {
                    down: 1,
                    reboot: false,
                },
                Op::Ask(1),
            ]);
        }
    }
}

#[test]
fn a_client_that_leaves_after_a_lost_state_is_not_renewed_when_it_comes_back() {
    let stop = |down| Op::Stop {
        down,
        reboot: false,
    };
    compare(&[
        Op::CheckedOk(2),
        Op::Store(true),
        stop(120),
        stop(60),
        Op::Pass(120),
        Op::Section(2),
        stop(1),
        Op::Section(2),
        Op::Ask(2),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_store_that_fails_makes_the_server_stricter_never_more_generous(
        ops in prop::collection::vec(op(), 1..50)
    ) {
        compare(&ops);
    }
}
