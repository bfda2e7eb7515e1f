//! A terminal with nobody at it but the test: what is shown is read, what is typed is written.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nightlatch_test_support::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr, ttyname};

/// A pseudoterminal with a program on it.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    slave: File,
    shown: Mutex<Vec<u8>>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Terminal {
    /// A terminal that shows nothing yet.
    pub fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(name.to_str().unwrap())
            .unwrap();
        Self {
            master: File::from(master),
            slave,
            shown: Mutex::default(),
        }
    }

    /// The path of its device.
    pub fn name(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(
            ttyname(&self.slave, Vec::new()).unwrap().into_bytes(),
        ))
    }

    /// Starts `command` with this terminal as its standard input and error, and as the one that
    /// controls it. Its standard output is collected.
    pub fn start(&self, command: &Command) -> Seat<'_> {
        let mut seated = Command::new("setsid");
        seated
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .arg0("setsid");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => seated.env(name, value),
                None => seated.env_remove(name),
            };
        }
        self.start_seated(&mut seated)
    }

    /// Starts `command` with this terminal as its standard input and error, which does not control it,
    /// as in an initramfs.
    pub fn start_uncontrolled(&self, command: &mut Command) -> Seat<'_> {
        let mut seated = Command::new("setsid");
        seated
            .arg("--wait")
            .arg(command.get_program())
            .args(command.get_args());
        self.start_seated(&mut seated)
    }

    fn start_seated(&self, command: &mut Command) -> Seat<'_> {
        let child = command
            .stdin(self.slave.try_clone().unwrap())
            .stderr(self.slave.try_clone().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Seat {
            terminal: self,
            child: Some(child),
        }
    }

    /// Waits until `text` is shown, after what was waited for before.
    pub fn wait_for(&self, text: &str) {
        self.wait_for_each(&[text]);
    }

    /// Waits until each of `texts` is shown, in any order, after what was waited for before.
    pub fn wait_for_each(&self, texts: &[&str]) {
        let mut shown = self.shown.lock().unwrap();
        let deadline = Deadline::start();
        loop {
            let end = |text: &&str| {
                let at = shown
                    .windows(text.len())
                    .position(|part| part == text.as_bytes());
                at.map(|at| at + text.len())
            };
            let ends: Option<Vec<usize>> = texts.iter().map(end).collect();
            if let Some(last) = ends.and_then(|ends| ends.into_iter().max()) {
                shown.drain(..last);
                return;
            }
            if !self.read_more(&mut shown, deadline.left()) {
                let shown = String::from_utf8_lossy(&shown);
                panic!("never shown: {texts:?}; shown: {shown:?}");
            }
        }
    }

    /// Output since [`Self::wait_for`] returned.
    pub fn rest(&self) -> String {
        let mut shown = self.shown.lock().unwrap();
        while self.read_more(&mut shown, Duration::ZERO) {}
        String::from_utf8_lossy(&shown).into_owned()
    }

    fn read_more(&self, shown: &mut Vec<u8>, patience: Duration) -> bool {
        let limit = Timespec::try_from(patience).unwrap();
        let mut waited = [PollFd::new(&self.master, PollFlags::IN)];
        if !poll(&mut waited, Some(&limit)).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let mut bytes = [0; 4096];
        let count = (&self.master).read(&mut bytes).unwrap();
        shown.extend_from_slice(&bytes[..count]);
        true
    }

    /// Writes input, as a keyboard does.
    pub fn type_in(&self, text: &[u8]) {
        (&self.master).write_all(text).unwrap();
    }

    /// True while the terminal echoes input.
    pub fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ECHO) && modes.contains(LocalModes::ICANON)
    }
}

/// A program at a terminal. Killed and reaped on drop.
#[derive(Debug)]
pub struct Seat<'a> {
    terminal: &'a Terminal,
    child: Option<Child>,
}

impl Seat<'_> {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it `signal` (as `TERM`).
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end. The terminal must be as it was.
    pub fn finish(mut self) -> Output {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        assert!(self.terminal.echoes(), "the terminal was not put back");
        output
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
