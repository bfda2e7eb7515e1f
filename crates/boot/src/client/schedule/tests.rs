use std::net::{Ipv6Addr, SocketAddr};

use super::*;

const RETRY: Duration = Duration::from_secs(10);

fn at(millis: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_millis(millis))
}

fn server(number: u16) -> Destination {
    let [high, low] = number.to_be_bytes();
    Destination::Address(SocketAddr::from(([192, 0, high, low], 4711)))
}

fn key(number: u16) -> KeyId {
    let mut bytes = [1; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    KeyId::from_bytes(bytes).unwrap()
}

/// Heard of from the neighbour `source`, as one of the addresses of `name`.
fn heard(source: u16, name: &str) -> Option<Announcement> {
    Some(Announcement {
        source: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, source).into(),
        name: format!("{name}:4711"),
    })
}

fn schedule() -> AttemptSchedule {
    AttemptSchedule::new(RETRY, false)
}

#[test]
fn every_server_is_tried_at_once() {
    let mut schedule = schedule();
    schedule.add(server(1), None, at(0));
    schedule.add(server(2), None, at(0));
    assert_eq!(schedule.poll_start(at(0)), Some(server(1)));
    assert_eq!(schedule.poll_start(at(0)), Some(server(2)));
    assert_eq!(schedule.poll_start(at(0)), None);
    assert_eq!(schedule.poll_timeout(at(0)), None);
}

#[test]
fn the_next_try_does_not_tell_how_long_this_one_took() {
    for took in [0, 1, 500, 9_000] {
        let mut schedule = schedule();
        schedule.add(server(1), None, at(0));
        schedule.poll_start(at(0)).unwrap();
        assert!(schedule.handle_failed(&server(1), false, at(took)));
        assert_eq!(schedule.poll_timeout(at(took)), Some(at(10_000)), "{took}");
        schedule.handle_change(at(took));
        assert_eq!(schedule.poll_timeout(at(took)), Some(at(10_000)), "{took}");
    }
}

#[test]
fn want_of_a_network_ends_when_the_network_changes() {
    let mut schedule = schedule();
    schedule.add(server(1), None, at(0));
    schedule.poll_start(at(0)).unwrap();
    schedule.handle_failed(&server(1), true, at(1));
    assert_eq!(schedule.poll_timeout(at(1)), Some(at(10_000)));
    schedule.handle_change(at(2));
    assert_eq!(schedule.poll_timeout(at(2)), Some(at(250)));
    assert_eq!(schedule.poll_start(at(250)), Some(server(1)));
    schedule.handle_change(at(251));
    schedule.handle_failed(&server(1), true, at(260));
    assert_eq!(schedule.poll_timeout(at(260)), Some(at(500)));
}

/// The behaviour of the destinations of a link.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    /// Accepts the connection, or not even that, and says nothing.
    Silent,
    /// Refuses the connection.
    Refuses,
    /// Proves a key of its own, and thinks when it is asked.
    Thinks,
    /// Has no key, and thinks when it is asked.
    ThinksUnproven,
}

/// Runs until `right`, which is the last that was found, is asked: connecting to it takes 20 ms.
fn asked_after(schedule: &mut AttemptSchedule, right: &Destination, others: Does) -> Duration {
    let mut now = at(0);
    let mut connects: Option<Monotonic> = None;
    let mut asked = 0_u16;
    for _ in 0..100_000 {
        while let Some(started) = schedule.poll_start(now) {
            if started == *right {
                connects = Some(now.after(Duration::from_millis(20)));
                continue;
            }
            asked += 1;
            match others {
                Does::Silent => {}
                Does::Refuses => {
                    schedule.handle_failed(&started, false, now);
                }
                Does::Thinks => schedule.handle_connected(&started, Some(key(asked)), now),
                Does::ThinksUnproven => schedule.handle_connected(&started, None, now),
            }
        }
        if connects.is_some_and(|due| due <= now) {
            schedule.handle_connected(right, Some(key(9999)), now);
            connects = None;
        }
        while let Some(destination) = schedule.poll_ask(now) {
            if destination == *right {
                return now.since(at(0));
            }
        }
        while let Some((destination, _)) = schedule.poll_end(now) {
            if destination == *right {
                connects = None;
            }
            assert!(!schedule.handle_failed(&destination, false, now), "no news");
        }
        assert!(schedule.running() <= SLOTS);
        if schedule.waiting().any(|(due, ..)| due <= now) && schedule.running() < SLOTS {
            continue;
        }
        let next = schedule.poll_timeout(now);
        now = next.into_iter().chain(connects).min().unwrap_or(now);
    }
    panic!("never asked");
}

