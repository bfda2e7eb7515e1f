//! Named secrets: who gets them, what refuses them, and what a put, a removal and a loss leave.

use std::sync::Arc;

use super::guarded::{HOST, boot, guarded};
use super::world::*;
use crate::event::{Alarm, Event, Grant, Refusal, RequestClaims, RequestId};
use crate::registry::{Action, NamedQuery, NamedSecretError, ReleasedSecret, RequestAnswer};
use crate::sealed_secret::{SealedSecret, SecretHeader};
use crate::secret_name::SecretName;
use crate::secret_rejection::{Rejection, RejectionReason};
use crate::settings::client::{ClientConfig, SecretPolicy};

pub(super) fn name(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

/// A secret of client 1, sealed at the first moment of each test; `change` makes it another one.
pub(super) fn sealed(serial: u64, change: impl FnOnce(&mut SecretHeader)) -> SealedSecret {
    let mut header = SecretHeader {
        host: key(HOST),
        name: name("pin"),
        serial,
        created: at_boot().wall,
        expires: None,
    };
    change(&mut header);
    SealedSecret::new(&header, &serial.to_be_bytes()).unwrap()
}

/// Sections of client 1 with the secret `pin` in the file.
pub(super) fn in_file(serial: u64, approval: bool) -> Vec<ClientConfig> {
    let mut sections = guarded(|_| {});
    let named = &mut sections[0].named;
    let secret = Arc::new(sealed(serial, |_| {}));
    named.sealed.insert(name("pin"), secret);
    let policy = SecretPolicy { approval };
    named.policies.insert(name("pin"), policy);
    sections
}

/// A machine whose agent was heard in boot 1.
pub(super) fn world() -> World {
    let mut world = World::new(guarded(|_| {}));
    world.beat(1);
    world
}

impl World {
    pub(super) fn put(&mut self, sealed: SealedSecret) -> Result<Vec<Action>, NamedSecretError> {
        self.put_with(sealed, None)
    }

    pub(super) fn put_as(
        &mut self,
        sealed: SealedSecret,
        approval: bool,
    ) -> Result<Vec<Action>, NamedSecretError> {
        self.put_with(sealed, Some(approval))
    }

    fn put_with(
        &mut self,
        sealed: SealedSecret,
        approval: Option<bool>,
    ) -> Result<Vec<Action>, NamedSecretError> {
        let id = self.id(1);
        self.registry
            .handle_put_secret(id, sealed, approval, self.now)?;
        Ok(self.actions())
    }

    pub(super) fn remove(&mut self, secret: &str) -> Result<Vec<Action>, NamedSecretError> {
        let id = self.id(1);
        self.registry
            .handle_remove_secret(id, &name(secret), None, self.now)?;
        Ok(self.actions())
    }

    /// A request for a named secret by the key `number`.
    pub(super) fn get_as(
        &mut self,
        number: u8,
        secret: &str,
        rehearsal: bool,
    ) -> (RequestId, Vec<Action>) {
        let claims = RequestClaims {
            boot: Some(boot(1)),
            rehearsal,
        };
        let query = NamedQuery {
            name: name(secret),
            claims,
            may_wait: true,
        };
        self.query(number, query)
    }

    pub(super) fn query(&mut self, number: u8, query: NamedQuery) -> (RequestId, Vec<Action>) {
        let request = self.next_request();
        self.registry
            .handle_named_request(request, &key(number), query, self.now);
        (request, self.actions())
    }

    /// A request for the secret `pin` by the host key.
    pub(super) fn get(&mut self) -> (RequestId, Vec<Action>) {
        self.get_as(HOST, "pin", false)
    }

    pub(super) fn answer_to_get(&mut self) -> Option<RequestAnswer> {
        let (request, actions) = self.get();
        answer_to(&actions, request)
    }

    pub(super) fn is_released_named(&mut self) -> bool {
        matches!(self.answer_to_get(), Some(RequestAnswer::Release(_)))
    }

    /// The serial of what a granted request gets.
    pub(super) fn released(&self, request: RequestId) -> Result<u64, Refusal> {
        self.registry.release(request).map(|release| {
            assert!(matches!(release.secret, ReleasedSecret::Named(_)));
            release.secret.label().1
        })
    }

    /// Somebody else asks with the boot key, and the agent says that the machine is up.
    pub(super) fn becomes_suspect(&mut self) {
        self.boots(7);
        self.pass(seconds(1));
        self.beat(1);
        assert!(self.client(1).guard().suspect().is_some());
    }
}

pub(super) fn revoked(actions: &[Action], request: RequestId) -> Option<Refusal> {
    actions.iter().find_map(|action| match action {
        Action::Event(Event::Revoked {
            request: it,
            reason,
            secret: Some(_),
            ..
        }) if *it == request => Some(*reason),
        _ => None,
    })
}

#[test]
fn the_host_key_gets_it_and_the_disk_does_not_notice() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    let before = (
        world.left(1),
        world.client(1).to_state(world.boot, world.now),
    );
    let (request, actions) = world.get();
    assert_eq!(
        answer_to(&actions, request),
        Some(RequestAnswer::Release(world.id(1)))
    );
    assert!(has_event(
        &actions,
        &Event::Granted {
            client: world.id(1),
            request,
            secret: Some(name("pin")),
            grant: Grant::NotNeeded,
            role: crate::event::KeyRole::Host,
            rehearsal: false,
            passage: None,
            downgrade: false,
            alarm: None,
        }
    ));
    assert_eq!(world.released(request), Ok(5));
    world.pass(seconds(20));
    let deadline = world.left(1);
    world.registry.handle_delivered(request, world.now);
    let actions = world.actions();
    assert!(has_event(
        &actions,
        &Event::Delivered {
            client: world.id(1),
            request,
            secret: Some(name("pin")),
            rehearsal: false,
        }
    ));
    assert!(
        !actions
            .iter()
            .any(|it| matches!(it, Action::StartCheck { .. }))
    );
    assert_eq!(world.left(1), deadline, "no deadline moves");
    assert_eq!(before.0, deadline.map(|left| left + seconds(20)));
    let after = world.client(1).to_state(world.boot, world.now);
    assert_eq!(
        (before.1.released, before.1.guard),
        (after.released, after.guard)
    );
    // Another one at once is no second request.
    let (_, actions) = world.get();
    assert!(
        actions
            .iter()
            .all(|it| !matches!(it, Action::Event(Event::Alarmed(..))))
    );
}

