//! The bound of all: how much the server's side of a handshake and a payload costs in memory, without
//! sockets, a runtime, rules or a store.

use std::io::{self, Read, Write};
use std::time::Duration;

use nightlatch_core::boot_nonce::BootSeed;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{BootTls, RawKey, RawKeyKind, ServerTls};
use rustls::ClientConnection;

use crate::clock;

const HANDSHAKES: u32 = 3000;

/// Handshakes with a payload of `length` bytes for each second of the server's side.
pub(crate) fn a_second(length: usize) -> f64 {
    let priority = Priority::default();
    let key = || RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let boot = BootTls::new(key(), Vec::new(), &priority, BootSeed::from_bytes([7; 32])).unwrap();
    let server = ServerTls::new(Some(&key()), &priority).unwrap();
    let payload = vec![7; length];
    let mut spent = Duration::ZERO;
    for _ in 0..HANDSHAKES {
        let mut far = FarSide::new(&server, &payload);
        let fetched = boot.fetch(&mut far, length + 1).unwrap();
        assert_eq!(fetched.payload.len(), length);
        spent += far.spent;
    }
    f64::from(HANDSHAKES) / spent.as_secs_f64()
}

/// The server's side, called by the boot client's reads and writes.
struct FarSide<'p> {
    connection: ClientConnection,
    payload: Option<&'p [u8]>,
    greeted: bool,
    outgoing: Vec<u8>,
    spent: Duration,
}

impl<'p> FarSide<'p> {
    fn new(server: &ServerTls, payload: &'p [u8]) -> Self {
        let start = clock();
        let connection = server.connection().unwrap();
        Self {
            connection,
            payload: Some(payload),
            greeted: false,
            outgoing: Vec::new(),
            spent: start.elapsed(),
        }
    }
}

impl Write for FarSide<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.greeted {
            self.greeted = bytes.ends_with(b"\n");
            return Ok(bytes.len());
        }
        let start = clock();
        let mut rest = bytes;
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest)?;
            self.connection.process_new_packets().unwrap();
        }
        if !self.connection.is_handshaking()
            && let Some(payload) = self.payload.take()
        {
            self.connection.writer().write_all(payload)?;
            self.connection.send_close_notify();
        }
        self.spent += start.elapsed();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for FarSide<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = clock();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.outgoing)?;
        }
        self.spent += start.elapsed();
        let count = self.outgoing.as_slice().read(buffer)?;
        self.outgoing.drain(..count);
        Ok(count)
    }
}
