//! The guard's table cell by cell, its promises under random events, and a month without an alarm.

mod promises;

use super::*;

const NEXT: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(900);

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
        goodbye: Some(GoodbyeKind::Restart),
        ..heartbeat(boot, now)
    }
}

/// A guard beside a clock in seconds, and the alarms so far.
#[derive(Default)]
struct Watched {
    guard: Guard,
    now: u64,
    alarms: Vec<GuardAlarm>,
    waiting: Vec<WaitingRequest>,
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
        self.alarms.extend(self.guard.handle_timeout(at(self.now)));
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

    /// What a request meets, and its release if it is released at once.
    fn ask(&mut self, boot: Option<u8>) -> Verdict {
        let boot = boot.map(nonce);
        let (verdict, alarm) = self.guard.request(boot, far(), &SETTINGS, at(self.now));
        self.alarms.extend(alarm);
        if let Verdict::Pass(_) = verdict {
            self.release(boot);
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
        let (verdict, alarm) = self.guard.hold_ended(boot, &SETTINGS, at(self.now));
        self.alarms.extend(alarm);
        if let Verdict::Pass(_) = verdict {
            let told = self.guard.released(boot, accepted, &SETTINGS, at(self.now));
            self.alarms.extend(told);
        }
        verdict
    }

    fn release(&mut self, boot: Option<BootNonce>) {
        let told = self
            .guard
            .released(boot, at(self.now), &SETTINGS, at(self.now));
        self.alarms.extend(told);
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

#[test]
fn a_boot_that_is_up_or_over_never_asks() {
    let mut watched = Watched::up();
    watched.beat(2);
    for boot in [1, 2] {
        for settings in [SETTINGS, APPROVE] {
            let mut guard = watched.guard.clone();
            let boot = Some(nonce(boot));
            let refused = (Verdict::Refuse, Some(GuardAlarm::Impostor));
            assert_eq!(guard.request(boot, far(), &settings, at(2000)), refused);
            assert_eq!(guard.suspect(), Some(Suspicion::Impostor));
        }
    }
}

#[test]
fn a_request_beside_a_machine_that_is_up_is_found_out_by_its_next_heartbeat() {
    let mut watched = Watched::up();
    assert_eq!(watched.ask(Some(9)), Verdict::Hold(at(1003)));
    watched.waiting = vec![WaitingRequest {
        boot: Some(nonce(9)),
        accepted: at(1000),
    }];
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
    watched.guard.request_left(WaitingRequest {
        boot: Some(nonce(9)),
        accepted: at(1000),
    });
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
    let mut guard = Watched::quiet().guard;
    let person = (Verdict::Person, None);
    assert_eq!(
        guard.request(Some(nonce(2)), far(), &APPROVE, at(2000)),
        person
    );
}

#[test]
fn a_hold_ends_before_the_deadline() {
    let mut guard = Watched::up().guard;
    let (verdict, _) = guard.request(Some(nonce(2)), at(1003), &SETTINGS, at(1000));
    assert_eq!(verdict, Verdict::Hold(at(1002)));
    let (verdict, _) = guard.request(Some(nonce(2)), at(1001), &SETTINGS, at(1000));
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
    let (verdict, _) = guard.hold_ended(None, &APPROVE, at(1003));
    assert_eq!(verdict, Verdict::Person);
    assert!(!guard.is_downgrade(None));
    guard.request(Some(nonce(2)), far(), &APPROVE, at(1003));
    assert!(guard.is_downgrade(None));
}

#[test]
fn a_goodbye_is_void_after_a_heartbeat_and_after_its_window() {
    let mut watched = Watched::up();
    watched.leave(1);
    watched.wait(5);
    // One that was under way when the goodbye came does not cancel it.
    let late = Life {
        opened: at(999),
        ..heartbeat(1, 1005)
    };
    watched.life(&late);
    assert!(matches!(watched.guard.phase(), Phase::Leaving { .. }));
    watched.beat(1);
    assert!(watched.is_up(1));
    watched.leave(1);
    watched.wait(600);
    assert_eq!(watched.guard.phase(), Phase::Quiet);
    assert!(watched.alarms.is_empty());
    // The server was set back: what was announced then is not announced now.
    let mut watched = Watched::up();
    watched.leave(1);
    watched.guard.distrust_state();
    assert_eq!(watched.guard.phase(), Phase::Quiet);
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

/// The secret was given to a thief: the machine had been up all the time, cut off from the server.
#[test]
fn a_thief_who_was_served_is_found_out_by_the_machine_itself() {
    for life in [heartbeat, goodbye] {
        let mut watched = Watched::quiet();
        watched.ask(Some(9));
        watched.wait(60);
        let outcome = watched.life(&life(1, watched.now));
        assert!(outcome.revoke && outcome.changed && outcome.window.is_none());
        assert_eq!(watched.alarms, [GuardAlarm::ServedImpostor]);
        assert_eq!(watched.guard.suspect(), Some(Suspicion::ServedImpostor));
        assert_eq!(watched.guard.unaccounted(), 0);
    }
}

#[test]
fn a_resume_from_hibernation_needed_the_password_and_a_suspend_did_not() {
    let mut watched = Watched::quiet();
    watched.ask(Some(2));
    let resumed = Life {
        resumes: 1,
        ..heartbeat(1, watched.now + 1)
    };
    watched.now += 1;
    let outcome = watched.life(&resumed);
    assert!(!outcome.revoke && watched.alarms.is_empty());
    assert!(watched.is_up(1));
    // The same number again is no further resume.
    watched.wait(300);
    watched.ask(Some(3));
    watched.now += 1;
    let again = Life {
        opened: at(watched.now),
        ..resumed
    };
    watched.life(&again);
    assert_eq!(watched.alarms, [GuardAlarm::ServedImpostor]);
}

#[test]
fn a_boot_accounts_for_its_own_releases_and_those_that_it_knows() {
    let mut watched = Watched::quiet();
    // One that failed after its root was mounted, then the one that comes up.
    watched.ask(Some(2));
    watched.ask(Some(3));
    watched.alarms.clear();
    watched.now += 60;
    let life = Life {
        earlier_boots: vec![nonce(2)],
        ..heartbeat(3, watched.now)
    };
    watched.life(&life);
    assert!(watched.alarms.is_empty() && watched.is_up(3));
    // A thief's is told.
    watched.wait(300);
    watched.ask(Some(9));
    watched.ask(Some(4));
    watched.alarms.clear();
    watched.now += 60;
    watched.beat(4);
    assert_eq!(watched.alarms, [GuardAlarm::Unaccounted]);
    assert_eq!(watched.guard.suspect(), None);
}

#[test]
fn a_release_whose_boot_never_comes_up_is_told_once() {
    let mut watched = Watched::quiet();
    watched.ask(Some(9));
    watched.wait(899);
    assert!(watched.alarms.is_empty());
    watched.wait(1);
    assert_eq!(watched.alarms, [GuardAlarm::Unaccounted]);
    assert_eq!(watched.guard.phase(), Phase::Quiet);
    watched.wait(10_000);
    watched.beat(2);
    assert_eq!(watched.alarms.len(), 1);
}

#[test]
fn a_machine_in_a_boot_loop_is_not_kept_down() {
    let mut watched = Watched::quiet();
    for boot in 10..30 {
        let verdict = watched.ask(Some(boot));
        assert_eq!(verdict, Verdict::Pass(Passage::Unannounced));
        watched.now += 10;
    }
    assert_eq!(watched.guard.unaccounted(), MAX_REMEMBERED);
    let told = |alarm| watched.alarms.iter().filter(|it| **it == alarm).count();
    assert_eq!(told(GuardAlarm::Unaccounted), 20 - MAX_REMEMBERED);
    assert_eq!(told(GuardAlarm::SecondRequest), 19);
}

#[test]
fn a_password_that_was_typed_meanwhile_is_no_alarm() {
    let mut watched = Watched::up();
    assert!(matches!(watched.ask(Some(2)), Verdict::Hold(_)));
    let waits = |boot| WaitingRequest {
        boot: Some(nonce(boot)),
        accepted: at(1000),
    };
    watched.waiting = vec![waits(2), waits(9)];
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
fn a_machine_without_nonces_has_one_release_of_its_own() {
    let mut watched = Watched::quiet();
    watched.ask(None);
    watched.now += 60;
    watched.beat(2);
    assert!(watched.alarms.is_empty());
    // Once it sent one, a request without is somebody else's.
    watched.wait(300);
    watched.ask(Some(3));
    watched.now += 60;
    watched.beat(3);
    watched.wait(300);
    watched.ask(None);
    watched.now += 60;
    watched.beat(4);
    assert_eq!(watched.alarms, [GuardAlarm::Unaccounted]);
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

#[test]
fn a_pause_of_the_server_is_no_silence_of_the_machine() {
    let mut watched = Watched::up();
    watched.now += 10_000;
    watched.guard.handle_gap(at(watched.now));
    watched.wait(299);
    assert!(watched.is_up(1));
    watched.wait(1);
    assert_eq!(watched.guard.phase(), Phase::Quiet);
}

#[test]
fn new_keys_end_what_belonged_to_the_old_ones() {
    let mut watched = Watched::quiet();
    watched.ask(Some(9));
    watched.now += 1;
    watched.beat(1);
    let suspect = watched.guard.suspect();
    assert!(suspect.is_some());
    let mut guard = watched.guard.clone();
    guard.host_key_changed();
    assert_eq!((guard.suspect(), guard.phase()), (suspect, Phase::Unarmed));
    assert_eq!(
        guard.request(Some(nonce(5)), far(), &SETTINGS, at(5000)).0,
        Verdict::Person
    );
    guard.boot_key_changed();
    assert_eq!(guard.suspect(), None);
}

/// What happens to an honest machine in a month.
#[test]
fn a_normal_month_raises_no_alarm() {
    let mut watched = Watched::up();
    let mut boot = 1;
    let day = |watched: &mut Watched, boot: u8| {
        for _ in 0..720 {
            watched.now += 120;
            watched.wait(0);
            watched.beat(boot);
        }
    };
    let comes_up = |watched: &mut Watched, boot: u8| {
        watched.wait(45);
        watched.beat(boot);
        assert!(watched.is_up(boot));
    };
    for week in 0..4_u8 {
        day(&mut watched, boot);
        // A new kernel: an announced reboot. Its connection breaks once.
        watched.leave(boot);
        watched.wait(20);
        boot += 1;
        assert_eq!(watched.ask(Some(boot)), Verdict::Pass(Passage::Announced));
        assert_eq!(watched.ask(Some(boot)), Verdict::Pass(Passage::Retry));
        comes_up(&mut watched, boot);
        day(&mut watched, boot);
        // A power cut of the machine.
        watched.wait(10);
        boot += 1;
        watched.ask_and_wait(Some(boot));
        comes_up(&mut watched, boot);
        day(&mut watched, boot);
        // Of the whole site: the server is back first, and the machine later.
        watched.now += 3600;
        watched.guard.handle_gap(at(watched.now));
        watched.wait(10);
        boot += 1;
        watched.ask_and_wait(Some(boot));
        comes_up(&mut watched, boot);
        // A night switched off, then somebody types the password.
        watched.leave(boot);
        watched.wait(36_000);
        boot += 1;
        comes_up(&mut watched, boot);
        // A suspend; the laptop is back with its next heartbeat.
        watched.wait(7200);
        watched.beat(boot);
        // A hibernation.
        watched.leave(boot);
        watched.wait(400);
        let asks = 100 + week;
        assert_eq!(watched.ask(Some(asks)), Verdict::Pass(Passage::Announced));
        watched.wait(30);
        let resumed = Life {
            resumes: u64::from(1_u8),
            ..heartbeat(boot, watched.now)
        };
        watched.life(&resumed);
        assert!(watched.is_up(boot));
    }
    assert_eq!(watched.alarms, []);
    assert_eq!(watched.guard.suspect(), None);
}
