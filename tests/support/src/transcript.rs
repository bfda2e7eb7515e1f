//! Transcripts: commands and their output, in files that a reviewer can read and a test compares.
//!
//! Values that differ between two runs are replaced: key ids, fingerprints, times, ports, temporary folders, base64.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;

use regex::Regex;

/// Values that differ between two runs, and their names in a transcript. The order matters: the longest first.
static VALUES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (r"\b[0-9a-f]{64}\b", "KEY-ID"),
        (r"\b[0-9A-Fa-f]{40}\b", "FINGERPRINT"),
        (r"\bchecksum: [0-9a-f]{16}\b", "checksum: HASH"),
        (r"\bSHA256:[0-9A-Za-z+/]{43}\b", "SHA256:HASH"),
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
        (
            r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|[+-]\d\d:?\d\d|UTC))?",
            "TIME",
        ),
        (r"\b\d\d:\d\d:\d\d\b", "TIME"),
        // In a table the column has the width of the longest.
        (r"\b\d+ (ms|s) ago {2,}", "SPAN ago  "),
        (r"\b\d+ (ms|s) ago\b", "SPAN ago"),
        (r"\b\d+ (h \d+ min|min \d+ s) {2,}", "SPAN  "),
        (r"\b\d+ (h \d+ min|min \d+ s)\b", "SPAN"),
        (r"\bfe80::[0-9a-f:]+", "fe80::1"),
        (r"%\d+\]", "%N]"),
        (r"\]:\d{2,5}\b", "]:PORT"),
        (r"\b127\.0\.0\.1:\d{2,5}\b", "127.0.0.1:PORT"),
        (r"/tmp/\.tmp[0-9A-Za-z]{6}", "/tmp/FOLDER"),
        (
            r"(?m)^( *)[0-9A-Za-z+/=]{56,76}\n(?: *[0-9A-Za-z+/=]+\n)*",
            "${1}BASE64\n",
        ),
    ]
    .into_iter()
    .map(|(pattern, name)| {
        (
            Regex::new(pattern).expect("a pattern that is written here"),
            name,
        )
    })
    .collect()
});

/// Commands and their output, to be compared with a file.
#[derive(Debug)]
pub struct Transcript {
    file: PathBuf,
    text: String,
    names: Vec<(String, String)>,
}

impl Transcript {
    /// An empty one, to be compared with `file`.
    pub fn of(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            text: String::new(),
            names: Vec::new(),
        }
    }

    /// Writes `name` in place of `value` in all that follows.
    pub fn name(&mut self, value: impl Into<String>, name: &str) {
        self.names.push((value.into(), name.to_owned()));
    }

    /// Adds a line of explanation for a reviewer.
    pub fn explain(&mut self, text: &str) {
        self.text.push_str(&format!("# {text}\n\n"));
    }

    /// Adds a command with its standard output, then its standard error, and its exit status unless that is 0.
    pub fn add(&mut self, command: &str, output: &Output) {
        let both = [&output.stdout[..], &output.stderr].concat();
        self.add_text(
            command,
            &String::from_utf8_lossy(&both),
            output.status.code(),
        );
    }

    /// The same for a command whose output was read already.
    pub fn add_text(&mut self, command: &str, said: &str, status: Option<i32>) {
        self.text
            .push_str(&self.without_values(&format!("$ {command}\n{said}")));
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        match status {
            Some(0) => {}
            Some(status) => self.text.push_str(&format!("[exit status {status}]\n")),
            None => self.text.push_str("[ended by a signal]\n"),
        }
        self.text.push('\n');
    }

    fn without_values(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, name) in &self.names {
            text = text.replace(value, name);
        }
        for (pattern, name) in VALUES.iter() {
            text = pattern.replace_all(&text, *name).into_owned();
        }
        text
    }

    /// Compares it with its file. With `NIGHTLATCH_UPDATE_GOLDEN` in the environment it writes the file instead.
    ///
    /// # Panics
    /// When they differ.
    #[track_caller]
    pub fn assert(self) {
        if std::env::var_os("NIGHTLATCH_UPDATE_GOLDEN").is_some() {
            std::fs::write(&self.file, &self.text).expect("the transcript can be written");
        }
        let expected = std::fs::read_to_string(&self.file).unwrap_or_default();
        assert!(
            self.text == expected,
            "the output is not as in {}; NIGHTLATCH_UPDATE_GOLDEN=1 writes it anew. First difference:\n{}",
            self.file.display(),
            first_difference(&expected, &self.text)
        );
    }
}

fn first_difference(expected: &str, found: &str) -> String {
    let mut lines = found.lines();
    for expected in expected.lines() {
        match lines.next() {
            Some(line) if line == expected => {}
            line => return format!("-{expected}\n+{}", line.unwrap_or("(nothing)")),
        }
    }
    format!("-(nothing)\n+{}", lines.next().unwrap_or("(nothing)"))
}

/// A file of transcripts beside the tests of the crate in `manifest`.
pub fn file(manifest: &str, name: &str) -> PathBuf {
    Path::new(manifest).join("transcripts").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_run_are_replaced_and_nothing_else() {
        let mut transcript = Transcript::of("none");
        transcript.name("/a/b", "HERE");
        let id = "0a".repeat(32);
        let text = format!(
            "key_id = {id} in /a/b at 2026-11-29T02:53:23.5Z from [fe80::5c:1]:40721, 5 min\nsecret =\n    {}\n    ab=\nhost = x\n",
            "A".repeat(64)
        );
        assert_eq!(
            transcript.without_values(&text),
            "key_id = KEY-ID in HERE at TIME from [fe80::1]:PORT, 5 min\nsecret =\n    BASE64\nhost = x\n"
        );
    }

    #[test]
    fn the_first_difference_is_shown() {
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), "-b\n+c");
        assert_eq!(first_difference("a\n", "a\nc\n"), "-(nothing)\n+c");
        assert_eq!(first_difference("a\nb\n", "a\n"), "-b\n+(nothing)");
    }
}
