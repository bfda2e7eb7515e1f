//! The guard's table cell by cell. Beside it: what it finds out about releases, messages out of order, its promises
//! under random events, and honest machines.

mod account;
mod honest;
mod order;
mod promises;
mod saved;

use super::*;

const NEXT: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(900);

impl Guard {
    /// Decides on a request that is accepted at `now`.
    fn request_now(
        &self,
        boot: Option<BootNonce>,
        deadline: Monotonic,
        settings: &GuardSettings,
        now: Monotonic,
    ) -> (Verdict, Option<GuardAlarm>) {
        let request = BootRequest {
            boot,
            accepted: now,
        };
        self.request(request, deadline, settings, now)
    }
}

const SETTINGS: GuardSettings = GuardSettings {
    unannounced: Unannounced::Release,
    guard_wait: Duration::from_secs(3),
    reboot_window: Duration::from_secs(600),
    grace: GRACE,
};

const APPROVE: GuardSettings = GuardSettings {
    unannounced: Unannounced::Approve,
    ..SETTINGS
};

fn nonce(number: u8) -> BootNonce {
    BootNonce::from_bytes([number; 16])
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_secs(seconds))
}

/// A deadline that no test reaches.
fn far() -> Monotonic {
    at(1 << 40)
}

fn heartbeat(boot: u8, now: u64) -> Life {
    Life {
        boot: nonce(boot),
        resumes: 0,
        earlier_boots: Vec::new(),
        opened: at(now),
        next: NEXT,
        goodbye: None,
    }
}

fn goodbye(boot: u8, now: u64) -> Life {
    Life {
        goodbye: Some(GoodbyeKind::Reboot),
        ..heartbeat(boot, now)
    }
}

fn waits(boot: Option<u8>, accepted: u64) -> BootRequest {
    BootRequest {
        boot: boot.map(nonce),
        accepted: at(accepted),
    }
}

/// A guard beside a clock in seconds, and the alarms so far.
#[derive(Default)]
struct Watched {
    guard: Guard,
    now: u64,
    alarms: Vec<GuardAlarm>,
    waiting: Vec<BootRequest>,
}

impl Watched {
    /// A machine that is up in boot 1.
    fn up() -> Self {
        let mut watched = Self {
            now: 1000,
            ..Self::default()
        };
        watched.beat(1);
        watched
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        let change = self.guard.handle_timeout(at(self.now));
        self.alarms.extend(change.alarms);
    }

    fn life(&mut self, life: &Life) -> LifeOutcome {
        let outcome = self
            .guard
            .life(life, &self.waiting, far(), &SETTINGS, at(self.now));
        self.alarms.extend(&outcome.alarms);
        for fate in &outcome.waiting {
            if let WaitingFate::Refused(alarm) = fate {
                self.alarms.push(*alarm);
            }
        }
        outcome
    }

    fn beat(&mut self, boot: u8) -> LifeOutcome {
        self.life(&heartbeat(boot, self.now))
    }

    fn leave(&mut self, boot: u8) {
        let outcome = self.life(&goodbye(boot, self.now));
        assert_eq!(outcome.window, Some(at(self.now + 600)));
    }

    /// The verdict on a request, which is released if it passes at once.
    fn ask(&mut self, boot: Option<u8>) -> Verdict {
        let boot = boot.map(nonce);
        let (verdict, alarm) = self.guard.request_now(boot, far(), &SETTINGS, at(self.now));
        self.alarms.extend(alarm);
        if let Verdict::Pass(_) = verdict {
            self.release(boot, at(self.now));
        }
        verdict
    }

    /// A request that is held, and released at the end of its hold.
    fn ask_and_wait(&mut self, boot: Option<u8>) -> Verdict {
        let Verdict::Hold(until) = self.ask(boot) else {
            panic!("not held in {:?}", self.guard.phase());
        };
        let accepted = at(self.now);
        self.wait(until.since(accepted).as_secs());
        let boot = boot.map(nonce);
        let request = BootRequest { boot, accepted };
        let (verdict, alarm) = self.guard.hold_ended(request, &SETTINGS, at(self.now));
        self.alarms.extend(alarm);
        if let Verdict::Pass(_) = verdict {
            self.release(boot, accepted);
        }
        verdict
    }

    fn release(&mut self, boot: Option<BootNonce>, accepted: Monotonic) {
        let now = at(self.now);
        let change = self.guard.released(boot, accepted, &SETTINGS, now);
        self.alarms.extend(change.alarms);
    }

