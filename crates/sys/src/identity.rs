//! The user and group of a program that is started, and the descriptors it inherits.
//!
//! Never changes the calling process.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Gid, Pid, Signal, Uid, getpid, getppid, set_parent_process_death_signal};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// The user and the group of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramIdentity {
    /// Numeric user id (uid).
    pub user: u32,
    /// Group id. The program is in no other group.
    pub group: u32,
    /// These are only its *real* user and group, and root is the effective one: what execve(2) makes of a set-user-ID
    /// program. For programs that lower their privileges at once, and can be trusted to do so.
    pub effective_root: bool,
}

/// Makes `command` start its program as `identity`; needs root. It is asked to end (`SIGTERM`) when
/// this process ends, unless it has privileges that forbid that.
pub fn start_as(command: &mut Command, identity: ProgramIdentity) -> &mut Command {
    let parent = getpid();
    // SAFETY: the closure makes system calls only: nothing is allocated and no lock is taken between
    // fork(2) and execve(2).
    unsafe { command.pre_exec(move || become_identity(identity, parent)) }
}

/// Makes `command` leave open the descriptor `number` for its program, which must be open here until
/// it is started.
pub fn leave_open(command: &mut Command, number: RawFd) -> &mut Command {
    // SAFETY: as in `start_as`. The number is only given to fcntl(2), which fails with EBADF when it
    // is not open.
    unsafe {
        command.pre_exec(move || {
            let descriptor = BorrowedFd::borrow_raw(number);
            Ok(fcntl_setfd(descriptor, FdFlags::empty())?)
        })
    }
}

fn become_identity(identity: ProgramIdentity, parent: Pid) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(identity.user), Gid::from_raw(identity.group));
    let (effective_user, effective_group) = match identity.effective_root {
        true => (Uid::ROOT, Gid::ROOT),
        false => (user, group),
    };
    set_thread_groups(&[])?;
    set_thread_res_gid(group, effective_group, effective_group)?;
    set_thread_res_uid(user, effective_user, effective_user)?;
    // Last: a change of user clears it (PR_SET_PDEATHSIG(2const)).
    set_parent_process_death_signal(Some(Signal::TERM))?;
    match getppid() == Some(parent) {
        true => Ok(()),
        // The parent ended before the signal was set.
        false => Err(Errno::SRCH.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Out of a thread with groups that the program must not keep.
    fn status(identity: ProgramIdentity) -> String {
        let thread = std::thread::spawn(move || {
            set_thread_groups(&[Gid::ROOT, Gid::from_raw(42)]).unwrap();
            let mut command = Command::new("cat");
            command.arg("/proc/self/status");
            let output = start_as(&mut command, identity).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        });
        thread.join().unwrap()
    }

    #[test]
    fn a_program_has_the_identity_that_it_was_given() {
        if !nightlatch_test_support::is_root() {
            return;
        }
        let plain = ProgramIdentity {
            user: 65534,
            group: 65533,
            effective_root: false,
        };
        let shown = status(plain);
        assert!(
            shown.contains("Uid:\t65534\t65534\t65534\t65534"),
            "{shown}"
        );
        assert!(
            shown.contains("Gid:\t65533\t65533\t65533\t65533"),
            "{shown}"
        );
        assert!(shown.contains("Groups:\t \n"), "{shown}");
        assert!(shown.contains("CapPrm:\t0000000000000000"), "{shown}");
        let shown = status(ProgramIdentity {
            effective_root: true,
            ..plain
        });
        assert!(shown.contains("Uid:\t65534\t0\t0\t0"), "{shown}");
        assert!(shown.contains("Gid:\t65533\t0\t0\t0"), "{shown}");
        assert!(shown.contains("Groups:\t \n"), "{shown}");
    }
}
