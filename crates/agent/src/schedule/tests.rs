//! The schedule under a virtual clock.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn server(number: u8) -> KeyId {
    KeyId::from_bytes([number; 32]).unwrap()
}

fn token(number: u8) -> Token {
    Token::from_bytes([number; Token::LEN])
}

fn place(number: u16) -> Place {
    Place::Named(format!("127.0.0.1:{number}").parse().unwrap())
}

fn at(millis: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_millis(millis))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn schedule(servers: impl IntoIterator<Item = u8>, places: &[u16]) -> Schedule {
    let mut schedule = Schedule::new(servers.into_iter().map(server), Jitter::new([1; 8]), at(0));
    schedule.set_places(places.iter().map(|it| place(*it)), at(0));
    schedule
}

/// Starts the one try that is due.
fn start(schedule: &mut Schedule, now: Monotonic) -> Try {
    let one = schedule.poll(now).unwrap();
    assert_eq!(schedule.poll(now), None, "a second try");
    one
}

/// A whole heartbeat that server `number` accepts.
fn heartbeat(schedule: &mut Schedule, number: u8, gives: u8, now: Monotonic) {
    let one = start(schedule, now);
    assert!(schedule.connected(one.id, server(number), now));
    schedule.accepted(one.id, server(number), secs(60), token(gives), now);
    schedule.finished(one.id);
}

#[test]
fn a_heartbeat_is_due_at_once_and_then_within_what_the_server_said() {
    let mut schedule = schedule([1], &[1]);
    assert!(schedule.lacks_server());
    heartbeat(&mut schedule, 1, 1, at(0));
    assert!(!schedule.lacks_server());
    assert_eq!(schedule.poll(at(0)), None);
    let due = schedule.poll_timeout(at(0)).unwrap();
    assert!((at(30_000)..=at(60_000)).contains(&due), "{due:?}");
    assert_eq!(schedule.poll(due.before(Duration::from_millis(1))), None);
    heartbeat(&mut schedule, 1, 1, due);
}

#[test]
fn a_server_cannot_ask_for_heartbeats_without_a_pause_nor_for_none() {
    for (says, least, most) in [
        (Duration::ZERO, 2_500, 5_000),
        (Duration::MAX, 43_200_000, 86_400_000),
    ] {
        let mut schedule = schedule([1], &[1]);
        let one = start(&mut schedule, at(0));
        assert!(schedule.connected(one.id, server(1), at(0)));
        schedule.accepted(one.id, server(1), says, token(1), at(0));
        let due = schedule.poll_timeout(at(0)).unwrap();
        assert!((at(least)..=at(most)).contains(&due), "{due:?}");
    }
}

#[test]
fn a_poke_makes_a_heartbeat_due_once_for_each_token() {
    let mut schedule = schedule([1, 2], &[1]);
    assert!(!schedule.poked(&token(0), at(0)));
    heartbeat(&mut schedule, 1, 7, at(0));
    // The other server is not found, which is no concern here.
    let other = start(&mut schedule, at(0));
    schedule.finished(other.id);
    assert_eq!(schedule.poll(at(0)), None);
    assert!(!schedule.poked(&token(9), at(1)));
    assert_eq!(schedule.poll(at(1)), None);
    assert!(schedule.poked(&token(7), at(1)));
    assert!(!schedule.poked(&token(7), at(1)));
    heartbeat(&mut schedule, 1, 7, at(1));
    assert!(
        !schedule.poked(&token(7), at(2)),
        "the server gave no new token"
    );
    assert_eq!(schedule.poll(at(2)), None);
}

/// It was under way when the server asked, and proves nothing about the time after that.
#[test]
fn a_poke_during_a_heartbeat_makes_another_one_due() {
    let mut schedule = schedule([1], &[1]);
    heartbeat(&mut schedule, 1, 1, at(0));
    let due = schedule.poll_timeout(at(0)).unwrap();
    let one = start(&mut schedule, due);
    assert!(schedule.connected(one.id, server(1), due));
    assert!(schedule.poked(&token(1), due));
    schedule.accepted(one.id, server(1), secs(60), token(2), due);
    schedule.finished(one.id);
    heartbeat(&mut schedule, 1, 3, due);
    assert_eq!(schedule.poll(due), None);
}

