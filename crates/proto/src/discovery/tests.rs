use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;
use simple_dns::rdata::{A, AAAA, NULL, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, ResourceRecord, TYPE};

use nightlatch_core::time::Monotonic;

use super::cache::{MAX_INSTANCES, MAX_QUERIES};
use super::source::{MAX_ADDRESSES, MAX_SERVICES};
use super::*;

const ETH: InterfaceIndex = InterfaceIndex(3);
const WLAN: InterfaceIndex = InterfaceIndex(7);
const LINK_LOCAL: &str = "fe80::1";

fn at(millis: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_millis(millis))
}

fn from(source: &str) -> Arrival {
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
fn only_the_local_link_is_believed() {
    let bytes = whole_answer().build_bytes_vec().unwrap();
    let hear = |arrival| {
        let mut bench = Bench::browsing();
        bench.browser.handle_packet(arrival, &bytes, at(0))
    };
    let unicast = |source, hop_limit| Arrival {
        multicast: false,
        hop_limit,
        ..from(source)
    };
    assert_eq!(hear(from("192.0.2.1:5353")), Ok(()));
    assert_eq!(hear(unicast("[fe80::1%3]:5353", None)), Ok(()));
    assert_eq!(hear(unicast("169.254.0.9:5353", None)), Ok(()));
    assert_eq!(hear(unicast("[2001:db8::1]:5353", Some(255))), Ok(()));
    let off_link = Err(IgnoreReason::OffLink);
    assert_eq!(hear(unicast("[2001:db8::1]:5353", Some(254))), off_link);
    assert_eq!(hear(unicast("192.0.2.1:5353", None)), off_link);
    assert_eq!(
        hear(from("[fe80::1%3]:5354")),
        Err(IgnoreReason::SourcePort)
    );
}

#[test]
fn queries_and_errors_are_no_answers() {
    let mut bench = Bench::browsing();
    let mut query = Packet::new_query(0);
    query.answers = whole_answer().answers;
    let bytes = query.build_bytes_vec().unwrap();
    assert_eq!(bench.hear_bytes(&bytes), Err(IgnoreReason::NotAnAnswer));
    let mut error = whole_answer();
    *error.rcode_mut() = simple_dns::RCODE::NameError;
    let bytes = error.build_bytes_vec().unwrap();
    assert_eq!(bench.hear_bytes(&bytes), Err(IgnoreReason::NotAnAnswer));
    assert_eq!(bench.events(), []);
}

#[test]
fn a_header_that_claims_many_records_never_reaches_the_parser() {
    let mut bench = Bench::browsing();
    let bytes = b"\0\0\x84\0\0\0\xff\xff\0\0\0\0";
    assert_eq!(bench.hear_bytes(bytes), Err(IgnoreReason::TooManyRecords));
    let long = vec![0; MAX_MESSAGE + 1];
    assert_eq!(bench.hear_bytes(&long), Err(IgnoreReason::TooLong));
}

#[test]
fn compression_loops_and_cut_messages_are_malformed() {
    let mut bench = Bench::browsing();
    let header = b"\0\0\x84\0\0\0\0\x01\0\0\0\0";
    let pointers: [&[u8]; 5] = [
        b"\xc0\x0c\0\x0c\0\x01\0\0\0\x01\0\0",         // to itself
        b"\xc0\x0e\xc0\x0c\0\x0c\0\x01\0\0\0\x01\0\0", // to the next, and back
        b"\x01a\xc0\x0c\0\x0c\0\x01\0\0\0\x01\0\0",    // grows for ever
        b"\xff\xff\0\x0c\0\x01\0\0\0\x01\0\0",         // beyond the end
        b"\x41aaaa",                                   // a label type that does not exist
    ];
    for pointer in pointers {
        let bytes = [header, pointer].concat();
        assert_eq!(bench.hear_bytes(&bytes), Err(IgnoreReason::Malformed));
    }
    let whole = whole_answer().build_bytes_vec_compressed().unwrap();
    for end in 0..whole.len() {
        let cut = bench.hear_bytes(&whole[..end]);
        assert_eq!(cut, Err(IgnoreReason::Malformed), "cut at {end}");
    }
    assert_eq!(bench.events(), []);
}

#[test]
fn records_of_other_kinds_and_other_services_are_passed_over() {
    let mut bench = Bench::browsing();
    let mut packet = whole_answer();
    packet.answers.push(ResourceRecord::new(
        Name::new_unchecked("_ipp._tcp.local"),
        CLASS::IN,
        4500,
        RData::PTR(PTR(Name::new_unchecked("Printer._ipp._tcp.local"))),
    ));
    packet
        .answers
        .push(pointer("Printer._ipp._tcp.local", 4500));
    packet.answers.push(pointer("_mandos._tcp.local", 4500));
    packet.answers.push(pointer("a.b._mandos._tcp.local", 4500));
    packet.answers.push(address("other.local", "fe80::2", 120));
    packet.answers.push(ResourceRecord::new(
        Name::new_unchecked(HOST),
        CLASS::IN,
        120,
        RData::NULL(65_280, NULL::new(b"anything").unwrap()),
    ));
    let found = bench.hear(&packet);
    assert_eq!(found, [BrowserEvent::Found(server("[fe80::1%3]:4711"))]);
    assert!(bench.sent().is_empty());
}

#[test]
fn a_service_at_the_root_or_port_zero_is_none() {
    for (host, port) in [(".", 4711), (HOST, 0)] {
        let mut bench = Bench::browsing();
        let mut packet = whole_answer();
        packet.additional_records[1] = service(INSTANCE, host, port, 120);
        assert_eq!(bench.hear(&packet), []);
    }
}

#[test]
fn a_rogue_responder_cannot_fill_the_memory() {
    let mut bench = Bench::browsing();
    for round in 0..40 {
        let mut packet = answer();
        for n in 0..20 {
            let instance = format!("i{round}-{n}._mandos._tcp.local");
            let host = format!("h{round}-{n}.local");
            packet.answers.push(pointer(&instance, u32::MAX));
            packet
                .answers
                .push(service(&instance, &host, 1 + n, u32::MAX));
            for m in 0..10 {
                let v6 = Ipv6Addr::new(0x2001, 0xdb8, round, n, 0, 0, 0, m).to_string();
                let record = address(&host, &v6, u32::MAX);
                packet.answers.push(record.with_cache_flush(false));
            }
        }
        bench.hear(&packet);
    }
    let most = MAX_INSTANCES * MAX_SERVICES * MAX_ADDRESSES;
    assert!(bench.browser.servers().len() <= most);
    for query in bench.sent() {
        assert!(query.build_bytes_vec().unwrap().len() <= 1500);
    }
    // Nothing stays for longer than the ceiling of a record's life.
    bench.wait(75 * 60 * 1000);
    assert_eq!(bench.browser.servers(), []);
}

/// Names `numbers` with a host and port each, as one message can hold them.
fn announcement(numbers: std::ops::Range<u16>, ip: &str) -> Packet<'static> {
    let mut packet = answer();
    for n in numbers {
        let instance = format!("x{n}._mandos._tcp.local");
        let host = format!("h{n}.local");
        packet.answers.push(pointer(&instance, 4500));
        packet.answers.push(service(&instance, &host, 1 + n, 120));
        packet.answers.push(address(&host, ip, 120));
    }
    packet
}

