//! Load from many boot clients, without starting a process for each.

use std::net::{Ipv6Addr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nightlatch_interop::machine::Machine;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{BootTls, RawKey};

/// More than any payload here has.
const MAX_PAYLOAD: usize = 1 << 20;

/// Fetches the machine's payload `requests` times, `at_a_time` side by side.
pub(crate) fn fetch_many(machine: &Machine, port: u16, requests: usize, at_a_time: usize) {
    let key = || {
        let private = std::fs::read(machine.key_file("tls-privkey.pem")).unwrap();
        BootTls::new(
            RawKey::from_pem(&private, None).unwrap(),
            Vec::new(),
            &Priority::default(),
        )
        .unwrap()
    };
    let left = AtomicUsize::new(requests);
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                let tls = key();
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    let mut stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
                    let fetched = tls.fetch(&mut stream, MAX_PAYLOAD).unwrap();
                    assert!(!fetched.payload.is_empty());
                }
            });
        }
    });
}

/// Connects `count` times and says nothing.
pub(crate) fn connect_idle(port: u16, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap())
        .collect()
}
