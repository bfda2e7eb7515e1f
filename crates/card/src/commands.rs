//! The commands that call the agent: `unlock`, `lock`, `status`, `check`, `exec` and `pubkey`.

mod unlock;

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nightlatch_console::failure::{
    EX_CONFIG, EX_IOERR, EX_NOPERM, EX_OSERR, EX_PROTOCOL, EX_TEMPFAIL, EX_USAGE, Failure, note,
};
use nightlatch_console::output;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;

pub(crate) use unlock::unlock;

use crate::authorized_line::{LineOptions, check_patterns};
use crate::cli::{CheckOptions, ControlOptions, ExecOptions, PubkeyOptions, StatusOptions};
use crate::control::{AnswerWord, ControlAnswer, ControlRequest};
use crate::report::{StateWord, StatusReport};

/// Time for the agent to carry out a request that needs the card.
const ANSWER: Duration = Duration::from_secs(30);

/// Time for the agent to tell its state, from memory. Longer than its first look at the card may take.
const STATUS_ANSWER: Duration = Duration::from_secs(10);

/// Pause between two looks at a state that is waited for.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest answer in bytes: a key of RSA with 4096 bits has some 750.
const MAX_ANSWER: usize = 64 * 1024;

/// The exit statuses of env(1) for a command that cannot be run, and for one that is not there.
const CANNOT_RUN: u8 = 126;
const NOT_THERE: u8 = 127;

/// Prints the state.
pub(crate) fn status(options: &StatusOptions) -> Result<u8, Failure> {
    let report = ask(&options.control.control)?;
    if options.json {
        output::print(&output::json::text(&report)?)?;
        return Ok(0);
    }
    let mut text = format!("{}\n", report.text);
    let tries = report.tries.map(|tries| tries.to_string());
    for (name, value) in [
        ("AID", &report.aid),
        ("key", &report.key),
        ("fingerprint", &report.fingerprint),
        ("tries left", &tries),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("  {name}: {value}\n"));
        }
    }
    text.push_str(&format!("  signatures: {}\n", report.signatures));
    if let Some(closed) = &report.closed {
        text.push_str(&format!("  hours: nothing is signed now, {closed}\n"));
    }
    if let Some(count) = report.usual_hosts {
        let learning = match &report.learning_until {
            Some(until) => format!("learned until {until}"),
            None => "a login to another one is an alarm".to_owned(),
        };
        text.push_str(&format!("  usual hosts: {count} ({learning})\n"));
    }
    output::print(&text)?;
    Ok(0)
}

/// Says by the exit status whether the card is unlocked.
pub(crate) fn check(options: &CheckOptions) -> Result<u8, Failure> {
    unlocked(&options.control, options.wait.wait).map(|()| 0)
}

/// Runs a command that uses the agent. Returns only when it could not be run. The first line on standard error says so then: the
/// command has statuses of its own.
pub(crate) fn exec(options: &ExecOptions) -> Result<u8, Failure> {
    let agent = options.agent().map_err(|why| Failure::new(EX_USAGE, why));
    let ready = agent.and_then(|agent| {
        unlocked(&options.control, options.wait.wait)?;
        Ok(agent)
    });
    let failure = match ready {
        Ok(agent) => run(options, agent),
        Err(failure) => failure,
    };
    let mut text = format!("nightlatch-card: not run: {failure}\n");
    if let Some(hint) = failure.hint_text() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    // Without standard error the status has to do.
    let _ = io::stderr().write_all(text.as_bytes());
    Ok(failure.exit())
}

fn run(options: &ExecOptions, agent: &Path) -> Failure {
    let Some((program, arguments)) = options.command.split_first() else {
        return Failure::new(EX_USAGE, "expected a command");
    };
    let mut command = Command::new(program);
    command.args(arguments).env("SSH_AUTH_SOCK", agent);
    let error = command.exec();
    let exit = match error.kind() {
        io::ErrorKind::NotFound => NOT_THERE,
        _ => CANNOT_RUN,
    };
    let what = format!("cannot run {}", program.to_string_lossy());
    Failure::new(exit, what).because(error)
}