    /// The peer of a request that waits since `accepted` goes away. True when this must be durable.
    fn goes_away(&mut self, boot: Option<u8>, accepted: u64) -> bool {
        let change = self.guard.request_left(waits(boot, accepted));
        self.alarms.extend(change.alarms);
        change.changed
    }

    fn quiet() -> Self {
        let mut watched = Self::up();
        watched.wait(300);
        assert_eq!(watched.guard.phase(), Phase::Quiet);
        watched
    }

    fn is_up(&self, boot: u8) -> bool {
        self.guard.boot() == Some(nonce(boot)) && matches!(self.guard.phase(), Phase::Up { .. })
    }
}

#[test]
fn without_an_agent_everything_is_as_in_mandos() {
    let mut watched = Watched::default();
    for boot in [None, Some(1), Some(1), Some(2)] {
        assert_eq!(watched.ask(boot), Verdict::Pass(Passage::Unarmed));
    }
    assert_eq!(watched.guard.unaccounted(), 0);
    assert!(watched.alarms.is_empty());
}

/// Its nonce is known to root on that machine only, which sends it late: a `get` that is sent again, or for data disks.
#[test]
fn a_boot_that_is_up_or_over_is_refused_and_is_no_thief() {
    let mut watched = Watched::up();
    watched.beat(2);
    for boot in [1, 2] {
        let refused = (Verdict::Refuse, None);
        let request = waits(Some(boot), 2000);
        for settings in [SETTINGS, APPROVE] {
            let guard = &watched.guard;
            let verdict = guard.request_now(request.boot, far(), &settings, at(2000));
            assert_eq!(verdict, refused);
            assert_eq!(guard.hold_ended(request, &settings, at(2003)), refused);
        }
        // One that was accepted while the first heartbeat was under way, and waits.
        watched.now = 2010;
        watched.waiting = vec![request];
        assert_eq!(watched.beat(2).waiting, [WaitingFate::Superseded]);
    }
    assert!(watched.alarms.is_empty());
    assert_eq!(watched.guard.suspect(), None);
}

#[test]
fn a_request_beside_a_machine_that_is_up_is_found_out_by_its_next_heartbeat() {
    let mut watched = Watched::up();
    assert_eq!(watched.ask(Some(9)), Verdict::Hold(at(1003)));
    watched.waiting = vec![waits(Some(9), 1000)];
    // One that was under way proves nothing about the time after it.
    let late = Life {
        opened: at(999),
        ..heartbeat(1, 1001)
    };
    assert_eq!(watched.life(&late).waiting, [WaitingFate::Keep]);
    watched.now = 1001;
    let outcome = watched.beat(1);
    assert_eq!(
        outcome.waiting,
        [WaitingFate::Refused(GuardAlarm::Impostor)]
    );
    assert!(outcome.changed);
    assert_eq!(watched.guard.suspect(), Some(Suspicion::Impostor));
    assert_eq!(watched.alarms, [GuardAlarm::Impostor]);
    // From now on each release is a person's, until he trusts the machine again.
    watched.waiting.clear();
    assert_eq!(watched.ask(Some(9)), Verdict::Person);
    watched.wait(400);
    assert_eq!(watched.ask(Some(8)), Verdict::Person);
    watched.guard.trust();
    assert_eq!(watched.ask(Some(8)), Verdict::Pass(Passage::Unannounced));
}

#[test]
fn a_thief_who_asks_for_a_moment_only_is_found_out_too() {
    let mut watched = Watched::up();
    assert!(matches!(watched.ask(Some(9)), Verdict::Hold(_)));
    assert!(watched.goes_away(Some(9), 1000));
    watched.now = 1060;
    watched.beat(1);
    assert_eq!(watched.alarms, [GuardAlarm::Impostor]);
    assert_eq!(watched.guard.suspect(), Some(Suspicion::Impostor));
}

#[test]
fn a_power_cut_is_released_after_the_hold_or_at_once() {
    let mut watched = Watched::up();
    let unannounced = Verdict::Pass(Passage::Unannounced);
    assert_eq!(watched.ask_and_wait(Some(2)), unannounced);
    watched.wait(60);
    watched.beat(2);
    assert!(watched.is_up(2) && watched.alarms.is_empty());
    let mut watched = Watched::quiet();
    assert_eq!(watched.ask(Some(2)), unannounced);
    watched.beat(2);
    assert!(watched.is_up(2) && watched.alarms.is_empty());
    let guard = Watched::quiet().guard;
    let person = (Verdict::Person, None);
    assert_eq!(
        guard.request_now(Some(nonce(2)), far(), &APPROVE, at(2000)),
        person
    );
}

