//! Asks the server as the boot client would, from each interface: by running the boot client, which says
//! that it only rehearses.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nightlatch_core::secret::{Secret, SecretBuffer};
use nightlatch_core::settings::machine::MachineSettings;
use nightlatch_proto::rehearsal::Terms;
use nightlatch_sys::clock;
use zeroize::Zeroizing;

use super::report::Report;
use crate::cli::check::Check;
use crate::failure::{EX_SOFTWARE, Failure};
use crate::keys::{Directory, FILES};

/// How the boot client begins the line that tells of a rehearsal.
const REHEARSED: &str = "rehearsed: ";

/// Longest password: what cryptsetup(8) reads of a key file at most.
const MAX_PASSWORD: usize = 8 * 1024 * 1024;

/// What came of one rehearsal.
struct Outcome {
    interface: String,
    /// The password and the line about it.
    got: Option<(Secret, String)>,
    /// The last thing that the client said.
    said: String,
}

/// Rehearses on every interface that the boot client would use; the password and the server's terms when
/// one succeeds.
pub(super) fn check(
    options: &Check,
    settings: &MachineSettings,
    report: &mut Report,
) -> Result<Option<(Secret, Terms)>, Failure> {
    let interfaces = match settings.interfaces.is_empty() {
        false => settings.interfaces.clone(),
        true => usable(),
    };
    if interfaces.is_empty() {
        let hint = Some("ip link: is a cable plugged in, and the interface up?".to_owned());
        report.bad("network", "no interface is up that a boot could use", hint);
        return Ok(None);
    }
    let wait = Duration::from_secs(options.wait.into());
    let program = crate::image::program(Path::new("/"))?;
    let rehearse = |interface| rehearse(&program, interface, settings, wait);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = interfaces
            .iter()
            .map(|interface| scope.spawn(move || rehearse(interface)))
            .collect();
        running.into_iter().map(|one| one.join()).collect()
    });
    let mut result = None;
    let alone = outcomes.len() == 1;
    let mut silent = Vec::new();
    for outcome in outcomes {
        // A fault of ours has told of itself.
        let ended = |_| Failure::new(EX_SOFTWARE, "a rehearsal ended by a fault");
        let outcome = outcome.map_err(ended)?;
        match outcome.got {
            Some((password, line)) => {
                let terms = told(&line);
                let (key, at) = (word(&line, "server"), word(&line, "at"));
                report.good(
                    "server",
                    format!(
                        "from {}: the server at {at} with the key {key} gives this machine its password",
                        outcome.interface
                    ),
                );
                if let (None, Some(terms)) = (&result, terms) {
                    result = Some((password, terms));
                }
            }
            None => silent.push((outcome.interface, outcome.said)),
        }
    }
    for (interface, said) in silent {
        let said = format!("from {interface}: {said}");
        match result.is_some() && !alone {
            true => report.doubtful("server", said, None),
            false => {
                let hint = hint(&said).to_owned();
                report.bad("server", said, Some(hint));
            }
        }
    }
    Ok(result)
}

/// What to do about it, by the word that the server gave for its reason.
fn hint(said: &str) -> &'static str {
    let reasons = [
        (
            "disabled",
            "on the server: nightlatch why NAME, nightlatch enable NAME",
        ),
        (
            "unknown-key",
            "the server does not know this machine's key: nightlatch enroll prints a section for it",
        ),
        (
            "rehearsal-unproved",
            "the server did not see this machine up lately; there: nightlatch check-now NAME",
        ),
        (
            "rehearsal-needs-approval",
            "a person has to approve each boot; on the server: nightlatch show NAME",
        ),
    ];
    let known = reasons.iter().find(|(reason, _)| said.ends_with(reason));
    known.map_or(
        "does the server run, on the same network? here: avahi-browse -rt _mandos._tcp",
        |(_, hint)| hint,
    )
}

fn told(line: &str) -> Option<Terms> {
    let seconds = |key| word(line, key).parse().ok().map(Duration::from_secs);
    Some(Terms {
        left: seconds("left")?,
        timeout: seconds("timeout")?,
        interval: seconds("interval")?,
    })
}

fn word<'l>(line: &'l str, key: &str) -> &'l str {
    let mut words = line.split(' ').filter_map(|word| word.split_once('='));
    words
        .find_map(|(name, value)| (name == key).then_some(value))
        .unwrap_or_default()
}

/// Interfaces of the machine that are up, as the boot client would choose them: no loopback, none that
/// belongs to a bond or a bridge.
fn usable() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
            // ARPHRD_ETHER (netdevice(7)).
            let ethernet = read("type").trim() == "1";
            let up = read("operstate").trim() == "up";
            (ethernet && up && !path.join("master").exists())
                .then(|| path.file_name()?.to_str().map(str::to_owned))
                .flatten()
        })
        .collect();
    found.sort_unstable();
    found
}

fn rehearse(
    program: &Path,
    interface: &str,
    settings: &MachineSettings,
    wait: Duration,
) -> Outcome {
    let mut command = Command::new(program);
    command
        .arg("client")
        .args(settings.arguments())
        // The network of the running machine is there already.
        .args([
            "--rehearsal",
            "--retry=2",
            "--network-hook-dir=/nonexistent",
        ])
        .args(key_options())
        .arg(format!("--interface={interface}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let outcome = |got, said| Outcome {
        interface: interface.to_owned(),
        got,
        said,
    };
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return outcome(None, format!("cannot run {}: {error}", program.display())),
    };
    let (password, lines) = listen(&mut child, wait);
    let _ = child.kill();
    let _ = child.wait();
    let line = lines.iter().find_map(|line| line.split_once(REHEARSED));
    let got = password.zip(line.map(|(_, line)| line.to_owned()));
    let last = lines.last().map(|line| {
        let said = line.trim_start_matches("nightlatch-boot client: ");
        said.to_owned()
    });
    let silence = || format!("no server was found within {} s", wait.as_secs());
    outcome(got, last.unwrap_or_else(silence))
}

fn key_options() -> Vec<String> {
    let keys: PathBuf = Directory::default_place().path().to_owned();
    let names = ["--pubkey", "--seckey", "--tls-pubkey", "--tls-privkey"];
    let files = names.into_iter().zip(FILES);
    files
        .map(|(option, file)| format!("{option}={}", keys.join(file).display()))
        .collect()
}

/// What the client printed, if it succeeded in time, and the lines that it said.
fn listen(child: &mut Child, wait: Duration) -> (Option<Secret>, Vec<String>) {
    let (sender, receiver) = mpsc::channel();
    let reader = child.stdout.take().map(|out| thread::spawn(|| read(out)));
    if let Some(errors) = child.stderr.take() {
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let until = clock::now().mono.after(wait);
    let mut lines = Vec::new();
    // It closes its messages when it ends.
    loop {
        match receiver.recv_timeout(until.since(clock::now().mono)) {
            Ok(line) => lines.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => return (None, lines),
        }
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    let printed = reader.and_then(|reader| reader.join().ok()?);
    (printed.filter(|_| succeeded), lines)
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
