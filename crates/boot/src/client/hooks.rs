//! Network hooks: programs of the administrator that make the network usable, before it is used and
//! again afterwards (mandos-client(8mandos), NETWORK HOOKS).
//!
//! They run as root. Waiting for one never keeps a signal from ending the program.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nightlatch_sys::capabilities::{Capabilities, Capability};
use nightlatch_sys::clock;
use nightlatch_sys::process::{kill_group, terminate_group};
use nightlatch_sys::signals::{EndSignals, Signal, release_in};
use nightlatch_sys::trusted::{Executable, check_folder};
use rustix::fs::{Mode as FileMode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};

use super::options::ClientOptions;
use crate::log::{AppletLog, format_error};
use crate::wait;

/// Time for a hook to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// Limit for a hook that makes the network usable: a radio that looks for its network needs half a minute. A hook that
/// hangs must not keep the machine down.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Limit for a hook that ends the use of the network: the boot waits for it.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of one hook's output that are passed on.
const MAX_SAID: usize = 64 * 1024;

/// Capacity in bytes of the pipe that a hook writes to.
const PIPE: usize = 2 * MAX_SAID;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HookPhase {
    /// Before the network is used.
    Start,
    /// Before the program ends.
    Stop,
}

impl HookPhase {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }

    const fn limit(self) -> Duration {
        match self {
            Self::Start => START_LIMIT,
            Self::Stop => STOP_LIMIT,
        }
    }
}

/// Runs every hook, one after another. A signal ends the one that runs; on starting it also ends
/// the whole row and is returned.
pub(super) fn run(
    mode: HookPhase,
    options: &ClientOptions,
    capabilities: Capabilities,
    signals: &EndSignals,
    log: AppletLog,
) -> Option<Signal> {
    // Without these capabilities they run as the user who runs this program.
    let as_root = capabilities.has(Capability::SetUid) && capabilities.has(Capability::SetGid);
    let user = if as_root { 0 } else { geteuid().as_raw() };
    for hook in hooks(&options.hook_directory, user, log) {
        log.debug(|| format!("running network hook {} {}", hook.display(), mode.word()));
        let program = match Executable::open(&hook, user) {
            Ok(program) => program,
            Err(error) => {
                log.info(&format!(
                    "leaving out a network hook: {}",
                    format_error(&error)
                ));
                continue;
            }
        };
        let mut command = program.command();
        set_up(&mut command, mode, options, as_root);
        let named = Hook {
            path: &hook,
            capabilities,
            log,
        };
        match named.run(&mut command, mode.limit(), signals) {
            Ok(HookEnd::Itself(status)) if status.success() => {}
            Ok(HookEnd::Itself(status)) => named.log_about(&format!("failed: {status}")),
            Ok(HookEnd::TooLate) => {
                let limit = mode.limit().as_secs();
                named.log_about(&format!("has not ended after {limit} s, and was ended"));
            }
            Ok(HookEnd::Signal(signal)) if mode == HookPhase::Start => return Some(signal),
            Ok(HookEnd::Signal(_)) => {}
            Err(error) => named.log_about(&format!("cannot be run: {}", format_error(&error))),
        }
    }
    None
}

