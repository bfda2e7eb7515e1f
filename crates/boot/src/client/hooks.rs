//! Network hooks: programs of the administrator that make the network usable, before it is used and
//! again afterwards (mandos-client(8mandos), NETWORK HOOKS).
//!
//! They run as root. Waiting for one never keeps a signal from ending the program.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nightlatch_sys::capabilities::{Capabilities, Capability};
use nightlatch_sys::signals::{EndSignals, Signal, release_in};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::options::Options;
use crate::log::{Log, chain};

/// How long a hook may take to end once it is asked to.
const GRACE: Duration = Duration::from_secs(2);

/// When the hooks run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Before the network is used.
    Start,
    /// Before the program ends.
    Stop,
}

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// Runs every hook, one after another. A signal ends the one that runs; on starting it also ends
/// the whole row and is returned.
pub(super) fn run(
    mode: Mode,
    options: &Options,
    capabilities: Capabilities,
    signals: &EndSignals,
    log: Log,
) -> Option<Signal> {
    for hook in hooks(&options.hook_directory, log) {
        log.debug(|| format!("running network hook {} {}", hook.display(), mode.word()));
        let mut command = command(&hook, mode, options, capabilities);
        let raised = [Capability::SetUid, Capability::SetGid];
        let child = match capabilities.with(&raised, || release_in(&mut command).spawn()) {
            Ok(child) => child,
            Err(error) => {
                log.say(&format!(
                    "cannot run network hook {}: {error}",
                    hook.display()
                ));
                continue;
            }
        };
        match wait(child, capabilities, signals) {
            Ok((status, _)) if status.success() => {}
            Ok((status, None)) => {
                log.say(&format!("network hook {} failed: {status}", hook.display()));
            }
            Ok((_, Some(signal))) if mode == Mode::Start => return Some(signal),
            Ok((_, Some(_))) => {}
            Err(error) => {
                let hook = hook.display();
                log.say(&format!(
                    "cannot wait for network hook {hook}: {}",
                    chain(&error)
                ));
            }
        }
    }
    None
}

/// The hooks in the order of their names' bytes. A directory that does not exist has none.
fn hooks(directory: &Path, log: Log) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                let directory = directory.display();
                log.say(&format!(
                    "cannot read network hooks in {directory}: {error}"
                ));
            }
            return Vec::new();
        }
    };
    let mut hooks: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(is_hook_name))
        .map(|entry| entry.path())
        .filter(|path| is_executable(path))
        .collect();
    hooks.sort();
    hooks
}

fn is_hook_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn command(hook: &Path, mode: Mode, options: &Options, capabilities: Capabilities) -> Command {
    let mut command = Command::new(hook);
    command
        .arg(mode.word())
        .env("MANDOSNETHOOKDIR", &options.hook_directory)
        .env("DEVICE", &options.devices)
        .env("MODE", mode.word())
        .env("VERBOSITY", if options.debug { "1" } else { "0" })
        .env("DELAY", seconds(options.delay))
        .stdin(Stdio::null())
        .stdout(stderr());
    match &options.connect {
        Some((_, target)) => command.env("CONNECT", target),
        None => command.env_remove("CONNECT"),
    };
    // Without the capability, as an ordinary user who tries things out, they run as that user.
    if capabilities.has(Capability::SetUid) && capabilities.has(Capability::SetGid) {
        command.uid(0).gid(0);
    }
    command
}

/// As C prints it with `%f`.
fn seconds(delay: Duration) -> String {
    format!("{}.{:06}", delay.as_secs(), delay.subsec_micros())
}

fn stderr() -> Stdio {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(copy) => copy.into(),
        Err(_) => Stdio::null(),
    }
}

/// Waits until the hook ends; a signal meanwhile ends it.
fn wait(
    mut child: Child,
    capabilities: Capabilities,
    signals: &EndSignals,
) -> io::Result<(ExitStatus, Option<Signal>)> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        if ended(&pidfd, Some(signals), None)? {
            return Ok((child.wait()?, None));
        }
        let Some(signal) = signals.next()? else {
            continue;
        };
        capabilities.with(&[Capability::Kill], || {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        });
        if !ended(&pidfd, None, Some(GRACE))? {
            let _ = capabilities.with(&[Capability::Kill], || child.kill());
        }
        return Ok((child.wait()?, Some(signal)));
    }
}

/// Waits for the end of the process, for a signal or for the time to pass; tells whether it ended.
fn ended(
    pidfd: &OwnedFd,
    signals: Option<&EndSignals>,
    limit: Option<Duration>,
) -> io::Result<bool> {
    let mut waited = vec![PollFd::new(pidfd, PollFlags::IN)];
    waited.extend(signals.map(|signals| PollFd::new(signals, PollFlags::IN)));
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    match poll(&mut waited, limit.as_ref()) {
        Ok(_) => Ok(!waited[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
