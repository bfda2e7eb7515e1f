//! The serial console of a guest, with the time of each piece of output. Prompts have no newline, so it is read in
//! pieces and not in lines.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// The console of one guest.
#[derive(Debug)]
pub struct Console {
    start: Instant,
    output: Mutex<ConsoleText>,
    grew: Condvar,
}

#[derive(Debug, Default)]
struct ConsoleText {
    bytes: Vec<u8>,
    /// Up to which byte it had been said, and when.
    times: Vec<(usize, Duration)>,
    ended: bool,
}

/// A text that was found on the console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsoleMatch {
    /// Its index among the texts searched for.
    pub index: usize,
    /// The byte after it.
    pub end: usize,
    /// The time of its last byte, from the guest's start.
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
            output: Mutex::default(),
            grew: Condvar::new(),
        }
    }

    /// Takes what comes from `source` to its end, and copies it to `log`.
    pub fn follow(&self, mut source: impl Read, mut log: File) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = source.read(&mut bytes) {
            let _ = log.write_all(&bytes[..count]);
            let mut output = self.output.lock().unwrap();
            output.bytes.extend_from_slice(&bytes[..count]);
            let end = output.bytes.len();
            output.times.push((end, self.now()));
            self.grew.notify_all();
        }
        self.output.lock().unwrap().ended = true;
        self.grew.notify_all();
    }

    /// The time now, after the guest's start.
    pub fn now(&self) -> Duration {
        now().duration_since(self.start)
    }

    /// Waits for the first of `texts` at byte `from` or later.
    ///
    /// # Errors
    /// A sentence when it does not come in time, or the guest has ended.
    pub fn wait(
        &self,
        from: usize,
        texts: &[&str],
        patience: Duration,
    ) -> Result<ConsoleMatch, String> {
        let limit = self.now() + patience;
        let mut output = self.output.lock().unwrap();
        loop {
            if let Some(found) = output.find(from, texts) {
                return Ok(found);
            }
            if output.ended {
                return Err(format!("the guest ended without saying {texts:?}"));
            }
            let left = limit.saturating_sub(self.now());
            if left.is_zero() {
                let patience = patience.as_secs();
                return Err(format!(
                    "the guest did not say {texts:?} within {patience} s"
                ));
            }
            output = self.grew.wait_timeout(output, left).unwrap().0;
        }
    }

    /// The first of `texts` on the console now.
    pub fn find(&self, from: usize, texts: &[&str]) -> Option<ConsoleMatch> {
        self.output.lock().unwrap().find(from, texts)
    }

    /// All text from byte `from` on.
    pub fn text(&self, from: usize) -> String {
        let output = self.output.lock().unwrap();
        String::from_utf8_lossy(&output.bytes[from..]).into_owned()
    }
}

impl ConsoleText {
    fn find(&self, from: usize, texts: &[&str]) -> Option<ConsoleMatch> {
        let rest = self.bytes.get(from..)?;
        let places = texts.iter().enumerate().filter_map(|(index, text)| {
            let at = rest
                .windows(text.len())
                .position(|part| part == text.as_bytes())?;
            Some((at, index, from + at + text.len()))
        });
        let (_, index, end) = places.min()?;
        let piece = self.times.partition_point(|(until, _)| *until < end);
        Some(ConsoleMatch {
            index,
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
        assert_eq!((found.index, found.end), (1, 20));
        assert_eq!(found.at, console.output.lock().unwrap().times[1].1);
        assert_eq!(console.text(found.end), "more");
        assert_eq!(console.find(found.end, &["unlock"]), None);
    }

    #[test]
    fn the_first_of_several_texts_is_found() {
        let console = console(&["one two"]);
        assert_eq!(console.find(0, &["two", "one"]).unwrap().index, 1);
    }

    #[test]
    fn a_guest_that_ended_is_not_waited_for() {
        let error = console(&["one"]).wait(0, &["two"], Duration::from_secs(3600));
        assert!(error.unwrap_err().contains("ended"));
    }
}
