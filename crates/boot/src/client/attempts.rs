//! The running tries, each in a process of its own, and the messages between such a process and this one.
//!
//! Decides nothing: the schedule says when to try which server, the search what follows from a failure.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_openpgp::Error as OpenError;
use nightlatch_sys::capabilities::Capabilities;
use nightlatch_sys::child::Child;
use nightlatch_sys::memory;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::attempt::{AttemptError, Credentials, attempt};
use super::resolve::{MAX_ADDRESSES, resolve};
use super::schedule::Destination;
use crate::log::{AppletLog, format_error};

/// Begins a report once the server could be asked. [`KEY`] bytes follow: its key, or zeros.
const CONNECTED: u8 = b'C';
const KEY: usize = 32;
const NO_KEY: [u8; KEY] = [0; KEY];
/// Sent to a try when it may ask.
const ASK: u8 = b'?';
/// Begins a notice that the server makes the request wait: a line for a person follows, after its length in one byte.
const WAITS: u8 = b'W';
/// Notices of one try that count. A try that was taken over could send any number.
const MAX_NOTICES: usize = 100;
/// The first byte of a report's end: the password follows, after its length.
const PASSWORD: u8 = b'P';
/// The first byte of a report's end: the addresses of a name follow, after their number. Each has 16 bytes, one of IPv4
/// is mapped.
const ADDRESSES: u8 = b'A';
const ADDRESS: usize = 16;
/// The first byte of a report's end: what failed follows, as a letter for each of [`AttemptFailure`]'s flags that is
/// set, a line end, and the words.
const FAILURE: u8 = b'F';
const LOCAL: u8 = b'l';
const LACKS_ROUTE: u8 = b'r';
const UNREACHED: u8 = b'h';
const LACKS_RESOLVER: u8 = b'n';
const UNSIGNED: u8 = b'u';

/// Bytes of one read.
const CHUNK: usize = 4096;

/// The result of a try.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum AttemptResult {
    /// The password that a server gave.
    Password(Secret),
    /// The addresses to which a name resolves.
    Addresses(Vec<IpAddr>),
}