#[test]
fn what_is_to_be_told_makes_a_heartbeat_due_and_does_not_hurry_retries() {
    let mut schedule = schedule([1], &[1]);
    heartbeat(&mut schedule, 1, 1, at(0));
    schedule.tell_soon(at(10));
    // While it is under way there is something new again.
    let one = start(&mut schedule, at(10));
    assert!(schedule.connected(one.id, server(1), at(10)));
    schedule.tell_soon(at(11));
    schedule.accepted(one.id, server(1), secs(60), token(2), at(12));
    schedule.finished(one.id);
    let one = start(&mut schedule, at(12));
    schedule.finished(one.id);
    assert_eq!(schedule.poll(at(12)), None, "the round has failed");
    schedule.tell_soon(at(13));
    let due = schedule.poll_timeout(at(13)).unwrap();
    assert!(
        (at(1_012)..=at(12).after(FIRST_RETRY)).contains(&due),
        "{due:?}"
    );
}

#[test]
fn a_place_that_hangs_does_not_delay_the_next_one_for_long() {
    let mut schedule = schedule([1], &[1, 2]);
    let first = start(&mut schedule, at(0));
    assert_eq!(first.place, place(1));
    assert_eq!(schedule.poll_timeout(at(0)), Some(at(0).after(STAGGER)));
    let second = start(&mut schedule, at(0).after(STAGGER));
    assert_eq!(second.place, place(2));
    assert!(schedule.connected(second.id, server(1), at(3_000)));
    // The first comes to life, and finds that it is too late.
    assert!(!schedule.connected(first.id, server(1), at(3_000)));
    schedule.accepted(second.id, server(1), secs(60), token(1), at(3_000));
    schedule.finished(second.id);
    schedule.finished(first.id);
    // Both places are the server's; one round is one heartbeat.
    heartbeat(&mut schedule, 1, 1, at(63_000));
}

#[test]
fn a_try_that_never_ends_is_not_waited_for_and_not_doubled() {
    let mut schedule = schedule([1], &[1]);
    let stuck = start(&mut schedule, at(0));
    let end = schedule.poll_timeout(at(0)).unwrap();
    assert_eq!(end, at(0).after(LONGEST_TRY));
    assert_eq!(schedule.poll(end), None);
    let retry = schedule.poll_timeout(end).unwrap();
    assert_eq!(schedule.poll(retry), None, "a second thread at one place");
    schedule.finished(stuck.id);
    assert!(schedule.poll(retry.after(secs(600))).is_some());
}

#[test]
fn a_server_is_looked_for_where_it_was_and_then_elsewhere() {
    let mut schedule = schedule([1, 2], &[1, 2, 3]);
    // Both servers are due: the first place turns out to be that of the second server.
    let one = schedule.poll(at(0)).unwrap();
    let other = schedule.poll(at(0)).unwrap();
    assert!(schedule.connected(one.id, server(2), at(0)));
    schedule.accepted(one.id, server(2), secs(60), token(2), at(0));
    assert!(schedule.connected(other.id, server(1), at(0)));
    schedule.accepted(other.id, server(1), secs(60), token(1), at(0));
    schedule.finished(one.id);
    schedule.finished(other.id);
    let ways = BTreeMap::from_iter(schedule.ways());
    assert_eq!(ways[&server(1)], [2, 3, 1].map(place));
    assert_eq!(ways[&server(2)], [1, 3, 2].map(place));
    assert_eq!(schedule.best_places(), [1, 2, 3].map(place));
}

