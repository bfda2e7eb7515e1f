mod many;
mod untrusted;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, NULL, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, ResourceRecord, TYPE};

use nightlatch_core::time::Monotonic;

use super::cache::{MAX_INSTANCES, MAX_QUERIES};
use super::source::{MAX_ADDRESSES, MAX_SERVICES};
use super::*;

pub(super) const ETH: InterfaceIndex = InterfaceIndex(3);
pub(super) const WLAN: InterfaceIndex = InterfaceIndex(7);
const LINK_LOCAL: &str = "fe80::1";

pub(super) fn at(millis: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_millis(millis))
}

pub(super) fn from(source: &str) -> Arrival {
    Arrival {
        interface: ETH,
        source: source.parse().unwrap(),
        multicast: true,
        hop_limit: None,
    }
}

fn answer() -> Packet<'static> {
    let mut packet = Packet::new_reply(0);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet
}

fn pointer(instance: &str, ttl: u32) -> ResourceRecord<'static> {
    let target = Name::new(instance).unwrap().into_owned();
    let name = Name::new_unchecked(SERVICE_TYPE);
    ResourceRecord::new(name, CLASS::IN, ttl, RData::PTR(PTR(target)))
}

fn service(instance: &str, host: &str, port: u16, ttl: u32) -> ResourceRecord<'static> {
    let data = SRV {
        priority: 0,
        weight: 0,
        port,
        target: Name::new(host).unwrap().into_owned(),
    };
    let name = Name::new(instance).unwrap().into_owned();
    ResourceRecord::new(name, CLASS::IN, ttl, RData::SRV(data)).with_cache_flush(true)
}

fn address(host: &str, address: &str, ttl: u32) -> ResourceRecord<'static> {
    let data = match address.parse().unwrap() {
        IpAddr::V4(v4) => RData::A(A { address: v4.into() }),
        IpAddr::V6(v6) => RData::AAAA(AAAA { address: v6.into() }),
    };
    let name = Name::new(host).unwrap().into_owned();
    ResourceRecord::new(name, CLASS::IN, ttl, data).with_cache_flush(true)
}

const INSTANCE: &str = "Mandos._mandos._tcp.local";
const HOST: &str = "server.local";

/// An answer as Avahi sends it: the pointer, and the rest as additional records.
fn whole_answer() -> Packet<'static> {
    let mut packet = answer();
    packet.answers.push(pointer(INSTANCE, 4500));
    packet.additional_records = vec![
        address(HOST, LINK_LOCAL, 120),
        service(INSTANCE, HOST, 4711, 120),
        ResourceRecord::new(
            Name::new_unchecked(INSTANCE),
            CLASS::IN,
            4500,
            RData::TXT(TXT::new()),
        ),
    ];
    packet
}

struct Bench {
    browser: Browser,
    now: Monotonic,
}

impl Bench {
    /// A browser whose first question was sent at time zero.
    fn browsing() -> Self {
        let mut browser = Browser::new();
        browser.interface_added(ETH, Duration::ZERO, at(0));
        assert!(browser.poll_transmit(at(0)).is_some());
        assert_eq!(browser.poll_transmit(at(0)), None);
        Self {
            browser,
            now: at(0),
        }
    }

    fn hear(&mut self, packet: &Packet<'_>) -> Vec<BrowserEvent> {
        let bytes = packet.build_bytes_vec_compressed().unwrap();
        let heard = self.hear_bytes(&bytes);
        assert!(
            matches!(heard, Ok(()) | Err(IgnoreReason::Repeated)),
            "{heard:?}"
        );
        self.events()
    }

    /// A message from another source address, real or forged.
    fn hear_from(&mut self, source: Ipv6Addr, packet: &Packet<'_>) -> Vec<BrowserEvent> {
        let bytes = packet.build_bytes_vec_compressed().unwrap();
        let arrival = from(&format!("[{source}%3]:5353"));
        self.browser
            .handle_packet(arrival, &bytes, self.now)
            .unwrap();
        self.events()
    }

    fn hear_bytes(&mut self, bytes: &[u8]) -> Result<(), IgnoreReason> {
        let arrival = from("[fe80::1%3]:5353");
        self.browser.handle_packet(arrival, bytes, self.now)
    }

    fn events(&mut self) -> Vec<BrowserEvent> {
        std::iter::from_fn(|| self.browser.poll_event()).collect()
    }

    fn sent(&mut self) -> Vec<Packet<'static>> {
        let now = self.now;
        let sent = std::iter::from_fn(|| self.browser.poll_transmit(now));
        sent.map(|transmit| {
            let bytes: &'static [u8] = transmit.payload.leak();
            Packet::parse(bytes).unwrap()
        })
        .collect()
    }

    /// Steps to the browser's own deadline.
    fn step(&mut self) {
        let deadline = self.browser.poll_timeout().unwrap();
        assert!(deadline > self.now, "a deadline in the past");
        self.now = deadline;
        self.browser.handle_timeout(self.now);
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
        self.browser.handle_timeout(self.now);
    }
}

