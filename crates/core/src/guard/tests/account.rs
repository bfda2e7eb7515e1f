//! Accounts for releases and requests: thefts that the guard finds out, and accidents that it forgives.

use super::*;

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
        assert_eq!(watched.guard.poll_timeout(), Some(at(watched.now + 300)));
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
        earlier_boots: vec![nonce(2).mark()],
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
        guard
            .request_now(Some(nonce(5)), far(), &SETTINGS, at(5000))
            .0,
        Verdict::Person
    );
    guard.boot_key_changed();
    assert_eq!(guard.suspect(), None);
}

/// A theft stays certain after the grace, for example where the machine was cut off for a day.
#[test]
fn a_thief_who_was_served_is_found_out_after_the_grace_too() {
    let mut watched = Watched::quiet();
    watched.ask(Some(9));
    watched.wait(GRACE.as_secs());
    assert_eq!(watched.alarms, [GuardAlarm::Unaccounted]);
    assert_eq!(watched.guard.poll_timeout(), None);
    watched.wait(100_000);
    let outcome = watched.beat(1);
    assert!(outcome.changed && outcome.revoke);
    let told = [GuardAlarm::Unaccounted, GuardAlarm::ServedImpostor];
    assert_eq!(watched.alarms, told);
    assert_eq!(watched.guard.suspect(), Some(Suspicion::ServedImpostor));
}

#[test]
fn what_was_told_is_dropped_first() {
    let mut watched = Watched::quiet();
    watched.ask(Some(9));
    watched.wait(GRACE.as_secs());
    for boot in 10..18 {
        watched.ask(Some(boot));
    }
    watched.alarms.retain(|it| *it != GuardAlarm::SecondRequest);
    assert_eq!(watched.alarms, [GuardAlarm::Unaccounted]);
    assert_eq!(watched.guard.unaccounted(), MAX_REMEMBERED);
}

/// After `extended_timeout` was made shorter, a later release can be told before an earlier one.
#[test]
fn of_those_that_are_remembered_one_that_was_told_goes_first() {
    let mut guard = Watched::quiet().guard;
    let short = GuardSettings {
        grace: Duration::from_secs(10),
        ..SETTINGS
    };
    for (boot, settings) in (10..18).zip([SETTINGS, short].into_iter().cycle()) {
        let change = guard.released(Some(nonce(boot)), at(1400), &settings, at(1400));
        assert!(change.alarms.is_empty());
    }
    assert_eq!(guard.handle_timeout(at(1410)).alarms.len(), 4);
    for boot in 20..24 {
        let change = guard.released(Some(nonce(boot)), at(1410), &SETTINGS, at(1410));
        assert!(change.alarms.is_empty() && change.changed);
    }
    let change = guard.released(Some(nonce(24)), at(1410), &SETTINGS, at(1410));
    assert_eq!(change.alarms, [GuardAlarm::Unaccounted]);
}

#[test]
fn a_resume_excuses_one_request_and_all_of_the_same_nonce() {
    // The password was typed while the request of the resume was held, waited for a person, or had left.
    let resumed = |resumes| Life {
        resumes,
        ..heartbeat(1, 1030)
    };
    let mut watched = Watched::up();
    watched.goes_away(Some(7), 1001);
    watched.waiting = vec![waits(Some(7), 1002)];
    watched.now = 1030;
    let fates = watched.life(&resumed(1)).waiting;
    assert_eq!(fates, [WaitingFate::Superseded]);
    assert!(watched.alarms.is_empty() && watched.guard.suspect().is_none());
    // Released, and another that asks: either may be the machine's, or its first try to resume.
    let mut watched = Watched::quiet();
    watched.ask(Some(7));
    watched.now += 1;
    watched.waiting = vec![waits(Some(9), watched.now)];
    watched.now += 30;
    let life = Life {
        opened: at(watched.now),
        ..resumed(1)
    };
    let unaccounted = WaitingFate::Refused(GuardAlarm::Unaccounted);
    assert_eq!(watched.life(&life).waiting, [unaccounted]);
    assert_eq!(watched.alarms, [GuardAlarm::Unaccounted]);
    assert_eq!(watched.guard.suspect(), None);
}