#[test]
fn a_boot_key_gets_none_whatever_it_claims() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    // It has the nonce of the boot that is up, by which it would get the boot secret as the machine itself.
    for rehearsal in [false, true] {
        let (request, actions) = world.get_as(1, "pin", rehearsal);
        assert_eq!(
            answer_to(&actions, request),
            refused(Refusal::NamedByBootKey)
        );
    }
    let (request, actions) = world.get_as(200, "pin", false);
    assert_eq!(answer_to(&actions, request), refused(Refusal::UnknownKey));
}

#[test]
fn what_refuses_the_client_refuses_its_named_secrets() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    world.registry.handle_deny(world.id(1), world.now);
    world.actions();
    assert_eq!(world.answer_to_get(), refused(Refusal::Denied));
    world.run(seconds(2));
    assert!(world.is_released_named());
    world.pass(seconds(301));
    assert_eq!(world.answer_to_get(), refused(Refusal::Disabled));
    world.registry.handle_enable(world.id(1), world.now);
    world.actions();
    assert!(world.is_released_named());
    world.registry.handle_disable(world.id(1), world.now);
    world.actions();
    assert_eq!(world.answer_to_get(), refused(Refusal::Disabled));
}

#[test]
fn a_missing_and_an_expired_secret_are_refused_by_name() {
    let mut world = world();
    assert_eq!(world.answer_to_get(), refused(Refusal::NoSuchSecret));
    let expires = at_boot().wall.after(seconds(100));
    world
        .put(sealed(5, |it| it.expires = Some(expires)))
        .unwrap();
    assert!(world.is_released_named());
    world.run(seconds(100));
    assert_eq!(world.answer_to_get(), refused(Refusal::SecretExpired));
    world.put(sealed(6, |_| {})).unwrap();
    world.remove("pin").unwrap();
    assert_eq!(world.answer_to_get(), refused(Refusal::NoSuchSecret));
}