fn server(addr: &str) -> FoundServer {
    FoundServer {
        interface: ETH,
        source: LINK_LOCAL.parse().unwrap(),
        instance: "Mandos".into(),
        host: "server.local".into(),
        addr: addr.parse().unwrap(),
    }
}

fn questions(packet: &Packet<'_>) -> Vec<String> {
    let print = |question: &simple_dns::Question<'_>| {
        let unicast = if question.unicast_response { " QU" } else { "" };
        format!("{} {:?}{unicast}", question.qname, question.qtype)
    };
    packet.questions.iter().map(print).collect()
}

#[test]
fn the_first_question_goes_out_at_once_and_asks_for_a_unicast_answer() {
    let mut browser = Browser::new();
    assert_eq!(browser.poll_timeout(), None);
    browser.interface_added(ETH, Duration::from_millis(20), at(5));
    assert_eq!(browser.poll_timeout(), Some(at(25)));
    assert_eq!(browser.poll_transmit(at(24)), None);
    let sent = browser.poll_transmit(at(25)).unwrap();
    assert_eq!(sent.interface, ETH);
    let expected = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x07_mandos\x04_tcp\x05local\0\0\x0c\x80\x01";
    assert_eq!(sent.payload, expected);
}

#[test]
fn a_question_is_asked_again_after_one_second_then_two_and_at_most_a_minute_apart() {
    let mut bench = Bench::browsing();
    let mut times = Vec::new();
    for _ in 0..9 {
        bench.step();
        let sent = bench.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(questions(&sent[0]), ["_mandos._tcp.local TYPE(PTR)"]);
        times.push(bench.now.since_boot().as_secs());
    }
    assert_eq!(times, [1, 3, 7, 15, 31, 63, 123, 183, 243]);
}

#[test]
fn one_answer_with_additional_records_is_enough() {
    let mut bench = Bench::browsing();
    let events = bench.hear(&whole_answer());
    assert_eq!(events, [BrowserEvent::Found(server("[fe80::1%3]:4711"))]);
    assert!(bench.sent().is_empty());
}

#[test]
fn what_an_answer_lacks_is_asked_for_at_once() {
    let mut bench = Bench::browsing();
    let mut packet = answer();
    packet.answers.push(pointer(INSTANCE, 4500));
    assert_eq!(bench.hear(&packet), []);
    let sent = bench.sent();
    assert_eq!(
        questions(&sent[0]),
        ["Mandos._mandos._tcp.local TYPE(SRV) QU"]
    );

    let mut packet = answer();
    packet.answers.push(service(INSTANCE, HOST, 4711, 120));
    assert_eq!(bench.hear(&packet), []);
    let sent = bench.sent();
    let expected = ["server.local TYPE(AAAA) QU", "server.local TYPE(A) QU"];
    assert_eq!(questions(&sent[0]), expected);

    let mut packet = answer();
    packet.answers.push(address(HOST, LINK_LOCAL, 120));
    let found = bench.hear(&packet);
    assert_eq!(found, [BrowserEvent::Found(server("[fe80::1%3]:4711"))]);
}

#[test]
fn addresses_come_in_order_of_preference_and_are_scoped_to_the_link() {
    let mut bench = Bench::browsing();
    let mut packet = whole_answer();
    packet.additional_records.extend([
        address(HOST, "192.0.2.4", 120),
        address(HOST, "2001:db8::4", 120),
    ]);
    let events = bench.hear(&packet);
    let expected = ["[fe80::1%3]:4711", "[2001:db8::4]:4711", "192.0.2.4:4711"];
    assert_eq!(
        events,
        expected.map(|addr| BrowserEvent::Found(server(addr)))
    );
}

#[test]
fn with_ipv4_alone_known_ipv6_is_asked_for_once() {
    let mut bench = Bench::browsing();
    let mut packet = whole_answer();
    packet.additional_records[0] = address(HOST, "192.0.2.4", 120);
    let events = bench.hear(&packet);
    assert_eq!(events, [BrowserEvent::Found(server("192.0.2.4:4711"))]);
    assert_eq!(questions(&bench.sent()[0]), ["server.local TYPE(AAAA) QU"]);
    bench.wait(3000);
    let sent = bench.sent();
    assert_eq!(questions(&sent[0]), ["_mandos._tcp.local TYPE(PTR)"]);
}

#[test]
fn addresses_that_lead_nowhere_are_left_out() {
    for nowhere in [
        "::",
        "::1",
        "ff02::fb",
        "::ffff:192.0.2.1",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.251",
        "255.255.255.255",
    ] {
        let mut bench = Bench::browsing();
        let mut packet = whole_answer();
        packet.additional_records[0] = address(HOST, nowhere, 120);
        assert_eq!(bench.hear(&packet), [], "{nowhere}");
    }
}

#[test]
fn a_goodbye_loses_the_server_a_second_later() {
    let mut bench = Bench::browsing();
    bench.hear(&whole_answer());
    let mut packet = answer();
    packet.answers.push(pointer(INSTANCE, 0));
    assert_eq!(bench.hear(&packet), []);
    bench.wait(999);
    assert_eq!(bench.events(), []);
    bench.wait(1);
    let lost = bench.events();
    assert_eq!(lost, [BrowserEvent::Lost(server("[fe80::1%3]:4711"))]);
}

