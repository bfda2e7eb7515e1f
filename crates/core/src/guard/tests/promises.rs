//! The guard's promises under any sequence of events. A world of honest and dishonest requests keeps its own books,
//! by other rules than the guard's. What the guard does not call durable is lost at a crash.

mod books;

use proptest::prelude::*;

use self::books::Books;
use super::*;

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Ask(Who),
    /// The boot of the last grant asks again.
    Again,
    /// The peer of a request that waits goes away.
    Leaves(usize),
    /// One of the last grants was not sent.
    NotDelivered(usize),
    /// A sign of life whose connection was opened some time ago.
    Life {
        boot: u8,
        earlier: Option<u8>,
        resumes: u64,
        opened_ago: u64,
        goodbye: Option<GoodbyeKind>,
    },
    /// A person approves a request that waits for him.
    Approve(usize),
    Trust,
    BootKey,
    HostKey,
    /// A person moves the deadline.
    Deadline(u64),
    Gap(u64),
    /// A crash: the guard is read again as it was last durable.
    Crash,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Nameless,
    Known(u8),
    /// A nonce that was never seen.
    Fresh,
}

/// This boot, or one of the latest fresh nonces from here on.
const LATEST: u8 = 6;

fn op() -> impl Strategy<Value = Op> {
    let boot = || 0..LATEST + 2;
    let who = prop_oneof![
        1 => Just(Who::Nameless),
        5 => boot().prop_map(Who::Known),
        4 => Just(Who::Fresh),
    ];
    let kind = prop_oneof![
        4 => Just(None),
        2 => Just(Some(GoodbyeKind::Reboot)),
        1 => Just(Some(GoodbyeKind::Poweroff)),
    ];
    let ago = prop_oneof![2 => 0..3_u64, 1 => 0..60_u64];
    let resumes = prop_oneof![5 => Just(0), 1 => 1..3_u64];
    let life = (boot(), prop::option::of(boot()), resumes, ago, kind).prop_map(
        |(boot, earlier, resumes, opened_ago, goodbye)| Op::Life {
            boot,
            earlier,
            resumes,
            opened_ago,
            goodbye,
        },
    );
    prop_oneof![
        8 => prop_oneof![1 => 0..5_u64, 1 => 0..60_u64, 1 => 0..1000_u64].prop_map(Op::Pass),
        12 => who.prop_map(Op::Ask),
        6 => Just(Op::Again),
        2 => any::<usize>().prop_map(Op::Leaves),
        1 => (0..3_usize).prop_map(Op::NotDelivered),
        12 => life,
        2 => any::<usize>().prop_map(Op::Approve),
        2 => Just(Op::Trust),
        1 => prop_oneof![Just(Op::BootKey), Just(Op::HostKey)],
        2 => prop_oneof![0..8_u64, Just(TIMEOUT)].prop_map(Op::Deadline),
        1 => (0..2000_u64).prop_map(Op::Gap),
        2 => Just(Op::Crash),
    ]
}

const TIMEOUT: u64 = 1500;

#[derive(Clone, Copy, Debug)]
struct Held {
    request: BootRequest,
    /// None where it waits for a person.
    until: Option<Monotonic>,
}

struct World {
    guard: Guard,
    durable: Guard,
    settings: GuardSettings,
    now: u64,
    deadline: u64,
    /// The start of the server: no connection is older.
    started: u64,
    fresh: u8,
    held: Vec<Held>,
    /// The last grants that the guard remembers, the latest first.
    grants: Vec<BootRequest>,
    books: Books,
}

impl World {
    fn new(settings: GuardSettings) -> Self {
        Self {
            guard: Guard::default(),
            durable: Guard::default(),
            settings,
            now: 1000,
            deadline: 1000 + TIMEOUT,
            started: 0,
            fresh: 20,
            held: Vec::new(),
            grants: Vec::new(),
            books: Books::default(),
        }
    }