/// The hooks in the order of their names' bytes. A directory that does not exist has none.
fn hooks(directory: &Path, user: u32, log: AppletLog) -> Vec<PathBuf> {
    if directory.exists()
        && let Err(error) = check_folder(directory, user)
    {
        log.info(&format!(
            "no network hooks are run: {}",
            format_error(&error)
        ));
        return Vec::new();
    }
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                let directory = directory.display();
                log.info(&format!(
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

fn set_up(command: &mut Command, mode: HookPhase, options: &ClientOptions, as_root: bool) {
    command
        .arg(mode.word())
        .env("MANDOSNETHOOKDIR", &options.hook_directory)
        .env("DEVICE", &options.devices)
        .env("MODE", mode.word())
        .env("VERBOSITY", if options.debug { "1" } else { "0" })
        .env("DELAY", seconds(options.delay))
        .stdin(Stdio::null());
    let servers: Vec<&str> = options.connect.named.iter().map(|it| &*it.word).collect();
    // Hooks for Mandos know of one.
    match servers.first() {
        Some(first) => command
            .env("CONNECT", first)
            .env("CONNECT_ALL", servers.join(" ")),
        None => command.env_remove("CONNECT").env_remove("CONNECT_ALL"),
    };
    if as_root {
        command.uid(0).gid(0);
    }
}

/// As C prints it with `%f`.
fn seconds(delay: Duration) -> String {
    format!("{}.{:06}", delay.as_secs(), delay.subsec_micros())
}

enum HookEnd {
    Itself(ExitStatus),
    TooLate,
    Signal(Signal),
}

/// One hook, for messages.
#[derive(Clone, Copy)]
struct Hook<'a> {
    path: &'a Path,
    capabilities: Capabilities,
    log: AppletLog,
}

impl Hook<'_> {
    fn log_about(self, what: &str) {
        let hook = self.path.display();
        self.log.info(&format!("network hook {hook} {what}"));
    }

    /// Runs it to its end, to the limit of its time, or until a signal comes.
    fn run(
        self,
        command: &mut Command,
        limit: Duration,
        signals: &EndSignals,
    ) -> io::Result<HookEnd> {
        let (output, writer) = pipe()?;
        command
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let raised = [Capability::SetUid, Capability::SetGid];
        let child = self
            .capabilities
            .with(&raised, || release_in(command).spawn());
        // Its copies of the pipe's end are the hook's alone from now on.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child?;
        let mut output = HookOutput {
            pipe: output,
            left: MAX_SAID,
            is_cut: false,
        };
        let ended = self.until_end(&mut child, &mut output, limit, signals);
        if !matches!(ended, Ok(HookEnd::Itself(_))) {
            self.end(&mut child);
        }
        child.wait()?;
        output.pass_on(self);
        ended
    }

    fn until_end(
        self,
        child: &mut Child,
        output: &mut HookOutput,
        limit: Duration,
        signals: &EndSignals,
    ) -> io::Result<HookEnd> {
        let handle = pidfd_open(pid_of(child)?, PidfdFlags::empty())?;
        let due = clock::now().mono.after(limit);
        loop {
            if let Some(signal) = signals.next()? {
                return Ok(HookEnd::Signal(signal));
            }
            if let Some(status) = child.try_wait()? {
                return Ok(HookEnd::Itself(status));
            }
            output.pass_on(self);
            let left = due.since(clock::now().mono);
            if left.is_zero() {
                return Ok(HookEnd::TooLate);
            }
            let waited = [handle.as_fd(), signals.as_fd(), output.pipe.as_fd()];
            wait::for_any(waited, Some(left))?;
        }
    }

    /// Ends it with all that it has started: asks first.
    fn end(self, child: &mut Child) {
        let group = child.id();
        self.capabilities.with(&[Capability::Kill], || {
            // The child is not reaped yet, so that the number is still that of its group.
            let _ = terminate_group(group);
            let handle = pid_of(child).and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
            if let Ok(handle) = handle {
                let _ = wait::for_end(handle.as_fd(), GRACE);
            }
            let _ = kill_group(group);
        });
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The output of a hook, on its way to standard error.
struct HookOutput {
    pipe: OwnedFd,
    /// Bytes that are still passed on.
    left: usize,
    /// True when it was logged that more came.
    is_cut: bool,
}

impl HookOutput {
    /// Passes on what has come, as far as it is not too much.
    fn pass_on(&mut self, hook: Hook<'_>) {
        const CHUNK: usize = 4096;
        let mut chunk = [0; CHUNK];
        // Not much more at once than the pipe holds, so that a hook that writes without end can be ended in time.
        for _ in 0..=PIPE / CHUNK {
            let count = match rustix::io::read(&self.pipe, &mut chunk) {
                Ok(count) if count > 0 => count,
                Err(Errno::INTR) => continue,
                _ => return,
            };
            let passed = count.min(self.left);
            let _ = io::stderr().write_all(&chunk[..passed]);
            if passed < count && !self.is_cut {
                self.is_cut = true;
                let _ = io::stderr().write_all(b"\n");
                hook.log_about("says too much: the rest is left out");
            }
            self.left -= passed;
        }
    }
}

/// A pipe on which neither end blocks. The writing end can be read too, so that processes that a hook leaves running
/// do not get SIGPIPE when this program has ended. The pipe holds more than is passed on, so that lost output is
/// always reported.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    fcntl_setpipe_size(&reader, PIPE)?;
    let both = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let writer = rustix::fs::open(path, both, FileMode::empty())?;
    Ok((reader, writer))
}