fn neighbour(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, number)
}

const RIGHT: &str = "[fe80::1%3]:4711";

fn found(events: &[BrowserEvent]) -> Vec<SocketAddr> {
    let addr = |event: &BrowserEvent| match event {
        BrowserEvent::Found(server) => Some(server.addr),
        BrowserEvent::Lost(_) => None,
    };
    events.iter().filter_map(addr).collect()
}

#[test]
fn two_hundred_servers_are_all_found_from_one_source_and_from_many() {
    for sources in [1, 200] {
        let mut bench = Bench::browsing();
        let mut all = Vec::new();
        for n in 0..200 {
            let packet = announcement(n..n + 1, "fe80::2");
            all.extend(found(&bench.hear_from(neighbour(n % sources), &packet)));
        }
        all.extend(found(&bench.hear(&whole_answer())));
        assert_eq!(all.len(), 201, "{sources}");
        assert_eq!(all.last().unwrap().to_string(), RIGHT);
        assert_eq!(bench.browser.servers().len(), 201);
        assert_eq!(bench.browser.poll_evicted(), None);
    }
}

#[test]
fn a_source_that_announces_without_end_pushes_out_what_it_told_itself() {
    let mut bench = Bench::browsing();
    bench.hear(&whole_answer());
    for n in 0..MAX_INSTANCES as u16 + 64 {
        let events = bench.hear_from(neighbour(0), &announcement(n..n + 1, "fe80::2"));
        assert_eq!(found(&events).len(), 1, "what came last is found: {n}");
        let lost = BrowserEvent::Lost(server(RIGHT));
        assert!(!events.contains(&lost), "{n}");
    }
    assert_eq!(bench.browser.servers().len(), MAX_INSTANCES);
    assert_eq!(bench.browser.poll_evicted(), Some(ETH));
    assert_eq!(bench.browser.poll_evicted(), None);
}