impl AttemptResult {
    /// Servers give passwords, and names addresses.
    pub(super) fn is_for(&self, destination: &Destination) -> bool {
        match self {
            Self::Password(_) => matches!(destination, Destination::Address(_)),
            Self::Addresses(_) => matches!(destination, Destination::Name(..)),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AttemptFailure {
    /// The message for the log.
    pub(super) message: String,
    /// The try failed for want of a network: a change of the network may mend it.
    pub(super) local: bool,
    /// There was no route at all.
    pub(super) lacks_route: bool,
    /// No sign of the host came.
    pub(super) unreached: bool,
    /// No resolver is known.
    pub(super) lacks_resolver: bool,
    /// The payload was not signed.
    pub(super) unsigned: bool,
}

impl AttemptFailure {
    /// Nothing of the network.
    pub(super) fn other(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            local: false,
            lacks_route: false,
            unreached: false,
            lacks_resolver: false,
            unsigned: false,
        }
    }
}

/// A message from a try.
#[derive(Debug)]
pub(super) enum AttemptReport {
    /// The server is there, and has proved this key if it is a trusted one. The try waits for [`Attempts::ask`].
    Connected(Option<KeyId>),
    /// The server makes the request wait; a line for a person.
    Waits(String),
    /// The try has ended.
    Ended(Result<AttemptResult, AttemptFailure>),
}

pub(super) struct Attempts {
    credentials: Credentials,
    log: AppletLog,
    running: BTreeMap<Destination, RunningAttempt>,
}

struct RunningAttempt {
    child: Child,
    socket: OwnedFd,
    report: SecretBuffer,
    /// True once [`AttemptReport::Connected`] was returned.
    connected: bool,
    /// Number of [`AttemptReport::Waits`] that were returned.
    notices: usize,
}

impl Attempts {
    /// No try yet.
    pub(super) fn new(credentials: Credentials, log: AppletLog) -> Self {
        Self {
            credentials,
            log,
            running: BTreeMap::new(),
        }
    }

    /// Starts a try. [`Self::poll_report`] returns its end.
    pub(super) fn start(&mut self, destination: &Destination) -> Result<(), AttemptFailure> {
        let (credentials, log) = (&self.credentials, self.log);
        let part = || {
            // A copy of a process does not inherit locked memory. Where the limit could not be lifted this fails too,
            // which is logged already.
            let _ = memory::lock_all();
            match Capabilities::give_up() {
                Ok(()) => report(match destination {
                    Destination::Name(name, _) => resolve(name)
                        .map(AttemptResult::Addresses)
                        .map_err(AttemptError::from),
                    Destination::Address(address) => {
                        attempt(credentials, *address, log, may_ask, send_notice)
                            .map(AttemptResult::Password)
                    }
                }),
                Err(error) => send_failure(&AttemptFailure::other(format!(
                    "cannot give up privileges: {error}"
                ))),
            }
        };
        let started = Child::start(part).and_then(|(child, socket)| {
            fcntl_setfl(&socket, OFlags::NONBLOCK)?;
            let report = SecretBuffer::default();
            Ok(RunningAttempt {
                child,
                socket,
                report,
                connected: false,
                notices: 0,
            })
        });
        match started {
            Ok(started) => {
                self.running.insert(destination.clone(), started);
                Ok(())
            }
            Err(error) => Err(AttemptFailure::other(format!(
                "cannot start a process: {error}"
            ))),
        }
    }

    /// Lets the try of `destination` ask its server.
    pub(super) fn ask(&self, destination: &Destination) {
        if let Some(running) = self.running.get(destination) {
            // A try that has ended is reported by `poll_report`.
            let _ = rustix::io::write(&running.socket, &[ASK]);
        }
    }

    /// Ends the try of `destination`. It counts as a failure.
    pub(super) fn end(&self, destination: &Destination) {
        if let Some(running) = self.running.get(destination) {
            running.child.kill();
        }
    }

    /// The next message of a try, without waiting.
    pub(super) fn poll_report(&mut self) -> Option<(Destination, AttemptReport)> {
        for (destination, running) in &mut self.running {
            let destination = destination.clone();
            if running.is_over() {
                let RunningAttempt { report, .. } = self.running.remove(&destination)?;
                return Some((destination, AttemptReport::Ended(read(report.expose()))));
            }
            if !running.connected
                && let Some((key, _)) = connected(running.report.expose())
            {
                running.connected = true;
                return Some((destination, AttemptReport::Connected(key)));
            }
            let (notices, _) = split_notices(running.report.expose());
            if let Some(line) = notices.get(running.notices) {
                running.notices += 1;
                let line = String::from_utf8_lossy(line).into_owned();
                return Some((destination, AttemptReport::Waits(line)));
            }
        }
        None
    }

    /// The descriptors to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.running.values().map(|running| running.socket.as_fd())
    }
}

impl RunningAttempt {
    /// Reads what has come; says whether nothing more will.
    fn is_over(&mut self) -> bool {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        loop {
            match rustix::io::read(&self.socket, &mut chunk[..]) {
                Ok(0) => return true,
                Ok(count) => self.report.append(&chunk[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
    }
}

/// In the try's process: reports the server, and waits until it may be asked.
fn may_ask(key: Option<KeyId>) -> io::Result<()> {
    let key = key.map_or(NO_KEY, |key| *key.as_bytes());
    write(&[&[CONNECTED][..], &key]);
    let mut answer = [0];
    loop {
        match rustix::io::read(io::stdout(), &mut answer) {
            Ok(1) if answer == [ASK] => return Ok(()),
            Err(Errno::INTR) => {}
            // Nobody wants it any more.
            _ => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// The server's key in a report, and the rest of it.
fn connected(report: &[u8]) -> Option<(Option<KeyId>, &[u8])> {
    let (key, rest) = report.strip_prefix(&[CONNECTED])?.split_first_chunk()?;
    let key = match *key {
        NO_KEY => None,
        key => KeyId::from_bytes(key).ok(),
    };
    Some((key, rest))
}

/// In the try's process: reports a notice.
fn send_notice(line: &str) {
    // No line of ours is longer.
    let length = u8::try_from(line.len()).unwrap_or(u8::MAX);
    write(&[&[WAITS, length], &line.as_bytes()[..usize::from(length)]]);
}

/// The notices in a report, at most [`MAX_NOTICES`], and its end.
fn split_notices(report: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut rest = connected(report).map_or(report, |(_, rest)| rest);
    let mut notices = Vec::new();
    while let [WAITS, length, after @ ..] = rest
        && let Some((line, after)) = after.split_at_checked(usize::from(*length))
    {
        if notices.len() < MAX_NOTICES {
            notices.push(line);
        }
        rest = after;
    }
    (notices, rest)
}

/// In the try's process: reports its result.
fn report(result: Result<AttemptResult, AttemptError>) {
    match result {
        Ok(AttemptResult::Addresses(addresses)) => {
            // As many as a byte can count, and far fewer.
            let count = u8::try_from(addresses.len()).unwrap_or_default();
            write(&[&[ADDRESSES, count], &octets(&addresses)]);
        }
        Ok(AttemptResult::Password(password)) => {
            let length = (password.len() as u64).to_le_bytes();
            write(&[&[PASSWORD], &length, password.expose()]);
        }
        Err(failure) => send_failure(&AttemptFailure {
            message: format_error(&failure),
            local: failure.is_local(),
            lacks_route: failure.lacks_route(),
            unreached: failure.is_unreached(),
            lacks_resolver: failure.lacks_resolver(),
            unsigned: matches!(failure, AttemptError::Open(OpenError::Unsigned)),
        }),
    }
}

fn octets(addresses: &[IpAddr]) -> Vec<u8> {
    let mapped = addresses.iter().map(|address| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    });
    mapped.flatten().collect()
}

fn send_failure(failed: &AttemptFailure) {
    let flags: Vec<u8> = [
        (failed.local, LOCAL),
        (failed.lacks_route, LACKS_ROUTE),
        (failed.unreached, UNREACHED),
        (failed.lacks_resolver, LACKS_RESOLVER),
        (failed.unsigned, UNSIGNED),
    ]
    .into_iter()
    .filter_map(|(set, flag)| set.then_some(flag))
    .collect();
    write(&[&[FAILURE], &flags, b"\n", failed.message.as_bytes()]);
}

/// Without a buffer that would keep a copy of a password. Standard output leads to the parent here.
fn write(parts: &[&[u8]]) {
    let out = io::stdout();
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            match rustix::io::write(&out, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                // Nobody listens any more.
                Err(_) => return,
            }
        }
    }
}

fn read(report: &[u8]) -> Result<AttemptResult, AttemptFailure> {
    match split_notices(report).1 {
        // One that was ended in between must not look like a shorter password.
        [PASSWORD, rest @ ..]
            if let Some((length, password)) = rest.split_first_chunk()
                && u64::from_le_bytes(*length) == password.len() as u64 =>
        {
            Ok(AttemptResult::Password(Secret::new(password.to_vec())))
        }
        [ADDRESSES, count, rest @ ..]
            if usize::from(*count) <= MAX_ADDRESSES
                && usize::from(*count) * ADDRESS == rest.len() =>
        {
            let (addresses, _) = rest.as_chunks::<ADDRESS>();
            let address = |octets: &[u8; ADDRESS]| Ipv6Addr::from(*octets).to_canonical();
            Ok(AttemptResult::Addresses(
                addresses.iter().map(address).collect(),
            ))
        }
        [FAILURE, rest @ ..] => {
            let mut parts = rest.splitn(2, |byte| *byte == b'\n');
            let flags = parts.next().unwrap_or_default();
            let message = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            Err(AttemptFailure {
                message,
                local: flags.contains(&LOCAL),
                lacks_route: flags.contains(&LACKS_ROUTE),
                unreached: flags.contains(&UNREACHED),
                lacks_resolver: flags.contains(&LACKS_RESOLVER),
                unsigned: flags.contains(&UNSIGNED),
            })
        }
        _ => Err(AttemptFailure::other(
            "the try ended by a fault, or was ended",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_was_cut_short_is_no_password() {
        let connected = [&[CONNECTED][..], &[7; KEY]].concat();
        for before in [&[][..], &connected] {
            let whole = [before, &[PASSWORD], &3_u64.to_le_bytes(), b"abc"].concat();
            let password = AttemptResult::Password(Secret::new(b"abc".to_vec()));
            assert_eq!(read(&whole), Ok(password));
            for length in 0..whole.len() {
                assert!(read(&whole[..length]).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn addresses_come_whole_or_not_at_all() {
        let addresses: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "::1".parse().unwrap()];
        let whole = [&[ADDRESSES, 2][..], &octets(&addresses)].concat();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        assert_eq!(read(&whole), Ok(AttemptResult::Addresses(addresses)));
        // A try that was taken over names more than a resolver may.
        let many = [&[ADDRESSES, 17][..], &[1; 17 * ADDRESS]].concat();
        assert!(read(&many).is_err());
    }

    #[test]
    fn notices_come_before_the_end_and_count_to_a_limit() {
        let notice = |line: &str| [&[WAITS, line.len() as u8], line.as_bytes()].concat();
        let before = [&[CONNECTED][..], &[7; KEY], &notice("one"), &notice("")].concat();
        assert_eq!(split_notices(&before), (vec![&b"one"[..], b""], &b""[..]));
        // One that has not come whole is none yet.
        let (notices, _) = split_notices(&before[..before.len() - 1]);
        assert_eq!(notices, [b"one"]);
        let whole = [&before[..], &[PASSWORD], &3_u64.to_le_bytes(), b"abc"].concat();
        let password = AttemptResult::Password(Secret::new(b"abc".to_vec()));
        assert_eq!(read(&whole), Ok(password));
        let many = notice("x").repeat(MAX_NOTICES + 1);
        assert_eq!(split_notices(&many).0.len(), MAX_NOTICES);
        assert!(read(&many).is_err());
    }

    #[test]
    fn the_key_of_a_server_comes_whole_or_not_at_all() {
        let key = KeyId::from_bytes([7; KEY]).unwrap();
        for (bytes, told) in [([7; KEY], Some(key)), (NO_KEY, None)] {
            let whole = [&[CONNECTED][..], &bytes].concat();
            assert_eq!(connected(&whole), Some((told, &[][..])));
            for length in 0..whole.len() {
                assert_eq!(connected(&whole[..length]), None, "{length}");
            }
        }
    }

    #[test]
    fn a_failure_keeps_its_kind_and_its_words() {
        let failed = read(b"Flnu\ncannot: go\non").unwrap_err();
        assert!(failed.local && failed.unsigned && failed.lacks_resolver);
        assert!(!failed.lacks_route && !failed.unreached);
        assert_eq!(failed.message, "cannot: go\non");
        assert!(!read(b"").unwrap_err().local);
    }
}
