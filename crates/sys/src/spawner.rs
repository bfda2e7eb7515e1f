//! Shell commands for a server, started by a process of their own as another user than the server's.
//!
//! A server that has given up root cannot start a program as another user. So it is split before ([`Spawner::start`]):
//! the spawner's effective user is that of the commands, so that it may signal them, and its real and saved user is
//! the server's, so that they may not signal it (kill(2)). It has no capabilities except `CAP_NET_RAW`, if the server
//! has that, which it passes to commands that ping.
//!
//! Both ends exchange datagrams over a socket pair. The spawner ends, with everything that it started, when the
//! server's end is closed.

mod command;
mod message;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

pub use message::{BadCommandLine, CommandEnd, CommandRequest};

/// A user and a group, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserAndGroup {
    /// The user id.
    pub uid: u32,
    /// Group id. There are no other groups.
    pub gid: u32,
}

/// The two users of a server that was started as root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Separation {
    /// Whom the server becomes.
    pub server: UserAndGroup,
    /// Whom commands run as.
    pub commands: UserAndGroup,
}

/// The environment and users of the commands.
#[derive(Clone, Debug)]
pub struct SpawnerConfig {
    /// Without one, commands run as the server's own user.
    pub separation: Option<Separation>,
    /// Their whole environment, as `NAME=VALUE`.
    pub environment: Vec<CString>,
}

/// The spawner's first datagram after it has changed its user; any other is an error number.
const READY: [u8; 4] = [0; 4];

/// The process that starts commands.
#[derive(Debug)]
pub struct Spawner;

impl Spawner {
    /// Splits the spawner off and answers with the server's end of the pair, which does not block.
    ///
    /// # Errors
    /// When there are several threads already, or the users cannot be changed to.
    pub fn start(config: &SpawnerConfig) -> io::Result<OwnedFd> {
        let (ours, theirs) = pair()?;
        if crate::child::threads()? != 1 {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a program of several threads cannot be copied",
            ));
        }
        // SAFETY: there is one thread only, so that the copy is whole and may run any code; it never
        // returns from here.
        match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                drop(ours);
                let ended = std::panic::catch_unwind(|| be_spawner(&theirs, config));
                let status = i32::from(!matches!(ended, Ok(Ok(()))));
                // SAFETY: ends this process and nothing else, without the server's exit handlers.
                unsafe { libc::_exit(status) }
            }
            _ => {}
        }
        drop(theirs);
        let mut answer = [0; 4];
        let (count, _) = recv(&ours, &mut answer, RecvFlags::empty())?;
        if count != answer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if answer != READY {
            return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(answer)));
        }
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok(ours)
    }

    /// The same in a thread of this process and without another user, for the tests of a server.
    pub fn start_in_thread(environment: Vec<CString>) -> io::Result<OwnedFd> {
        let (ours, theirs) = pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let config = SpawnerConfig {
            separation: None,
            environment,
        };
        std::thread::Builder::new().spawn(move || serve(&theirs, &config))?;
        Ok(ours)
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn be_spawner(socket: &OwnedFd, config: &SpawnerConfig) -> io::Result<()> {
    let became = begin(socket, config);
    let answer = match &became {
        Ok(()) => READY,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes(),
    };
    send(socket, &answer, SendFlags::NOSIGNAL)?;
    became?;
    serve(socket, config)
}

fn begin(socket: &OwnedFd, config: &SpawnerConfig) -> io::Result<()> {
    // Signals of the keyboard and to the server's group are for the server only.
    rustix::process::setsid()?;
    command::hold_signals();
    let _ = rustix::thread::set_name(c"nightlatch-run");
    command::close_all_but(socket.as_fd());
    if let Some(separation) = config.separation {
        separate(separation)?;
    }
    let raw = capabilities(None)?.permitted & CapabilitySet::NET_RAW;
    set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: raw,
            inheritable: raw,
        },
    )?;
    crate::memory::forbid_core_dumps()
}

fn separate(Separation { server, commands }: Separation) -> io::Result<()> {
    let (real_user, real_group) = numbers(server);
    let (user, group) = numbers(commands);
    set_thread_groups(&[])?;
    set_thread_res_gid(real_group, group, real_group)?;
    set_keep_capabilities(true)?;
    set_thread_res_uid(real_user, user, real_user)?;
    set_keep_capabilities(false)?;
    Ok(())
}

