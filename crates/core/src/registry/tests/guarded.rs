//! The registry with machines whose agents are known: what the guard decides reaches every way to a release.

use super::world::*;
use crate::boot_nonce::BootNonce;
use crate::client::saved::{End, Trust};
use crate::event::{Alarm, Event, Grant, KeyRole, Refusal, RequestClaims, RequestId};
use crate::guard::{GoodbyeKind, Passage, Phase, Unannounced};
use crate::registry::{Action, CheckError, RegistryLimits, RequestAnswer, SignOfLife};
use crate::settings::client::{ClientConfig, ClientSettings};

/// The host key of client 1.
pub(super) const HOST: u8 = 101;

pub(super) fn boot(number: u8) -> BootNonce {
    BootNonce::from_bytes([number; 16])
}

pub(super) fn guarded(change: impl FnOnce(&mut ClientSettings)) -> Vec<ClientConfig> {
    vec![config_with(1, |settings| {
        settings.host_key_id = Some(key(HOST));
        change(settings);
    })]
}

/// A machine with an agent that was heard in boot 1, and can be poked.
pub(super) fn up() -> World {
    up_with(|_| {})
}

pub(super) fn up_with(change: impl FnOnce(&mut ClientSettings)) -> World {
    let mut world = World::new(guarded(change));
    let (answer, _) = world.beat(1);
    assert!(matches!(answer, Some(RequestAnswer::Alive { .. })));
    world
}

impl World {
    pub(super) fn sign(&self, number: u8) -> SignOfLife {
        SignOfLife {
            boot: boot(number),
            resumes: 0,
            earlier_boots: Vec::new(),
            opened: self.now.mono,
            goodbye: None,
            pokeable: true,
        }
    }

    pub(super) fn life(&mut self, sign: &SignOfLife) -> (Option<RequestAnswer>, Vec<Action>) {
        let request = self.next_request();
        self.registry
            .handle_life(request, &key(HOST), sign, self.now);
        let actions = self.actions();
        (answer_to(&actions, request), actions)
    }

    /// A heartbeat of the boot `number`.
    pub(super) fn beat(&mut self, number: u8) -> (Option<RequestAnswer>, Vec<Action>) {
        self.life(&self.sign(number))
    }

    pub(super) fn goodbye(&mut self, number: u8) -> Vec<Action> {
        let sign = SignOfLife {
            goodbye: Some(GoodbyeKind::Reboot),
            ..self.sign(number)
        };
        self.life(&sign).1
    }

    /// A request with the boot key in the boot `number`.
    pub(super) fn boots(&mut self, number: u8) -> (RequestId, Vec<Action>) {
        let claims = RequestClaims {
            boot: Some(boot(number)),
            rehearsal: false,
        };
        self.ask_as(1, claims)
    }

    pub(super) fn asks_by_host_key(&mut self, claims: RequestClaims) -> (RequestId, Vec<Action>) {
        let request = self.next_request();
        self.registry
            .handle_request(request, &key(HOST), claims, self.now);
        (request, self.actions())
    }

    pub(super) fn delivered(&mut self, request: RequestId) {
        self.registry.handle_delivered(request, self.now);
        self.actions();
    }
}

