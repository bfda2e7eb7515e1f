use std::process::Command;

use proptest::prelude::*;

use super::*;

fn line(program: BackupProgram, path: &str, from: &[&str]) -> String {
    let path = ConfinedPath::parse(path).unwrap();
    let from: Vec<FromPattern> = from
        .iter()
        .map(|it| FromPattern::parse(it).unwrap())
        .collect();
    LineOptions {
        program,
        path: &path,
        from: &from,
    }
    .to_string()
}

#[test]
fn a_line_leaves_a_key_one_use() {
    assert_eq!(
        line(BackupProgram::Rsync, "/srv/data", &["192.0.2.7"]),
        r#"restrict,from="192.0.2.7",command="/usr/bin/rrsync -ro /srv/data""#
    );
    assert_eq!(
        line(BackupProgram::Rsnapshot, "/", &[]),
        r#"restrict,command="/usr/bin/rrsync -ro /""#
    );
    assert_eq!(
        line(
            BackupProgram::Borg,
            "/srv/my borg",
            &["*.example.org", "!bad.example.org"]
        ),
        r#"restrict,from="*.example.org,!bad.example.org",command="borg serve --append-only --restrict-to-path '/srv/my borg'""#
    );
}

#[test]
fn what_cannot_be_expressed_is_refused_with_what_was_found() {
    for (path, said) in [
        ("srv", "absolute"),
        ("", "absolute"),
        ("/a\"b", "quotes"),
        ("/a'b", "quotes"),
        ("/a\\b", "backslashes"),
        ("/a\nb", "control"),
        ("/a\u{85}b", "control"),
        ("/a/../b", "without .."),
        ("/..", "without .."),
    ] {
        let error = ConfinedPath::parse(path).unwrap_err();
        assert!(
            error.contains(said) && error.contains(&format!("{path:?}")),
            "{error}"
        );
    }
    for pattern in [
        "",
        "!",
        "a,b",
        "a b",
        "a\"b",
        "!!a",
        "192.0.2.1/24",
        "192.0.2.0/33",
        "192.0.2.0/",
        "web/24",
        "::/129",
        "a\\b",
        "2001:db8::1/64",
    ] {
        let error = FromPattern::parse(pattern).unwrap_err();
        assert!(
            error.contains("expected") && error.contains(&format!("{pattern:?}")),
            "{error}"
        );
    }
    for pattern in [
        "backup.example.org",
        "192.0.2.*",
        "!192.0.2.7",
        "192.0.2.0/24",
        "0.0.0.0/0",
        "::/0",
        "2001:db8::/32",
        "fe80::?",
        "192.0.2.7/32",
    ] {
        assert!(FromPattern::parse(pattern).is_ok(), "{pattern}");
    }
    let negated = [FromPattern::parse("!a").unwrap()];
    assert!(
        check_patterns(&negated)
            .unwrap_err()
            .contains("admit nobody")
    );
    assert_eq!(check_patterns(&[]), Ok(()));
    let both = [
        FromPattern::parse("!a").unwrap(),
        FromPattern::parse("*").unwrap(),
    ];
    assert_eq!(check_patterns(&both), Ok(()));
}

/// The values of options as sshd reads them: up to a blank outside of quotes, with `\"` for a quote inside.
fn read_by_sshd(line: &str) -> (Vec<String>, &str) {
    let (mut options, mut option) = (Vec::new(), String::new());
    let (mut is_quoted, mut letters) = (false, line.char_indices().peekable());
    while let Some((at, letter)) = letters.next() {
        let is_escape = letter == '\\' && letters.peek().is_some_and(|(_, next)| *next == '"');
        match letter {
            '\\' if is_escape => {
                letters.next();
                option.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => options.push(std::mem::take(&mut option)),
            ' ' | '\t' if !is_quoted => {
                options.push(option);
                return (options, &line[at + 1..]);
            }
            letter => option.push(letter),
        }
    }
    panic!("no key in {line}");
}

/// The words that a shell makes of a command.
fn read_by_shell(command: &str) -> Vec<String> {
    let output = Command::new("sh")
        .args(["-c", &format!("printf '%s\\0' {command}")])
        .output();
    let words = String::from_utf8(output.unwrap().stdout).unwrap();
    words.split_terminator('\0').map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn sshd_and_the_shell_read_the_path_that_was_given(
        rest in r#"[ -~äß\t\n]{0,20}"#,
        program in prop::sample::select(BackupProgram::value_variants()),
    ) {
        let path = format!("/{rest}");
        let Ok(confined) = ConfinedPath::parse(&path) else {
            let is_expressed = !path.contains(['\'', '"', '\\', '\n', '\t']) && !path.contains("..");
            prop_assert!(!is_expressed, "{path:?} is refused");
            return Ok(());
        };
        let from = [FromPattern::parse("192.0.2.*").unwrap()];
        let options = LineOptions { program, path: &confined, from: &from };
        let line = format!("{options} ssh-ed25519 AAAA card 0006:12345678");
        let (options, key) = read_by_sshd(&line);
        prop_assert_eq!(key, "ssh-ed25519 AAAA card 0006:12345678");
        prop_assert_eq!(options.len(), 3);
        prop_assert_eq!(&options[1], "from=192.0.2.*");
        let words = read_by_shell(options[2].strip_prefix("command=").unwrap());
        prop_assert_eq!(words.last(), Some(&path));
        prop_assert!(matches!(words.len(), 3 | 5), "{:?}", words);
    }

    #[test]
    fn no_pattern_is_a_panic_or_leaves_its_option(text in ".{0,12}") {
        if let Ok(pattern) = FromPattern::parse(&text) {
            prop_assert!(!pattern.0.contains(['"', '\\', ',', ' ', '\n']));
        }
    }
}
