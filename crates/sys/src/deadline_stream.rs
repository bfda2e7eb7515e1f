//! A TCP connection with a deadline, so that no peer can hold its reader for longer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use nightlatch_core::time::Monotonic;

use crate::clock;

/// A socket with one deadline for all reads and writes, until it is lifted: a peer that sends byte by byte gains no
/// time.
#[derive(Debug)]
pub struct DeadlineStream {
    socket: TcpStream,
    deadline: Option<Monotonic>,
}

impl DeadlineStream {
    /// The deadline is `limit` from now.
    pub fn new(socket: TcpStream, limit: Duration) -> Self {
        let deadline = Some(clock::now().mono.after(limit));
        Self { socket, deadline }
    }

    /// Moves the deadline to `limit` from now.
    pub fn renew(&mut self, limit: Duration) {
        self.deadline = Some(clock::now().mono.after(limit));
    }

    /// Waits from now on for as long as the peer is alive.
    pub fn lift(&mut self) {
        self.deadline = None;
    }

    /// Closes both directions. A connection that is closed already is no error.
    pub fn shutdown(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// The socket, for another thread that may shut it down.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.socket.try_clone()
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        match deadline.since(clock::now().mono) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer).map_err(too_late)
    }
}

impl Write for DeadlineStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes).map_err(too_late)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// The kernel reports a socket's timeout as `EAGAIN` (socket(7), `SO_RCVTIMEO`), which reads as a lack of resources.
fn too_late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_silent_peer_runs_into_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut stream = DeadlineStream::new(socket, Duration::from_millis(200));
        let end = stream.read(&mut [0]).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::TimedOut);
    }

    /// A byte now and then renews nothing.
    #[test]
    fn who_sends_byte_by_byte_runs_into_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        std::thread::spawn(move || while peer.write_all(b"x").is_ok() {});
        let mut stream = DeadlineStream::new(socket, Duration::from_millis(200));
        let end = loop {
            if let Err(error) = stream.read(&mut [0; 16]) {
                break error;
            }
        };
        assert_eq!(end.kind(), io::ErrorKind::TimedOut);
        // It can be taken away, once it may think.
        stream.lift();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    }
}
