//! ICMP and ICMPv6 echo messages (RFC 792; RFC 4443, 4) as a ping socket of Linux takes and returns them (icmp(7)): from
//! the type on, without an IP header.
//!
//! The kernel writes the checksum of a request and verifies that of a reply. It passes on replies from any host: the
//! decision which one counts is here.

use std::net::{IpAddr, SocketAddr};

/// Bytes of the random token in a request: too many to guess.
pub const TOKEN_BYTES: usize = 16;

/// Bytes of a request, and of its reply.
pub const MESSAGE_BYTES: usize = HEADER_BYTES + TOKEN_BYTES;

/// Type, code, checksum, identifier and sequence number.
const HEADER_BYTES: usize = 8;

/// Types of an echo request and its reply.
const V4: (u8, u8) = (8, 0);
const V6: (u8, u8) = (128, 129);

/// The requests to one address, and the replies that count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EchoExchange {
    address: SocketAddr,
    id: u16,
    token: [u8; TOKEN_BYTES],
    sent: u16,
}

impl EchoExchange {
    /// An exchange with `address`, whose port is not used. `id` is the identifier that the kernel gave the socket, and
    /// `token` a random number of this exchange alone, so that a late reply to an earlier one does not count.
    pub fn new(address: SocketAddr, id: u16, token: [u8; TOKEN_BYTES]) -> Self {
        Self {
            address,
            id,
            token,
            sent: 0,
        }
    }

    /// Number of requests so far.
    pub fn sent(&self) -> u16 {
        self.sent
    }

    /// The next request. Its checksum is zero.
    pub fn next_request(&mut self) -> [u8; MESSAGE_BYTES] {
        self.sent = self.sent.wrapping_add(1);
        let mut message = [0; MESSAGE_BYTES];
        let [
            kind,
            _code,
            _,
            _,
            id0,
            id1,
            sequence0,
            sequence1,
            token @ ..,
        ] = &mut message;
        *kind = self.types().0;
        [*id0, *id1] = self.id.to_be_bytes();
        [*sequence0, *sequence1] = self.sent.to_be_bytes();
        *token = self.token;
        message
    }

    /// True when `message` from `source` is the reply of the address itself to one of the requests.
    pub fn is_answered_by(&self, source: SocketAddr, message: &[u8]) -> bool {
        let Ok(message) = <[u8; MESSAGE_BYTES]>::try_from(message) else {
            return false;
        };
        let [kind, code, _, _, id0, id1, sequence0, sequence1, token @ ..] = message;
        let sequence = u16::from_be_bytes([sequence0, sequence1]);
        (kind, code) == (self.types().1, 0)
            && u16::from_be_bytes([id0, id1]) == self.id
            && (1..=self.sent).contains(&sequence)
            && token == self.token
            && self.is_from_address(source)
    }

    fn types(&self) -> (u8, u8) {
        match self.address.ip() {
            IpAddr::V4(_) => V4,
            IpAddr::V6(_) => V6,
        }
    }