    fn play(&mut self, op: Op) {
        match op {
            Op::Pass(seconds) => self.pass(seconds),
            Op::Ask(who) => self.ask(who),
            Op::Again => {
                if let Some(grant) = self.grants.first() {
                    self.request(grant.boot);
                }
            }
            Op::Leaves(which) => {
                if let Some(which) = which.checked_rem(self.held.len()) {
                    let Held { request, .. } = self.held.remove(which);
                    let change = self.guard.request_left(request);
                    self.books.left(request);
                    self.changed(&change);
                }
            }
            Op::NotDelivered(which) => {
                if which < self.grants.len() {
                    let grant = self.grants.remove(which);
                    let change = self.guard.not_delivered(grant.boot, grant.accepted);
                    self.books.not_delivered(grant);
                    self.changed(&change);
                }
            }
            Op::Life {
                boot,
                earlier,
                resumes,
                opened_ago,
                goodbye,
            } => {
                let earlier = earlier.map(|it| nonce(self.boot(it)).mark());
                let opened = (self.now - opened_ago).max(self.started);
                let life = Life {
                    resumes,
                    earlier_boots: earlier.into_iter().collect(),
                    opened: at(opened),
                    goodbye,
                    ..heartbeat(self.boot(boot), 0)
                };
                self.live(&life);
            }
            Op::Approve(which) => self.approve(which),
            Op::Deadline(seconds) => self.deadline = self.now + seconds,
            Op::Gap(seconds) => {
                self.gap(seconds);
            }
            Op::Trust | Op::BootKey | Op::HostKey | Op::Crash => self.upset(&op),
        }
    }

    fn upset(&mut self, op: &Op) {
        match op {
            Op::Trust => self.guard.trust(),
            Op::BootKey => {
                self.held.clear();
                self.guard.boot_key_changed();
                self.books.boot_key_changed();
            }
            Op::HostKey => {
                self.guard.host_key_changed();
                self.books.host_key_changed();
            }
            _ => {
                self.held.clear();
                self.guard = self.durable.clone();
                (self.guard.first, self.guard.newest) = (NEVER, NEVER);
                self.started = self.now;
                self.books.start();
                return self.gap(0);
            }
        }
        self.books.suspect &= matches!(op, Op::HostKey);
        self.durable = self.guard.clone();
    }

    fn boot(&self, number: u8) -> u8 {
        number
            .checked_sub(LATEST)
            .map_or(number, |ago| self.fresh - ago)
    }

    fn gap(&mut self, seconds: u64) {
        let begun = self.now;
        self.now += seconds;
        self.guard.handle_gap(&self.settings, at(self.now));
        self.books.gap(begun, self.now);
        self.pass(0);
    }

    fn changed(&mut self, change: &GuardChange) {
        if change.changed {
            self.durable = self.guard.clone();
        }
        let alarm = change
            .alarms
            .iter()
            .any(|it| *it != GuardAlarm::Unaccounted);
        assert!(!alarm, "only a sign of life proves a theft");
    }