#[test]
fn a_refusal_is_not_tried_at_other_addresses_and_its_pause_is_kept() {
    let mut schedule = schedule([1], &[1, 2]);
    let one = start(&mut schedule, at(0));
    assert!(schedule.connected(one.id, server(1), at(0)));
    schedule.refused(one.id, server(1), Some(secs(120)), at(0));
    schedule.finished(one.id);
    assert_eq!(schedule.poll(at(119_000)), None);
    assert_eq!(schedule.poll_timeout(at(0)), Some(at(120_000)));
    // Nor does something new to tell shorten it.
    schedule.tell_soon(at(60_000));
    assert_eq!(schedule.poll(at(119_000)), None);
    assert_eq!(schedule.poll_timeout(at(60_000)), Some(at(120_000)));
}

#[test]
fn a_change_of_the_network_shortens_a_pause_but_not_the_first() {
    let mut schedule = schedule([1], &[1]);
    let mut now = at(0);
    for _ in 0..10 {
        let one = start(&mut schedule, now);
        schedule.finished(one.id);
        assert_eq!(schedule.poll(now), None);
        let due = schedule.poll_timeout(now).unwrap();
        schedule.network_changed(now);
        let sooner = schedule.poll_timeout(now).unwrap();
        assert_eq!(sooner, due.min(now.after(FIRST_RETRY)));
        now = due;
    }
}

#[test]
fn no_heartbeat_follows_a_goodbye() {
    let mut schedule = schedule([1], &[1]);
    let one = start(&mut schedule, at(0));
    schedule.hold(at(60_000));
    // One that is connecting already is not said either.
    assert!(!schedule.connected(one.id, server(1), at(1)));
    schedule.finished(one.id);
    assert!(!schedule.wants_more(at(1)));
    assert_eq!(schedule.poll(at(59_999)), None);
    assert_eq!(schedule.poll_timeout(at(1)), Some(at(60_000)));
    schedule.hold(at(10));
    assert_eq!(schedule.poll(at(59_999)), None);
    schedule.end_hold();
    schedule.all_due(at(2));
    assert_eq!(schedule.poll(at(2)), None, "the round has failed");
    assert!(schedule.poll(at(6_000)).is_some());
}

/// Nobody chooses his place in the order by the address that he announces.
#[test]
fn found_places_are_tried_in_a_random_order_after_the_named_ones() {
    let found = |port: u16| Place::Found(([127, 0, 0, 1], port).into());
    let mut firsts = std::collections::BTreeSet::new();
    for seed in 0..50u64 {
        let jitter = Jitter::new(seed.to_ne_bytes());
        let mut schedule = Schedule::new([server(1)], jitter, at(0));
        let found = (1..=10).map(found);
        schedule.set_places(found.chain([place(7)]), at(0));
        let named = start(&mut schedule, at(0));
        assert_eq!(named.place, place(7));
        schedule.finished(named.id);
        firsts.insert(start(&mut schedule, at(0)).place.to_string());
    }
    assert!(firsts.len() > 5, "{firsts:?}");
}

/// Hundreds of places where nobody answers, as whoever announces servers can make them, beside the one where the server was.
#[test]
fn a_round_ends_in_time_and_the_next_one_begins_where_the_server_was() {
    let found = |port: u16| Place::Found(([127, 0, 0, 1], port).into());
    let mut schedule = Schedule::new([server(1)], Jitter::new([1; 8]), at(0));
    schedule.set_places([found(1)], at(0));
    heartbeat(&mut schedule, 1, 1, at(0));
    schedule.set_places((1..=400).map(found), at(0));
    let mut now = schedule.poll_timeout(at(0)).unwrap();
    let mut running: Vec<(Monotonic, TryId)> = Vec::new();
    let mut tries: BTreeMap<String, Vec<Monotonic>> = BTreeMap::new();
    while now < at(6 * 3600 * 1000) {
        while let Some(one) = schedule.poll(now) {
            tries.entry(one.place.to_string()).or_default().push(now);
            running.push((now.after(LONGEST_TRY), one.id));
        }
        let ends = running.iter().map(|(end, _)| *end);
        let next = ends.chain(schedule.poll_timeout(now)).min().unwrap();
        assert!(next > now);
        now = next;
        running.retain(|(end, id)| {
            let is_over = *end <= now;
            if is_over {
                schedule.finished(*id);
            }
            !is_over
        });
    }
    // A round, and the pause after it, which is at most what the server said.
    let here = &tries[&found(1).to_string()];
    let apart = here.windows(2).map(|two| two[1].since(two[0]));
    assert!(
        apart.max().unwrap() <= LONGEST_TRY + secs(60) + secs(1),
        "{here:?}"
    );
    // And each of the others has its turn.
    assert_eq!(tries.len(), 400);
}

