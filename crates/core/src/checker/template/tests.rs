use proptest::prelude::*;

use super::*;

fn variables<'a>(host: &'a str, name: &'a str) -> CheckerVariables<'a> {
    CheckerVariables {
        approval_delay: Duration::ZERO,
        approval_duration: Duration::from_secs(1),
        created: Wall::from_unix_micros(0),
        dbus_object_path: "",
        enabled: true,
        expires: None,
        fingerprint: Some(Fingerprint::from_bytes([0xab; 20])),
        host,
        interval: Duration::from_secs(120),
        key_id: None,
        last_approval_request: None,
        last_checked_ok: None,
        last_enabled: None,
        name,
        timeout: Duration::from_secs(300),
    }
}

fn expand(template: &str, variables: &CheckerVariables<'_>) -> String {
    CheckerTemplate::new(template).unwrap().expand(variables)
}

#[test]
fn attributes_are_expanded_as_mandos_was_seen_to() {
    let variables = variables("foo.example.org", "foo.bar-baz");
    assert_eq!(
        expand("sh -c \"echo %(host)s %(name)s %%; exit 3\"", &variables),
        "sh -c \"echo foo.example.org foo.bar-baz %; exit 3\""
    );
    assert_eq!(
        CheckerTemplate::default().expand(&variables),
        "fping -q -- foo.example.org"
    );
}

#[test]
fn values_have_the_form_of_python() {
    let mut variables = variables("", "a b");
    variables.timeout = Duration::from_secs(86_700);
    variables.interval = Duration::from_secs(2 * 86_400 + 1);
    variables.created = Wall::from_unix_micros(1_795_303_195_400_000);
    assert_eq!(expand("%(timeout)s", &variables), "'1 day, 0:05:00'");
    assert_eq!(expand("%(interval)s", &variables), "'2 days, 0:00:01'");
    assert_eq!(expand("%(approval_delay)s", &variables), "0:00:00");
    assert_eq!(
        expand("%(created)s", &variables),
        "'2026-11-21 23:19:55.400000'"
    );
    assert_eq!(expand("%(expires)s %(enabled)s", &variables), "None True");
    assert_eq!(
        expand("%(host)s %(key_id)s %(name)s", &variables),
        "'' '' 'a b'"
    );
    assert_eq!(expand("%(fingerprint)s", &variables), "AB".repeat(20));
}

#[test]
fn a_hostile_value_stays_one_word() {
    let variables = variables("$(reboot); 'x' `y`", "n");
    assert_eq!(
        expand("ping %(host)s", &variables),
        r#"ping '$(reboot); '"'"'x'"'"' `y`'"#
    );
}

#[test]
fn unknown_attributes_are_refused_with_a_suggestion() {
    let error = CheckerTemplate::new("ping %(hots)s").unwrap_err();
    assert_eq!(
        error.to_string(),
        "%(hots)s is nothing a checker can refer to; expected %(host)s, perhaps"
    );
    let error = CheckerTemplate::new("ping %(secret)s").unwrap_err();
    assert!(error.to_string().contains("one of approval_delay, "));
}

#[test]
fn anything_else_after_a_percent_is_refused() {
    for text in ["%", "100% ", "%s", "%(host)", "%(host", "%(host)d", "%5s"] {
        assert_eq!(
            CheckerTemplate::new(text),
            Err(CheckerError::Malformed),
            "{text:?}"
        );
    }
    assert_eq!(CheckerTemplate::new("a\0b"), Err(CheckerError::Nul));
}

#[test]
fn dates_far_away_are_printed() {
    let date =
        |days: i64| PythonDateTime(Wall::from_unix_micros(days * 86_400_000_000)).to_string();
    assert_eq!(date(0), "1970-01-01 00:00:00");
    assert_eq!(date(-1), "1969-12-31 00:00:00");
    assert_eq!(date(11_016), "2000-02-29 00:00:00");
    assert_eq!(date(2_932_896), "9999-12-31 00:00:00");
    for micros in [i64::MIN, i64::MAX] {
        assert!(
            !PythonDateTime(Wall::from_unix_micros(micros))
                .to_string()
                .is_empty()
        );
    }
}

/// Parses one word as a POSIX shell does (2.2 Quoting); `None` unless there is exactly one.
fn shell_word(text: &str) -> Option<String> {
    let mut word = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let quote @ ('\'' | '"') = first {
            let (inside, tail) = rest[1..].split_once(quote)?;
            if quote == '"' && inside.contains(['$', '`', '\\']) {
                return None;
            }
            word.push_str(inside);
            rest = tail;
        } else if first.is_ascii_alphanumeric() || "_@%+=:,./-".contains(first) {
            word.push(first);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(word)
}

proptest! {
    #[test]
    fn a_quoted_value_is_one_word_and_itself(value: String) {
        let quoted = quote(&value);
        prop_assert!(!quoted.is_empty());
        prop_assert_eq!(shell_word(&quoted), Some(value));
    }

    #[test]
    fn any_template_is_refused_or_expanded(text: String, host: String, micros: i64, length: Duration) {
        if let Ok(template) = CheckerTemplate::new(text) {
            let mut variables = variables(&host, "n");
            variables.created = Wall::from_unix_micros(micros);
            variables.timeout = length;
            template.expand(&variables);
        }
    }
}

#[test]
fn commands_that_ping_are_known() {
    let pings = |text: &str| CheckerTemplate::new(text).unwrap().pings();
    for text in [
        "fping -q -- %(host)s",
        "exec /usr/bin/ping -c1 %(host)s",
        "ping6 -c1 %(host)s>/dev/null",
        "true&&fping6 x",
        "/usr/local/bin/my-ping %(host)s",
    ] {
        assert!(pings(text), "{text}");
    }
    for text in ["true", "ssh -- %(host)s", "pinger x", "ssh -o x=pinging"] {
        assert!(!pings(text), "{text}");
    }
}