    /// Time passes, and every timer is heard when it is due.
    fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds;
        loop {
            let holds = self.held.iter().filter_map(|it| it.until);
            let next = holds.chain(self.guard.poll_timeout()).min();
            let next = next.map_or(end, |it| it.since_boot().as_secs().max(self.now));
            self.now = next.min(end);
            self.timers();
            if next >= end {
                self.now = end;
                return;
            }
        }
    }

    fn timers(&mut self) {
        let now = at(self.now);
        let untold = |guard: &Guard| guard.releases.iter().filter(|it| !it.told).count();
        let before = untold(&self.guard);
        let change = self.guard.handle_timeout(now);
        let told = before - untold(&self.guard);
        assert_eq!(change.alarms.len(), told, "a release was forgotten");
        self.changed(&change);
        let due = self.guard.poll_timeout().is_some_and(|next| next <= now);
        assert!(!due, "a timer that is due again and again");
        let is_due = |it: &Held| it.until.is_some_and(|until| until <= now);
        for Held { request, .. } in self
            .held
            .extract_if(.., |it| is_due(it))
            .collect::<Vec<_>>()
        {
            // Whoever is disabled gets nothing, and the guard is not asked.
            if self.now < self.deadline {
                let (verdict, _) = self.guard.hold_ended(request, &self.settings, now);
                self.decided(request, verdict, true);
            }
        }
    }

    fn ask(&mut self, who: Who) {
        let boot = match who {
            Who::Nameless => None,
            Who::Known(boot) => Some(self.boot(boot)),
            Who::Fresh => {
                self.fresh += 1;
                Some(self.fresh)
            }
        };
        self.request(boot.map(nonce));
    }

    fn request(&mut self, boot: Option<BootNonce>) {
        if self.now < self.deadline {
            let (deadline, now) = (at(self.deadline), at(self.now));
            let request = BootRequest {
                boot,
                accepted: now,
            };
            let (verdict, _) = self.guard.request_now(boot, deadline, &self.settings, now);
            self.decided(request, verdict, false);
        }
    }

    fn decided(&mut self, request: BootRequest, verdict: Verdict, held: bool) {
        if self.books.suspect || self.guard.suspect().is_some() {
            // (c) Only a person releases.
            let strict = matches!(verdict, Verdict::Person | Verdict::Refuse);
            assert!(strict, "{verdict:?} while suspect");
        } else if self.settings.unannounced == Unannounced::Release {
            // (e) A machine whose agent is silent is released in time, and before its deadline.
            let latest = at((self.now + 3).min(self.deadline - 1));
            let in_time = match verdict {
                Verdict::Pass(_) => true,
                Verdict::Hold(until) => !held && until <= latest,
                Verdict::Refuse => self.books.was_heard(request.boot),
                Verdict::Person => false,
            };
            assert!(in_time, "{verdict:?} for {request:?}");
        }
        let until = match verdict {
            Verdict::Pass(passage) => {
                self.books.passes(request, passage, self.now);
                return self.released(request);
            }
            Verdict::Hold(until) => Some(until),
            Verdict::Person => None,
            Verdict::Refuse => return,
        };
        self.held.push(Held { request, until });
    }

    fn approve(&mut self, which: usize) {
        let mut waits: Vec<usize> = (0..self.held.len()).collect();
        waits.retain(|it| self.held[*it].until.is_none());
        if let Some(which) = which.checked_rem(waits.len()) {
            let held = self.held.remove(waits[which]);
            self.released(held.request);
        }
    }

    fn released(&mut self, request: BootRequest) {
        // (d) The deadline is extended by the grace.
        self.deadline = self.deadline.max(self.now + GRACE.as_secs());
        let BootRequest { boot, accepted } = request;
        let now = at(self.now);
        let change = self.guard.released(boot, accepted, &self.settings, now);
        assert_eq!(change.changed, self.books.is_armed());
        let forgot = !change.alarms.is_empty();
        self.books.released(request, forgot, self.now);
        self.changed(&change);
        if change.changed {
            self.grants.insert(0, request);
        }
    }

    fn live(&mut self, life: &Life) {
        if self.now < self.deadline {
            self.deadline = self.now + TIMEOUT;
        }
        let deadline = at(self.deadline);
        let waiting: Vec<_> = self.held.iter().map(|it| it.request).collect();
        let before = self.guard.clone();
        let now = at(self.now);
        let outcome = self
            .guard
            .life(life, &waiting, deadline, &self.settings, now);
        if outcome.changed {
            self.durable = self.guard.clone();
        }
        let mut fates = outcome.waiting.iter();
        self.held
            .retain(|_| fates.next() == Some(&WaitingFate::Keep));
        // A suspicion ends by a person only.
        assert!(self.guard.suspect() >= before.suspect());
        if let Some(window) = outcome.window {
            assert!(window > now && window <= at(self.now + 600).min(deadline));
            assert_eq!(self.guard.suspect(), None);
        }
        let books = &mut self.books;
        books.live(life, &waiting, &outcome, &before, self.now);
        let known = self
            .guard
            .suspect()
            .is_some_and(|it| it != Suspicion::Doubled);
        assert!(known || !self.books.suspect, "a theft without suspicion");
    }
}

/// A resume explains the first of several requests with one nonce, so that the guard forgets them all. The next goodbye
/// releases to that nonce anew, with its own retries.
#[test]
fn a_nonce_that_was_explained_by_a_resume_counts_anew() {
    let life = |resumes, goodbye| Op::Life {
        boot: 0,
        earlier: None,
        resumes,
        opened_ago: 0,
        goodbye,
    };
    let reboot = Some(GoodbyeKind::Reboot);
    let mut world = World::new(APPROVE);
    world.play(life(0, None));
    world.play(Op::Pass(1));
    world.play(Op::Ask(Who::Fresh));
    world.play(life(0, reboot));
    world.play(Op::Pass(3));
    world.play(Op::Ask(Who::Known(LATEST)));
    world.play(Op::Again);
    world.play(Op::Approve(0));
    world.play(life(1, reboot));
    world.play(Op::Pass(1));
    for _ in 0..=MAX_RETRIES {
        world.play(Op::Again);
    }
    assert_eq!(world.held.len(), 0);
    world.play(Op::Again);
    assert_eq!(world.held.len(), 1, "it was released four times");
}

/// The number of cases unless the environment has `PROPTEST_CASES`.
pub(super) fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let of_environment = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if of_environment { default.cases } else { cases },
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config(25_000))]
    #[test]
    fn the_promises_hold_under_any_events(approve: bool, ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new(if approve { APPROVE } else { SETTINGS });
        for op in ops {
            world.play(op);
        }
        // In the end every release is told, those of held requests too.
        world.pass(100_000);
        world.pass(100_000);
        prop_assert!(!world.guard.has_untold());
    }
}