/// The way in which a place behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Behaviour {
    /// No answer until the limit of the try.
    Dead,
    /// Refuses the connection at once.
    Closed,
    /// A stranger: connects, and is no trusted server.
    Other(u8),
    Accepts(u8),
    Refuses(u8),
    /// Takes the request and never answers.
    Hangs(u8),
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    use Behaviour as B;
    prop_oneof![
        Just(B::Dead),
        Just(B::Closed),
        (10u8..12).prop_map(B::Other),
        (1u8..4).prop_map(B::Accepts),
        (1u8..4).prop_map(B::Refuses),
        (1u8..4).prop_map(B::Hangs),
    ]
}

/// Carries out tries in virtual time, and keeps what happened.
struct World {
    schedule: Schedule,
    now: Monotonic,
    behaviours: Vec<Behaviour>,
    /// The end of each try that runs.
    running: BTreeMap<TryId, (Monotonic, Behaviour)>,
    /// The times of tries, and of accepted heartbeats by server.
    tries: Vec<Monotonic>,
    heartbeats: BTreeMap<u8, Vec<Monotonic>>,
    next: Duration,
}

impl World {
    fn new(behaviours: Vec<Behaviour>, next: Duration, seed: u64) -> Self {
        let jitter = Jitter::new(seed.to_ne_bytes());
        let mut schedule = Schedule::new([1, 2, 3].map(server), jitter, at(0));
        let places = 1..=u16::try_from(behaviours.len()).unwrap();
        schedule.set_places(places.map(place), at(0));
        Self {
            schedule,
            now: at(0),
            behaviours,
            running: BTreeMap::new(),
            tries: Vec::new(),
            heartbeats: BTreeMap::new(),
            next,
        }
    }

    fn run(&mut self, until: Monotonic, mut pokes: Vec<Monotonic>) {
        pokes.sort();
        let mut pokes = pokes.into_iter().peekable();
        let mut steps = 0;
        while self.now < until {
            steps += 1;
            assert!(steps < 100_000, "a busy loop at {:?}", self.now);
            while let Some(one) = self.schedule.poll(self.now) {
                self.begin(one);
            }
            let ends = self.running.values().map(|(end, _)| *end).min();
            let poke = pokes.peek().copied();
            let due = self.schedule.poll_timeout(self.now);
            let next = [ends, poke, due].into_iter().flatten().min();
            let next = next.expect("it has gone to sleep for ever");
            // Time never stands still without an end of a try or a poke.
            assert!(next > self.now || Some(next) == ends || Some(next) == poke);
            self.now = self.now.max(next);
            while pokes.next_if(|at| *at <= self.now).is_some() {
                for number in 1..4 {
                    self.schedule.poked(&token(number), self.now);
                }
            }
            self.end_tries();
        }
    }

    fn begin(&mut self, one: Try) {
        self.tries.push(self.now);
        let Place::Named(target) = one.place else {
            unreachable!()
        };
        let behaviour = self.behaviours[usize::from(target.port.get()) - 1];
        let takes = match behaviour {
            Behaviour::Dead => secs(5),
            Behaviour::Hangs(_) => secs(15),
            _ => Duration::from_millis(5),
        };
        self.running
            .insert(one.id, (self.now.after(takes), behaviour));
    }

