//! A checker template is refused, or each value in it comes out as one word of a POSIX shell.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nightlatch_core::checker::{CheckerTemplate, CheckerVariables};
use nightlatch_core::time::Wall;

fuzz_target!(|input: (&str, &str, i64, u64)| {
    let (text, value, micros, seconds) = input;
    let variables = CheckerVariables {
        approval_delay: Duration::ZERO,
        approval_duration: Duration::from_secs(1),
        created: Wall::from_unix_micros(micros),
        dbus_object_path: "",
        enabled: true,
        expires: Some(Wall::from_unix_micros(micros)),
        fingerprint: None,
        host: value,
        interval: Duration::from_secs(seconds),
        key_id: None,
        last_approval_request: None,
        last_checked_ok: None,
        last_enabled: None,
        name: value,
        timeout: Duration::from_micros(seconds),
    };
    if let Ok(template) = CheckerTemplate::new(text) {
        assert_eq!(template.as_str(), text);
        template.expand(&variables);
    }
    let template = CheckerTemplate::new("a %(host)s %(created)s b").expect("a valid template");
    let words = split(&template.expand(&variables)).expect("a valid command line");
    assert_eq!(words.len(), 4);
    assert_eq!(words[1], value);
});

/// Splits a command line into words as a POSIX shell does (2.2 Quoting), refusing all that would be
/// more than words.
fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(first) = rest.next() {
        match first {
            ' ' => words.extend(word.take()),
            quote @ ('\'' | '"') => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        end if end == quote => break,
                        '$' | '`' | '\\' if quote == '"' => return None,
                        inside => word.push(inside),
                    }
                }
            }
            plain if plain.is_ascii_alphanumeric() || "_@%+=:,./-".contains(plain) => {
                word.get_or_insert_default().push(plain);
            }
            _ => return None,
        }
    }
    words.extend(word);
    Some(words)
}
