//! Compares the file dialect and the checker's expansion with Python's own. One `python3` answers for all cases;
//! without one the tests are reported as skipped.
#![allow(
    clippy::unwrap_used,
    reason = "an unwrap in a test is the assertion itself"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nightlatch_core::checker::{CheckerTemplate, CheckerVariables};
use nightlatch_core::ini::{DEFAULT, Ini};
use nightlatch_core::interpolate::{InterpolationError, interpolate};
use nightlatch_core::time::Wall;
use proptest::prelude::*;
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// A running `python3 tests/python.py`.
struct Python {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    /// `None`, with a message on stderr, when there is no python3.
    fn start() -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python.py");
        let mut command = Command::new("python3");
        command.args(["-I", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                nightlatch_test_support::skipped("needs python3, to compare with");
                return None;
            }
            Err(error) => panic!("cannot start python3: {error}"),
        };
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Some(Self {
            process,
            requests,
            answers,
        })
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.requests, "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Our result for a file, in the form of the script's answer.
fn ours(text: &str) -> Value {
    let Ok(ini) = Ini::parse(text) else {
        return Value::Null;
    };
    let default = ini.default_section();
    let mut found = BTreeMap::new();
    for section in std::iter::once(default).chain(ini.sections()) {
        let lookup = |key: &str| section.value(key).or_else(|| default.value(key));
        let mut keys = BTreeMap::new();
        for (key, _) in default.entries().chain(section.entries()) {
            let raw = lookup(key).unwrap();
            let value = interpolate(raw, &lookup);
            // Python has no such limit, and these cases are too small to reach it.
            assert_ne!(value, Err(InterpolationError::TooLong));
            keys.insert(key, json!([raw, value.ok()]));
        }
        found.insert(section.name(), json!(keys));
    }
    assert!(found.contains_key(DEFAULT));
    json!(found)
}

/// Files that a generator rarely produces.
const NASTY: &[&str] = &[
    "",
    "\n\n",
    "# only a comment",
    "\u{feff}[a]\nx=1",
    "\u{feff}# comment\n[a]\nx=1",
    "x = 1\n[a]",
    "  [a]\n  x = 1\n y = 2\n   z\n",
    "[a]\nx = 1\n  [b]\ny = 2\n",
    "[a]\nx = 1\n\n\n  2\n\n# c\n\n\t3\n\n\n[b]\n",
    "[a]\nx =\n  1\n ; no\n  2 ; yes\n",
    "[a]\n  x = 1\n  y = 2\n   # c\n  2\n",
    "[a]\nx\n",
    "[a]\nx = 1\nx : 2\n",
    "[a]\nX = 1\nx = 2\n",
    "[a]\nx=1\n[a]\ny=2\n",
    "[DEFAULT]\nx=1\n[DEFAULT]\ny=2\n[a]\n",
    "[DEFAULT]\nx=1\n[DEFAULT]\nx=2\n",
    "[default]\nx=1\n[a]\nx=%(x)s",
    "[]\nx=1\n",
    "[]]\nx=1\n",
    "[ a ]\nx=1\n",
    "[a]b]c\nx=1\n",
    "[a] ; tail\nx=1\n",
    "[a\nx=1\n",
    "[s]\n[a = b\n",
    "[s]\n[a = b]\n",
    "[s]\n= 1\n",
    "[s]\n: 1\n  2\n",
    "[s]\na = = b\nc : : d\ne=:f\n",
    "[s]\na b c = d\n",
    "[s]\r\na = 1\r\n\t2\r\r\nb = 3\rc=4",
    "[s]\na\u{a0}=\u{a0}1\u{a0}\n\u{a0}2\u{2003}\n",
    "[s]\na\x1c=\x1d1\x1e\n\x1f2\x1c\n",
    "[s]\na = 1\u{2028}b = 2\x0bc = 3\x0cd = 4\u{85}e=5\n",
    "[s]\nΑΣ = 1\nİ = 2\nẞ = 3\n\u{212a} = 4\n",
    "[s]\n\u{212a} = 4\nk = 5\n",
    "[s]\na = \0\n\0 = 1\n",
    "[s]\na = %\nb = %%\nc = %(\nd = %()s\ne = %(a\nf = %(b)s\ng = %(b)d\nh = %x",
    "[s]\na = %(A)s\n",
    "[s]\na = %(b)s\nb = %(c)s\nc = %(d)s\nd = %(e)s\ne = %(f)s\nf = %(g)s\ng = %(h)s\nh = %(i)s\n\
     i = %(j)s\nj = %(k)s\nk = %(l)s\nl = %%\n",
    "[DEFAULT]\nu = %(v)s\n[s]\nv = 1\n[t]\n",
    "[s]\na = %(b\n c)s\nb\tc = 1\n",
    "[s]\n%(a)s = 1\nb = %(%(a)s)s\n",
    include_str!("../../../dist/sample/clients.conf"),
    include_str!("../../../dist/sample/nightlatch.conf"),
];

/// Files of lines that mean something to the dialect, with white space of every kind.
fn files() -> impl Strategy<Value = String> {
    let space = r"[ \t\x1c\u{a0}]{0,3}";
    let key = r"[a-cA-C]{1,2}";
    let value = r"([a-d=:;#\[\] ]|%%|%\([a-cA-C]{1,2}\)s|%){0,5}";
    let regex = |regex: String| string_regex(&regex).unwrap();
    let line = prop_oneof![
        3 => r"\[(DEFAULT|[a-c]|[a-c\] ]{1,3})\]?",
        8 => regex(format!("{key}{space}[=:]{space}{value}")),
        3 => regex(format!("{space}{value}")),
        1 => regex(format!("{space}[#;]{value}")),
        1 => r"[\x0b\u{2028}\u{85}ΣİẞK=:a\[\]]{0,6}",
        1 => space,
    ];
    let end = prop_oneof![6 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r"), 1 => Just("\n\n")];
    let lines = prop::collection::vec((space, line, end), 0..14);
    // Most files begin correctly; otherwise only refusals would be compared.
    let head = prop_oneof![9 => Just("[DEFAULT]\n"), 1 => Just("")];
    (head, lines).prop_map(|(head, lines)| {
        let lines = lines.into_iter().enumerate();
        let lines = lines.map(|(number, (space, line, end))| {
            // Mostly unindented; otherwise all lines would be one long value.
            let space = if number % 3 == 0 {
                space
            } else {
                String::new()
            };
            format!("{space}{line}{end}")
        });
        format!("{head}{}", lines.collect::<String>())
    })
}

#[test]
fn files_are_read_as_by_configparser() {
    let Some(mut python) = Python::start() else {
        return;
    };
    let mut theirs = |text: &str| python.ask(&json!({"what": "ini", "text": text}));
    for text in NASTY {
        assert_eq!(ours(text), theirs(text), "{text:?}");
    }
    let mut accepted = 0;
    let config = ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let python = std::cell::RefCell::new((theirs, &mut accepted));
    let result = TestRunner::new(config).run(&files(), |text| {
        let (theirs, accepted) = &mut *python.borrow_mut();
        let theirs = theirs(&text);
        **accepted += usize::from(!theirs.is_null());
        prop_assert_eq!(ours(&text), theirs);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(accepted > 200, "only {accepted} files were accepted");
}

#[test]
fn checkers_are_expanded_as_by_the_percent_operator() {
    let Some(python) = Python::start() else {
        return;
    };
    let python = std::cell::RefCell::new(python);
    let template = r"([a-z'$ %]|%%|%\((host|name|timeout|created|nope)\)s|%\(host\)[sdr5]){0,6}";
    let config = ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = (template, any::<String>(), r"[a-z0-9_@%+=:,./' é-]{0,8}");
    let result = TestRunner::new(config).run(&cases, |(text, host, name)| {
        let request = json!({
            "what": "checker",
            "text": text,
            "values": {
                "host": host,
                "name": name,
                "timeout": "1 day, 0:05:00",
                "created": "2026-11-21 23:19:55.400000",
            },
        });
        let theirs = python.borrow_mut().ask(&request);
        // We refuse more: Python also accepts widths and other conversions.
        if let Ok(template) = CheckerTemplate::new(text) {
            prop_assert_eq!(
                Value::from(template.expand(&variables(&host, &name))),
                theirs
            );
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn variables<'a>(host: &'a str, name: &'a str) -> CheckerVariables<'a> {
    CheckerVariables {
        approval_delay: Duration::ZERO,
        approval_duration: Duration::ZERO,
        created: Wall::from_unix_micros(1_795_303_195_400_000),
        dbus_object_path: "",
        enabled: true,
        expires: None,
        fingerprint: None,
        host,
        interval: Duration::ZERO,
        key_id: None,
        last_approval_request: None,
        last_checked_ok: None,
        last_enabled: None,
        name,
        timeout: Duration::from_secs(86_700),
    }
}
