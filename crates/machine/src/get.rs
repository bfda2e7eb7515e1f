//! `get`: a named secret for a script, or for services of systemd. The agent asks the servers and opens what they give;
//! here it is asked, waited for, and its value printed or written into memory.

mod agent;
mod credential;
mod dependents;
mod failure;
mod options;
mod progress;

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use nightlatch_console::failure::{EX_USAGE, Failure, note, warn};
use nightlatch_console::output;
use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;
use nightlatch_proto::local::LocalAnswer;
use nightlatch_sys::{clock, memory};
use serde_json::json;

use agent::{AgentError, Outcome, ask};
use credential::Credentials;
use dependents::RealSystemctl;
use failure::{agent_failure, answer_failure};
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
            Ok(Outcome::Answer(answer)) => answer_failure(&options.name, answer, seen.unreached),
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
            LocalAnswer::Waiting(_) => {
                seen.waited = true;
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

#[cfg(test)]
mod tests {
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