#[test]
fn approval_is_for_one_request_and_never_by_default() {
    let mut world = world();
    world.put_as(sealed(5, |_| {}), true).unwrap();
    let (first, actions) = world.get();
    let until = world.now.mono.after(seconds(60));
    assert!(has_event(
        &actions,
        &Event::NeedsApproval {
            client: world.id(1),
            request: first,
            secret: Some(name("pin")),
            until,
            approved_by_default: false,
        }
    ));
    let (second, actions) = world.get();
    let several = |it: &Action| matches!(it, Action::Event(Event::Alarmed(..)));
    assert!(
        !actions.iter().any(several),
        "two named requests are no alarm"
    );
    world
        .registry
        .handle_decide(second, true, world.now)
        .unwrap();
    assert_eq!(
        answer_to(&world.actions(), second),
        Some(RequestAnswer::Release(world.id(1)))
    );
    world.beat(1);
    let actions = world.run(seconds(60));
    assert_eq!(
        answer_to(&actions, first),
        refused(Refusal::ApprovalTimedOut)
    );
}

#[test]
fn approval_takes_the_delay_of_the_client_where_that_is_longer() {
    let mut world = World::new(guarded(|it| {
        it.approval_delay = seconds(90);
        it.approved_by_default = true;
    }));
    world.put_as(sealed(5, |_| {}), true).unwrap();
    let (request, _) = world.get();
    assert_eq!(answer_to(&world.run(seconds(89)), request), None);
    let actions = world.run(seconds(2));
    assert_eq!(
        answer_to(&actions, request),
        refused(Refusal::ApprovalTimedOut)
    );
    // That of the boot secret does not count without the policy.
    world.put_as(sealed(6, |_| {}), false).unwrap();
    assert!(world.is_released_named());
}

#[test]
fn named_requests_that_wait_do_not_count_among_those_of_boots() {
    let mut world = World::new(guarded(|it| it.approval_delay = seconds(100)));
    world.put_as(sealed(5, |_| {}), true).unwrap();
    world.get();
    let alarms = |actions: &[Action]| {
        let several =
            |it: &&Action| matches!(it, Action::Event(Event::Alarmed(_, Alarm::SeveralWait(2))));
        actions.iter().filter(several).count()
    };
    assert_eq!(alarms(&world.ask(1).1), 0);
    assert_eq!(alarms(&world.get().1), 0);
    assert_eq!(alarms(&world.ask(1).1), 1);
}

#[test]
fn a_person_decides_while_the_machine_is_suspect() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    world.becomes_suspect();
    let (request, actions) = world.get();
    assert_eq!(answer_to(&actions, request), None);
    // Whether there is a secret of a name is not told either.
    let (missing, actions) = world.get_as(HOST, "other", false);
    assert_eq!(answer_to(&actions, missing), None);
    let (rehearsal, actions) = world.get_as(HOST, "pin", true);
    assert_eq!(
        answer_to(&actions, rehearsal),
        refused(Refusal::RehearsalNeedsApproval)
    );
    let decide = |world: &mut World, request| {
        world
            .registry
            .handle_decide(request, true, world.now)
            .unwrap();
        answer_to(&world.actions(), request)
    };
    assert_eq!(decide(&mut world, missing), refused(Refusal::NoSuchSecret));
    let released = Some(RequestAnswer::Release(world.id(1)));
    assert_eq!(decide(&mut world, request), released);
    let (request, _) = world.get();
    let actions = world.run(seconds(300));
    assert_eq!(answer_to(&actions, request), refused(Refusal::Disabled));
}

