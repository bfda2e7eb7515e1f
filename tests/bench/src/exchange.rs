//! The other bound: what the kernel takes for a connection that carries as many bytes in as many turns
//! as an unlock does, without any TLS in it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::cpu::of_this_thread;

const EXCHANGES: u32 = 10_000;

/// More than any turn of an unlock has.
const MAX_TURN: usize = 4096;

/// Connections of `turns`, the peer's first, for each second of the server's processor, `at_a_time` of them side by side.
pub(crate) fn a_second(turns: &[usize], at_a_time: usize) -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = AtomicU32::new(EXCHANGES);
    let take = |it: u32| it.checked_sub(1);
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let start = of_this_thread();
            for _ in 0..EXCHANGES {
                serve(listener.accept().unwrap().0, turns);
            }
            of_this_thread() - start
        });
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
                {
                    ask(
                        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap(),
                        turns,
                    );
                }
            });
        }
        f64::from(EXCHANGES) / server.join().unwrap()
    })
}

fn serve(mut peer: TcpStream, turns: &[usize]) {
    take_turns(&mut peer, turns, false);
    peer.shutdown(Shutdown::Write).unwrap();
    let _ = peer.read(&mut [0]);
}

fn ask(mut server: TcpStream, turns: &[usize]) {
    take_turns(&mut server, turns, true);
    let _ = server.read(&mut [0]);
}

fn take_turns(stream: &mut TcpStream, turns: &[usize], mut is_mine: bool) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; MAX_TURN];
    for turn in turns {
        let bytes = &mut buffer[..*turn];
        match is_mine {
            true => stream.write_all(bytes).unwrap(),
            false => stream.read_exact(bytes).unwrap(),
        }
        is_mine = !is_mine;
    }
}