fn numbers(who: UserAndGroup) -> (rustix::process::Uid, rustix::process::Gid) {
    (
        rustix::process::Uid::from_raw(who.uid),
        rustix::process::Gid::from_raw(who.gid),
    )
}

/// A command that runs: the leader of its session and group.
struct RunningCommand {
    id: u64,
    leader: Pid,
    handle: OwnedFd,
}

impl RunningCommand {
    fn signal(&self, signal: Signal) {
        // The leader was not reaped yet, so its number is still its own. One that has ended is no error.
        if rustix::process::kill_process_group(self.leader, signal).is_err() {
            // It was forked and is not the leader of a group yet.
            let _ = rustix::process::kill_process(self.leader, signal);
        }
    }
}

/// Carries out requests until the other end is closed.
fn serve(socket: &OwnedFd, config: &SpawnerConfig) -> io::Result<()> {
    let mut running: Vec<RunningCommand> = Vec::new();
    let mut buffer = vec![0; message::LONGEST];
    let ended = loop {
        if let Err(error) = step(socket, config, &mut running, &mut buffer) {
            break error;
        }
    };
    for one in &running {
        one.signal(Signal::KILL);
        let _ = waitpid(Some(one.leader), WaitOptions::empty());
    }
    match ended.kind() {
        io::ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(ended),
    }
}

/// Waits for one thing to happen and deals with all that has.
fn step(
    socket: &OwnedFd,
    config: &SpawnerConfig,
    running: &mut Vec<RunningCommand>,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut watched = vec![PollFd::new(socket, PollFlags::IN)];
    watched.extend(
        running
            .iter()
            .map(|one| PollFd::new(&one.handle, PollFlags::IN)),
    );
    match poll(&mut watched, None) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let mut happened = watched.iter().map(|it| !it.revents().is_empty());
    let told = happened.next().unwrap_or_default();
    let ended: Vec<bool> = happened.collect();
    drop(watched);
    let mut ended = ended.into_iter();
    let mut result = Ok(());
    running.retain(|one| {
        if !ended.next().unwrap_or_default() {
            return true;
        }
        result = std::mem::replace(&mut result, Ok(())).and_then(|()| reap(socket, one));
        false
    });
    result?;
    if told {
        let (count, whole) = match recv(socket, &mut *buffer, RecvFlags::TRUNC) {
            Ok(received) => received,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // A closed socket; orders are never empty.
        if whole == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let order = buffer.get(..count).and_then(CommandRequest::read);
        carry_out(socket, config, running, order)?;
    }
    Ok(())
}

/// Its last word. What it left behind in its group ends with it.
fn reap(socket: &OwnedFd, one: &RunningCommand) -> io::Result<()> {
    one.signal(Signal::KILL);
    let status = loop {
        match waitpid(Some(one.leader), WaitOptions::empty()) {
            Ok(Some((_, status))) => break Some(status.as_raw()),
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => break None,
        }
    };
    tell(socket, CommandEnd { id: one.id, status })
}

fn tell(socket: &OwnedFd, ended: CommandEnd) -> io::Result<()> {
    send(socket, &ended.to_bytes(), SendFlags::NOSIGNAL)?;
    Ok(())
}

fn carry_out(
    socket: &OwnedFd,
    config: &SpawnerConfig,
    running: &mut Vec<RunningCommand>,
    order: Option<CommandRequest<'_>>,
) -> io::Result<()> {
    match order {
        Some(CommandRequest::Run {
            id,
            pings,
            shows_errors,
            line,
        }) => match command::start(config, line, pings, shows_errors).and_then(with_handle) {
            Ok((leader, handle)) => running.push(RunningCommand { id, leader, handle }),
            Err(_) => return tell(socket, CommandEnd { id, status: None }),
        },
        Some(CommandRequest::Terminate(id)) => signal(running, id, Signal::TERM),
        Some(CommandRequest::Kill(id)) => signal(running, id, Signal::KILL),
        // The server never sends any other request.
        None => {}
    }
    Ok(())
}

fn signal(running: &[RunningCommand], id: u64, signal: Signal) {
    if let Some(one) = running.iter().find(|one| one.id == id) {
        one.signal(signal);
    }
}

fn with_handle(leader: Pid) -> io::Result<(Pid, OwnedFd)> {
    match pidfd_open(leader, PidfdFlags::empty()) {
        Ok(handle) => Ok((leader, handle)),
        Err(error) => {
            let _ = rustix::process::kill_process(leader, Signal::KILL);
            let _ = waitpid(Some(leader), WaitOptions::empty());
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests;
