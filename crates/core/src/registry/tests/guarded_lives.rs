//! Any life of a machine with an agent keeps the promises of 0170, over crashes between any two writes: (a) to (e) there
//! are the names here.

use proptest::prelude::*;

use super::guarded::{boot, guarded};
use super::world::*;
use crate::boot_nonce::BootNonce;
use crate::client::saved::End;
use crate::event::{Event, Grant, KeyRole, RequestClaims, RequestId};
use crate::guard::{GoodbyeKind, Passage, Phase, Unannounced};
use crate::registry::{Action, RequestAnswer, SignOfLife};
use crate::settings::client::ClientConfig;
use crate::time::Monotonic;

#[derive(Clone, Copy, Debug)]
enum Op {
    Pass(u16),
    /// A sign of life of this boot, opened so long ago; a goodbye or not.
    Life(u8, u8, bool),
    /// A request with the boot key, of this boot or by Mandos's protocol.
    Ask(Option<u8>),
    Deliver,
    Fail(bool),
    Leave,
    Approve,
    Trust,
    Enable,
    /// The server ends, cleanly or not, and the host with it or not; it was down for so long.
    Restart(bool, bool, u8),
    /// The configuration is read again, with another rule.
    Reload(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let boots = 1..5_u8;
    prop_oneof![
        6 => (0..40_u16).prop_map(Op::Pass),
        1 => (0..700_u16).prop_map(Op::Pass),
        6 => (boots.clone(), 0..4_u8, any::<bool>()).prop_map(|(boot, ago, bye)| Op::Life(boot, ago, bye)),
        6 => proptest::option::weighted(0.8, boots).prop_map(Op::Ask),
        3 => Just(Op::Deliver),
        1 => any::<bool>().prop_map(Op::Fail),
        1 => Just(Op::Leave),
        1 => Just(Op::Approve),
        1 => Just(Op::Trust),
        1 => Just(Op::Enable),
        1 => (any::<bool>(), any::<bool>(), 0..200_u8).prop_map(|(clean, host, down)| Op::Restart(clean, host, down)),
        1 => any::<bool>().prop_map(Op::Reload),
    ]
}

/// The facts that the promises are about, in books of its own.
struct Books {
    world: World,
    rule: Unannounced,
    /// Requests without an answer, with the time of their acceptance.
    open: Vec<(RequestId, Monotonic, Option<BootNonce>)>,
    /// Requests with the nonce of the boot that was up when they were granted.
    own: Vec<RequestId>,
    granted: Vec<RequestId>,
    approved: Vec<RequestId>,
    /// Boots that were heard, with the time at which the first was.
    heard: Vec<(u8, Monotonic)>,
    /// Signs of life: boot, and the time at which the connection was opened.
    lives: Vec<(u8, Monotonic)>,
    goodbyes: usize,
    announced: usize,
    /// No deadline may be later.
    limit: Monotonic,
    extended: bool,
}

impl Books {
    fn new() -> Self {
        let world = World::new(guarded(|_| {}));
        let limit = world.now.mono.after(seconds(300));
        Self {
            world,
            rule: Unannounced::Release,
            open: Vec::new(),
            own: Vec::new(),
            granted: Vec::new(),
            approved: Vec::new(),
            heard: Vec::new(),
            lives: Vec::new(),
            goodbyes: 0,
            announced: 0,
            limit,
            extended: false,
        }
    }

    fn section(&self) -> Vec<ClientConfig> {
        guarded(|settings| settings.unannounced = self.rule)
    }

    fn apply(&mut self, op: Op) {
        let now = self.world.now;
        let id = self.world.id(1);
        let was_suspect = self.world.client(1).guard().suspect().is_some();
        let was_armed = self.world.client(1).is_armed();
        let mut may_release_suspect = false;
        let actions = match op {
            Op::Pass(time) => self.world.run(seconds(time.into())),
            Op::Life(number, ago, bye) => return self.life(number, ago, bye),
            Op::Ask(number) => {
                let claims = RequestClaims {
                    boot: number.map(boot),
                    rehearsal: false,
                };
                let (request, actions) = self.world.ask_as(1, claims);
                self.open.push((request, now.mono, claims.boot));
                actions
            }
            Op::Deliver => {
                let Some(request) = self.granted.pop() else {
                    return;
                };
                self.world.registry.handle_delivered(request, now);
                let counts = !self.own.contains(&request);
                if counts && !std::mem::replace(&mut self.extended, true) {
                    self.limit = self.limit.max(now.mono.after(seconds(900)));
                }
                self.world.actions()
            }
            Op::Fail(sent) => {
                let Some(request) = self.granted.pop() else {
                    return;
                };
                self.world
                    .registry
                    .handle_delivery_failed(request, sent, now);
                self.world.actions()
            }
            Op::Leave => {
                let Some((request, ..)) = self.open.pop() else {
                    return;
                };
                self.world.registry.handle_peer_gone(request, now);
                self.world.actions()
            }
            Op::Approve => {
                let waiting: Vec<_> = self.world.registry.waiting_boots(id).collect();
                if let [request] = waiting[..] {
                    self.approved.push(request);
                }
                let _ = self.world.registry.handle_approve(id, now);
                self.world.actions()
            }
            Op::Trust => {
                may_release_suspect = true;
                self.world.registry.handle_trust(id, now);
                self.world.actions()
            }
            Op::Enable => {
                if !self.world.client(1).is_enabled() {
                    self.limit = now.mono.after(seconds(300));
                    self.extended = false;
                }
                self.world.registry.handle_enable(id, now);
                self.world.actions()
            }
            Op::Restart(clean, host, down) => self.restart(clean, host, down),
            Op::Reload(release) => {
                self.rule = match release {
                    true => Unannounced::Release,
                    false => Unannounced::Approve,
                };
                let section = self.section();
                read(&mut self.world, true, section)
            }
        };
        let must_be_approved = was_suspect && !may_release_suspect;
        self.check(&actions, was_armed, must_be_approved);
    }