pub(super) fn alarms(actions: &[Action]) -> Vec<Alarm> {
    let of = |action: &Action| match action {
        Action::Event(Event::Alarmed(_, alarm)) => Some(*alarm),
        Action::Event(Event::Granted { alarm, .. } | Event::Refused { alarm, .. }) => *alarm,
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

pub(super) fn is_held(actions: &[Action], request: RequestId) -> bool {
    let held = |action: &Action| matches!(action, Action::Event(Event::Held { request: it, .. }) if *it == request);
    actions.iter().any(held) && is_asked_about(actions, request)
}

/// The agent is poked, and the request has no answer.
pub(super) fn is_asked_about(actions: &[Action], request: RequestId) -> bool {
    let poked = actions.iter().any(|it| matches!(it, Action::Poke { .. }));
    poked && answer_to(actions, request).is_none()
}

pub(super) fn passage_of(actions: &[Action]) -> Option<Passage> {
    actions.iter().find_map(|action| match action {
        Action::Event(Event::Granted { passage, .. }) => *passage,
        _ => None,
    })
}

pub(super) const RELEASED: fn(&World) -> Option<RequestAnswer> =
    |world| Some(RequestAnswer::Release(world.id(1)));

#[test]
fn the_first_heartbeat_ends_the_checks_and_from_then_on_only_heartbeats_count() {
    let mut world = World::new(guarded(|_| {}));
    let (answer, actions) = world.beat(1);
    let interval = seconds(120);
    let alive = RequestAnswer::Alive {
        next: seconds(15),
        window: None,
    };
    assert_eq!(answer, Some(alive));
    assert!(has_event(&actions, &Event::Armed(world.id(1))));
    let id = world.id(1);
    let ok = world.registry.handle_checked_ok(id, world.now);
    assert_eq!(ok, Err(CheckError::HasAgent));
    let check = world.registry.handle_start_checker(id, world.now);
    assert_eq!(check, Err(CheckError::HasAgent));
    let actions = world.run(interval * 2);
    let starts = |action: &Action| matches!(action, Action::StartCheck { .. });
    assert!(!actions.iter().any(starts));
    world.beat(1);
    assert_eq!(world.left(1), Some(seconds(300)));
    world.run(seconds(300));
    assert!(!world.client(1).is_enabled());
}

#[test]
fn a_copied_boot_key_is_refused_while_the_machine_is_up_and_a_person_decides_from_then_on() {
    let mut world = up();
    world.run(seconds(5));
    let (thief, actions) = world.boots(9);
    assert!(is_held(&actions, thief));
    world.run(seconds(1));
    let (_, actions) = world.beat(1);
    assert_eq!(answer_to(&actions, thief), refused(Refusal::MachineIsUp));
    assert_eq!(alarms(&actions), [Alarm::Impostor]);
    // Not even an announced reboot is released without a person.
    world.goodbye(1);
    let (next, actions) = world.boots(2);
    assert_eq!(answer_to(&actions, next), None);
    let id = world.id(1);
    let waiting: Vec<_> = world.registry.waiting(id, world.now).collect();
    assert!(!waiting[0].approved_by_default);
    let actions = world.run(seconds(200));
    assert_eq!(answer_to(&actions, next), None);
    world.registry.handle_trust(id, world.now);
    // The order is about the machine, and not about who asks now.
    assert_eq!(
        answer_to(&world.actions(), next),
        refused(Refusal::GuardChanged)
    );
    let (next, actions) = world.boots(3);
    assert_eq!(answer_to(&actions, next), RELEASED(&world));
}

#[test]
fn a_suspect_that_nobody_decides_on_is_refused_at_its_deadline() {
    let mut world = up();
    world.boots(9);
    world.run(seconds(1));
    world.beat(1);
    let (next, _) = world.boots(2);
    let actions = world.run(seconds(300));
    assert_eq!(answer_to(&actions, next), refused(Refusal::Disabled));
}

#[test]
fn a_boot_after_a_power_cut_is_released_when_the_agent_was_asked() {
    let mut world = up();
    world.run(seconds(5));
    let (request, actions) = world.boots(2);
    assert!(is_held(&actions, request));
    let actions = world.run(seconds(3));
    assert_eq!(answer_to(&actions, request), RELEASED(&world));
    assert_eq!(passage_of(&actions), Some(Passage::Unannounced));
    assert_eq!(alarms(&actions), []);
    world.delivered(request);
    assert_eq!(world.left(1), Some(seconds(900)));
    world.run(seconds(30));
    let (_, actions) = world.beat(2);
    assert_eq!(alarms(&actions), []);
    assert_eq!(world.left(1), Some(seconds(300)));
    assert!(matches!(world.client(1).guard().phase(), Phase::Up { .. }));
}

#[test]
fn an_agent_that_cannot_be_poked_has_until_its_next_heartbeat() {
    let mut world = World::new(guarded(|_| {}));
    let sign = SignOfLife {
        pokeable: false,
        ..world.sign(1)
    };
    world.life(&sign);
    world.run(seconds(5));
    let (request, _) = world.boots(2);
    // 15 s after the last one, and 5 more.
    let actions = world.run(seconds(14));
    assert_eq!(answer_to(&actions, request), None);
    let actions = world.run(seconds(1));
    assert_eq!(answer_to(&actions, request), RELEASED(&world));
}

#[test]
fn one_goodbye_gives_one_release() {
    let mut world = up();
    world.run(seconds(5));
    let id = world.id(1);
    let actions = world.goodbye(1);
    let window = Some(seconds(300));
    let said = Event::SaidGoodbye {
        client: id,
        kind: GoodbyeKind::Reboot,
        window,
    };
    assert!(has_event(&actions, &said));
    world.run(seconds(1));
    let (first, actions) = world.boots(2);
    assert_eq!(answer_to(&actions, first), RELEASED(&world));
    assert_eq!(passage_of(&actions), Some(Passage::Announced));
    assert_eq!(alarms(&actions), []);
    // The machine asks again, and then somebody else.
    let (again, actions) = world.boots(2);
    assert_eq!(answer_to(&actions, again), RELEASED(&world));
    assert_eq!(passage_of(&actions), Some(Passage::Retry));
    assert_eq!(alarms(&actions), []);
    let (_, actions) = world.boots(9);
    assert_eq!(passage_of(&actions), Some(Passage::Unannounced));
    assert_eq!(alarms(&actions), [Alarm::SecondRequest]);
    let actions = world.beat(2).1;
    assert_eq!(alarms(&actions), []);
    world.run(seconds(1));
    let actions = world.beat(2).1;
    assert_eq!(alarms(&actions), [Alarm::ServedImpostor]);
}

#[test]
fn a_used_goodbye_and_an_open_release_survive_any_crash() {
    for host_reboots in [false, true] {
        let mut world = up();
        world.goodbye(1);
        world.run(seconds(1));
        let (request, _) = world.boots(2);
        world.delivered(request);
        world.disk.crash();
        world.disk.end = Some(End::Cut(world.boot));
        world.restart(guarded(|_| {}), seconds(1), host_reboots);
        let (_, actions) = world.boots(9);
        assert_eq!(passage_of(&actions), Some(Passage::Unannounced));
        assert_eq!(alarms(&actions), [Alarm::SecondRequest], "{host_reboots}");
    }
}

#[test]
fn an_unannounced_boot_waits_for_a_person_where_the_section_says_so() {
    let mut world = up_with(|settings| settings.unannounced = Unannounced::Approve);
    world.run(seconds(60));
    let (request, actions) = world.boots(2);
    assert_eq!(answer_to(&actions, request), None);
    let id = world.id(1);
    let waits = |action: &Action| {
        matches!(
            action,
            Action::Event(Event::NeedsApproval {
                approved_by_default: false,
                ..
            })
        )
    };
    assert!(actions.iter().any(waits));
    let actions = world.run(seconds(100));
    assert_eq!(answer_to(&actions, request), None);
    assert_eq!(world.registry.handle_approve(id, world.now), Ok(()));
    assert_eq!(answer_to(&world.actions(), request), RELEASED(&world));
}

#[test]
fn the_host_key_gets_the_secret_without_a_guard_and_moves_nothing() {
    let mut world = up();
    world.run(seconds(5));
    let left = world.left(1);
    let claims = RequestClaims {
        boot: Some(boot(1)),
        rehearsal: false,
    };
    let (request, actions) = world.asks_by_host_key(claims);
    assert_eq!(answer_to(&actions, request), RELEASED(&world));
    assert_eq!(alarms(&actions), []);
    let granted = Event::Granted {
        secret: None,
        client: world.id(1),
        request,
        grant: Grant::NotNeeded,
        role: KeyRole::Host,
        rehearsal: false,
        passage: None,
        downgrade: false,
        alarm: None,
    };
    assert!(has_event(&actions, &granted));
    world.delivered(request);
    assert_eq!(world.left(1), left);
    assert!(matches!(world.client(1).guard().phase(), Phase::Up { .. }));
    // The boot that is up is known by its nonce too. One that is over is refused, and is no thief.
    let (request, actions) = world.boots(1);
    assert_eq!(answer_to(&actions, request), RELEASED(&world));
    assert_eq!(alarms(&actions), []);
    world.delivered(request);
    assert_eq!(world.left(1), left);
    world.beat(2);
    let (request, actions) = world.boots(1);
    assert_eq!(answer_to(&actions, request), refused(Refusal::BootIsUp));
    assert_eq!(alarms(&actions), []);
    // Without our protocol it is nobody's key.
    let (request, actions) = world.asks_by_host_key(RequestClaims::default());
    assert_eq!(answer_to(&actions, request), refused(Refusal::UnknownKey));
}

#[test]
fn a_rehearsal_needs_the_host_key_or_a_permission() {
    let mut world = World::with_limits(
        guarded(|_| {}),
        RegistryLimits {
            concurrent_checks: 1,
            check_on_release: true,
            allow_rehearsals: true,
        },
    );
    world.beat(1);
    let rehearsal = RequestClaims {
        boot: Some(boot(1)),
        rehearsal: true,
    };
    let by_other = RequestClaims {
        boot: Some(boot(9)),
        ..rehearsal
    };
    let (request, actions) = world.ask_as(1, by_other);
    let not_allowed = refused(Refusal::RehearsalByBootKey);
    assert_eq!(answer_to(&actions, request), not_allowed);
    for by_host_key in [true, false] {
        let (request, actions) = match by_host_key {
            true => world.asks_by_host_key(rehearsal),
            false => world.ask_as(1, rehearsal),
        };
        assert_eq!(answer_to(&actions, request), RELEASED(&world));
        assert_eq!(alarms(&actions), []);
        world.delivered(request);
    }
    let id = world.id(1);
    let hour = seconds(3600);
    world.registry.handle_allow_rehearsals(id, hour, world.now);
    world.actions();
    let (request, actions) = world.ask_as(1, by_other);
    assert_eq!(answer_to(&actions, request), RELEASED(&world));
    assert_eq!(alarms(&actions), []);
}

#[test]
fn a_heartbeat_proves_what_a_lost_state_asks_for() {
    let mut world = World::new(guarded(|_| {}));
    world.disk.trust = Trust::None;
    world.restart(guarded(|_| {}), seconds(1), false);
    assert!(world.client(1).needs_proof());
    let (answer, actions) = world.beat(1);
    assert!(matches!(answer, Some(RequestAnswer::Alive { .. })));
    assert!(has_event(&actions, &Event::Enabled(world.id(1))));
    assert_eq!(world.registry.trust(), Trust::Full);
}

#[test]
fn the_agent_of_a_disabled_machine_is_noted_and_told_so() {
    let mut world = up();
    let id = world.id(1);
    world.run(seconds(5));
    let (thief, _) = world.boots(9);
    let actions = world.run(seconds(3));
    assert_eq!(answer_to(&actions, thief), RELEASED(&world));
    world.delivered(thief);
    world.registry.handle_disable(id, world.now);
    world.actions();
    world.run(seconds(1));
    let (answer, actions) = world.beat(1);
    assert_eq!(answer, refused(Refusal::Disabled));
    assert_eq!(alarms(&actions), [Alarm::ServedImpostor]);
    assert!(!world.client(1).is_enabled());
    // A goodbye opens nothing for the time when it is enabled.
    world.goodbye(1);
    world.registry.handle_enable(id, world.now);
    world.actions();
    let (request, actions) = world.boots(2);
    assert_eq!(answer_to(&actions, request), None);
}

#[test]
fn a_guard_that_is_switched_off_lets_pass_and_still_finds_out() {
    let mut world = up_with(|settings| settings.guard = false);
    let (request, actions) = world.boots(9);
    assert_eq!(answer_to(&actions, request), RELEASED(&world));
    world.delivered(request);
    world.run(seconds(1));
    let (_, actions) = world.beat(1);
    assert_eq!(alarms(&actions), [Alarm::ServedImpostor]);
}

#[test]
fn a_request_that_left_is_accounted_for() {
    let mut world = up();
    world.run(seconds(5));
    let (thief, _) = world.boots(9);
    world.registry.handle_peer_gone(thief, world.now);
    world.actions();
    world.run(seconds(1));
    let (_, actions) = world.beat(1);
    assert_eq!(alarms(&actions), [Alarm::Impostor]);
}

#[test]
fn silence_and_a_pause_of_the_server() {
    let mut world = up();
    let id = world.id(1);
    let actions = world.run(seconds(38));
    assert!(has_event(&actions, &Event::Silent(id)));
    assert_eq!(world.client(1).guard().phase(), Phase::Quiet);
    world.beat(1);
    // The server did not run: nothing follows.
    world.pass(seconds(60));
    world.registry.handle_gap(world.now);
    world.registry.handle_timeout(world.now);
    world.actions();
    assert!(matches!(world.client(1).guard().phase(), Phase::Up { .. }));
}

#[test]
fn a_delayed_heartbeat_counts_from_when_its_connection_was_opened() {
    let mut world = up();
    let opened = world.now.mono;
    world.run(seconds(20));
    let sign = SignOfLife {
        opened,
        ..world.sign(1)
    };
    world.life(&sign);
    assert_eq!(world.left(1), Some(seconds(280)));
}

#[test]
fn another_host_key_begins_anew_and_a_suspicion_stays() {
    let mut world = up();
    world.boots(9);
    world.run(seconds(1));
    world.beat(1);
    let other = vec![config_with(1, |settings| {
        settings.host_key_id = Some(key(102));
    })];
    read(&mut world, true, other);
    let (answer, _) = world.beat(1);
    assert_eq!(answer, refused(Refusal::UnknownHostKey));
    let (request, actions) = world.boots(2);
    assert_eq!(answer_to(&actions, request), None);
    // A new boot key ends it: copies of the old one are worth nothing.
    let rotated = vec![config_with(1, |settings| {
        settings.key_id = Some(key(7));
        settings.host_key_id = Some(key(102));
    })];
    let actions = read(&mut world, true, rotated);
    assert_eq!(answer_to(&actions, request), refused(Refusal::UnknownKey));
    let request = world.next_request();
    world
        .registry
        .handle_request(request, &key(7), RequestClaims::default(), world.now);
    assert_eq!(answer_to(&world.actions(), request), RELEASED(&world));
}

#[test]
fn a_section_that_leaves_and_returns_keeps_its_guard() {
    let mut world = up();
    world.boots(9);
    world.run(seconds(1));
    world.beat(1);
    for live in [true, false] {
        read(&mut world, live, vec![config(2)]);
        read(&mut world, live, guarded(|_| {}));
        assert!(world.client(1).is_armed(), "{live}");
        assert!(world.client(1).guard().suspect().is_some(), "{live}");
    }
}

#[test]
fn a_host_key_that_is_a_boot_key_is_no_host_key() {
    let clients = vec![
        config_with(1, |settings| settings.host_key_id = Some(key(2))),
        config(2),
    ];
    let mut world = World::new(clients);
    let request = world.next_request();
    let sign = world.sign(1);
    world
        .registry
        .handle_life(request, &key(2), &sign, world.now);
    let actions = world.actions();
    assert_eq!(
        answer_to(&actions, request),
        refused(Refusal::UnknownHostKey)
    );
    assert!(!world.client(1).is_armed());
}

#[test]
fn a_server_that_was_down_renews_a_machine_that_was_up() {
    let mut world = up();
    world.disk.flush();
    world.restart(guarded(|_| {}), seconds(400), false);
    assert_eq!(world.left(1), Some(seconds(300)));
    // Not one that was silent.
    let mut world = up();
    world.run(seconds(60));
    world.disk.flush();
    world.restart(guarded(|_| {}), seconds(400), false);
    assert_eq!(world.left(1), None);
}

#[test]
fn a_request_is_held_no_longer_than_the_deadline_allows() {
    let mut world = up_with(|settings| settings.guard_wait = seconds(600));
    world.run(seconds(5));
    let (request, _) = world.boots(2);
    let actions = world.run(seconds(293));
    assert_eq!(answer_to(&actions, request), None);
    let actions = world.run(seconds(1));
    assert_eq!(answer_to(&actions, request), RELEASED(&world));
}
