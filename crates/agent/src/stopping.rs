//! The kind of end that systemd is bringing about.
//!
//! `systemctl` run by root speaks to systemd itself, without the bus, which may be stopped already.

use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_core::guard::GoodbyeKind;
use nightlatch_sys::clock;

/// The targets of a shutdown (systemd.special(7)), and what each means for a server. A soft reboot is not among them: the
/// kernel goes on, and with it the open disk.
const TARGETS: [(&str, GoodbyeKind); 4] = [
    ("reboot.target", GoodbyeKind::Reboot),
    ("kexec.target", GoodbyeKind::Kexec),
    ("poweroff.target", GoodbyeKind::Poweroff),
    ("halt.target", GoodbyeKind::Poweroff),
];

/// Longest time to wait for systemd. A shutdown must not wait for an answer about it.
const ANSWER: Duration = Duration::from_millis(1500);

/// Pause between two looks at whether the answer is complete.
const LOOK: Duration = Duration::from_millis(10);

/// The way in which the machine goes down now; `None` when it does not, as when this service alone is restarted.
///
/// # Errors
/// When systemctl cannot be run, or does not answer within [`ANSWER`].
pub(crate) fn ask_systemd() -> io::Result<Option<GoodbyeKind>> {
    let mut systemctl = Command::new("systemctl")
        .args([
            "list-jobs",
            "--no-legend",
            "--no-pager",
            "--plain",
            "--full",
        ])
        // These alone: the jobs of a large machine would not fit into the pipe.
        .args(TARGETS.map(|(target, _)| target))
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    // These few lines fit into the pipe: the process ends without a reader.
    let until = clock::now().mono.after(ANSWER);
    while systemctl.try_wait()?.is_none() {
        if clock::now().mono >= until {
            systemctl.kill()?;
            systemctl.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(LOOK);
    }
    let mut jobs = String::new();
    if let Some(mut output) = systemctl.stdout.take() {
        output.read_to_string(&mut jobs)?;
    }
    Ok(kind_of(&jobs))
}

/// The shutdown among the jobs that `systemctl list-jobs` shows: number, unit, type, state.
fn kind_of(jobs: &str) -> Option<GoodbyeKind> {
    jobs.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (_, unit, job) = (words.next()?, words.next()?, words.next()?);
        let target = TARGETS.into_iter().find(|(target, _)| *target == unit);
        target.filter(|_| job == "start").map(|(_, kind)| kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made-up lists in the form of systemctl(1): number, unit, type, state. That systemd prints this at a shutdown is for a
    /// real one to prove, in the tests of the packages and of guests.
    #[test]
    fn the_kind_is_that_of_the_target_that_is_started() {
        let list = |target: &str, job: &str| {
            format!(
                "1742 ssh.service stop running\n1650 {target} {job} waiting\n1651 systemd-reboot.service start waiting\n"
            )
        };
        for (target, kind) in [
            ("reboot.target", Some(GoodbyeKind::Reboot)),
            ("kexec.target", Some(GoodbyeKind::Kexec)),
            ("poweroff.target", Some(GoodbyeKind::Poweroff)),
            ("halt.target", Some(GoodbyeKind::Poweroff)),
            ("soft-reboot.target", None),
            ("exit.target", None),
            ("rescue.target", None),
        ] {
            assert_eq!(kind_of(&list(target, "start")), kind, "{target}");
            assert_eq!(kind_of(&list(target, "stop")), None, "{target}");
        }
        for none in [
            "",
            "No jobs running.\n",
            "12 nightlatch-agent.service restart running\n",
            "reboot.target\n",
        ] {
            assert_eq!(kind_of(none), None, "{none:?}");
        }
    }
}
