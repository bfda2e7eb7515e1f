//! Processes: whole groups of them, ended together.

use std::io;

use rustix::process::{Pid, Signal};

/// Asks every process of the group `leader` to end (`SIGTERM`). A group that is gone is no error.
pub fn terminate_group(leader: u32) -> io::Result<()> {
    signal_group(leader, Signal::TERM)
}

/// Ends every process of the group `leader` (`SIGKILL`). A group that is gone is no error.
pub fn kill_group(leader: u32) -> io::Result<()> {
    signal_group(leader, Signal::KILL)
}

fn signal_group(leader: u32, signal: Signal) -> io::Result<()> {
    // Group 1 belongs to init and group 0 means one's own: neither is ever a group we started.
    let group = i32::try_from(leader)
        .ok()
        .filter(|raw| *raw > 1)
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidInput)?;
    match rustix::process::kill_process_group(group, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};

    #[test]
    fn a_group_ends_whole() {
        use std::io::Read;
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & echo; sleep 1000"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = shell.stdout.take().unwrap();
        let mut line = [0];
        out.read_exact(&mut line).unwrap();
        kill_group(shell.id()).unwrap();
        // Both sleepers held the pipe: it ends only when all are gone.
        out.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(shell.wait().unwrap().signal(), Some(9));
        terminate_group(shell.id()).unwrap();
    }

    #[test]
    fn nobody_but_a_group_of_our_own_is_signalled() {
        for leader in [0, 1, u32::MAX] {
            assert!(kill_group(leader).is_err());
        }
    }
}