    /// A link-local address is that of another host on another interface.
    fn is_from_address(&self, source: SocketAddr) -> bool {
        match (self.address, source) {
            (SocketAddr::V6(address), SocketAddr::V6(source)) => {
                address.ip() == source.ip()
                    && (address.scope_id() == 0 || address.scope_id() == source.scope_id())
            }
            (address, source) => address.ip() == source.ip(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: u16 = 0x1234;
    const TOKEN: [u8; TOKEN_BYTES] = *b"0123456789abcdef";

    fn exchange(address: SocketAddr) -> EchoExchange {
        EchoExchange::new(address, ID, TOKEN)
    }

    /// The reply of a host to a request.
    fn reply(request: [u8; MESSAGE_BYTES]) -> [u8; MESSAGE_BYTES] {
        let mut reply = request;
        reply[0] = if request[0] == V4.0 { V4.1 } else { V6.1 };
        reply[2..4].copy_from_slice(&[0xab, 0xcd]);
        reply
    }

    fn v4() -> SocketAddr {
        "192.0.2.1:0".parse().unwrap()
    }

    fn v6() -> SocketAddr {
        "[2001:db8::1]:0".parse().unwrap()
    }

    #[test]
    fn requests_have_the_bytes_of_the_standards() {
        let mut echo = exchange(v4());
        let request = [&[8, 0, 0, 0, 0x12, 0x34, 0, 1][..], &TOKEN].concat();
        assert_eq!(echo.next_request()[..], request);
        assert_eq!(echo.next_request()[6..8], [0, 2]);
        assert_eq!(exchange(v6()).next_request()[..2], [128, 0]);
    }

    #[test]
    fn a_reply_counts_from_the_pinged_address_only() {
        for (address, others) in [
            (v4(), ["192.0.2.2:0", "[::ffff:192.0.2.1]:0"]),
            (v6(), ["[2001:db8::2]:0", "192.0.2.1:0"]),
            (
                "[fe80::1%3]:0".parse().unwrap(),
                ["[fe80::1%4]:0", "[fe80::2%3]:0"],
            ),
        ] {
            let mut echo = exchange(address);
            let answer = reply(echo.next_request());
            assert!(echo.is_answered_by(address, &answer), "{address}");
            for other in others {
                let other = other.parse().unwrap();
                assert!(!echo.is_answered_by(other, &answer), "{other}");
            }
        }
    }

    #[test]
    fn a_reply_counts_to_requests_that_were_sent_only() {
        let mut echo = exchange(v4());
        let first = reply(exchange(v4()).next_request());
        assert!(!echo.is_answered_by(v4(), &first));
        let mut ahead = echo.clone();
        echo.next_request();
        assert!(echo.is_answered_by(v4(), &first));
        ahead.next_request();
        let second = reply(ahead.next_request());
        assert!(!echo.is_answered_by(v4(), &second));
        echo.next_request();
        // A late reply counts.
        assert!(echo.is_answered_by(v4(), &first) && echo.is_answered_by(v4(), &second));
    }

    #[test]
    fn an_exchange_is_not_answered_by_its_own_request() {
        for address in [v4(), v6()] {
            let mut echo = exchange(address);
            let request = echo.next_request();
            assert!(!echo.is_answered_by(address, &request));
        }
    }

    proptest! {
        #[test]
        fn every_request_is_answered_by_its_reply(
            is_v6: bool, id: u16, token: [u8; TOKEN_BYTES], count in 1..100_u16,
        ) {
            let address = if is_v6 { v6() } else { v4() };
            let mut echo = EchoExchange::new(address, id, token);
            for _ in 0..count {
                let answer = reply(echo.next_request());
                prop_assert!(echo.is_answered_by(address, &answer));
            }
            prop_assert_eq!(echo.sent(), count);
        }

        #[test]
        fn a_reply_with_one_other_bit_is_no_answer(byte in 0..MESSAGE_BYTES, bit in 0..8, is_v6: bool) {
            let address = if is_v6 { v6() } else { v4() };
            let mut echo = exchange(address);
            let mut answer = reply(echo.next_request());
            answer[byte] ^= 1_u8 << bit;
            // The kernel verifies the checksum.
            let is_checksum = (2..4).contains(&byte);
            prop_assert_eq!(echo.is_answered_by(address, &answer), is_checksum);
        }

        #[test]
        fn no_other_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut echo = exchange(v4());
            let answer = reply(echo.next_request());
            prop_assert!(!echo.is_answered_by(v4(), &bytes));
            let longer = [&answer[..], &bytes].concat();
            prop_assert_eq!(echo.is_answered_by(v4(), &longer), bytes.is_empty());
            let shorter = &answer[..bytes.len().min(MESSAGE_BYTES)];
            prop_assert_eq!(echo.is_answered_by(v4(), shorter), shorter.len() == MESSAGE_BYTES);
        }
    }
}
