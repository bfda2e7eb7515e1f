//! Messages out of order: whoever delays one must not make it a proof of a later time, nor an honest machine suspect.

use super::*;

fn late(life: Life, opened: u64) -> Life {
    Life {
        opened: at(opened),
        ..life
    }
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
fn a_pause_of_the_server_is_no_silence_of_the_machine() {
    let mut watched = Watched::up();
    watched.now += 10_000;
    watched.guard.handle_gap(&SETTINGS, at(watched.now));
    watched.wait(299);
    assert!(watched.is_up(1));
    watched.wait(1);
    assert_eq!(watched.guard.phase(), Phase::Quiet);
}

#[test]
fn a_heartbeat_that_was_under_way_while_the_next_boot_came_up_is_no_double() {
    let mut watched = Watched::up();
    watched.now = 1020;
    watched.beat(3);
    watched.now = 1025;
    // Of the boot before, and of one that was not heard.
    let before = watched.life(&late(heartbeat(1, 0), 1001));
    assert!(!before.changed, "it was over already");
    assert!(watched.life(&late(heartbeat(2, 0), 1005)).changed);
    assert!(watched.is_up(3));
    watched.now = 1140;
    watched.beat(3);
    assert!(watched.alarms.is_empty() && watched.guard.suspect().is_none());
    // Both are over: the next proof of life of either is a double.
    watched.beat(2);
    assert_eq!(watched.alarms, [GuardAlarm::Doubled]);
}

#[test]
fn a_goodbye_that_is_older_than_the_newest_life_opens_no_window() {
    let mut guard = Watched::up().guard;
    guard.life(&heartbeat(1, 1005), &[], far(), &APPROVE, at(1005));
    let mut other = Watched::up().guard;
    other.life(&heartbeat(3, 1020), &[], far(), &APPROVE, at(1020));
    // Another boot that was not the newest either.
    let mut between = other.clone();
    between.life(&heartbeat(3, 1040), &[], far(), &APPROVE, at(1040));
    let stale = |boot, opened| late(goodbye(boot, 0), opened);
    for (mut guard, stale) in [
        (guard, stale(1, 1001)),
        (other, stale(2, 1001)),
        (between, stale(4, 1030)),
    ] {
        let outcome = guard.life(&stale, &[], far(), &APPROVE, at(1050));
        assert_eq!(outcome.window, None);
        let (verdict, _) = guard.request_now(Some(nonce(9)), far(), &APPROVE, at(1051));
        assert!(matches!(verdict, Verdict::Hold(_)), "{verdict:?}");
    }
}

#[test]
fn a_heartbeat_that_was_opened_after_the_goodbye_makes_it_void() {
    let mut watched = Watched::up();
    watched.now = 1020;
    watched.life(&late(goodbye(1, 0), 1010));
    watched.now = 1021;
    let again = watched.life(&late(goodbye(1, 0), 1009));
    assert_eq!((again.window, again.changed), (None, false));
    watched.life(&late(heartbeat(1, 0), 1010));
    assert!(matches!(watched.guard.phase(), Phase::Leaving { .. }));
    watched.life(&late(heartbeat(1, 0), 1011));
    assert!(watched.is_up(1));
}

#[test]
fn a_request_from_before_the_goodbye_does_not_use_it() {
    let mut guard = Watched::up().guard;
    let request = waits(Some(9), 1005);
    let (verdict, _) = guard.request_now(request.boot, far(), &APPROVE, request.accepted);
    assert_eq!(verdict, Verdict::Hold(at(1008)));
    // The connection of the goodbye was opened before, so it does not judge the request.
    let life = late(goodbye(1, 0), 1004);
    let outcome = guard.life(&life, &[request], far(), &APPROVE, at(1006));
    assert_eq!(outcome.waiting, [WaitingFate::Keep]);
    let (verdict, _) = guard.hold_ended(request, &APPROVE, at(1008));
    assert_eq!(verdict, Verdict::Person);
    let (verdict, _) = guard.request_now(request.boot, far(), &APPROVE, at(1006));
    assert!(matches!(verdict, Verdict::Hold(_)));
    let (verdict, _) = guard.request_now(request.boot, far(), &APPROVE, at(1007));
    assert_eq!(verdict, Verdict::Pass(Passage::Announced));
}

#[test]
fn a_goodbye_after_the_deadline_opens_no_window() {
    let mut guard = Watched::up().guard;
    let outcome = guard.life(&goodbye(1, 1010), &[], at(1010), &SETTINGS, at(1010));
    assert_eq!((outcome.window, guard.phase()), (None, Phase::Quiet));
}

#[test]
fn a_release_that_the_life_does_not_judge_stays_open() {
    for boot in [1, 2] {
        let mut watched = Watched::quiet();
        let opened = watched.now;
        watched.now += 1;
        watched.ask(Some(3));
        watched.life(&late(goodbye(boot, 0), opened));
        assert_eq!(watched.guard.phase(), Phase::Opened);
        assert_eq!(watched.ask(Some(3)), Verdict::Pass(Passage::Retry));
        watched.now += 60;
        watched.beat(3);
        assert!(watched.alarms.is_empty() && watched.is_up(3));
    }
}

#[test]
fn the_grace_of_a_release_counts_anew_after_a_pause_of_the_server() {
    let mut watched = Watched::quiet();
    watched.ask(Some(2));
    watched.now += 1200;
    watched.guard.handle_gap(&SETTINGS, at(watched.now));
    watched.wait(GRACE.as_secs() - 1);
    watched.beat(2);
    assert!(watched.alarms.is_empty());
    // What was told is not told again.
    watched.wait(300);
    watched.ask(Some(3));
    watched.wait(GRACE.as_secs());
    watched.guard.handle_gap(&SETTINGS, at(watched.now));
    assert_eq!(watched.guard.poll_timeout(), None);
}
