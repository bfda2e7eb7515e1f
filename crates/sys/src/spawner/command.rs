//! One command: forked off, stripped of all that is the server's, executed.
//!
//! Between fork(2) and execve(2) nothing but system calls is done, so that this holds in a process of several
//! threads too.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit, setsid, umask,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    set_capabilities, set_no_new_privs, set_thread_res_gid, set_thread_res_uid,
};

use super::{SpawnerConfig, numbers};

/// A shell says so of a command that it does not find.
const NOT_RUN: i32 = 127;

/// Limits of one command: neither a fork bomb nor an endless loop may keep the server from its work.
const LIMITS: [(Resource, u64); 4] = [
    (Resource::Core, 0),
    (Resource::Nofile, 1024),
    (Resource::Memlock, 64 << 10),
    // Seconds.
    (Resource::Cpu, 600),
];

/// Processes and threads of all commands together. Not of use where they are the server's own user's.
const MAX_PROCESSES: u64 = 2048;

/// The first descriptor that is not a standard stream.
const FIRST_OTHER: libc::c_uint = 3;

/// Starts `/bin/sh -c LINE` as the leader of a session of its own.
pub(super) fn start(
    config: &SpawnerConfig,
    line: &[u8],
    pings: bool,
    shows_errors: bool,
) -> io::Result<Pid> {
    let line = CString::new(line)?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let arguments = [
        c"/bin/sh".as_ptr(),
        c"-c".as_ptr(),
        line.as_ptr(),
        ptr::null(),
    ];
    let mut environment: Vec<*const libc::c_char> =
        config.environment.iter().map(|it| it.as_ptr()).collect();
    environment.push(ptr::null());
    // SAFETY: the child only makes system calls, with memory that was made before, and never returns.
    let forked = unsafe { libc::fork() };
    match forked {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            if strip(config, &null, pings, shows_errors).is_ok() {
                // SAFETY: both lists end with a null pointer and hold pointers to live strings with a final
                // zero.
                unsafe {
                    libc::execve(
                        c"/bin/sh".as_ptr(),
                        arguments.as_ptr(),
                        environment.as_ptr(),
                    )
                };
            }
            // SAFETY: ends this process and nothing else.
            unsafe { libc::_exit(NOT_RUN) }
        }
        number => Pid::from_raw(number).ok_or_else(|| io::ErrorKind::InvalidData.into()),
    }
}

/// Gives up all that is the server's. No step may fail: what is left would be the command's.
fn strip(
    config: &SpawnerConfig,
    null: &OwnedFd,
    pings: bool,
    shows_errors: bool,
) -> rustix::io::Result<()> {
    setsid()?;
    default_signals();
    rustix::stdio::dup2_stdin(null)?;
    rustix::stdio::dup2_stdout(null)?;
    if !shows_errors {
        rustix::stdio::dup2_stderr(null)?;
    }
    close_from(FIRST_OTHER);
    for (resource, most) in LIMITS {
        limit(resource, most)?;
    }
    umask(Mode::from_raw_mode(0o077));
    rustix::process::chdir(c"/")?;
    if let Some(separation) = config.separation {
        limit(Resource::Nproc, MAX_PROCESSES)?;
        let (user, group) = numbers(separation.commands);
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
    }
    let raw = keep_raw(pings)?;
    // A ping gets its right from its file, where it cannot get it from here.
    if raw || !pings || config.separation.is_some() {
        set_no_new_privs(true)?;
    }
    // The change of user has cleared it.
    set_parent_process_death_signal(Some(Signal::KILL))
}

/// Drops all capabilities but `CAP_NET_RAW`, and that too unless the command pings. True when it is kept.
fn keep_raw(pings: bool) -> rustix::io::Result<bool> {
    let all = capabilities(None)?.permitted;
    let raw = CapabilitySet::NET_RAW;
    let kept = if pings {
        all & raw
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: kept,
    };
    set_capabilities(None, sets)?;
    if kept.is_empty() {
        return Ok(false);
    }
    configure_capability_in_ambient_set(raw, true)?;
    Ok(true)
}

/// Never raises what is lower already.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let least = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let lowered = Rlimit {
        current: least(now.current),
        maximum: least(now.maximum),
    };
    setrlimit(resource, lowered)
}

/// Holds every signal back that can be.
pub(super) fn hold_signals() {
    default_signals();
    // SAFETY: sigfillset(3) fills the set, of which all zeros is a value; the pointers are live.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
    }
}

/// Ignored signals would stay ignored, and held ones held.
fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: sets no handler. Those that cannot be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: all zeros is the empty set, which sigemptyset(3) makes of it anyway; the pointers are live.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// All are closed by execve(2) too; kernels before 5.9 have no such call.
fn close_from(first: libc::c_uint) {
    close_range(first, libc::c_uint::MAX);
}

/// Closes all but the standard streams and `kept`.
pub(super) fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = libc::c_uint::try_from(kept.as_raw_fd()).unwrap_or(FIRST_OTHER);
    if kept > FIRST_OTHER {
        close_range(FIRST_OTHER, kept - 1);
    }
    close_range(kept.saturating_add(1), libc::c_uint::MAX);
}

fn close_range(first: libc::c_uint, last: libc::c_uint) {
    // SAFETY: closes descriptors of a process that never returns to code that owns any of them.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}