#[test]
fn a_rehearsal_is_told_at_once_what_it_would_get() {
    let mut world = world();
    let rehearse = |world: &mut World| {
        let (request, actions) = world.get_as(HOST, "pin", true);
        answer_to(&actions, request)
    };
    assert_eq!(rehearse(&mut world), refused(Refusal::NoSuchSecret));
    world.put(sealed(5, |_| {})).unwrap();
    let released = Some(RequestAnswer::Release(world.id(1)));
    assert_eq!(rehearse(&mut world), released);
    world.put_as(sealed(6, |_| {}), true).unwrap();
    assert_eq!(
        rehearse(&mut world),
        refused(Refusal::RehearsalNeedsApproval)
    );
}

#[test]
fn a_grant_ends_with_its_secret_and_with_its_client() {
    type Act = fn(&mut World) -> Vec<Action>;
    let acts: [(Act, Refusal); 6] = [
        (
            |it| it.put(sealed(6, |_| {})).unwrap(),
            Refusal::SecretChanged,
        ),
        (|it| it.remove("pin").unwrap(), Refusal::SecretChanged),
        (
            |it| read(it, true, in_file(7, false)),
            Refusal::SecretChanged,
        ),
        (
            |it| {
                it.registry.handle_disable(it.id(1), it.now);
                it.actions()
            },
            Refusal::Disabled,
        ),
        (
            |it| {
                it.registry.handle_deny(it.id(1), it.now);
                it.actions()
            },
            Refusal::Denied,
        ),
        (
            |it| {
                it.registry.handle_remove(it.id(1), it.now);
                it.actions()
            },
            Refusal::Removed,
        ),
    ];
    for (act, reason) in acts {
        let mut world = world();
        world.put(sealed(5, |_| {})).unwrap();
        let (granted, _) = world.get();
        world.put_as(sealed(5, |_| {}), true).unwrap();
        let (waits, _) = world.get();
        let (again, _) = world.get();
        world
            .registry
            .handle_decide(again, true, world.now)
            .unwrap();
        world.actions();
        let actions = act(&mut world);
        assert_eq!(revoked(&actions, again), Some(reason), "{reason:?}");
        assert_eq!(answer_to(&actions, waits), refused(reason));
        assert_eq!(world.released(again), Err(reason));
        // To put it again with another policy revokes, too.
        assert_eq!(world.released(granted), Err(Refusal::SecretChanged));
    }
}

#[test]
fn another_secret_of_the_machine_stays_granted() {
    let mut world = world();
    world.put(sealed(5, |_| {})).unwrap();
    world.put(sealed(5, |it| it.name = name("other"))).unwrap();
    let (request, _) = world.get();
    world.remove("other").unwrap();
    assert_eq!(world.released(request), Ok(5));
}

#[test]
fn what_an_agent_refused_is_an_alarm() {
    let mut world = world();
    let id = world.id(1);
    let rejection = Rejection {
        reason: RejectionReason::Forged,
        name: name("pin"),
    };
    world.registry.handle_rejected(id, rejection, world.now);
    let actions = world.actions();
    let [Action::Event(event)] = &actions[..] else {
        panic!("{actions:?}");
    };
    let record = event.record(None).unwrap();
    assert_eq!(record.kind.as_str(), "secret-rejected");
    assert_eq!(record.reason, Some("forged"));
    assert_eq!(record.secret, Some(name("pin")));
    assert_eq!(record.calls_for_person(), Some("secret-rejected"));
    assert_eq!(event.log_line().unwrap().fields.secret, Some(&name("pin")));
}
