//! Whatever a host on the link sends: the browser and the responder take it, and stay within bounds.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::discovery::{Arrival, Browser, InterfaceIndex, Responder, AnnouncedService};

const INTERFACE: InterfaceIndex = InterfaceIndex(3);

fuzz_target!(|bytes: &[u8]| {
    let at = |seconds| Monotonic::from_boot(Duration::from_secs(seconds));
    let arrival = Arrival {
        interface: INTERFACE,
        source: ([0xfe80, 0, 0, 0, 0, 0, 0, 2], 5353).into(),
        multicast: true,
        hop_limit: None,
    };

    let mut browser = Browser::new();
    browser.interface_added(INTERFACE, Duration::ZERO, at(0));
    let _ = browser.handle_packet(arrival, bytes, at(0));
    while browser.poll_transmit(at(0)).is_some() {}
    while browser.poll_event().is_some() {}
    browser.handle_timeout(at(1));
    let _ = browser.poll_timeout();

    let service = AnnouncedService {
        name: "Mandos".into(),
        host: "host".into(),
        port: 4711,
    };
    let mut responder = Responder::new(service, 1);
    responder.interface_added(INTERFACE, &[[0xfe80, 0, 0, 0, 0, 0, 0, 1].into()], at(0));
    // While probing, and when settled.
    for seconds in [0, 60] {
        for step in 0..10 {
            let now = Monotonic::from_boot(Duration::from_millis(seconds * 1000 + step * 1000));
            while responder.poll_transmit(now).is_some() {}
        }
        let _ = responder.handle_packet(arrival, bytes, at(seconds + 10));
        while responder.poll_transmit(at(seconds + 10)).is_some() {}
        let _ = responder.poll_timeout();
    }
});
