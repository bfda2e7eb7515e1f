//! A program on a pseudo terminal that notes when each byte came: what tmux would blur.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nightlatch_interop::process::PATIENCE;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::clock;

/// The program and its terminal, ended on drop.
pub(crate) struct TimedTerminal {
    child: Child,
    keyboard: File,
    received: Arc<ReceivedBytes>,
}

#[derive(Default)]
struct ReceivedBytes {
    bytes: Mutex<Vec<u8>>,
    more: Condvar,
}

impl TimedTerminal {
    /// Starts `command` on a terminal of 80 columns and 24 rows.
    pub(crate) fn start(command: &mut Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_col: 80,
            ws_row: 24,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let inside = File::from(ioctl_tiocgptpeer(&master, flags).unwrap());
        let child = command
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::from(inside.try_clone().unwrap()))
            .stdout(Stdio::from(inside))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().unwrap();
        let received = Arc::new(ReceivedBytes::default());
        let told = Arc::clone(&received);
        thread::spawn(move || {
            let mut chunk = [0; 65536];
            // The end of the program is an error here.
            while let Ok(count) = screen.read(&mut chunk) {
                told.bytes.lock().unwrap().extend(&chunk[..count]);
                told.more.notify_all();
            }
        });
        Self {
            child,
            keyboard,
            received,
        }
    }

    /// The process id of the program.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes that it has written.
    pub(crate) fn count(&self) -> usize {
        self.received.bytes.lock().unwrap().len()
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until any of `texts` was written after the first `from` bytes, and says how long that took
    /// since `start`.
    pub(crate) fn wait_for(&self, from: usize, texts: &[&str], start: Instant) -> Duration {
        let mut bytes = self.received.bytes.lock().unwrap();
        let has = |bytes: &Vec<u8>| {
            let has = |text: &&str| {
                let mut parts = bytes[from..].windows(text.len());
                parts.any(|part| part == text.as_bytes())
            };
            texts.iter().any(has)
        };
        while !has(&bytes) {
            let left = PATIENCE.checked_sub(start.elapsed());
            let left = left.unwrap_or_else(|| {
                let written = String::from_utf8_lossy(&bytes[from..]);
                panic!("{texts:?} was never written, but {written:?}")
            });
            (bytes, _) = self.received.more.wait_timeout(bytes, left).unwrap();
        }
        drop(bytes);
        clock() - start
    }
}

impl Drop for TimedTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
