//! Runs the boot client once: its options, its end, the password that it prints, and the lines that it says.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nightlatch_core::digits;
use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_core::time::Monotonic;
use nightlatch_proto::release::{ReasonWord, Terms};
use nightlatch_proto::tls::FetchError;
use nightlatch_sys::clock;
use rustix::process::{Pid, Signal, kill_process};
use zeroize::Zeroizing;

use crate::keys::{FILES, KeyDirectory};

/// Prefixes of the boot client's lines, and of the one about a rehearsal.
const NAME: &str = "nightlatch-boot client: ";
const REHEARSED: &str = "rehearsed: ";
const HINT: &str = "hint: ";

/// Longest password: what cryptsetup(8) reads of a key file at most.
const MAX_PASSWORD: usize = 8 * 1024 * 1024;

/// Time for further servers after a refusal: multicast DNS asks again after at most this time (RFC 6762, 5.2), so that
/// a server that is there has been found by then.
const OTHERS: Duration = Duration::from_secs(3);

/// The time in which the client must restore the network.
const LEAVING: Duration = Duration::from_secs(5);

/// The result of one run of the client.
pub(super) struct ClientRun {
    /// The password that it printed.
    pub(super) password: Option<Secret>,
    /// The server's answer to the rehearsal, as the client printed it.
    pub(super) answer: Option<ReleasedRehearsal>,
    /// Its other lines, each once.
    pub(super) other_lines: Vec<String>,
}

/// The answer of a server.
pub(super) struct ReleasedRehearsal {
    pub(super) key: String,
    pub(super) at: String,
    pub(super) terms: Terms,
}

/// Runs `program` with `options` until it ends, or for `wait`.
pub(super) fn run(program: &Path, options: &[String], wait: Duration) -> ClientRun {
    let child = Command::new(program)
        .arg("client")
        .args(options)
        .args(key_options())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            return ClientRun {
                password: None,
                answer: None,
                other_lines: vec![format!("cannot run {}: {error}", program.display())],
            };
        }
    };
    let printed = child.stdout.take().map(|out| thread::spawn(|| read(out)));
    let mut lines = Lines::of(&mut child);
    let until = clock::now().mono.after(wait);
    if !lines.until_end(until) {
        end(&mut child, &mut lines);
    }
    finished(child, printed, lines.other_lines)
}

fn finished(
    mut child: Child,
    printed: Option<JoinHandle<Option<Secret>>>,
    lines: Vec<String>,
) -> ClientRun {
    let succeeded = child.wait().is_ok_and(|status| status.success());
    let printed = printed.and_then(|reader| reader.join().ok()?);
    let answer = lines.iter().find_map(|line| parse_answer(line));
    let mut other_lines: Vec<String> = Vec::new();
    for line in lines {
        if !line.starts_with(REHEARSED) && !line.starts_with(HINT) && !other_lines.contains(&line) {
            other_lines.push(line);
        }
    }
    ClientRun {
        password: printed.filter(|_| succeeded),
        answer,
        other_lines,
    }
}

/// As a boot would end it, so that it puts back what it changed.
fn end(child: &mut Child, lines: &mut Lines) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    if !lines.until_end(clock::now().mono.after(LEAVING)) {
        let _ = child.kill();
    }
}

/// The machine's own keys: the images were compared with them.
fn key_options() -> Vec<String> {
    let keys: PathBuf = KeyDirectory::default_place().path().to_owned();
    let names = ["--pubkey", "--seckey", "--tls-pubkey", "--tls-privkey"];
    let files = names.into_iter().zip(FILES);
    files
        .map(|(option, file)| format!("{option}={}", keys.join(file).display()))
        .collect()
}

/// The lines of the client, as they come.
struct Lines {
    coming: Receiver<String>,
    other_lines: Vec<String>,
}

impl Lines {
    fn of(child: &mut Child) -> Self {
        let (sender, coming) = mpsc::channel();
        if let Some(errors) = child.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let other_lines = Vec::new();
        Self {
            coming,
            other_lines,
        }
    }

    /// Listens until it ends, which closes its messages; whether it did in time.
    fn until_end(&mut self, mut until: Monotonic) -> bool {
        loop {
            let now = clock::now().mono;
            match self.coming.recv_timeout(until.since(now)) {
                Ok(line) => {
                    let line = line.strip_prefix(NAME).unwrap_or(&line).to_owned();
                    if is_final(&line) {
                        until = until.min(clock::now().mono.after(OTHERS));
                    }
                    self.other_lines.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

/// True for an answer that another request to the same server would not change.
fn is_final(line: &str) -> bool {
    refusal(line).is_some() || is_stock(line)
}

/// The server's word for the reason of a refusal.
pub(super) fn refusal(line: &str) -> Option<&str> {
    let (_, reason) = line.rsplit_once(' ')?;
    let says = FetchError::RefusedFor(ReasonWord::new(reason)?).to_string();
    line.ends_with(&says).then_some(reason)
}

/// True for a line about a server that would take a rehearsal for a boot.
pub(super) fn is_stock(line: &str) -> bool {
    line.ends_with(&FetchError::NoRehearsal.to_string())
}

fn parse_answer(line: &str) -> Option<ReleasedRehearsal> {
    let line = line.strip_prefix(REHEARSED)?;
    let word = |key: &str| {
        let mut words = line.split(' ').filter_map(|word| word.split_once('='));
        words.find_map(|(name, value)| (name == key).then(|| value.to_owned()))
    };
    let seconds = |key| Some(Duration::from_secs(digits::decimal(&word(key)?)?));
    Some(ReleasedRehearsal {
        key: word("server")?,
        at: word("at")?,
        terms: Terms {
            left: seconds("left")?,
            timeout: seconds("timeout")?,
            interval: seconds("interval")?,
            alarm: word("alarm").is_some_and(|alarm| alarm == "yes"),
        },
    })
}

fn read(mut output: impl Read) -> Option<Secret> {
    let mut buffer = SecretBuffer::default();
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        match output.read(&mut chunk[..]).ok()? {
            0 => return Some(buffer.finish()),
            count if buffer.len() + count > MAX_PASSWORD => return None,
            count => buffer.append(&chunk[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_says_is_understood_in_its_own_words() {
        let refused = FetchError::RefusedFor(ReasonWord::new("disabled").unwrap());
        let line = format!("[fe80::1%2]:4711: {refused}");
        assert_eq!(refusal(&line), Some("disabled"));
        assert!(is_final(&line) && !is_stock(&line));
        let line = format!("[fe80::1%2]:4711: {}", FetchError::NoRehearsal);
        assert!(is_final(&line) && is_stock(&line));
        for other in ["", "waiting for a network interface", "x: cannot connect"] {
            assert!(!is_final(other), "{other}");
        }
        let line = "rehearsed: server=AB at=[::1]:1 left=20 timeout=30 interval=10 alarm=yes";
        let terms = parse_answer(line).unwrap();
        assert_eq!((terms.key.as_str(), terms.at.as_str()), ("AB", "[::1]:1"));
        assert_eq!(terms.terms.safe_absence(), Duration::from_secs(20));
        assert!(terms.terms.alarm);
        assert!(parse_answer("rehearsed: server=AB at=[::1]:1 left=x").is_none());
    }
}