    fn end_tries(&mut self) {
        let now = self.now;
        let over: Vec<TryId> = self
            .running
            .iter()
            .filter(|(_, (end, _))| *end <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            let (_, behaviour) = self.running.remove(&id).unwrap();
            match behaviour {
                Behaviour::Dead | Behaviour::Closed => {}
                Behaviour::Other(number) => {
                    assert!(!self.schedule.connected(id, server(number), now));
                }
                Behaviour::Accepts(number) => {
                    if self.schedule.connected(id, server(number), now) {
                        self.heartbeats.entry(number).or_default().push(now);
                        let token = token(number);
                        self.schedule
                            .accepted(id, server(number), self.next, token, now);
                    }
                }
                Behaviour::Refuses(number) => {
                    if self.schedule.connected(id, server(number), now) {
                        self.schedule.refused(id, server(number), None, now);
                    }
                }
                Behaviour::Hangs(number) => {
                    self.schedule.connected(id, server(number), now);
                }
            }
            self.schedule.finished(id);
        }
    }
}

proptest! {
    /// Whatever servers and places do: no busy loop, no sleep without an end, and a server that accepts hears of the
    /// machine as often as it said, unless another one of the same key refuses or hangs.
    #[test]
    fn no_failure_makes_it_busy_or_silent(
        behaviours in prop::collection::vec(behaviour(), 0..8),
        next in 15u64..3600,
        seed: u64,
        pokes in prop::collection::vec(0u64..7_200_000, 0..20),
    ) {
        let places = behaviours.len();
        let hour = 3600;
        let mut world = World::new(behaviours.clone(), secs(next), seed);
        world.run(at(2 * hour * 1000), pokes.into_iter().map(at).collect());
        // Each round tries each place once, and two rounds of a server are half of the shortest retry apart on average.
        let rounds = 3 * (2 * hour / 2 + 20);
        prop_assert!(world.tries.len() as u64 <= rounds * places as u64 + 1);
        for number in 1..4 {
            let is_of = |it: &Behaviour| matches!(
                it,
                Behaviour::Accepts(n) | Behaviour::Refuses(n) | Behaviour::Hangs(n) if *n == number
            );
            let own: Vec<&Behaviour> = behaviours.iter().filter(|it| is_of(it)).collect();
            let accepts = own.iter().all(|it| matches!(it, Behaviour::Accepts(_)));
            if own.is_empty() || !accepts {
                continue;
            }
            let heard = world.heartbeats.get(&number).cloned().unwrap_or_default();
            prop_assert!(!heard.is_empty());
            // The first tries may meet hanging places of others first.
            prop_assert!(heard[0] <= at(60_000), "{:?}", heard[0]);
            for pair in heard.windows(2) {
                // A dead place is never before the server's own.
                prop_assert!(pair[1].since(pair[0]) <= secs(next) + secs(1));
            }
            // A token acts once: besides the regular ones there is one that was asked for.
            let most = 2 * hour * 2 / next + 3;
            prop_assert!(heard.len() as u64 <= most, "{} of {most}", heard.len());
        }
    }

    /// The pauses between failing rounds grow to their limit, are never shorter than a second, and never end.
    #[test]
    fn retries_grow_to_five_minutes(seed: u64) {
        let mut world = World::new(vec![Behaviour::Closed], secs(60), seed);
        world.schedule.servers.retain(|key, _| *key == server(1));
        world.run(at(24 * 3600 * 1000), Vec::new());
        let gaps: Vec<Duration> = world.tries.windows(2).map(|it| it[1].since(it[0])).collect();
        prop_assert!(gaps.iter().all(|gap| (secs(1)..=secs(301)).contains(gap)));
        prop_assert!(gaps[0] <= secs(6) && gaps.iter().any(|gap| *gap > secs(150)));
    }
}