#[test]
fn requests_that_left_are_remembered_once_for_each_nonce() {
    let mut watched = Watched::up();
    for boot in [Some(9), Some(2), None] {
        assert!(watched.goes_away(boot, 1000));
        assert!(!watched.goes_away(boot, 1001));
    }
    // The honest one among them is no alarm, and does not hide the others.
    watched.now = 1060;
    watched.beat(2);
    assert_eq!(watched.alarms, [GuardAlarm::Unaccounted; 2]);
    watched.alarms.clear();
    for boot in 10..18 {
        watched.goes_away(Some(boot), 1060);
    }
    assert!(watched.alarms.is_empty());
    watched.goes_away(Some(18), 1060);
    assert_eq!(watched.alarms, [GuardAlarm::Unaccounted]);
    watched.now = 1061;
    watched.beat(2);
    let impostors = watched
        .alarms
        .iter()
        .filter(|it| **it == GuardAlarm::Impostor);
    assert_eq!(impostors.count(), MAX_REMEMBERED);
}

#[test]
fn a_grant_that_was_never_sent_served_nobody() {
    let mut watched = Watched::quiet();
    let accepted = at(watched.now);
    watched.ask(Some(9));
    assert!(
        watched
            .guard
            .not_delivered(Some(nonce(9)), accepted)
            .changed
    );
    assert!(
        !watched
            .guard
            .not_delivered(Some(nonce(8)), accepted)
            .changed
    );
    let mut retried = watched.guard.clone();
    watched.now += 1;
    watched.beat(1);
    assert_eq!(watched.alarms, [GuardAlarm::Impostor]);
    assert_eq!(watched.guard.suspect(), Some(Suspicion::Impostor));
    // It may ask again; that grant was sent.
    let retry = retried.request_now(Some(nonce(9)), far(), &APPROVE, accepted);
    assert_eq!(retry, (Verdict::Pass(Passage::Retry), None));
    let change = retried.released(Some(nonce(9)), at(watched.now), &SETTINGS, at(watched.now));
    assert!(change.changed && change.alarms.is_empty());
    let life = heartbeat(1, watched.now + 1);
    let outcome = retried.life(&life, &[], far(), &SETTINGS, life.opened);
    assert_eq!(outcome.alarms, [GuardAlarm::ServedImpostor]);
}

#[test]
fn two_grants_without_a_nonce_are_two() {
    let mut watched = Watched::quiet();
    let accepted = at(watched.now);
    for _ in 0..2 {
        watched.ask(None);
    }
    watched.alarms.clear();
    for _ in 0..2 {
        assert!(watched.guard.not_delivered(None, accepted).changed);
    }
    assert!(!watched.guard.not_delivered(None, accepted).changed);
    watched.now += 1;
    watched.beat(1);
    assert_eq!(watched.alarms, [GuardAlarm::Impostor; 2]);
}

/// A heartbeat that was opened between the first request and its retry.
#[test]
fn a_retry_does_not_hide_the_first_release() {
    let mut watched = Watched::quiet();
    watched.ask(Some(9));
    let between = heartbeat(1, watched.now + 1);
    watched.now += 2;
    assert_eq!(watched.ask(Some(9)), Verdict::Pass(Passage::Retry));
    watched.life(&between);
    assert_eq!(watched.alarms, [GuardAlarm::ServedImpostor]);
    // Nor does a first request that a person approves after the second was released.
    let mut watched = Watched::quiet();
    let between = heartbeat(1, watched.now + 1);
    watched.now += 2;
    watched.ask(Some(9));
    watched.release(Some(nonce(9)), at(watched.now - 2));
    watched.life(&between);
    assert_eq!(watched.alarms, [GuardAlarm::ServedImpostor]);
    // After the grace it is no retry.
    let mut watched = Watched::quiet();
    watched.ask(Some(9));
    watched.now += GRACE.as_secs();
    watched.ask(Some(9));
    assert_eq!(watched.guard.unaccounted(), 2);
}