#[test]
fn among_two_hundred_the_right_one_is_asked_within_three_seconds() {
    for does in [
        Does::Silent,
        Does::Refuses,
        Does::Thinks,
        Does::ThinksUnproven,
    ] {
        for sources in [1, 200] {
            // As many names, or all of them addresses of the right one's name.
            for same_name in [false, true] {
                let mut schedule = schedule();
                for n in 0..200 {
                    let name = if same_name {
                        "right".to_owned()
                    } else {
                        n.to_string()
                    };
                    schedule.add(server(n), heard(n % sources, &name), at(0));
                }
                schedule.add(server(200), heard(0, "right"), at(0));
                let took = asked_after(&mut schedule, &server(200), does);
                assert!(
                    took < Duration::from_secs(3),
                    "{sources} {same_name}: {took:?}"
                );
            }
        }
    }
}

#[test]
fn a_slow_server_gets_its_time_though_many_wait() {
    let mut schedule = schedule();
    for n in 0..65 {
        schedule.add(server(n), None, at(0));
    }
    for n in 0..64 {
        assert_eq!(schedule.poll_start(at(0)), Some(server(n)));
    }
    assert_eq!(schedule.poll_start(at(0)), None);
    assert_eq!(schedule.poll_end(at(499)), None);
    assert_eq!(schedule.poll_timeout(at(0)), Some(at(500)));
    // One place for one that waits.
    assert_eq!(
        schedule.poll_end(at(500)),
        Some((server(0), EndReason::Room))
    );
    assert_eq!(schedule.poll_end(at(500)), None);
    assert!(!schedule.handle_failed(&server(0), false, at(501)));
    assert_eq!(schedule.poll_start(at(501)), Some(server(64)));
    // Its second time is twice as long.
    schedule.handle_failed(&server(1), false, at(600));
    assert_eq!(schedule.poll_start(at(10_000)), Some(server(0)));
    let ended = std::iter::from_fn(|| schedule.poll_end(at(10_999)));
    assert!(!ended.map(|(to, _)| to).any(|to| to == server(0)));
}

fn name() -> Destination {
    Destination::Name("home.example".to_owned(), 4711)
}

/// As `--connect` names them: without an origin.
#[test]
fn of_several_that_were_named_none_waits_for_another() {
    let mut schedule = schedule();
    let named = [server(1), name(), server(2), server(3)];
    for destination in &named {
        schedule.add(destination.clone(), None, at(0));
    }
    let started: Vec<_> = std::iter::from_fn(|| schedule.poll_start(at(0))).collect();
    assert_eq!(started, named);
    // The first is silent, the second one's resolver too, the third refuses, the fourth is right.
    assert!(schedule.handle_failed(&server(2), false, at(1)));
    schedule.handle_connected(&server(3), Some(key(3)), at(20));
    assert_eq!(schedule.poll_ask(at(20)), Some(server(3)));
    // Each has its own turns.
    assert_eq!(schedule.poll_timeout(at(20)), Some(at(10_000)));
    assert_eq!(schedule.poll_start(at(10_000)), Some(server(2)));
    assert_eq!(schedule.poll_start(at(10_000)), None);
}

