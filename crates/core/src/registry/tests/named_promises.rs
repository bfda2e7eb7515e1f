//! Whatever happens: a named secret is released to the host key of an enabled machine only, with its last value, and
//! where a person has to decide, only after he did.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::guarded::{HOST, guarded};
use super::named::{name, sealed};
use super::world::*;
use crate::event::RequestId;
use crate::registry::{Action, RequestAnswer};

#[derive(Clone, Debug)]
enum Step {
    Put { approval: bool },
    PutOlder,
    Remove,
    GetByHostKey,
    Rehearse,
    GetByBootKey { rehearsal: bool },
    BootAsks(u8),
    Beat,
    Trust,
    Deny,
    Disable,
    Enable,
    Decide(bool),
    Deliver,
    PeerLeaves,
    Wait(u64),
    Restart { crash: bool },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<bool>().prop_map(|approval| Step::Put { approval }),
        1 => Just(Step::PutOlder),
        1 => Just(Step::Remove),
        6 => Just(Step::GetByHostKey),
        1 => Just(Step::Rehearse),
        2 => any::<bool>().prop_map(|rehearsal| Step::GetByBootKey { rehearsal }),
        2 => (1..4_u8).prop_map(Step::BootAsks),
        4 => Just(Step::Beat),
        1 => Just(Step::Trust),
        1 => Just(Step::Deny),
        1 => Just(Step::Disable),
        2 => Just(Step::Enable),
        3 => any::<bool>().prop_map(Step::Decide),
        2 => Just(Step::Deliver),
        1 => Just(Step::PeerLeaves),
        4 => (1..200_u64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(|crash| Step::Restart { crash }),
    ]
}

/// The secret as it should be.
#[derive(Default)]
struct Expected {
    last_serial: u64,
    /// Serial and approval.
    in_force: Option<(u64, bool)>,
}

struct Run {
    world: World,
    expected: Expected,
    /// Requests of the host key for the named secret.
    named: BTreeSet<RequestId>,
    by_boot_key: BTreeSet<RequestId>,
    granted: BTreeMap<RequestId, u64>,
}

impl Run {
    fn new() -> Self {
        let world = World::new(guarded(|_| {}));
        Self {
            world,
            expected: Expected::default(),
            named: BTreeSet::new(),
            by_boot_key: BTreeSet::new(),
            granted: BTreeMap::new(),
        }
    }

    /// Carries the step out. Returns its actions, and the request that a person approved.
    fn take(&mut self, step: &Step) -> (Vec<Action>, Option<RequestId>) {
        let world = &mut self.world;
        let (id, now) = (world.id(1), world.now);
        match *step {
            Step::Put { approval } => {
                let serial = self.expected.last_serial + 1;
                let put = world.registry.handle_put_secret(
                    id,
                    sealed(serial, |_| {}),
                    Some(approval),
                    now,
                );
                assert_eq!(put, Ok(()));
                self.expected.last_serial = serial;
                self.expected.in_force = Some((serial, approval));
            }
            Step::PutOlder => {
                let serial = self.expected.last_serial;
                if serial > 0 && self.expected.in_force.is_none() {
                    let put = sealed(serial, |_| {});
                    let put = world.registry.handle_put_secret(id, put, None, now);
                    assert!(put.is_err());
                }
            }
            Step::Remove => {
                let removed = world
                    .registry
                    .handle_remove_secret(id, &name("pin"), None, now);
                assert_eq!(removed.is_ok(), self.expected.in_force.take().is_some());
            }
            Step::GetByHostKey => {
                let (request, actions) = world.get();
                self.named.insert(request);
                return (actions, None);
            }
            Step::Rehearse => return (world.get_as(HOST, "pin", true).1, None),
            Step::GetByBootKey { rehearsal } => {
                let (request, actions) = world.get_as(1, "pin", rehearsal);
                self.by_boot_key.insert(request);
                return (actions, None);
            }
            Step::BootAsks(boot) => return (world.boots(boot).1, None),
            Step::Beat => return (world.beat(1).1, None),
            Step::Trust => world.registry.handle_trust(id, now),
            Step::Deny => world.registry.handle_deny(id, now),
            Step::Disable => world.registry.handle_disable(id, now),
            Step::Enable => world.registry.handle_enable(id, now),
            Step::Decide(approved) => {
                let first = world.registry.waiting(id, now).next();
                if let Some(pending) = first {
                    let request = pending.request;
                    let _ = world.registry.handle_decide(request, approved, now);
                    return (world.actions(), Some(request).filter(|_| approved));
                }
            }
            Step::Deliver => {
                if let Some((request, _)) = self.granted.pop_first() {
                    world.registry.handle_delivered(request, now);
                }
            }
            Step::PeerLeaves => {
                if let Some(request) = self.named.last() {
                    world.registry.handle_peer_gone(*request, now);
                }
            }
            Step::Wait(length) => return (world.run(seconds(length)), None),
            Step::Restart { crash } => {
                if crash {
                    world.disk.crash();
                } else {
                    world.disk.flush();
                }
                self.granted.clear();
                self.named.clear();
                return (world.restart(guarded(|_| {}), seconds(1), false), None);
            }
        }
        (world.actions(), None)
    }

    fn check(&mut self, actions: &[Action], approved: Option<RequestId>) {
        let released = actions.iter().filter_map(|action| match action {
            Action::Answer {
                request,
                answer: RequestAnswer::Release(_),
            } => Some(*request),
            _ => None,
        });
        for request in released {
            assert!(!self.by_boot_key.contains(&request), "by the boot key");
            if self.named.contains(&request) {
                self.check_release(request, approved);
            }
        }
    }

    fn check_release(&mut self, request: RequestId, approved: Option<RequestId>) {
        let client = self.world.client(1);
        let now = self.world.now;
        assert_eq!(client.refusal(now), None, "no right to any secret");
        let (serial, approval) = self.expected.in_force.expect("no secret");
        let needs_person = approval || client.guard().suspect().is_some();
        assert!(!needs_person || approved == Some(request), "nobody decided");
        let release = self.world.registry.release(request).unwrap();
        assert_eq!(release.secret.label(), (name("pin"), serial));
        self.granted.insert(request, serial);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_named_secret_goes_to_whom_it_must_not(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut run = Run::new();
        for step in &steps {
            let (actions, approved) = run.take(step);
            run.check(&actions, approved);
        }
    }
}