#[test]
fn only_a_nonce_that_the_machine_knows_shows_what_its_initramfs_speaks() {
    let mut watched = Watched::up();
    watched.ask(Some(9));
    watched.goes_away(Some(9), 1000);
    assert!(!watched.guard.is_downgrade(None));
    watched.now = 1060;
    watched.beat(1);
    watched.guard.trust();
    watched.alarms.clear();
    for boot in 2..6 {
        watched.wait(400);
        watched.ask(None);
        watched.now += 60;
        watched.beat(boot);
    }
    assert!(watched.alarms.is_empty());
    watched.waiting = vec![waits(Some(6), watched.now)];
    watched.now += 1;
    assert!(watched.beat(6).changed);
    assert!(watched.guard.is_downgrade(None));
    // The proof is all that changes here.
    let mut watched = Watched::up();
    watched.waiting = vec![waits(Some(1), 1000)];
    assert!(watched.beat(1).changed);
}

#[test]
fn an_initramfs_without_nonces_has_one_request_of_its_own() {
    let mut watched = Watched::up();
    watched.ask(None);
    watched.waiting = vec![waits(None, 1000), waits(None, 1001)];
    watched.now = 1002;
    let unaccounted = WaitingFate::Refused(GuardAlarm::Unaccounted);
    assert_eq!(
        watched.beat(2).waiting,
        [WaitingFate::Superseded, unaccounted]
    );
    watched.alarms.clear();
    watched.waiting.clear();
    watched.wait(300);
    watched.ask(None);
    watched.waiting = vec![waits(None, watched.now)];
    watched.now += 60;
    assert_eq!(watched.beat(3).waiting, [unaccounted]);
}

#[test]
fn the_most_severe_reason_for_a_suspicion_is_kept() {
    let mut watched = Watched::up();
    watched.beat(2);
    watched.wait(400);
    watched.ask(Some(9));
    for (boot, reason) in [
        (2, Suspicion::ServedImpostor),
        (1, Suspicion::ServedImpostor),
    ] {
        watched.now += 10;
        watched.beat(boot);
        assert_eq!(watched.guard.suspect(), Some(reason));
    }
    let told = [GuardAlarm::ServedImpostor, GuardAlarm::Doubled];
    assert_eq!(watched.alarms, told);
    // The other way round.
    let mut watched = Watched::up();
    for boot in [2, 1] {
        watched.now += 10;
        watched.beat(boot);
    }
    assert_eq!(watched.guard.suspect(), Some(Suspicion::Doubled));
    watched.goes_away(Some(9), watched.now);
    watched.now += 10;
    watched.beat(1);
    assert_eq!(watched.guard.suspect(), Some(Suspicion::Impostor));
    // Once a person has looked, it is told again.
    watched.guard.trust();
    watched.alarms.clear();
    watched.now += 10;
    watched.beat(2);
    assert_eq!(watched.alarms, [GuardAlarm::Doubled]);
}

#[test]
fn a_copy_of_a_boot_key_that_was_replaced_is_told_only() {
    let mut watched = Watched::quiet();
    watched.ask(Some(9));
    watched.guard.boot_key_changed();
    // The new key is no retry of what the old one got.
    assert_ne!(watched.ask(Some(9)), Verdict::Pass(Passage::Retry));
    watched.guard.releases.pop();
    watched.alarms.clear();
    watched.now += 1;
    watched.beat(1);
    assert_eq!(watched.alarms, [GuardAlarm::Unaccounted]);
    assert_eq!(watched.guard.suspect(), None);
}