#[test]
fn from_however_many_sources_what_came_last_is_found() {
    let mut bench = Bench::browsing();
    for n in 0..2 * MAX_INSTANCES as u16 {
        bench.hear_from(neighbour(n), &announcement(n..n + 1, "fe80::2"));
    }
    let events = bench.hear(&whole_answer());
    assert!(
        events.contains(&BrowserEvent::Found(server(RIGHT))),
        "{events:?}"
    );
    // Its records do not exceed theirs: it is not evicted before them.
    for n in 0..MAX_INSTANCES as u16 - 1 {
        let n = 3000 + n;
        let events = bench.hear_from(neighbour(n), &announcement(n..n + 1, "fe80::2"));
        assert!(!events.contains(&BrowserEvent::Lost(server(RIGHT))), "{n}");
    }
    assert_eq!(bench.browser.servers().len(), MAX_INSTANCES);
}

#[test]
fn nobody_voids_or_replaces_what_another_source_told() {
    let mut bench = Bench::browsing();
    bench.hear(&whole_answer());
    bench.wait(2000);
    let mut goodbye = answer();
    goodbye.answers = vec![
        pointer(INSTANCE, 0),
        service(INSTANCE, HOST, 4711, 0),
        address(HOST, LINK_LOCAL, 0),
    ];
    bench.hear_from(neighbour(0), &goodbye);
    let mut other = answer();
    other.answers = vec![
        pointer(INSTANCE, 4500),
        service(INSTANCE, HOST, 9, 120),
        address(HOST, "fe80::9", 120),
    ];
    bench.hear_from(neighbour(0), &other);
    bench.wait(5000);
    assert_eq!(bench.events(), []);
    let servers = bench.browser.servers();
    assert!(servers.contains(&server(RIGHT)), "{servers:?}");
}

/// With a forged source it can: the real server is still found, as often as it is announced.
#[test]
fn what_is_told_in_the_name_of_a_server_does_not_hide_it() {
    let mut bench = Bench::browsing();
    let mut forged = answer();
    forged.answers.push(pointer(INSTANCE, 4500));
    for port in 1..40 {
        let service = service(INSTANCE, HOST, port, 4500);
        forged.answers.push(service.with_cache_flush(false));
    }
    for last in 1..40 {
        let ip = format!("fe80::bad:{last:x}");
        forged
            .answers
            .push(address(HOST, &ip, 4500).with_cache_flush(false));
    }
    bench.hear(&forged);
    let events = bench.hear(&whole_answer());
    assert!(
        events.contains(&BrowserEvent::Found(server(RIGHT))),
        "{events:?}"
    );
}

#[test]
fn a_message_that_is_repeated_is_not_read_again() {
    let mut bench = Bench::browsing();
    let flood = announcement(0..16, "fe80::2").build_bytes_vec().unwrap();
    bench.hear_bytes(&flood).unwrap();
    bench.wait(999);
    assert_eq!(bench.hear_bytes(&flood), Err(IgnoreReason::Repeated));
    // Another source, another message, and the same a second later are read.
    let other = Arrival {
        source: "[fe80::7%3]:5353".parse().unwrap(),
        ..from("[fe80::1%3]:5353")
    };
    let now = bench.now;
    bench.browser.handle_packet(other, &flood, now).unwrap();
    bench.hear(&whole_answer());
    bench.hear_bytes(&flood).unwrap();
    bench.wait(1000);
    bench.hear_bytes(&flood).unwrap();
}

