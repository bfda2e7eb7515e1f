//! `get`: a named secret for a script, or for services of systemd. The agent asks the servers and opens what they give;
//! here it is asked, waited for, and its value printed or written into memory.

mod agent;
mod credential;
mod dependents;
mod options;
mod progress;

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use nightlatch_console::failure::{
    EX_CONFIG, EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_OSERR, EX_PROTOCOL, EX_TEMPFAIL,
    EX_UNAVAILABLE, EX_USAGE, Failure, note, warn,
};
use nightlatch_console::output;
use nightlatch_core::error_chain::format_error;
use nightlatch_core::secret::Secret;
use nightlatch_core::secret_rejection::RejectionReason;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::local::{LocalAnswer, LocalFailure, LocalFailureKind};
use nightlatch_proto::release::ReasonWord;
use nightlatch_sys::{clock, memory};
use serde_json::json;

use agent::{AgentError, Outcome, ask};
use credential::Credentials;
use dependents::RealSystemctl;
pub use options::GetOptions;
use options::Wait;
use progress::{Progress, status};

/// The first pause before it is asked again; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: so soon a server that is back is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Time for one try, also where none is left: the agent may have to ask several servers.
const TRY: Duration = Duration::from_secs(30);

/// Time for the next line while a request waits. The agent leaves a server that is silent for 90 s.
const WAITING: Duration = Duration::from_secs(120);

/// The longest pause that a server's refusal can ask for. nightlatchd asks for 60 s; one of several servers must not keep
/// the machine from the others.
const LONGEST_RETRY: Duration = Duration::from_secs(2 * 60);

/// The exit status when the request waited for a person who has denied it, and no trusted server grants it: a service
/// manager must not ask that person again and again. A request that is refused for an earlier denial asks nobody.
const DENIED: u8 = 80;

/// Carries the verb out.
pub fn run(options: &GetOptions) -> Result<u8, Failure> {
    let result = match options.remove {
        true => remove(options),
        false => get(options),
    };
    match result {
        Ok(()) => Ok(0),
        Err(failure) if options.json => {
            tell_json(options, &failure);
            Ok(failure.exit())
        }
        Err(failure) => Err(failure.about(options.name.as_str())),
    }
}

/// Removes the files. As the unit fails, and will be restarted by itself, the notes stay.
fn remove(options: &GetOptions) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let end = ["SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"].map(variable);
    let keeps_notes = !dependents::is_stopped_by_hand(end.each_ref().map(String::as_str));
    Credentials::remove(&options.credentials_dir, &options.name, keeps_notes)
}

fn tell_json(options: &GetOptions, failure: &Failure) {
    let line = json!({
        "event": "failed", "name": options.name.as_str(), "exit": failure.exit(), "error": failure.to_string(),
        "hint": failure.hint_text(),
    });
    output::complain(&format!("{line}\n"));
}

fn get(options: &GetOptions) -> Result<(), Failure> {
    // Other users than root may not lock much memory; their programs get the value in the end.
    let _ = memory::lock_all();
    if options.credential {
        return write_credential(options);
    }
    if io::stdout().is_terminal() && !options.print {
        return Err(
            Failure::new(EX_USAGE, "the value would be shown on the terminal")
                .hint("let a program read it, or give --print"),
        );
    }
    let value = fetch(options)?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(value.expose())
        .and_then(|()| stdout.flush())
        .map_err(output::failure)
}

fn write_credential(options: &GetOptions) -> Result<(), Failure> {
    let credentials = Credentials::open(&options.credentials_dir)?;
    let notes = credentials.notes(&options.name);
    let unit = options.unit.as_deref();
    // What is about other units never keeps this one from its secret.
    let told = |what: io::Result<()>| {
        if let Err(error) = what {
            warn(format_args!(
                "cannot start units that need this one by itself: {error}"
            ));
        }
    };
    if let Some(unit) = unit {
        let now = uptime();
        told(dependents::drop_old_notes(
            &RealSystemctl,
            unit,
            &notes,
            now,
        ));
    }
    let written = fetch(options).and_then(|value| credentials.write(&options.name, &value));
    match (&written, unit) {
        (Ok(path), unit) => {
            status(&format!("{} is there", path.display()));
            if unit.is_some() {
                told(dependents::start(&RealSystemctl, &notes).map(|started| {
                    if !started.is_empty() {
                        note(format_args!(
                            "started what had waited for it: {}",
                            started.join(", ")
                        ));
                    }
                }));
            }
        }
        (Err(failure), unit) => {
            status(&failure.to_string());
            if let Some(unit) = unit {
                told(dependents::note(&RealSystemctl, unit, &notes, uptime()));
            }
        }
    }
    written.map(|_| ())
}

