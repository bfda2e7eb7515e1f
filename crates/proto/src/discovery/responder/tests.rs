use std::time::Duration;

use proptest::prelude::*;
use simple_dns::rdata::{AAAA, PTR, RData, SRV};
use simple_dns::{CLASS, Name, QTYPE, Question, ResourceRecord, TYPE};

use super::*;
use crate::discovery::tests::{ETH, WLAN, at, from};
use crate::discovery::{Browser, BrowserEvent, SERVICE_TYPE};

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// A responder on one link, its clock, and all that it sent.
struct Bench {
    responder: Responder,
    now: Monotonic,
    sent: Vec<(Monotonic, ResponderMessage)>,
}

impl Bench {
    fn new(name: &str, port: u16, address: &str) -> Self {
        let service = AnnouncedService {
            name: name.to_owned(),
            host: "web-nightlatch".to_owned(),
            port,
        };
        let mut responder = Responder::new(service, u64::from(port));
        responder.interface_added(ETH, &[ip(address)], at(0));
        Self {
            responder,
            now: at(0),
            sent: Vec::new(),
        }
    }

    /// One that has announced itself, ten seconds ago.
    fn settled() -> Self {
        let mut bench = Self::new("Mandos", 4711, "fe80::1");
        bench.run_to(at(10_000));
        assert!(bench.responder.is_announced());
        bench.sent.clear();
        bench
    }

    /// Steps from deadline to deadline up to `end`.
    fn run_to(&mut self, end: Monotonic) {
        self.flush();
        while let Some(deadline) = self.responder.poll_timeout().filter(|it| *it <= end) {
            assert!(deadline > self.now, "a deadline in the past");
            self.now = deadline;
            self.responder.handle_timeout(deadline);
            self.flush();
        }
        self.now = end;
    }

    fn run_for(&mut self, millis: u64) {
        self.run_to(self.now.after(Duration::from_millis(millis)));
    }

    fn flush(&mut self) {
        while let Some(reply) = self.responder.poll_transmit(self.now) {
            self.sent.push((self.now, reply));
        }
    }

    fn hear(&mut self, arrival: Arrival, packet: &Packet<'_>) {
        let bytes = packet.build_bytes_vec_compressed().unwrap();
        self.responder
            .handle_packet(arrival, &bytes, self.now)
            .unwrap();
        self.flush();
    }

    fn last(&self) -> Packet<'_> {
        Packet::parse(&self.sent.last().unwrap().1.payload).unwrap()
    }
}

fn question(name: &str, kind: QTYPE, unicast: bool) -> Packet<'_> {
    let mut packet = Packet::new_query(0);
    let name = Name::new_unchecked(name);
    let question = Question::new(name, kind, CLASS::IN.into(), unicast);
    packet.questions.push(question);
    packet
}

fn service(instance: &'static str, host: &'static str, port: u16) -> ResourceRecord<'static> {
    let data = SRV {
        priority: 0,
        weight: 0,
        port,
        target: Name::new_unchecked(host),
    };
    let name = Name::new_unchecked(instance);
    ResourceRecord::new(name, CLASS::IN, 120, RData::SRV(data)).with_cache_flush(true)
}