#[test]
fn a_name_has_its_time_to_resolve_and_then_another_turn() {
    let mut schedule = schedule();
    schedule.add(name(), None, at(0));
    schedule.add(server(1), None, at(0));
    assert_eq!(schedule.poll_start(at(0)), Some(name()));
    schedule.poll_start(at(0)).unwrap();
    assert_eq!(schedule.poll_timeout(at(0)), Some(at(20_000)));
    assert_eq!(schedule.poll_end(at(19_999)), None);
    assert_eq!(
        schedule.poll_end(at(20_000)),
        Some((name(), EndReason::Unresolved))
    );
    // A server may take as long as its own deadlines let it.
    assert_eq!(schedule.poll_end(at(20_000)), None);
    assert!(!schedule.handle_failed(&name(), false, at(20_001)));
    assert_eq!(schedule.poll_timeout(at(20_001)), Some(at(30_000)));
    // Another network may have another resolver.
    schedule.handle_change(at(21_000));
    assert_eq!(schedule.poll_start(at(21_000)), Some(name()));
}

#[test]
fn a_name_that_has_resolved_is_resolved_again_at_its_next_turn() {
    let mut schedule = schedule();
    schedule.add(name(), None, at(0));
    for turn in [0, 10_000, 20_000] {
        assert_eq!(schedule.poll_start(at(turn)), Some(name()));
        schedule.handle_resolved(&name(), at(turn + 30));
        assert_eq!(schedule.poll_end(at(turn + 9_999)), None);
        assert_eq!(
            schedule.poll_timeout(at(turn + 30)),
            Some(at(turn + 10_000))
        );
    }
}

/// A server without a key that has several addresses by one name is asked once.
#[test]
fn the_addresses_of_a_name_are_asked_one_after_the_other() {
    let mut schedule = schedule();
    for number in [1, 2] {
        schedule.add(server(number), heard(number, "home.example"), at(0));
        assert_eq!(schedule.poll_start(at(0)), Some(server(number)));
        schedule.handle_connected(&server(number), None, at(10));
    }
    assert_eq!(schedule.poll_ask(at(10)), Some(server(1)));
    assert_eq!(schedule.poll_ask(at(10)), None);
    assert_eq!(schedule.poll_ask(at(2_010)), Some(server(2)));
}

#[test]
fn a_server_that_goes_while_it_is_tried_is_forgotten_afterwards() {
    let mut schedule = schedule();
    schedule.add(server(1), None, at(0));
    schedule.poll_start(at(0)).unwrap();
    schedule.remove(&server(1));
    assert_eq!(schedule.destinations().count(), 1);
    schedule.handle_failed(&server(1), false, at(5));
    assert_eq!(schedule.destinations().count(), 0);
}

#[test]
fn what_comes_back_while_it_is_tried_is_not_forgotten() {
    let mut schedule = schedule();
    schedule.add(server(1), heard(1, "tower"), at(0));
    schedule.poll_start(at(0)).unwrap();
    schedule.remove(&server(1));
    schedule.add(server(1), heard(1, "tower"), at(3));
    schedule.handle_failed(&server(1), false, at(5));
    assert_eq!(schedule.poll_start(at(10_000)), Some(server(1)));
}

#[test]
fn what_was_announced_is_tried_once_though_it_is_taken_back() {
    let mut schedule = schedule();
    schedule.add(server(1), heard(1, "tower"), at(0));
    schedule.remove(&server(1));
    assert_eq!(schedule.poll_start(at(0)), Some(server(1)));
    schedule.handle_failed(&server(1), false, at(5));
    assert_eq!(schedule.destinations().count(), 0);
}

#[test]
fn what_proved_a_trusted_key_stays_though_it_is_taken_back() {
    for trusted in [true, false] {
        let mut schedule = AttemptSchedule::new(RETRY, trusted);
        for n in 0..20 {
            schedule.add(server(n), heard(n, "tower"), at(0));
            schedule.poll_start(at(0)).unwrap();
            schedule.handle_connected(&server(n), Some(key(1)), at(1));
            schedule.handle_failed(&server(n), false, at(2));
        }
        for n in 0..20 {
            schedule.remove(&server(n));
        }
        // A relay can prove a key at any address: their number is bounded.
        let left = schedule.destinations().count();
        assert_eq!(left, if trusted { 8 } else { 0 });
    }
}

