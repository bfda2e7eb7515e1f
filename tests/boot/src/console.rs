//! What a guest has said on its serial console, with the time of each piece. Prompts have no newline, so it
//! is read as it comes and not by lines.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// The console of one guest.
#[derive(Debug)]
pub struct Console {
    start: Instant,
    said: Mutex<Said>,
    grew: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    /// Up to which byte it had been said, and when.
    times: Vec<(usize, Duration)>,
    ended: bool,
}

/// Where a text stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which of the texts that were looked for.
    pub which: usize,
    /// The byte after it.
    pub end: usize,
    /// When its last byte came, after the guest's start.
    pub at: Duration,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// A console on which nothing has been said.
    pub fn new() -> Self {
        Self {
            start: now(),
            said: Mutex::default(),
            grew: Condvar::new(),
        }
    }

    /// Takes what comes from `source` to its end, and copies it to `log`.
    pub fn follow(&self, mut source: impl Read, mut log: File) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = source.read(&mut bytes) {
            let _ = log.write_all(&bytes[..count]);
            let mut said = self.said.lock().unwrap();
            said.bytes.extend_from_slice(&bytes[..count]);
            let end = said.bytes.len();
            said.times.push((end, self.now()));
            self.grew.notify_all();
        }
        self.said.lock().unwrap().ended = true;
        self.grew.notify_all();
    }

    /// The time now, after the guest's start.
    pub fn now(&self) -> Duration {
        now().duration_since(self.start)
    }

    /// Waits until one of `texts` stands at byte `from` or later: the first of them, or why there is none.
    ///
    /// # Errors
    /// A sentence when it does not come in time, or can no longer come.
    pub fn wait(&self, from: usize, texts: &[&str], patience: Duration) -> Result<Found, String> {
        let limit = self.now() + patience;
        let mut said = self.said.lock().unwrap();
        loop {
            if let Some(found) = said.find(from, texts) {
                return Ok(found);
            }
            if said.ended {
                return Err(format!("the guest ended without saying {texts:?}"));
            }
            let left = limit.saturating_sub(self.now());
            if left.is_zero() {
                let patience = patience.as_secs();
                return Err(format!(
                    "the guest did not say {texts:?} within {patience} s"
                ));
            }
            said = self.grew.wait_timeout(said, left).unwrap().0;
        }
    }

    /// Where one of `texts` stands now, if it does.
    pub fn find(&self, from: usize, texts: &[&str]) -> Option<Found> {
        self.said.lock().unwrap().find(from, texts)
    }

    /// What stands from byte `from` on.
    pub fn text(&self, from: usize) -> String {
        let said = self.said.lock().unwrap();
        String::from_utf8_lossy(&said.bytes[from..]).into_owned()
    }
}

impl Said {
    fn find(&self, from: usize, texts: &[&str]) -> Option<Found> {
        let rest = self.bytes.get(from..)?;
        let places = texts.iter().enumerate().filter_map(|(which, text)| {
            let at = rest
                .windows(text.len())
                .position(|part| part == text.as_bytes())?;
            Some((at, which, from + at + text.len()))
        });
        let (_, which, end) = places.min()?;
        let piece = self.times.partition_point(|(until, _)| *until < end);
        Some(Found {
            which,
            end,
            at: self.times[piece].1,
        })
    }
}

/// Times are what is measured here.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(pieces: &[&str]) -> Console {
        let console = Console::new();
        for piece in pieces {
            let log = tempfile::tempfile().unwrap();
            console.follow(piece.as_bytes(), log);
        }
        console
    }

    #[test]
    fn a_text_is_found_across_pieces_and_has_the_time_of_its_last_byte() {
        let console = console(&["Please unl", "ock disk: ", "more"]);
        let found = console.find(0, &["never", "unlock disk: "]).unwrap();
        assert_eq!((found.which, found.end), (1, 20));
        assert_eq!(found.at, console.said.lock().unwrap().times[1].1);
        assert_eq!(console.text(found.end), "more");
        assert_eq!(console.find(found.end, &["unlock"]), None);
    }

    #[test]
    fn the_first_of_several_texts_is_found() {
        let console = console(&["one two"]);
        assert_eq!(console.find(0, &["two", "one"]).unwrap().which, 1);
    }

    #[test]
    fn a_guest_that_ended_is_not_waited_for() {
        let error = console(&["one"]).wait(0, &["two"], Duration::from_secs(3600));
        assert!(error.unwrap_err().contains("ended"));
    }
}