    fn life(&mut self, number: u8, ago: u8, bye: bool) {
        let now = self.world.now.mono;
        let was_suspect = self.world.client(1).guard().suspect().is_some();
        let sign = SignOfLife {
            opened: now.before(seconds(ago.into())),
            goodbye: bye.then_some(GoodbyeKind::Reboot),
            ..self.world.sign(number)
        };
        let (answer, actions) = self.world.life(&sign);
        if let Some(RequestAnswer::Alive { window, .. }) = answer {
            self.goodbyes += usize::from(window.is_some());
            self.lives.push((number, sign.opened));
            let counted = sign.opened.after(seconds(300));
            self.limit = self.limit.max(counted);
            if self.world.client(1).deadline.map(|it| it.mono) == Some(counted) {
                self.limit = counted;
                self.extended = false;
            }
        }
        if !self.heard.iter().any(|(it, _)| *it == number) {
            self.heard.push((number, now));
        }
        self.check(&actions, true, was_suspect);
    }

    fn restart(&mut self, clean: bool, host: bool, down: u8) -> Vec<Action> {
        if clean {
            self.world.disk.flush();
            self.world.disk.end = Some(End::Clean);
        } else {
            self.world.disk.crash();
            self.world.disk.end = Some(End::Cut(self.world.boot));
        }
        let left = self.limit.since(self.world.now.mono);
        let section = self.section();
        let actions = self.world.restart(section, seconds(down.into()), host);
        (self.open, self.granted) = (Vec::new(), Vec::new());
        // Times of another boot of the host are not comparable.
        (self.heard, self.lives) = (Vec::new(), Vec::new());
        let now = self.world.now.mono;
        // It gets another timeout at most, and once.
        let rest = left.saturating_sub(seconds(down.into()));
        self.limit = now.after(rest.max(seconds(300)));
        actions
    }

    fn check(&mut self, actions: &[Action], was_armed: bool, must_be_approved: bool) {
        for action in actions {
            match action {
                Action::Answer { request, answer } => self.answered(*request, *answer),
                Action::Event(Event::Granted {
                    grant,
                    passage,
                    role: KeyRole::Boot,
                    ..
                }) => {
                    // (c)
                    assert!(!must_be_approved || *grant == Grant::Approved);
                    self.announced += usize::from(*passage == Some(Passage::Announced));
                }
                _ => {}
            }
        }
        // (b)
        assert!(self.announced <= self.goodbyes, "a goodbye was used twice");
        let now = self.world.now.mono;
        let client = self.world.client(1);
        // (d)
        if let Some(deadline) = client.deadline.filter(|_| was_armed) {
            assert!(
                deadline.mono <= self.limit,
                "{deadline:?} > {:?}",
                self.limit
            );
        }
        // (e)
        // 3 s where the agent can be poked, else until its next heartbeat is due, and a margin.
        for (_, until) in client.held.iter() {
            assert!(
                now <= until && until <= now.after(seconds(20)),
                "held too long"
            );
        }
        let waits = !client.waiting.is_empty();
        let needs_person = client.guard().suspect().is_some() || self.rule == Unannounced::Approve;
        assert!(!waits || needs_person, "waits for nobody");
    }

    fn answered(&mut self, request: RequestId, answer: RequestAnswer) {
        let Some(place) = self.open.iter().position(|(it, ..)| *it == request) else {
            return;
        };
        let (_, accepted, boot) = self.open.remove(place);
        if let RequestAnswer::Release(_) = answer {
            let guard = self.world.client(1).guard();
            let is_heard = matches!(guard.phase(), Phase::Up { .. });
            if boot.is_some() && guard.boot() == boot && is_heard {
                self.own.push(request);
            }
            // (a)
            let proved = self.lives.iter().any(|(number, opened)| {
                let before = |(it, first): &(u8, Monotonic)| it == number && *first < accepted;
                *opened > accepted && self.heard.iter().any(before)
            });
            let is_own = self.own.contains(&request);
            assert!(!proved || is_own || self.approved.contains(&request));
            self.granted.push(request);
        }
    }
}

fn cases() -> u32 {
    let asked = std::env::var("NIGHTLATCH_LIVES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_life_keeps_the_promises(ops in prop::collection::vec(op(), 1..60)) {
        let mut books = Books::new();
        for op in ops {
            books.apply(op);
        }
    }
}