/// Two addresses of one server, of which the first is being asked since 10; the other one is known since 20.
fn two_addresses(key: Option<KeyId>) -> AttemptSchedule {
    let mut schedule = schedule();
    for number in [2, 1] {
        schedule.add(server(number), heard(1, "tower"), at(0));
    }
    // The first one found, not the smallest.
    assert_eq!(schedule.poll_start(at(0)), Some(server(2)));
    assert_eq!(schedule.poll_start(at(4)), Some(server(1)));
    schedule.handle_connected(&server(2), key, at(10));
    assert_eq!(schedule.poll_ask(at(10)), Some(server(2)));
    schedule.handle_connected(&server(1), key, at(20));
    schedule
}

#[test]
fn a_server_with_a_proven_key_is_asked_at_one_address() {
    let mut schedule = two_addresses(Some(key(1)));
    assert_eq!(schedule.poll_ask(at(20)), None);
    let same = Some((server(1), EndReason::SameServer));
    assert_eq!(schedule.poll_end(at(20)), same);
    assert!(!schedule.handle_failed(&server(1), false, at(21)));
    assert_eq!(schedule.poll_start(at(299_999)), None);
    // Others are, meanwhile, also those that claim to be the same.
    schedule.add(server(3), heard(1, "tower"), at(30));
    assert_eq!(schedule.poll_start(at(30)), Some(server(3)));
    schedule.handle_connected(&server(3), Some(key(2)), at(40));
    assert_eq!(schedule.poll_ask(at(40)), Some(server(3)));
    // It refuses, or dies.
    schedule.handle_failed(&server(2), false, at(50));
    assert_eq!(schedule.poll_start(at(50)), Some(server(1)));
    schedule.handle_connected(&server(1), Some(key(1)), at(60));
    assert_eq!(schedule.poll_ask(at(60)), Some(server(1)));
}

#[test]
fn who_passes_a_server_on_and_falls_silent_does_not_hold_it_up_for_ever() {
    let mut schedule = two_addresses(Some(key(1)));
    schedule.poll_end(at(20)).unwrap();
    schedule.handle_failed(&server(1), false, at(21));
    assert_eq!(schedule.poll_timeout(at(21)), Some(at(300_010)));
    assert_eq!(schedule.poll_start(at(300_010)), Some(server(1)));
    schedule.handle_connected(&server(1), Some(key(1)), at(300_020));
    assert_eq!(schedule.poll_ask(at(300_020)), Some(server(1)));
}

#[test]
fn a_server_without_a_key_that_thinks_is_asked_at_its_other_address_after_two_seconds() {
    let mut schedule = two_addresses(None);
    assert_eq!(schedule.poll_ask(at(20)), None);
    assert_eq!(schedule.poll_end(at(20)), None);
    assert_eq!(schedule.poll_timeout(at(20)), Some(at(2_020)));
    assert_eq!(schedule.poll_ask(at(2_020)), Some(server(1)));
    // It has failed before.
    let mut schedule = two_addresses(None);
    schedule.handle_failed(&server(2), false, at(40));
    assert_eq!(schedule.poll_ask(at(40)), Some(server(1)));
}

#[test]
fn who_claims_to_be_a_server_with_a_key_does_not_hold_it_up_at_all() {
    for stranger in [None, Some(key(2))] {
        let mut schedule = schedule();
        for number in [2, 1] {
            schedule.add(server(number), heard(1, "tower"), at(0));
            schedule.poll_start(at(4)).unwrap();
        }
        schedule.handle_connected(&server(2), stranger, at(10));
        assert_eq!(schedule.poll_ask(at(10)), Some(server(2)));
        schedule.handle_connected(&server(1), Some(key(1)), at(11));
        assert_eq!(schedule.poll_ask(at(11)), Some(server(1)));
    }
}