/// Asks the agent until it has a value, until its answer is final, or until the time is over.
fn fetch(options: &GetOptions) -> Result<Secret, Failure> {
    let mut progress = Progress::new(&options.name, options.json);
    let from_now = || match options.wait {
        Wait::AtMost(length) => Some(clock::now().mono.after(length)),
        Wait::Forever => None,
    };
    let mut deadline = from_now();
    let mut pause = FIRST_PAUSE;
    loop {
        let mut seen = Seen::default();
        let outcome = try_once(options, deadline, &mut progress, &mut seen);
        // A server that has answered was not lost, and has the same answer for the next request.
        let is_lost = !matches!(
            outcome,
            Ok(Outcome::Answer(
                LocalAnswer::Refused { .. } | LocalAnswer::Rejected(_)
            ))
        );
        let failure = match outcome {
            Ok(Outcome::Value(value)) => return Ok(value),
            Ok(Outcome::Answer(answer)) => {
                answer_failure(options, answer, seen.unreached, seen.asked_person)
            }
            Err(error) => agent_failure(error, is_root()),
        };
        // A request that a person may still approve: its server, or the agent, was lost only now.
        if failure.is_passing && is_lost && seen.waited {
            deadline = from_now();
        }
        let left = deadline.map(|deadline| deadline.since(clock::now().mono));
        let Some(wait) = failure.wait(pause, left) else {
            return Err(failure.failure);
        };
        progress.again(&failure.failure.to_string(), left);
        thread::sleep(wait);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The lines of the agent before its last one, as far as they decide on what follows.
#[derive(Default, Debug)]
struct Seen {
    /// A server let the request wait.
    waited: bool,
    /// A server let the request wait for a person.
    asked_person: bool,
    /// Servers that could not be reached.
    unreached: usize,
}

fn try_once(
    options: &GetOptions,
    deadline: Option<Monotonic>,
    progress: &mut Progress<'_>,
    seen: &mut Seen,
) -> Result<Outcome, AgentError> {
    let of_try = || {
        let least = clock::now().mono.after(TRY);
        deadline.map(|deadline| deadline.max(least))
    };
    ask(&options.socket, &options.name, of_try(), &mut |answer| {
        progress.answer(answer);
        match answer {
            LocalAnswer::Waiting(waiting) => {
                seen.waited = true;
                seen.asked_person |= waiting.is_for_person();
                return Some(clock::now().mono.after(WAITING));
            }
            LocalAnswer::Unreached(count) => seen.unreached = *count,
            _ => {}
        }
        of_try()
    })
}

/// `CLOCK_MONOTONIC`, by which systemd counts the pause between two runs: it stands still while the machine sleeps.
fn uptime() -> Duration {
    Duration::from_micros(clock::monotonic_usec())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A failure of one try.
struct TryFailure {
    failure: Failure,
    /// The next try may succeed without anybody doing anything.
    is_passing: bool,
    /// The server wants no other request before.
    retry: Option<Duration>,
}

impl TryFailure {
    /// The time to the next try, which is `pause` where no server wants more; `None` when there is none in the time that is
    /// `left`.
    fn wait(&self, pause: Duration, left: Option<Duration>) -> Option<Duration> {
        if !self.is_passing || left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        let retry = self.retry.map(|retry| retry.min(LONGEST_RETRY));
        match (retry, left) {
            // It would be too soon for the server.
            (Some(retry), Some(left)) if retry > left => None,
            _ => {
                let wait = pause.max(retry.unwrap_or_default());
                Some(left.map_or(wait, |left| wait.min(left)))
            }
        }
    }
}

fn passing(failure: Failure) -> TryFailure {
    TryFailure {
        failure,
        is_passing: true,
        retry: None,
    }
}

fn lasting(failure: Failure) -> TryFailure {
    TryFailure {
        failure,
        is_passing: false,
        retry: None,
    }
}

fn agent_failure(error: AgentError, is_root: bool) -> TryFailure {
    let what = format_error(&error);
    match error {
        // Root is kept out only while the agent makes its folder.
        AgentError::NoAgent(_, error)
            if error.kind() == io::ErrorKind::PermissionDenied && !is_root =>
        {
            lasting(Failure::new(EX_NOPERM, what))
        }
        AgentError::NoAgent(_, error) => {
            let failure = Failure::new(EX_UNAVAILABLE, what).hint(
                "systemctl status nightlatch-agent; it needs host keys: nightlatch enroll --host-key",
            );
            match error.kind() {
                // It is being started, as after an update.
                io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::PermissionDenied => passing(failure),
                _ => lasting(failure),
            }
        }
        AgentError::Ended | AgentError::Io(_) => passing(
            Failure::new(EX_UNAVAILABLE, what).hint("journalctl -u nightlatch-agent says why"),
        ),
        AgentError::TimedOut => passing(no_server(what)),
        AgentError::Form(_) => lasting(
            Failure::new(EX_PROTOCOL, what)
                .hint("systemctl restart nightlatch-agent, if it was updated"),
        ),
    }
}

fn no_server(what: impl Into<String>) -> Failure {
    Failure::new(EX_TEMPFAIL, what)
        .hint("journalctl -u nightlatch-agent says why; --wait gives it more time")
}

/// The failure that a last line tells. What one server says may pass as long as another was not reached.
///
/// `asked_person`: the request waited for a person.
fn answer_failure(
    options: &GetOptions,
    answer: LocalAnswer,
    unreached: usize,
    asked_person: bool,
) -> TryFailure {
    let with_others = match unreached {
        0 => lasting,
        _ => passing,
    };
    match answer {
        LocalAnswer::Refused { reason, retry } => {
            let failure = refused(options, reason.as_ref(), unreached, asked_person);
            match reason.is_some_and(|reason| reason.asks_again()) {
                // Its `retry` is not for the servers that were not reached.
                true => TryFailure {
                    retry: retry.filter(|_| unreached == 0),
                    ..passing(failure)
                },
                false => with_others(failure),
            }
        }
        LocalAnswer::Rejected(reason) => with_others(rejected(options, reason)),
        LocalAnswer::Failed(failure) => failed(&failure),
        // These are not last lines.
        LocalAnswer::Trying
        | LocalAnswer::Waiting(_)
        | LocalAnswer::Unreached(_)
        | LocalAnswer::Value(_) => lasting(Failure::new(EX_PROTOCOL, "the agent sent no answer")),
    }
}

fn refused(
    options: &GetOptions,
    reason: Option<&ReasonWord>,
    unreached: usize,
    asked_person: bool,
) -> Failure {
    let name = &options.name;
    let others = match unreached {
        0 => String::new(),
        count => format!("; not reached: {count} other trusted servers"),
    };
    match reason.map(ReasonWord::as_str) {
        Some(reason @ "no-such-secret") => Failure::new(
            EX_NOINPUT,
            format!("the server has no such secret for this machine ({reason}){others}"),
        )
        .hint(format!("nightlatch secret put {name} CLIENT gives it one")),
        Some(reason @ "denied") if unreached == 0 && asked_person => {
            Failure::new(DENIED, format!("a person has denied it ({reason})"))
                .hint("on the server: nightlatch why CLIENT")
        }
        Some(reason @ "denied") if unreached == 0 => Failure::new(
            EX_NOINPUT,
            format!("a person has denied an earlier request of this machine ({reason})"),
        )
        .hint("on the server: nightlatch why CLIENT says until when that counts"),
        Some(reason) => Failure::new(EX_NOINPUT, format!("the server refuses: {reason}{others}"))
            .hint("on the server: nightlatch why CLIENT"),
        None => Failure::new(
            EX_NOINPUT,
            format!(
                "the server refuses and gives no reason: it does not know this host key, or no named secrets{others}"
            ),
        )
        .hint("on the server: nightlatch log; its clients.conf needs host_key_id of this machine"),
    }
}

fn rejected(options: &GetOptions, reason: RejectionReason) -> Failure {
    let name = &options.name;
    let hint = match reason {
        RejectionReason::Forged => {
            "compare /etc/nightlatch/admin-keys with `nightlatch admin-key show`; if they are the same, the server is not \
             to be trusted"
                .to_owned()
        }
        RejectionReason::Expired => format!("compare the clock; or seal {name} anew: nightlatch secret put {name} CLIENT"),
        RejectionReason::RolledBack => format!(
            "the server, or a backup of it, has an older one: seal {name} anew with `nightlatch secret put {name} CLIENT`"
        ),
        RejectionReason::Swapped | RejectionReason::Malformed | RejectionReason::Other => format!(
            "seal {name} anew with `nightlatch secret put {name} CLIENT`; if that does not help, the server is not to be \
             trusted"
        ),
    };
    Failure::new(
        EX_DATAERR,
        format!(
            "the agent does not believe what the server gave: {reason}: {}",
            reason.sentence()
        ),
    )
    .hint(hint)
}

fn failed(failure: &LocalFailure) -> TryFailure {
    let text = failure.text();
    match failure.kind {
        LocalFailureKind::NotAllowed => lasting(Failure::new(EX_NOPERM, text)),
        LocalFailureKind::Busy | LocalFailureKind::Lookup => {
            passing(Failure::new(EX_TEMPFAIL, text))
        }
        LocalFailureKind::NoServer => passing(no_server(text)),
        LocalFailureKind::Setup => lasting(Failure::new(EX_CONFIG, text)),
        LocalFailureKind::State => lasting(Failure::new(EX_OSERR, text)),
        LocalFailureKind::Request | LocalFailureKind::Other => lasting(
            Failure::new(EX_PROTOCOL, format!("the agent cannot do this: {text}"))
                .hint("systemctl restart nightlatch-agent, if it was updated"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: GetOptions,
    }

    fn options() -> GetOptions {
        Line::parse_from(["get", "db"]).options
    }

    fn shown(failure: TryFailure) -> (u8, bool) {
        (failure.failure.exit(), failure.is_passing)
    }

    fn refusal(word: &str) -> LocalAnswer {
        LocalAnswer::Refused {
            reason: ReasonWord::new(word),
            retry: None,
        }
    }

    #[test]
    fn a_refusal_is_final_when_every_trusted_server_has_answered() {
        let forged = || LocalAnswer::Rejected(RejectionReason::Forged);
        for (answer, unreached, expected) in [
            (refusal("disabled"), 0, (EX_NOINPUT, false)),
            (refusal("disabled"), 1, (EX_NOINPUT, true)),
            (refusal("no-such-secret"), 1, (EX_NOINPUT, true)),
            (refusal("secret-changed"), 0, (EX_NOINPUT, true)),
            (refusal("guard-changed"), 0, (EX_NOINPUT, true)),
            (refusal("machine-is-suspect"), 0, (EX_NOINPUT, true)),
            (refusal("too-many-wait"), 0, (EX_NOINPUT, true)),
            // A person's word ends it, unless another server may not know of it.
            (refusal("denied"), 0, (DENIED, false)),
            (refusal("denied"), 2, (EX_NOINPUT, true)),
            (forged(), 0, (EX_DATAERR, false)),
            (forged(), 1, (EX_DATAERR, true)),
        ] {
            let text = answer.to_string();
            let found = shown(answer_failure(&options(), answer, unreached, true));
            assert_eq!(found, expected, "{text} {unreached}");
        }
        // It was said of another request, and no person has decided on this one.
        let earlier = answer_failure(&options(), refusal("denied"), 0, false);
        assert_eq!(shown(earlier), (EX_NOINPUT, false));
        let lookup = LocalFailure::new(LocalFailureKind::Lookup, "LDAP");
        assert_eq!(shown(failed(&lookup)), (EX_TEMPFAIL, true));
    }

    #[test]
    fn a_server_that_asks_for_a_pause_has_it_and_not_more_than_two_minutes() {
        let second = Duration::from_secs(1);
        let after_with = |word: &str, retry: u64, unreached: usize| {
            let answer = LocalAnswer::Refused {
                reason: ReasonWord::new(word),
                retry: Some(second * u32::try_from(retry).unwrap()),
            };
            answer_failure(&options(), answer, unreached, false)
        };
        let after = |word, retry| after_with(word, retry, 0);
        let full = after("too-many-wait", 60);
        assert_eq!(full.wait(second, None), Some(second * 60));
        assert_eq!(full.wait(second, Some(second * 90)), Some(second * 60));
        // No other request makes sense in the time that is left.
        assert_eq!(full.wait(second, Some(second * 59)), None);
        let greedy = after("too-many-wait", 999_999);
        assert_eq!(greedy.wait(second, None), Some(LONGEST_RETRY));
        // The other server is not kept waiting.
        let away = after_with("too-many-wait", 60, 1);
        assert_eq!(away.wait(second, Some(second * 20)), Some(second));
        let other = after_with("disabled", 60, 1);
        assert_eq!(other.wait(second, Some(second * 90)), Some(second));
        assert_eq!(other.wait(second * 8, Some(second * 3)), Some(second * 3));
        assert_eq!(other.wait(second, Some(Duration::ZERO)), None);
    }

    /// Asks an agent that gives these lines, one after the other for each connection.
    fn failure_after(answers: &'static [&'static str]) -> Failure {
        use std::io::{Read as _, Write as _};
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let agent = thread::spawn(move || {
            for said in answers {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 7]).unwrap();
                stream.write_all(said.as_bytes()).unwrap();
            }
        });
        let mut options = options();
        options.socket = socket;
        options.wait = Wait::AtMost(Duration::from_secs(60));
        let Err(failure) = fetch(&options) else {
            panic!("a value");
        };
        agent.join().unwrap();
        failure
    }

    #[test]
    fn only_a_denial_of_a_request_that_waited_for_a_person_ends_the_tries_of_a_service() {
        const WAITED: &str = "trying\nwaiting approval 58 4711\ntrying\nrefused denied -\n";
        // The agent was lost while the person looked at it, and what was denied then may be a boot.
        const LOST: &str = "trying\nwaiting approval 58 4711\n";
        const DENIED_BEFORE: &str = "trying\nrefused denied -\n";
        const OTHER_WAIT: &str = "trying\nwaiting checking 58 4711\nrefused denied -\n";
        for (answers, expected) in [
            (&[WAITED][..], DENIED),
            (&[LOST, DENIED_BEFORE], EX_NOINPUT),
            (&[DENIED_BEFORE], EX_NOINPUT),
            (&[OTHER_WAIT], EX_NOINPUT),
        ] {
            assert_eq!(failure_after(answers).exit(), expected, "{answers:?}");
        }
    }

    #[test]
    fn an_agent_that_is_being_started_is_waited_for() {
        let absent = |kind: io::ErrorKind| AgentError::NoAgent(PathBuf::new(), kind.into());
        for (kind, is_root, expected) in [
            (io::ErrorKind::NotFound, false, (EX_UNAVAILABLE, true)),
            (
                io::ErrorKind::ConnectionRefused,
                true,
                (EX_UNAVAILABLE, true),
            ),
            (
                io::ErrorKind::PermissionDenied,
                true,
                (EX_UNAVAILABLE, true),
            ),
            (io::ErrorKind::PermissionDenied, false, (EX_NOPERM, false)),
            (io::ErrorKind::NotADirectory, true, (EX_UNAVAILABLE, false)),
        ] {
            assert_eq!(
                shown(agent_failure(absent(kind), is_root)),
                expected,
                "{kind}"
            );
        }
    }

    #[test]
    fn wait_counts_anew_when_a_request_that_waited_is_lost() {
        use std::io::{Read as _, Write as _};
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let agent = thread::spawn(move || {
            for said in [
                &b"trying\nwaiting approval 58 4711\nfailed no-server x\n"[..],
                b"value 1\nx",
            ] {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 7]).unwrap();
                // Longer than --wait.
                thread::sleep(Duration::from_millis(1200));
                stream.write_all(said).unwrap();
            }
        });
        let mut options = options();
        options.socket = socket;
        options.wait = Wait::AtMost(Duration::from_secs(1));
        let value = fetch(&options).map_err(|failure| failure.to_string());
        assert_eq!(value.unwrap().expose(), b"x");
        agent.join().unwrap();
    }
}