#[test]
fn a_goodbye_that_is_taken_back_within_the_second_changes_nothing() {
    let mut bench = Bench::browsing();
    bench.hear(&whole_answer());
    let mut packet = answer();
    packet.answers.push(pointer(INSTANCE, 0));
    bench.hear(&packet);
    bench.wait(500);
    assert_eq!(bench.hear(&whole_answer()), []);
    bench.wait(60_000);
    assert_eq!(bench.events(), []);
}

#[test]
fn a_server_that_falls_silent_is_asked_for_and_then_lost() {
    let mut bench = Bench::browsing();
    bench.hear(&whole_answer());
    let mut asked = Vec::new();
    let lost = loop {
        bench.step();
        for packet in bench.sent() {
            let seconds = bench.now.since_boot().as_secs();
            asked.extend(
                questions(&packet)
                    .into_iter()
                    .filter(|q| q.contains("AAAA"))
                    .map(|_| seconds),
            );
        }
        let events = bench.events();
        if !events.is_empty() {
            break events;
        }
    };
    assert_eq!(lost, [BrowserEvent::Lost(server("[fe80::1%3]:4711"))]);
    assert_eq!(bench.now, at(120_000));
    assert_eq!(asked, [96, 102, 108, 114]);
}

#[test]
fn a_changed_port_loses_the_old_address_and_finds_the_new() {
    let mut bench = Bench::browsing();
    bench.hear(&whole_answer());
    bench.wait(5000);
    let mut packet = answer();
    packet.answers.push(service(INSTANCE, HOST, 4712, 120));
    let events = bench.hear(&packet);
    assert_eq!(events, [BrowserEvent::Found(server("[fe80::1%3]:4712"))]);
    bench.wait(1000);
    let events = bench.events();
    assert_eq!(events, [BrowserEvent::Lost(server("[fe80::1%3]:4711"))]);
}

#[test]
fn a_removed_interface_takes_its_servers_with_it() {
    let mut bench = Bench::browsing();
    bench.hear(&whole_answer());
    bench.browser.interface_removed(ETH);
    let lost = bench.events();
    assert_eq!(lost, [BrowserEvent::Lost(server("[fe80::1%3]:4711"))]);
    assert_eq!(bench.browser.poll_timeout(), None);
    assert_eq!(bench.hear_bytes(&[]), Err(IgnoreReason::UnknownInterface));
}

#[test]
fn a_link_that_comes_back_is_asked_at_once() {
    let mut bench = Bench::browsing();
    bench.wait(10_000);
    bench.sent();
    bench
        .browser
        .interface_added(ETH, Duration::ZERO, bench.now);
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn each_interface_is_asked_and_answered_for_itself() {
    let mut bench = Bench::browsing();
    bench.browser.interface_added(WLAN, Duration::ZERO, at(0));
    bench.hear(&whole_answer());
    let arrival = Arrival {
        interface: WLAN,
        ..from("[fe80::1%7]:5353")
    };
    let bytes = whole_answer().build_bytes_vec().unwrap();
    bench.browser.handle_packet(arrival, &bytes, at(0)).unwrap();
    let found = bench.events();
    let expected = FoundServer {
        interface: WLAN,
        ..server("[fe80::1%7]:4711")
    };
    assert_eq!(found, [BrowserEvent::Found(expected)]);
}

#[test]
fn names_are_compared_without_case_and_instances_may_hold_dots_and_blanks() {
    let mut bench = Bench::browsing();
    let spelt = r"My\.Room\032\0352._MANDOS._tcp.LOCAL";
    let mut packet = answer();
    packet.answers.push(pointer(spelt, 4500));
    let respelt = r"my\.room\032\0352._mandos._TCP.local";
    packet
        .answers
        .push(service(respelt, "Server.Local", 1, 120));
    packet
        .answers
        .push(address("SERVER.local", LINK_LOCAL, 120));
    let expected = FoundServer {
        instance: "My.Room #2".into(),
        ..server("[fe80::1%3]:1")
    };
    assert_eq!(bench.hear(&packet), [BrowserEvent::Found(expected)]);
}

#[test]
fn a_name_cannot_carry_terminal_controls_into_a_log() {
    let mut bench = Bench::browsing();
    let mut packet = whole_answer();
    let name = r"a\010\027[31m._mandos._tcp.local";
    packet.answers[0] = pointer(name, 4500);
    packet.additional_records[1] = service(name, HOST, 1, 120);
    let events = bench.hear(&packet);
    let [BrowserEvent::Found(found)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(found.instance, "a\u{fffd}\u{fffd}[31m");
}

#[test]
fn the_type_codes_are_the_ones_of_the_registry() {
    let codes = [TYPE::PTR, TYPE::SRV, TYPE::AAAA, TYPE::A].map(u16::from);
    assert_eq!(codes, [12, 33, 28, 1]);
}
