//! No bytes from any host are the answer to a ping but the reply to it, from its address.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use nightlatch_proto::echo::{EchoExchange, MESSAGE_BYTES, TOKEN_BYTES};

fuzz_target!(|input: (bool, u16, [u8; TOKEN_BYTES], u8, &[u8])| {
    let (is_v6, id, token, count, bytes) = input;
    let address = if is_v6 {
        "[2001:db8::1]:0"
    } else {
        "192.0.2.1:0"
    };
    let address: SocketAddr = address.parse().expect("an address");
    let mut echo = EchoExchange::new(address, id, token);
    assert!(!echo.is_answered_by(address, bytes));
    let requests: Vec<_> = (0..count % 8).map(|_| echo.next_request()).collect();
    let reply = |request: &[u8; MESSAGE_BYTES]| {
        let kind = if is_v6 { 129 } else { 0 };
        // The kernel verifies the checksum, bytes 2 and 3.
        bytes.len() == MESSAGE_BYTES && bytes[..2] == [kind, 0] && bytes[4..] == request[4..]
    };
    assert_eq!(
        echo.is_answered_by(address, bytes),
        requests.iter().any(reply)
    );
});