#[test]
fn what_cannot_be_resolved_is_asked_for_within_bounds_and_least_first() {
    let mut bench = Bench::browsing();
    for n in 0..400 {
        let mut packet = answer();
        let instance = format!("{n:060}._mandos._tcp.local");
        packet.answers.push(pointer(&instance, 4500));
        bench.hear_from(neighbour(0), &packet);
    }
    let mut packet = answer();
    packet.answers.push(pointer(INSTANCE, 4500));
    bench.hear(&packet);
    let mut asked = Vec::new();
    for second in 0..4 {
        let sent = bench.sent();
        assert!(
            sent.len() <= MAX_QUERIES as usize,
            "{second}: {}",
            sent.len()
        );
        for query in &sent {
            assert!(query.build_bytes_vec().unwrap().len() <= 1232);
            asked.extend(questions(query));
        }
        assert!(bench.browser.poll_timeout().unwrap() > bench.now);
        bench.wait(1000);
    }
    assert!(asked[0].starts_with("Mandos._mandos"), "{}", asked[0]);
    let names: std::collections::BTreeSet<&String> = asked.iter().collect();
    // Each is asked first for an answer to us alone.
    assert_eq!(
        names.iter().filter(|name| name.ends_with("QU")).count(),
        401
    );
}

#[test]
fn a_query_about_many_servers_stays_within_one_packet() {
    let mut bench = Bench::browsing();
    for n in 0..MAX_INSTANCES {
        let instance = format!("{n:060}._mandos._tcp.local");
        let mut packet = answer();
        packet.answers.push(pointer(&instance, 4500));
        bench.hear(&packet);
    }
    bench.wait(1000);
    let transmit = bench.browser.poll_transmit(bench.now).unwrap();
    assert!(transmit.payload.len() <= 1232);
    let query = Packet::parse(&transmit.payload).unwrap();
    assert!(query.questions.len() >= 10 && query.answers.is_empty());
}

#[test]
fn the_type_codes_are_the_ones_of_the_registry() {
    let codes = [TYPE::PTR, TYPE::SRV, TYPE::AAAA, TYPE::A].map(u16::from);
    assert_eq!(codes, [12, 33, 28, 1]);
}

fn any_record() -> impl Strategy<Value = ResourceRecord<'static>> {
    let instance = prop::sample::select(vec![
        INSTANCE,
        "Other._mandos._tcp.local",
        "Printer._ipp._tcp.local",
    ]);
    let host = prop::sample::select(vec![HOST, "b.local", "."]);
    let ip = prop::sample::select(vec![LINK_LOCAL, "fe80::2", "192.0.2.1", "::"]);
    let ttl = prop::sample::select(vec![0, 1, 120, 4500, u32::MAX]);
    (0..3, instance, host, ip, ttl, any::<u16>(), any::<bool>()).prop_map(
        |(kind, instance, host, ip, ttl, port, flush)| {
            let record = match kind {
                0 => pointer(instance, ttl),
                1 => service(instance, host, port, ttl),
                _ => address(host, ip, ttl),
            };
            record.with_cache_flush(flush)
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_ignored(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Bench::browsing().hear_bytes(&bytes);
    }

    #[test]
    fn a_damaged_answer_is_taken_or_ignored(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = whole_answer().build_bytes_vec_compressed().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Bench::browsing().hear_bytes(&bytes);
    }

    /// For any messages and pauses: events add up to the servers that are known, deadlines move forward, and no
    /// question is asked twice within a second.
    #[test]
    fn events_and_deadlines_are_consistent(
        talk in prop::collection::vec((prop::collection::vec(any_record(), 0..8), 0_u64..200_000), 1..20)
    ) {
        let mut bench = Bench::browsing();
        let mut told = std::collections::BTreeSet::new();
        for (records, pause) in talk {
            let mut packet = answer();
            packet.answers = records;
            for event in bench.hear(&packet) {
                match event {
                    BrowserEvent::Found(server) => prop_assert!(told.insert(server)),
                    BrowserEvent::Lost(server) => prop_assert!(told.remove(&server)),
                }
            }
            let addresses = |servers: Vec<FoundServer>| -> std::collections::BTreeSet<SocketAddr> {
                servers.into_iter().map(|server| server.addr).collect()
            };
            let known = addresses(bench.browser.servers());
            prop_assert_eq!(addresses(told.iter().cloned().collect()), known);
            bench.sent();
            let deadline = bench.browser.poll_timeout().unwrap();
            prop_assert!(deadline > bench.now);
            bench.wait(pause);
            bench.sent();
            for event in bench.events() {
                match event {
                    BrowserEvent::Found(_) => prop_assert!(false, "found by waiting"),
                    BrowserEvent::Lost(server) => prop_assert!(told.remove(&server)),
                }
            }
        }
    }
}