fn address(host: &'static str, address: &str) -> ResourceRecord<'static> {
    let IpAddr::V6(v6) = ip(address) else {
        panic!("not IPv6: {address}")
    };
    let data = RData::AAAA(AAAA { address: v6.into() });
    ResourceRecord::new(Name::new_unchecked(host), CLASS::IN, 120, data)
}

const INSTANCE: &str = "Mandos._mandos._tcp.local";
const HOST: &str = "web-nightlatch.local";
const PEER: &str = "[fe80::2%3]:5353";
const POINTER: QTYPE = QTYPE::TYPE(TYPE::PTR);

fn names(records: &[ResourceRecord<'_>]) -> Vec<String> {
    let print = |record: &ResourceRecord<'_>| {
        let flush = if record.cache_flush { " flush" } else { "" };
        let kind = record.rdata.type_code();
        format!("{} {kind:?} {}{flush}", record.name, record.ttl)
    };
    records.iter().map(print).collect()
}

#[test]
fn three_probes_then_two_announcements() {
    let mut bench = Bench::new("Mandos", 4711, "fe80::1");
    bench.run_to(at(10_000));
    let start = bench.sent[0].0;
    assert!(start < at(250));
    let times: Vec<u128> = bench
        .sent
        .iter()
        .map(|(time, _)| time.since(start).as_millis())
        .collect();
    assert_eq!(times, [0, 250, 500, 750, 1750]);
    let probe = Packet::parse(&bench.sent[0].1.payload).unwrap();
    assert_eq!(probe.questions.len(), 2);
    assert!(probe.questions.iter().all(|it| it.qtype == QTYPE::ANY));
    assert_eq!(
        names(&probe.name_servers),
        [
            "Mandos._mandos._tcp.local SRV 120",
            "Mandos._mandos._tcp.local TXT 4500",
            "web-nightlatch.local AAAA 120"
        ]
    );
    assert_eq!(
        names(&bench.last().answers),
        [
            "_mandos._tcp.local PTR 4500",
            "Mandos._mandos._tcp.local SRV 120 flush",
            "Mandos._mandos._tcp.local TXT 4500 flush",
            "web-nightlatch.local AAAA 120 flush"
        ]
    );
    assert_eq!(bench.responder.poll_timeout(), None);
}

#[test]
fn an_empty_text_is_one_empty_string() {
    let bench = {
        let mut bench = Bench::settled();
        bench.hear(
            from(PEER),
            &question(INSTANCE, QTYPE::TYPE(TYPE::TXT), false),
        );
        bench
    };
    let payload = &bench.sent[0].1.payload;
    assert!(payload.ends_with(b"\x00\x01\x00"), "{payload:?}");
}

#[test]
fn our_browser_is_answered_at_once_and_alone() {
    let mut bench = Bench::settled();
    let mut browser = Browser::new();
    browser.interface_added(ETH, Duration::ZERO, bench.now);
    let asked = browser.poll_transmit(bench.now).unwrap();
    bench
        .responder
        .handle_packet(from(PEER), &asked.payload, bench.now)
        .unwrap();
    bench.flush();
    let (time, reply) = bench.sent.pop().unwrap();
    assert_eq!((time, reply.to), (bench.now, Some(PEER.parse().unwrap())));
    let arrival = from("[fe80::1%3]:5353");
    browser
        .handle_packet(arrival, &reply.payload, bench.now)
        .unwrap();
    let Some(BrowserEvent::Found(server)) = browser.poll_event() else {
        panic!("not found")
    };
    assert_eq!(server.addr.to_string(), "[fe80::1%3]:4711");
    assert_eq!(server.instance, "Mandos");
    // It was multicast a moment ago: no other host needs it.
    bench.run_for(5_000);
    assert!(bench.sent.is_empty());
}

/// A neighbour who names the server's instance must not make the server take the record as known to us.
#[test]
fn our_browser_is_answered_though_a_stranger_named_the_server_before() {
    let mut bench = Bench::settled();
    let mut browser = Browser::new();
    browser.interface_added(ETH, Duration::ZERO, bench.now);
    // The first question is lost.
    assert!(browser.poll_transmit(bench.now).is_some());
    let mut forged = Packet::new_reply(0);
    forged.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    let instance = "Mandos._mandos._tcp.local";
    let data = RData::PTR(PTR(Name::new_unchecked(instance)));
    let pointer = ResourceRecord::new(Name::new_unchecked(SERVICE_TYPE), CLASS::IN, 4500, data);
    forged.answers = vec![pointer, service(instance, "elsewhere.local", 9)];
    let bytes = forged.build_bytes_vec_compressed().unwrap();
    let stranger = from("[fe80::bad%3]:5353");
    browser.handle_packet(stranger, &bytes, bench.now).unwrap();
    let mut found = None;
    while found.is_none() && bench.now < at(60_000) {
        browser.handle_timeout(bench.now);
        while let Some(asked) = browser.poll_transmit(bench.now) {
            let _ = bench
                .responder
                .handle_packet(from(PEER), &asked.payload, bench.now);
        }
        bench.run_for(500);
        for (_, reply) in bench.sent.drain(..) {
            let arrival = from("[fe80::1%3]:5353");
            let _ = browser.handle_packet(arrival, &reply.payload, bench.now);
        }
        found = browser.poll_event();
    }
    let Some(BrowserEvent::Found(server)) = found else {
        panic!("the server was never heard")
    };
    assert_eq!(server.addr.to_string(), "[fe80::1%3]:4711");
}

#[test]
fn what_the_group_has_not_heard_for_long_it_hears_too() {
    let mut bench = Bench::settled();
    bench.run_for(2_000_000);
    bench.hear(from(PEER), &question(SERVICE_TYPE, POINTER, true));
    assert_eq!(bench.sent.len(), 1);
    bench.run_for(200);
    assert_eq!(bench.sent.len(), 2);
    assert_eq!(bench.sent[1].1.to, None);
}

#[test]
fn the_group_is_answered_after_a_random_wait_with_all_that_is_needed() {
    let mut bench = Bench::settled();
    let asked = bench.now;
    bench.hear(from(PEER), &question(SERVICE_TYPE, POINTER, false));
    assert!(bench.sent.is_empty());
    bench.run_for(1_000);
    let (time, reply) = &bench.sent[0];
    let waited = time.since(asked).as_millis();
    assert!((20..120).contains(&waited), "{waited}");
    assert_eq!(reply.to, None);
    let answer = bench.last();
    assert_eq!(names(&answer.answers), ["_mandos._tcp.local PTR 4500"]);
    assert_eq!(answer.additional_records.len(), 3);
}

#[test]
fn the_group_hears_a_record_once_in_a_second_whoever_asks() {
    let mut bench = Bench::settled();
    let start = bench.now;
    for _ in 0..1000 {
        bench.hear(from(PEER), &question(SERVICE_TYPE, POINTER, false));
        bench.hear(from(PEER), &question(HOST, QTYPE::ANY, false));
        bench.run_for(10);
    }
    let span = bench.now.since(start).as_secs() as usize;
    assert!(bench.sent.len() <= 2 * (span + 1), "{}", bench.sent.len());
}

#[test]
fn a_known_answer_is_not_repeated() {
    let mut bench = Bench::settled();
    let mut packet = question(SERVICE_TYPE, POINTER, false);
    let data = RData::PTR(PTR(Name::new_unchecked(INSTANCE)));
    let name = Name::new_unchecked(SERVICE_TYPE);
    let known = ResourceRecord::new(name, CLASS::IN, 2250, data);
    packet.answers.push(known);
    bench.hear(from(PEER), &packet);
    bench.run_for(1_000);
    assert!(bench.sent.is_empty());
    // Known for less than half its life: repeated.
    packet.answers[0].ttl = 2249;
    bench.hear(from(PEER), &packet);
    bench.run_for(1_000);
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_simple_resolver_is_answered_in_its_own_way() {
    let mut bench = Bench::settled();
    let mut packet = question(HOST, QTYPE::TYPE(TYPE::AAAA), false);
    packet.set_id(77);
    bench.hear(from("[fe80::2%3]:40000"), &packet);
    let to = bench.sent[0].1.to;
    assert_eq!(to, Some("[fe80::2%3]:40000".parse().unwrap()));
    let answer = bench.last();
    assert_eq!((answer.id(), answer.questions.len()), (77, 1));
    assert_eq!(names(&answer.answers), ["web-nightlatch.local AAAA 10"]);
}

#[test]
fn what_is_asked_about_others_is_not_answered() {
    let mut bench = Bench::settled();
    for name in ["_ipp._tcp.local", "Other._mandos._tcp.local", "web.local"] {
        bench.hear(from(PEER), &question(name, QTYPE::ANY, true));
    }
    bench.run_for(1_000);
    assert!(bench.sent.is_empty());
}

#[test]
fn a_name_that_another_holds_is_changed_while_probing() {
    let mut bench = Bench::new("Mandos", 4711, "fe80::1");
    bench.run_to(at(260));
    let mut answer = Packet::new_reply(0);
    answer.answers.push(service(INSTANCE, "other.local", 4711));
    bench.hear(from(PEER), &answer);
    bench.run_to(at(5_000));
    assert_eq!(bench.responder.name(), "Mandos #2");
    assert!(bench.responder.is_announced());
    let announced = &names(&bench.last().answers)[1];
    assert_eq!(announced, "Mandos #2._mandos._tcp.local SRV 120 flush");
}

#[test]
fn a_host_name_that_another_holds_is_changed_and_the_service_keeps_its_name() {
    let mut bench = Bench::new("Mandos", 4711, "fe80::1");
    bench.run_to(at(260));
    let mut answer = Packet::new_reply(0);
    answer.answers.push(address(HOST, "fe80::2"));
    bench.hear(from(PEER), &answer);
    bench.run_to(at(5_000));
    assert_eq!(bench.responder.name(), "Mandos");
    let announced = &names(&bench.last().answers)[3];
    assert_eq!(announced, "web-nightlatch-2.local AAAA 120 flush");
}

#[test]
fn an_announced_name_is_probed_again_before_it_is_given_up() {
    let mut bench = Bench::settled();
    let mut answer = Packet::new_reply(0);
    answer.answers.push(service(INSTANCE, "other.local", 4711));
    bench.hear(from(PEER), &answer);
    assert!(!bench.responder.is_announced());
    bench.run_for(5_000);
    assert_eq!(bench.responder.name(), "Mandos");
    assert!(bench.responder.is_announced());
}

#[test]
fn our_own_messages_and_goodbyes_of_others_are_no_conflict() {
    let mut bench = Bench::new("Mandos", 4711, "fe80::1");
    bench
        .responder
        .interface_added(WLAN, &[ip("fe80::9")], at(0));
    bench.run_to(at(5_000));
    // One host, two interfaces on one link: each receives what was sent through the other.
    for (_, reply) in bench.sent.clone() {
        let arrival = from("[fe80::9%3]:5353");
        let _ = bench
            .responder
            .handle_packet(arrival, &reply.payload, bench.now);
    }
    let mut goodbye = Packet::new_reply(0);
    let mut gone = service(INSTANCE, "other.local", 1);
    gone.ttl = 0;
    goodbye.answers.push(gone);
    bench.hear(from(PEER), &goodbye);
    assert!(bench.responder.is_announced());
    assert_eq!(bench.responder.name(), "Mandos");
}

#[test]
fn a_probe_for_our_name_is_answered_in_time() {
    let mut bench = Bench::settled();
    bench.hear(from(PEER), &question(INSTANCE, QTYPE::ANY, false));
    assert_eq!(bench.sent.len(), 1);
    // Within the second in which nothing is repeated.
    let mut probe = question(INSTANCE, QTYPE::ANY, false);
    probe.name_servers.push(service(INSTANCE, "other.local", 1));
    bench.hear(from(PEER), &probe);
    assert_eq!(bench.sent.len(), 2);
}

/// Two responders on one link, each hearing all that the other sends.
fn meet(mut one: Bench, mut two: Bench, until: Monotonic) -> (Bench, Bench) {
    let mut told = (0, 0);
    while one.now < until {
        let next = one.now.after(Duration::from_millis(5));
        one.run_to(next);
        two.run_to(next);
        for (_, reply) in one.sent.clone().split_off(told.0) {
            let _ = two
                .responder
                .handle_packet(from("[fe80::1%3]:5353"), &reply.payload, next);
        }
        for (_, reply) in two.sent.clone().split_off(told.1) {
            let _ = one
                .responder
                .handle_packet(from(PEER), &reply.payload, next);
        }
        told = (one.sent.len(), two.sent.len());
    }
    (one, two)
}

#[test]
fn two_that_probe_at_once_end_with_two_names_and_two_hosts() {
    for seed in 0..50_u64 {
        let mut one = Bench::new("Mandos", 4711, "fe80::1");
        let mut two = Bench::new("Mandos", 4712, "fe80::2");
        one.responder.jitter = Jitter(seed);
        two.responder.jitter = Jitter(seed.wrapping_mul(77));
        let (one, two) = meet(one, two, at(20_000));
        let names = [one.responder.name(), two.responder.name()];
        assert!(one.responder.is_announced() && two.responder.is_announced());
        assert!(
            names == ["Mandos", "Mandos #2"] || names == ["Mandos #2", "Mandos"],
            "{names:?} with seed {seed}"
        );
        assert_ne!(one.responder.host, two.responder.host);
    }
}

#[test]
fn a_host_that_claims_every_name_does_not_make_us_flood_the_link() {
    let mut bench = Bench::new("Mandos", 4711, "fe80::1");
    let mut answered = 0;
    while bench.now < at(60_000) {
        bench.run_for(50);
        let instance = format!("{}._mandos._tcp.local", bench.responder.name());
        let mut answer = Packet::new_reply(0);
        let mut record = service(INSTANCE, "other.local", 1);
        record.name = Name::new_unchecked(&instance);
        answer.answers.push(record);
        bench.hear(from(PEER), &answer);
        answered += 1;
    }
    assert!(bench.sent.len() < answered / 4, "{}", bench.sent.len());
    assert!(bench.responder.is_announced());
}

/// In every way that RFC 6762 has: a claim for each name that is probed, a claim for one that was announced, and a
/// probe that counts for more.
#[test]
fn a_host_that_claims_every_name_does_not_keep_us_from_being_found() {
    type Attack = fn(&str) -> Packet<'_>;
    let claim: Attack = |instance| {
        let mut packet = Packet::new_reply(0);
        packet.answers.push(named_service(instance));
        packet
    };
    let probe: Attack = |instance| {
        let mut packet = question(instance, QTYPE::ANY, false);
        packet.name_servers.push(named_service(instance));
        packet
    };
    for attack in [claim, probe] {
        for every in [40, 900, 2_000] {
            let mut bench = Bench::new("Mandos", 4711, "fe80::1");
            let mut found = 0;
            while bench.now < at(120_000) {
                bench.run_for(every);
                let instance = format!("{}._mandos._tcp.local", bench.responder.name());
                bench.hear(from(PEER), &attack(&instance));
                found = if bench.responder.is_announced() {
                    found + every
                } else {
                    0
                };
            }
            assert!(
                found > 60_000,
                "found for the last {found} ms only, with one in {every} ms"
            );
            // Once it is calm, a conflict is one again.
            bench.run_for(700_000);
            let instance = format!("{}._mandos._tcp.local", bench.responder.name());
            bench.hear(from(PEER), &claim(&instance));
            assert!(!bench.responder.is_announced());
        }
    }
}

fn named_service(instance: &str) -> ResourceRecord<'_> {
    let mut record = service(INSTANCE, "zzz.local", 65_535);
    record.name = Name::new_unchecked(instance);
    record
}

#[test]
fn a_goodbye_voids_all_records_and_only_what_was_announced() {
    let mut bench = Bench::settled();
    bench
        .responder
        .interface_added(WLAN, &[ip("fe80::9")], bench.now);
    bench.responder.withdraw();
    bench.flush();
    assert_eq!(bench.sent.len(), 1);
    let goodbye = bench.last();
    assert_eq!(goodbye.answers.len(), 4);
    assert!(goodbye.answers.iter().all(|record| record.ttl == 0));
    assert_eq!(bench.responder.poll_timeout(), None);
}

#[test]
fn new_addresses_are_announced_without_probing() {
    let mut bench = Bench::settled();
    bench
        .responder
        .interface_added(ETH, &[ip("fe80::5")], bench.now);
    bench.flush();
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.last().answers.len(), 4);
}