#[test]
fn a_hold_ends_before_the_deadline() {
    let guard = Watched::up().guard;
    let (verdict, _) = guard.request_now(Some(nonce(2)), at(1003), &SETTINGS, at(1000));
    assert_eq!(verdict, Verdict::Hold(at(1002)));
    let (verdict, _) = guard.request_now(Some(nonce(2)), at(1001), &SETTINGS, at(1000));
    assert_eq!(verdict, Verdict::Pass(Passage::Unannounced));
}

#[test]
fn an_announced_reboot_is_released_at_once_and_once() {
    let mut watched = Watched::up();
    watched.leave(1);
    watched.wait(30);
    assert_eq!(watched.ask(Some(2)), Verdict::Pass(Passage::Announced));
    assert!(watched.alarms.is_empty());
    // Its connection broke.
    for _ in 0..MAX_RETRIES {
        assert_eq!(watched.ask(Some(2)), Verdict::Pass(Passage::Retry));
    }
    assert!(watched.alarms.is_empty());
    let unannounced = Verdict::Pass(Passage::Unannounced);
    for other in [Some(2), Some(3), None] {
        assert_eq!(watched.ask(other), unannounced, "{other:?}");
        assert_eq!(watched.alarms.pop(), Some(GuardAlarm::SecondRequest));
    }
}

#[test]
fn a_request_without_a_nonce_cannot_use_a_goodbye() {
    let mut watched = Watched::up();
    watched.leave(1);
    let unannounced = Verdict::Pass(Passage::Unannounced);
    assert_eq!(watched.ask_and_wait(None), unannounced);
    let mut guard = Watched::up().guard;
    guard.life(&goodbye(1, 1000), &[], far(), &APPROVE, at(1000));
    let (verdict, _) = guard.hold_ended(waits(None, 1001), &APPROVE, at(1004));
    assert_eq!(verdict, Verdict::Person);
}

#[test]
fn a_machine_that_is_switched_off_under_approval_opens_no_window() {
    let poweroff = Life {
        goodbye: Some(GoodbyeKind::Poweroff),
        ..goodbye(1, 1000)
    };
    let mut guard = Watched::up().guard;
    let outcome = guard.life(&poweroff, &[], far(), &APPROVE, at(1000));
    assert_eq!((outcome.window, guard.phase()), (None, Phase::Quiet));
    let outcome = guard.life(&poweroff, &[], far(), &SETTINGS, at(1000));
    assert!(outcome.window.is_some());
    // No window is longer than the machine may be away.
    let again = Life {
        opened: at(1001),
        ..poweroff
    };
    let outcome = guard.life(&again, &[], at(1100), &SETTINGS, at(1001));
    assert_eq!(outcome.window, Some(at(1100)));
}

#[test]
fn a_password_that_was_typed_meanwhile_is_no_alarm() {
    let mut watched = Watched::up();
    assert!(matches!(watched.ask(Some(2)), Verdict::Hold(_)));
    watched.waiting = vec![waits(Some(2), 1000), waits(Some(9), 1000)];
    watched.now = 1002;
    let fates = watched.beat(2).waiting;
    let refused = WaitingFate::Refused(GuardAlarm::Unaccounted);
    assert_eq!(fates, [WaitingFate::Superseded, refused]);
    assert!(watched.is_up(2));
    assert_eq!(watched.guard.suspect(), None);
}

#[test]
fn two_boots_that_are_up_at_once_are_told_once_and_a_person_decides() {
    let mut watched = Watched::up();
    for _ in 0..3 {
        for boot in [2, 1] {
            watched.now += 60;
            watched.beat(boot);
        }
    }
    assert_eq!(watched.alarms, [GuardAlarm::Doubled]);
    watched.wait(400);
    assert_eq!(watched.ask(Some(5)), Verdict::Person);
    // It opens no window.
    let outcome = watched.life(&goodbye(1, watched.now));
    assert_eq!(outcome.window, None);
}

#[test]
fn only_what_must_be_durable_is_a_change() {
    let mut watched = Watched::default();
    assert!(watched.beat(1).changed, "armed");
    watched.now += 60;
    assert!(!watched.beat(1).changed);
    watched.wait(300);
    assert!(watched.beat(1).changed, "no longer quiet");
    assert!(watched.life(&goodbye(1, watched.now)).changed);
}