#[test]
fn a_trusted_server_that_was_asked_keeps_its_slot() {
    for trusted in [true, false] {
        let mut schedule = AttemptSchedule::new(RETRY, trusted);
        for n in 0..65 {
            schedule.add(server(n), None, at(0));
        }
        for n in 0..64 {
            schedule.poll_start(at(0)).unwrap();
            schedule.handle_connected(&server(n), Some(key(n)), at(1));
            schedule.poll_ask(at(1)).unwrap();
        }
        let end = schedule.poll_end(at(60_000));
        assert_eq!(end.is_none(), trusted, "{end:?}");
    }
}

#[test]
fn there_is_a_bound_and_who_announces_most_gives_way() {
    let mut schedule = schedule();
    schedule.add(server(9999), heard(1, "right"), at(0));
    for n in 0..MAX_DESTINATIONS as u16 + 64 {
        schedule.add(server(n), heard(2, &n.to_string()), at(0));
    }
    assert_eq!(schedule.destinations().count(), MAX_DESTINATIONS);
    assert!(schedule.destinations().any(|to| *to == server(9999)));
    assert!(schedule.take_left_out() && !schedule.take_left_out());
}

#[test]
fn what_failed_gives_way_before_what_was_never_tried() {
    let mut schedule = schedule();
    for n in 0..MAX_DESTINATIONS as u16 {
        schedule.add(server(n), heard(n, &n.to_string()), at(0));
    }
    let failed = schedule.poll_start(at(0)).unwrap();
    let running = schedule.poll_start(at(0)).unwrap();
    schedule.handle_failed(&failed, false, at(1));
    schedule.add(server(9999), heard(9999, "right"), at(2));
    assert!(!schedule.take_left_out());
    let left: Vec<&Destination> = schedule.destinations().collect();
    assert!(!left.contains(&&failed) && left.contains(&&running));
    assert!(left.contains(&&server(9999)));
}

#[test]
fn who_names_the_right_server_among_hundreds_of_his_own_does_not_take_it_along() {
    let mut schedule = schedule();
    for n in 0..900 {
        schedule.add(server(n), heard(2, &n.to_string()), at(0));
    }
    let right = server(9999);
    schedule.add(right.clone(), heard(2, "right"), at(0));
    // It answers for itself, and is tried in its own turn.
    schedule.add(right.clone(), heard(1, "right"), at(100));
    let started: Vec<_> = std::iter::from_fn(|| schedule.poll_start(at(100))).collect();
    assert!(started.contains(&right));
    schedule.handle_failed(&right, false, at(101));
    for n in 1_000..4_000 {
        schedule.add(server(n), heard(2, &n.to_string()), at(200));
    }
    assert!(schedule.destinations().any(|to| *to == right));
    // A source with as many or more does not take it back.
    schedule.add(right.clone(), heard(3, "right"), at(300));
    assert_eq!(schedule.entries[&right].origin, heard(1, "right"));
}

#[test]
fn what_was_pushed_out_by_forged_sources_is_offered_and_tried_again() {
    let mut schedule = schedule();
    let right = server(9999);
    schedule.add(right.clone(), heard(5_000, "right"), at(0));
    assert_eq!(schedule.poll_start(at(0)), Some(right.clone()));
    schedule.handle_failed(&right, false, at(1));
    for n in 0..MAX_DESTINATIONS as u16 {
        schedule.add(server(n), heard(n, &n.to_string()), at(2));
    }
    assert!(schedule.destinations().all(|to| *to != right));
    assert!(!schedule.poll_offer(at(10_001)));
    assert!(schedule.poll_timeout(at(2)) <= Some(at(10_002)));
    assert!(schedule.poll_offer(at(10_002)) && !schedule.poll_offer(at(10_002)));
    // All that the link still announces.
    let now = at(10_002);
    schedule.add(right.clone(), heard(5_000, "right"), now);
    for n in 600..MAX_DESTINATIONS as u16 {
        schedule.add(server(n), heard(n, &n.to_string()), now);
    }
    let mut tried = false;
    while let Some(started) = schedule.poll_start(now) {
        tried |= started == right;
        schedule.handle_failed(&started, false, now);
    }
    assert!(tried);
    assert!(schedule.poll_timeout(now) <= Some(at(20_002)));
}