#[test]
fn names_count_up_as_avahi_does_and_fit_a_label() {
    assert_eq!(alternative("Mandos", " #"), "Mandos #2");
    assert_eq!(alternative("Mandos #9", " #"), "Mandos #10");
    assert_eq!(alternative("Mandos #x", " #"), "Mandos #x #2");
    assert_eq!(alternative("web-nightlatch", "-"), "web-nightlatch-2");
    let long = "ä".repeat(31);
    let other = alternative(&long, " #");
    assert!(other.len() <= 63 && other.ends_with(" #2"), "{other}");
    let most = format!("Mandos #{}", u32::MAX);
    assert_eq!(alternative(&most, " #"), format!("{most} #2"));
}

#[test]
fn what_comes_from_far_away_is_ignored() {
    let mut bench = Bench::settled();
    let packet = question(SERVICE_TYPE, POINTER, true);
    let bytes = packet.build_bytes_vec().unwrap();
    let mut arrival = from("[2001:db8::1]:5353");
    arrival.multicast = false;
    let result = bench.responder.handle_packet(arrival, &bytes, bench.now);
    assert_eq!(result, Err(IgnoreReason::OffLink));
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_a_fault(bytes: Vec<u8>, query: bool) {
        let mut bench = Bench::settled();
        let mut bytes = bytes;
        if let [_, _, flags, ..] = &mut bytes[..] {
            *flags = if query { 0 } else { 0x84 };
        }
        let _ = bench.responder.handle_packet(from(PEER), &bytes, bench.now);
        bench.run_for(5_000);
    }
}
