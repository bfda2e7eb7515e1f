//! The other bound: what the kernel takes for a connection that carries as many bytes in as many turns
//! as an unlock does, without any TLS in it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::time::{ClockId, clock_gettime};

const EXCHANGES: u32 = 10_000;

/// Number of bytes in each turn of an unlock, as captured: greeting, ClientHello, the machine's flight, the server's
/// flight, and the payload up to the close_notify.
const GREETING: usize = 3;
const HELLO: usize = 1430;
const MACHINE: usize = 1500;
const SERVER: usize = 230;
const PAYLOAD: usize = 540;

/// Connections for each second of the server's processor, `at_a_time` of them side by side.
pub(crate) fn a_second(at_a_time: usize) -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = AtomicU32::new(EXCHANGES);
    let take = |it: u32| it.checked_sub(1);
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let start = processor_time();
            for _ in 0..EXCHANGES {
                serve(listener.accept().unwrap().0);
            }
            processor_time() - start
        });
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
                {
                    ask(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
                }
            });
        }
        f64::from(EXCHANGES) / server.join().unwrap()
    })
}

fn serve(mut peer: TcpStream) {
    peer.set_nodelay(true).unwrap();
    let mut buffer = [0; 2048];
    peer.read_exact(&mut buffer[..GREETING]).unwrap();
    peer.write_all(&[0; HELLO]).unwrap();
    peer.read_exact(&mut buffer[..MACHINE]).unwrap();
    peer.write_all(&[0; SERVER]).unwrap();
    peer.write_all(&[0; PAYLOAD]).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let _ = peer.read(&mut buffer);
}

fn ask(mut server: TcpStream) {
    server.set_nodelay(true).unwrap();
    let mut buffer = [0; 2048];
    server.write_all(&[0; GREETING]).unwrap();
    server.read_exact(&mut buffer[..HELLO]).unwrap();
    server.write_all(&[0; MACHINE]).unwrap();
    server.read_exact(&mut buffer[..SERVER + PAYLOAD]).unwrap();
    let _ = server.read(&mut buffer);
}

/// Seconds that this thread has run.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
