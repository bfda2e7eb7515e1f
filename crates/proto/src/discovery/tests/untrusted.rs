//! Messages that are damaged, from elsewhere or about something else.

use proptest::prelude::*;

use super::*;

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
