//! The bound of all: how much the server's side of an unlock costs in memory: handshake, request and payload, without
//! sockets, a runtime, rules or a store. In processor time, as the server's: a busy machine makes it no slower.

use std::io::{self, Read, Write};

use nightlatch_core::boot_nonce::BootSeed;
use nightlatch_core::secret_name::SecretName;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::release::SecretHead;
use nightlatch_proto::tls::{BootTls, RawKey, RawKeyKind, ServerTls};
use rustls::ClientConnection;

use crate::cpu::of_this_thread;

const HANDSHAKES: u32 = 3000;

/// More than a request has.
const MAX_REQUEST: usize = 1024;

/// The cost of the server's side of an unlock, and the bytes that go over the wire for one.
pub(crate) struct HandshakeBound {
    /// Unlocks for each second of the server's side.
    pub(crate) a_second: f64,
    /// Number of bytes in each turn, the machine's first: greeting, ClientHello, its flight, the server's flight, the
    /// request, and the payload up to the close_notify.
    pub(crate) turns: Vec<usize>,
}

/// Unlocks with a payload of `length` bytes.
pub(crate) fn measure(length: usize) -> HandshakeBound {
    let priority = Priority::default();
    let key = || RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let boot = BootTls::new(key(), Vec::new(), &priority, BootSeed::from_bytes([7; 32])).unwrap();
    let server = ServerTls::new(Some(&key()), &priority).unwrap();
    let server = server.offering_release();
    let payload = vec![7; length];
    let mut spent = 0.0;
    let mut turns = Vec::new();
    for _ in 0..HANDSHAKES {
        let mut far = FarSide::new(&server, &payload);
        let fetched = boot.fetch(&mut far, length + 1).unwrap();
        assert_eq!(fetched.payload.len(), length);
        spent += far.spent;
        turns = far.turns;
    }
    HandshakeBound {
        a_second: f64::from(HANDSHAKES) / spent,
        turns,
    }
}

/// The server's side, called by the boot client's reads and writes.
struct FarSide<'p> {
    connection: ClientConnection,
    payload: &'p [u8],
    greeted: bool,
    outgoing: Vec<u8>,
    turns: Vec<usize>,
    /// The machine has written last.
    is_machines_turn: bool,
    /// Seconds of processor time.
    spent: f64,
}

impl<'p> FarSide<'p> {
    fn new(server: &ServerTls, payload: &'p [u8]) -> Self {
        let start = of_this_thread();
        let connection = server.connection().unwrap();
        Self {
            connection,
            payload,
            greeted: false,
            outgoing: Vec::new(),
            turns: Vec::new(),
            is_machines_turn: false,
            spent: of_this_thread() - start,
        }
    }

    fn count(&mut self, machine: bool, bytes: usize) {
        if bytes == 0 {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if self.is_machines_turn == machine => *turn += bytes,
            _ => self.turns.push(bytes),
        }
        self.is_machines_turn = machine;
    }

    /// The whole request came in one piece.
    fn answer(&mut self) -> io::Result<()> {
        let mut request = [0; MAX_REQUEST];
        match self.connection.reader().read(&mut request) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            read => read?,
        };
        let name = SecretName::boot();
        let head = SecretHead { name, serial: 0 };
        let head = head.to_bytes(self.payload.len()).unwrap();
        self.connection.writer().write_all(&head)?;
        self.connection.writer().write_all(self.payload)?;
        self.connection.send_close_notify();
        Ok(())
    }
}

impl Write for FarSide<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.count(true, bytes.len());
        if !self.greeted {
            self.greeted = bytes.ends_with(b"\n");
            return Ok(bytes.len());
        }
        let start = of_this_thread();
        let mut rest = bytes;
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest)?;
            self.connection.process_new_packets().unwrap();
        }
        if !self.connection.is_handshaking() {
            self.answer()?;
        }
        self.spent += of_this_thread() - start;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for FarSide<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = of_this_thread();
        let before = self.outgoing.len();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.outgoing)?;
        }
        self.spent += of_this_thread() - start;
        self.count(false, self.outgoing.len() - before);
        let count = self.outgoing.as_slice().read(buffer)?;
        self.outgoing.drain(..count);
        Ok(count)
    }
}