/// Prints the public key, with the options that confine it when a program is named.
pub(crate) fn pubkey(options: &PubkeyOptions) -> Result<u8, Failure> {
    check_patterns(&options.from).map_err(|why| Failure::new(EX_USAGE, why))?;
    let report = ask(&options.control.control)?;
    let (Some(key), Some(serial)) = (&report.key, &report.serial) else {
        return Err(not_unlocked(&report));
    };
    let mut line = String::new();
    if let (Some(program), Some(path)) = (options.program, &options.path) {
        let from = &options.from;
        line = format!(
            "{} ",
            LineOptions {
                program,
                path,
                from
            }
        );
        if from.is_empty() {
            note(
                "the line has no from=: the key is admitted from everywhere; add --from PATTERN, as --from 192.0.2.7",
            );
        }
    }
    line.push_str(&format!("{key} card {serial}\n"));
    output::print(&line)?;
    Ok(0)
}

/// Locks the card.
pub(crate) fn lock(options: &ControlOptions) -> Result<u8, Failure> {
    answer(call(&options.control, &ControlRequest::Lock, None)?)
}

/// The exit status of an answer, or its failure.
fn answer(answer: ControlAnswer) -> Result<u8, Failure> {
    let ControlAnswer { word, text } = answer;
    let state = |state: StateWord| (state.exit(), state.hint());
    let (exit, hint) = match word {
        AnswerWord::Done | AnswerWord::Already => return Ok(0),
        AnswerWord::WrongPin | AnswerWord::NotTried => (StateWord::Locked.exit(), None),
        AnswerWord::NoCard => state(StateWord::NoCard),
        // The right one may be put in.
        AnswerWord::OtherCard => (StateWord::NoCard.exit(), None),
        AnswerWord::NotNamed => (
            EX_CONFIG,
            Some(
                "write both lines in card.conf, then `systemctl restart nightlatch-card`; or give both with --card and --key",
            ),
        ),
        AnswerWord::NoService => state(StateWord::NoService),
        AnswerWord::TooFewTries => (
            StateWord::TooFewTries.exit(),
            Some(
                "with two tries left a typed PIN is tried: `nightlatch card unlock`; the right one restores all three",
            ),
        ),
        AnswerWord::NotAllowed => (EX_NOPERM, Some("do it as root")),
        AnswerWord::Busy => (EX_TEMPFAIL, None),
        AnswerWord::Failed => (EX_IOERR, None),
    };
    let failure = Failure::new(exit, text);
    Err(match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

/// Waits until the card is unlocked, for this long at most. A touch is no matter of waiting.
fn unlocked(options: &ControlOptions, wait: Duration) -> Result<(), Failure> {
    let until = clock::now().mono.after(wait);
    loop {
        let failure = match ask(&options.control) {
            Ok(report) if report.state == StateWord::Unlocked => return Ok(()),
            Ok(report) if report.state == StateWord::NeedsTouch => {
                return Err(not_unlocked(&report));
            }
            Ok(report) => not_unlocked(&report),
            Err(failure) if failure.exit() == StateWord::NoService.exit() => failure,
            Err(failure) => return Err(failure),
        };
        let left = until.since(clock::now().mono);
        if left.is_zero() {
            return Err(failure);
        }
        thread::sleep(left.min(PAUSE));
    }
}

fn not_unlocked(report: &StatusReport) -> Failure {
    let failure = Failure::new(report.state.exit(), report.text.clone());
    match report.state.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

pub(crate) fn ask(control: &Path) -> Result<StatusReport, Failure> {
    let text = exchange(control, &ControlRequest::Status, None)?;
    StatusReport::parse(&text).map_err(|error| match ControlAnswer::parse(text.trim_end()) {
        Some(ControlAnswer {
            word: AnswerWord::NotAllowed,
            text,
        }) => Failure::new(EX_NOPERM, text)
            .hint("name the user, or a group of it, in `allow` of /etc/nightlatch/card.conf"),
        _ => Failure::new(EX_PROTOCOL, error.to_string()),
    })
}

fn call(
    control: &Path,
    request: &ControlRequest,
    pin: Option<&Secret>,
) -> Result<ControlAnswer, Failure> {
    let text = exchange(control, request, pin)?;
    ControlAnswer::parse(text.trim_end())
        .ok_or_else(|| Failure::new(EX_PROTOCOL, crate::report::OtherVersion.to_string()))
}

/// Sends a request, and reads all of the answer.
fn exchange(
    control: &Path,
    request: &ControlRequest,
    pin: Option<&Secret>,
) -> Result<String, Failure> {
    let shown = control.display();
    let stream = UnixStream::connect(control).map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => EX_NOPERM,
            _ => StateWord::NoService.exit(),
        };
        Failure::new(exit, format!("no agent answers at {shown}"))
            .because(error)
            .hint("start it with `systemctl start nightlatch-card.socket`")
    })?;
    let limit = match request {
        ControlRequest::Status => STATUS_ANSWER,
        ControlRequest::Lock | ControlRequest::Unlock { .. } => ANSWER,
    };
    let until = clock::now().mono.after(limit);
    let talk = || {
        stream.set_write_timeout(Some(limit))?;
        match send(&stream, request, pin) {
            // The agent answers those who may not do this before they have sent all.
            Err(error) if is_closed(&error) => {}
            sent => sent?,
        }
        read_answer(&stream, until)
    };
    let text = talk().map_err(|error| {
        let exit = match error.kind() {
            // The same as for a missing agent: monitorings and `--wait` go by it.
            io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => StateWord::NoService.exit(),
            io::ErrorKind::InvalidData => EX_PROTOCOL,
            _ => EX_OSERR,
        };
        Failure::new(exit, "the agent does not answer")
            .because(error)
            .hint("look at it with `systemctl status nightlatch-card`")
    })?;
    match text.is_empty() {
        false => Ok(text),
        true => Err(Failure::new(
            StateWord::NoService.exit(),
            "the agent ended before it answered",
        )),
    }
}

