//! The caller's side of the agent's local socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::local::{LocalAnswer, LocalAnswerError, LocalRequest, MAX_LINE};
use nightlatch_sys::clock;
use zeroize::Zeroizing;

/// Time to send the request: it fits into the buffer of the kernel.
const SEND: Duration = Duration::from_secs(5);

/// Time for the value to come, once the agent has it.
const VALUE: Duration = Duration::from_secs(20);

/// The size of one read of the value, in bytes.
const PART: usize = 16 * 1024;

/// The last answer of the agent.
#[derive(Debug)]
pub(super) enum Outcome {
    Value(Secret),
    /// Any other last line.
    Answer(LocalAnswer),
}

/// There is no last answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    #[error("no agent listens at {}", .0.display())]
    NoAgent(std::path::PathBuf, #[source] io::Error),
    #[error("the agent ended before it had answered")]
    Ended,
    #[error("no server has answered in time")]
    TimedOut,
    #[error("the connection to the agent failed")]
    Io(#[source] io::Error),
    #[error(transparent)]
    Form(#[from] LocalAnswerError),
}

/// Asks once. `tell` gets each line before the last one, and gives the time until which the next one must come; `until`
/// is that of the first.
pub(super) fn ask(
    socket: &Path,
    name: &SecretName,
    until: Option<Monotonic>,
    tell: &mut dyn FnMut(&LocalAnswer) -> Option<Monotonic>,
) -> Result<Outcome, AgentError> {
    let no_agent = |error| AgentError::NoAgent(socket.to_owned(), error);
    let mut stream = UnixStream::connect(socket).map_err(no_agent)?;
    let request = LocalRequest { name: name.clone() };
    stream
        .set_write_timeout(Some(SEND))
        .and_then(|()| stream.write_all(request.line().as_bytes()))
        // The agent may have turned this caller away without reading its line, and has said why.
        .or_else(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
            _ => Err(AgentError::Io(error)),
        })?;
    let mut until = until;
    loop {
        let line = read_line(&mut stream, until)?;
        match LocalAnswer::parse(&line)? {
            Some(LocalAnswer::Value(length)) => {
                return read_value(&mut stream, length).map(Outcome::Value);
            }
            Some(answer) if answer.is_last() => return Ok(Outcome::Answer(answer)),
            Some(answer) => until = tell(&answer),
            None => {}
        }
    }
}

fn read_line(stream: &mut UnixStream, until: Option<Monotonic>) -> Result<String, AgentError> {
    let mut line = Vec::new();
    let mut byte = [0];
    // Byte by byte, so that no part of a value is read into memory that is not wiped.
    while line.len() < MAX_LINE {
        match read(stream, &mut byte, until)? {
            0 => return Err(AgentError::Ended),
            _ if byte == *b"\n" => {
                let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                return String::from_utf8(line).map_err(|error| AgentError::Io(invalid(error)));
            }
            _ => line.extend(byte),
        }
    }
    let long = io::Error::new(io::ErrorKind::InvalidData, "the agent sent too long a line");
    Err(AgentError::Io(long))
}

fn read_value(stream: &mut UnixStream, length: usize) -> Result<Secret, AgentError> {
    let until = Some(clock::now().mono.after(VALUE));
    let mut value = SecretBuffer::default();
    let mut part = Zeroizing::new([0; PART]);
    while value.len() < length {
        let wanted = (length - value.len()).min(PART);
        match read(stream, &mut part[..wanted], until)? {
            0 => return Err(AgentError::Ended),
            read => value.append(&part[..read]),
        }
    }
    Ok(value.finish())
}

fn read(
    stream: &mut UnixStream,
    buffer: &mut [u8],
    until: Option<Monotonic>,
) -> Result<usize, AgentError> {
    loop {
        let left = until.map(|until| until.since(clock::now().mono));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(AgentError::TimedOut);
        }
        stream.set_read_timeout(left).map_err(AgentError::Io)?;
        match stream.read(buffer) {
            Ok(read) => return Ok(read),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                // How the kernel reports a socket's timeout (socket(7)).
                io::ErrorKind::WouldBlock => return Err(AgentError::TimedOut),
                io::ErrorKind::ConnectionReset => return Ok(0),
                _ => return Err(AgentError::Io(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Only a machine that is busy with other tests takes this long.
    const LONG: Duration = Duration::from_secs(60);

    fn name() -> SecretName {
        SecretName::new("db").unwrap()
    }

    /// Asks an agent that answers with `said` and closes, or stays silent.
    fn asked(
        said: &'static [u8],
        stays: bool,
        limit: Duration,
    ) -> (Result<Outcome, AgentError>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let agent = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = [0; 7];
            stream.read_exact(&mut line).unwrap();
            assert_eq!(&line, b"get db\n");
            stream.write_all(said).unwrap();
            if stays {
                let _ = stream.read(&mut [0]);
            }
        });
        let mut told = Vec::new();
        let until = Some(clock::now().mono.after(limit));
        let result = ask(&socket, &name(), until, &mut |answer| {
            told.push(answer.to_string());
            until
        });
        agent.join().unwrap();
        (result, told)
    }

    #[test]
    fn a_value_comes_after_lines_and_keeps_each_byte() {
        let (outcome, told) = asked(
            b"trying\nwaiting approval 58 4711\nlater 1\nvalue 6\n\n\0a\nb\xff and what is no part of it",
            false,
            LONG,
        );
        let Ok(Outcome::Value(value)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(value.expose(), b"\n\0a\nb\xff");
        assert_eq!(told, ["trying", "waiting approval 58 4711"]);
    }

    #[test]
    fn each_other_end_is_told_apart() {
        let (outcome, _) = asked(b"refused no-such-secret -\n", false, LONG);
        assert!(
            matches!(&outcome, Ok(Outcome::Answer(LocalAnswer::Refused { reason: Some(reason), .. })) if reason.as_str() == "no-such-secret"),
            "{outcome:?}"
        );
        for said in [&b""[..], b"trying\n", b"trying", b"value 6\nabc"] {
            let (outcome, _) = asked(said, false, LONG);
            assert!(matches!(outcome, Err(AgentError::Ended)), "{outcome:?}");
        }
        let (outcome, _) = asked(b"trying\n", true, Duration::from_millis(200));
        assert!(matches!(outcome, Err(AgentError::TimedOut)), "{outcome:?}");
        let (outcome, _) = asked(b"value 0\n", false, LONG);
        assert!(matches!(outcome, Err(AgentError::Form(_))), "{outcome:?}");
        let (outcome, _) = asked(&[b'x'; 600], false, LONG);
        assert!(matches!(outcome, Err(AgentError::Io(_))), "{outcome:?}");
        let nowhere = Path::new("/nonexistent/socket");
        let outcome = ask(nowhere, &name(), None, &mut |_| None);
        assert!(
            matches!(outcome, Err(AgentError::NoAgent(..))),
            "{outcome:?}"
        );
    }
}
