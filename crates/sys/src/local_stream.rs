//! Reading from and writing to a local socket with one deadline for all of it, so that a slow peer gains no time.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nightlatch_core::time::Monotonic;

use crate::clock;

/// Reads one line of at most `max` bytes within `limit`, however slowly it comes. Nothing after it is read.
///
/// # Errors
/// `UnexpectedEof` without a line feed, `InvalidData` when it is no text, `TimedOut`.
pub fn read_line(stream: &mut UnixStream, max: usize, limit: Duration) -> io::Result<String> {
    let until = clock::now().mono.after(limit);
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < max {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => {
                return String::from_utf8(line)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
            }
            Ok(_) => line.extend(byte),
            Err(error) => again(error)?,
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Fills `buffer` within `limit`, however slowly the bytes come.
///
/// # Errors
/// `UnexpectedEof` when the peer has closed before, `TimedOut`.
pub fn read_exact(stream: &mut UnixStream, buffer: &mut [u8], limit: Duration) -> io::Result<()> {
    let until = clock::now().mono.after(limit);
    let mut filled = 0;
    while filled < buffer.len() {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) => again(error)?,
        }
    }
    Ok(())
}

/// Writes all of `bytes` within `limit`, however slowly they are read.
///
/// # Errors
/// `TimedOut`, and those of the socket.
pub fn write_all(stream: &mut UnixStream, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    let until = clock::now().mono.after(limit);
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) => again(error)?,
        }
    }
    Ok(())
}

/// Never zero, which means no limit to a socket.
fn left(until: Monotonic) -> io::Result<Duration> {
    match until.since(clock::now().mono) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// The kernel reports a socket's timeout as `EAGAIN` (socket(7), `SO_RCVTIMEO`).
fn again(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    /// Only a machine that is busy with other tests takes this long.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_line_is_read_and_nothing_after_it() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"get db\nrest").unwrap();
        assert_eq!(read_line(&mut ours, 64, LONG).unwrap(), "get db");
        let mut rest = [0; 4];
        ours.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"rest");
        theirs.write_all(b"frame").unwrap();
        let mut frame = [0; 5];
        read_exact(&mut ours, &mut frame, LONG).unwrap();
        assert_eq!(&frame, b"frame");
        theirs.write_all(b"fr").unwrap();
        drop(theirs);
        let cut = read_exact(&mut ours, &mut frame, LONG).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        for (sent, kind) in [
            (&b"no end"[..], io::ErrorKind::UnexpectedEof),
            (b"\xff\n", io::ErrorKind::InvalidData),
            (&[b'x'; 100], io::ErrorKind::UnexpectedEof),
        ] {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(sent).unwrap();
            drop(theirs);
            assert_eq!(read_line(&mut ours, 64, LONG).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn a_peer_that_is_slow_runs_into_the_deadline() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let silent = read_line(&mut ours, 64, SHORT).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        let mut writer = theirs.try_clone().unwrap();
        thread::spawn(move || {
            while writer.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        });
        let slow = read_line(&mut ours, usize::MAX, SHORT).unwrap_err();
        assert_eq!(slow.kind(), io::ErrorKind::TimedOut);
        let short = read_exact(&mut ours, &mut [0; 1 << 20], SHORT).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::TimedOut);
        // More than the kernel keeps for a peer that does not read.
        let deaf = write_all(&mut ours, &vec![0; 8 << 20], SHORT).unwrap_err();
        assert_eq!(deaf.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }
}