fn send(mut stream: &UnixStream, request: &ControlRequest, pin: Option<&Secret>) -> io::Result<()> {
    stream.write_all(format!("{request}\n").as_bytes())?;
    if let Some(pin) = pin {
        stream.write_all(pin.expose())?;
    }
    stream.shutdown(Shutdown::Write)
}

/// True when the agent has closed the connection.
fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

fn read_answer(mut stream: &UnixStream, until: Monotonic) -> io::Result<String> {
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while answer.len() < MAX_ANSWER {
        let left = until.since(clock::now().mono).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It was closed with a part of the request unread.
            Err(error) if is_closed(&error) && !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    String::from_utf8(answer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A socket at which each caller meets `agent`.
    fn listen(folder: &Path, agent: impl Fn(usize, UnixStream) + Send + 'static) -> ControlOptions {
        let control = folder.join("control");
        let listener = UnixListener::bind(&control).unwrap();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                agent(number, stream.unwrap());
            }
        });
        ControlOptions { control }
    }

    #[test]
    fn a_missing_agent_and_one_that_does_not_answer_have_the_same_status() {
        let folder = tempfile::tempdir().unwrap();
        let missing = ControlOptions {
            control: folder.path().join("missing"),
        };
        let left = ControlOptions {
            control: folder.path().join("left"),
        };
        drop(UnixListener::bind(&left.control).unwrap());
        // Closed with the request unread, which is a reset.
        let resets = listen(folder.path(), |_, stream| drop(stream));
        let other = tempfile::tempdir().unwrap();
        let silent = listen(other.path(), |_, stream| std::mem::forget(stream));
        for options in [missing, left, resets, silent] {
            let failure = unlocked(&options, Duration::ZERO).unwrap_err();
            assert_eq!(failure.exit(), 13, "{options:?}: {failure}");
        }
    }

    #[test]
    fn to_wait_goes_on_while_the_agent_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let options = listen(folder.path(), |number, mut stream| {
            if number > 2 {
                let _ = stream.read(&mut [0; 64]);
                let _ = stream.write_all(b"state unlocked\ntext the card is unlocked\n");
            }
        });
        let waited = unlocked(&options, Duration::from_secs(60));
        assert!(waited.is_ok(), "{waited:?}");
    }

    #[test]
    fn an_answer_before_the_request_was_read_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let options = listen(folder.path(), |_, mut stream| {
            let _ = stream.write_all(b"not-allowed user 7 may not do this\n");
        });
        for pin in [None, Some(Secret::new(b"123456".to_vec()))] {
            let request = ControlRequest::Lock;
            let answered = call(&options.control, &request, pin.as_ref()).unwrap();
            assert_eq!(answered.word, AnswerWord::NotAllowed);
        }
        let failure = unlocked(&options, Duration::ZERO).unwrap_err();
        assert_eq!(failure.exit(), EX_NOPERM);
    }

    #[test]
    fn an_answer_of_another_version_is_no_missing_agent() {
        let folder = tempfile::tempdir().unwrap();
        let options = listen(folder.path(), |_, mut stream| {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"\xff\n");
        });
        let failure = unlocked(&options, Duration::from_secs(60)).unwrap_err();
        assert_eq!(failure.exit(), EX_PROTOCOL);
    }
}
