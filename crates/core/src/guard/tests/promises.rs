//! What the guard promises under any sequence of events. A world of honest and dishonest requests keeps its own
//! books, by other rules than the guard's.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    /// A request with this nonce, or none.
    Ask(Option<u8>),
    /// The peer of a held request goes away.
    Leaves(usize),
    /// A sign of life whose connection was opened some time ago.
    Life {
        boot: u8,
        earlier: Option<u8>,
        resumes: u64,
        opened_ago: u64,
        goodbye: bool,
    },
    /// A person approves a request that waits for him.
    Approve(usize),
    Trust,
    Gap,
    /// A crash: the guard is read again as it was last durable.
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let boot = || 0..6_u8;
    prop_oneof![
        4 => (0..400_u64).prop_map(Op::Pass),
        6 => prop::option::weighted(0.9, boot()).prop_map(Op::Ask),
        1 => any::<usize>().prop_map(Op::Leaves),
        6 => (boot(), prop::option::of(boot()), 0..2_u64, 0..3_u64, prop::bool::weighted(0.3)).prop_map(
            |(boot, earlier, resumes, opened_ago, goodbye)| Op::Life { boot, earlier, resumes, opened_ago, goodbye }
        ),
        1 => any::<usize>().prop_map(Op::Approve),
        1 => Just(Op::Trust),
        1 => Just(Op::Gap),
        1 => Just(Op::Crash),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Held {
    request: WaitingRequest,
    /// None where it waits for a person.
    until: Option<Monotonic>,
}

struct World {
    guard: Guard,
    settings: GuardSettings,
    now: u64,
    held: Vec<Held>,
    /// Boots that were heard, as far as the guard must remember them.
    heard: Vec<u8>,
    /// When the machine is known to have been up, by heartbeats that were accepted.
    lives: Vec<u64>,
    goodbyes: usize,
    announced: usize,
    durable: Guard,
}

impl World {
    fn new(settings: GuardSettings) -> Self {
        Self {
            guard: Guard::default(),
            settings,
            now: 1000,
            held: Vec::new(),
            heard: Vec::new(),
            lives: Vec::new(),
            goodbyes: 0,
            announced: 0,
            durable: Guard::default(),
        }
    }

    fn play(&mut self, op: Op) {
        match op {
            Op::Pass(seconds) => self.pass(seconds),
            Op::Ask(boot) => self.ask(boot),
            Op::Leaves(which) => {
                if let Some(which) = which.checked_rem(self.held.len()) {
                    let held = self.held.remove(which);
                    if held.until.is_some() {
                        self.guard.request_left(held.request);
                    }
                }
            }
            Op::Life {
                boot,
                earlier,
                resumes,
                opened_ago,
                goodbye,
            } => {
                let life = Life {
                    boot: nonce(boot),
                    resumes,
                    earlier_boots: earlier.map(nonce).into_iter().collect(),
                    opened: at(self.now - opened_ago),
                    next: NEXT,
                    goodbye: goodbye.then_some(GoodbyeKind::Restart),
                };
                self.live(boot, &life);
            }
            Op::Approve(which) => {
                let mut waits: Vec<usize> = (0..self.held.len()).collect();
                waits.retain(|it| self.held[*it].until.is_none());
                if let Some(which) = which.checked_rem(waits.len()) {
                    let held = self.held.remove(waits[which]);
                    self.released(held.request);
                }
            }
            Op::Trust => self.guard.trust(),
            Op::Gap => self.guard.handle_gap(at(self.now)),
            Op::Crash => {
                // Only the time of the last heartbeat is lost: everything else was durable before its answer.
                self.held.clear();
                self.guard = self.durable.clone();
                self.guard.handle_gap(at(self.now));
            }
        }
        self.durable = self.guard.clone();
    }

    fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        let before = self.guard.unaccounted();
        let told = self.guard.handle_timeout(at(self.now)).len();
        assert_eq!(
            before - self.guard.unaccounted(),
            told,
            "a release was forgotten"
        );
        if let Some(next) = self.guard.poll_timeout() {
            assert!(next > at(self.now), "a timer that is due again and again");
        }
        let (ended, held): (Vec<_>, Vec<_>) = self
            .held
            .drain(..)
            .partition(|it| it.until.is_some_and(|until| until <= at(self.now)));
        self.held = held;
        for Held { request, .. } in ended {
            let (verdict, _) = self
                .guard
                .hold_ended(request.boot, &self.settings, at(self.now));
            self.decided(request, verdict, true);
        }
    }

    fn ask(&mut self, boot: Option<u8>) {
        let request = WaitingRequest {
            boot: boot.map(nonce),
            accepted: at(self.now),
        };
        let (verdict, _) = self
            .guard
            .request(request.boot, far(), &self.settings, at(self.now));
        self.decided(request, verdict, false);
    }

    fn decided(&mut self, request: WaitingRequest, verdict: Verdict, held: bool) {
        if self.guard.suspect().is_some() {
            // (c) Only a person releases.
            let strict = matches!(verdict, Verdict::Person | Verdict::Refuse);
            assert!(strict, "{verdict:?} while suspect");
        } else if self.settings.unannounced == Unannounced::Release {
            // (e) A machine whose agent is silent is released in time.
            let in_time = match verdict {
                Verdict::Pass(_) => true,
                Verdict::Hold(until) => !held && until <= at(self.now + 3),
                Verdict::Refuse => self.was_heard(request.boot),
                Verdict::Person => false,
            };
            assert!(in_time, "{verdict:?} for {request:?}");
        }
        match verdict {
            Verdict::Pass(passage) => {
                self.announced += usize::from(passage == Passage::Announced);
                // (b) One goodbye, one release.
                assert!(self.announced <= self.goodbyes);
                // A boot that was up needs no password any more.
                assert!(!self.was_heard(request.boot) || passage == Passage::Unarmed);
                // (a) Nobody who was up after the request has said so.
                let after = self
                    .lives
                    .iter()
                    .find(|opened| at(**opened) > request.accepted);
                assert_eq!(after, None, "released although the machine was up");
                self.released(request);
            }
            Verdict::Hold(until) => {
                let until = Some(until);
                self.held.push(Held { request, until });
            }
            Verdict::Person => self.held.push(Held {
                request,
                until: None,
            }),
            Verdict::Refuse => {}
        }
    }

    fn was_heard(&self, boot: Option<BootNonce>) -> bool {
        self.heard.iter().any(|heard| boot == Some(nonce(*heard)))
    }

    fn released(&mut self, request: WaitingRequest) {
        let before = self.guard.unaccounted();
        let WaitingRequest { boot, accepted } = request;
        let told = self
            .guard
            .released(boot, accepted, &self.settings, at(self.now));
        if self.guard.is_armed() {
            let after = self.guard.unaccounted() + usize::from(told.is_some());
            let retry = self
                .guard
                .releases
                .iter()
                .any(|it| it.retries > 0 && it.boot == boot);
            assert!(after == before + 1 || after == before && retry);
        }
    }

    fn live(&mut self, boot: u8, life: &Life) {
        let waiting: Vec<_> = self.held.iter().map(|it| it.request).collect();
        let (before, resumes) = (self.guard.releases.clone(), self.guard.resumes);
        let suspect = self.guard.suspect();
        let same = self.guard.boot() == Some(life.boot);
        let sent_nonce = self.guard.sent_nonce;
        let outcome = self
            .guard
            .life(life, &waiting, far(), &self.settings, at(self.now));
        let mut fates = outcome.waiting.iter();
        self.held
            .retain(|_| fates.next() == Some(&WaitingFate::Keep));
        // A suspicion ends by a person only.
        assert!(suspect.is_none() || self.guard.suspect().is_some());
        // Every release is accounted for, or told.
        let gone = before.len() - self.guard.unaccounted();
        let told = outcome.alarms.iter().filter(|it| match it {
            GuardAlarm::Unaccounted | GuardAlarm::ServedImpostor => true,
            GuardAlarm::Impostor | GuardAlarm::SecondRequest | GuardAlarm::Doubled => false,
        });
        if told.count() == 0 && gone > 0 {
            let known: BTreeSet<_> = life.earlier_boots.iter().chain([&life.boot]).collect();
            let own = before.iter().filter(|it| match it.boot {
                Some(boot) => known.contains(&boot) && !same,
                None => !sent_nonce && !same,
            });
            let resumed = usize::try_from(life.resumes.saturating_sub(resumes)).unwrap();
            let own = own.count() + if same { resumed } else { 0 };
            assert!(gone <= own, "{gone} releases forgotten, {own} explained");
        }
        if let Some(window) = outcome.window {
            assert!(window <= at(self.now + 600) && self.guard.suspect().is_none());
            self.goodbyes += 1;
        }
        self.lives.push(life.opened.since_boot().as_secs());
        self.heard.retain(|it| *it != boot);
        self.heard.push(boot);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_promises_hold_under_any_events(approve: bool, ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new(if approve { APPROVE } else { SETTINGS });
        for op in ops {
            world.play(op);
        }
        // In the end every release is told, those of held requests too.
        world.pass(100_000);
        world.pass(100_000);
        prop_assert_eq!(world.guard.unaccounted(), 0);
    }
}
