//! Many servers and many sources: the bounds of memory and traffic, and who pushes out whom.

use super::*;

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
