use proptest::prelude::*;

use super::*;

fn values(text: &str) -> Vec<(String, String, String)> {
    flat(&Ini::parse(text).unwrap())
}

fn flat(ini: &Ini) -> Vec<(String, String, String)> {
    std::iter::once(ini.default_section())
        .chain(ini.sections())
        .flat_map(|section| {
            let name = section.name().to_owned();
            section
                .entries()
                .map(move |(key, entry)| (name.clone(), key.to_owned(), entry.value().to_owned()))
        })
        .collect()
}

fn kinds(text: &str) -> Vec<(usize, IniErrorKind)> {
    let errors = Ini::parse(text).unwrap_err();
    errors.into_iter().map(|e| (e.line, e.kind)).collect()
}

#[test]
fn keys_values_and_continuations_are_read() {
    let text = "[DEFAULT]\n\
                Timeout: PT5M\n\
                [foo]\n\
                # a comment\n\
                secret =\n\
                \tYWJj\n\
                ; another, which ends nothing\n\
                \tZGVm\n\
                host = a = b ; no comment\n";
    let expected = [
        ("DEFAULT", "timeout", "PT5M"),
        ("foo", "host", "a = b ; no comment"),
        ("foo", "secret", "\nYWJj\nZGVm"),
    ];
    let expected = expected.map(|(s, k, v)| (s.to_owned(), k.to_owned(), v.to_owned()));
    assert_eq!(values(text), expected);
}

#[test]
fn the_line_of_each_line_of_a_value_is_known() {
    let ini = Ini::parse("[foo]\nsecret =\n\ta\n# between\n\tb\n").unwrap();
    let entry = ini.section("foo").unwrap().entry("secret").unwrap();
    let lines: Vec<usize> = (0..3).map(|index| entry.line_of(index)).collect();
    assert_eq!(lines, [2, 3, 5]);
}

#[test]
fn every_kind_of_line_end_counts() {
    let ini = Ini::parse("[a]\rx=1\r\ny=2\n\nz=3").unwrap();
    let section = ini.section("a").unwrap();
    let lines = ["x", "y", "z"].map(|key| section.entry(key).unwrap().line());
    assert_eq!(lines, [2, 3, 5]);
}

#[test]
fn all_faults_are_named_in_the_order_of_lines() {
    use IniErrorKind::{BeforeSection, DuplicateKey, DuplicateSection, NoDelimiter, NoKey};
    let text = "stray\nstray\n[a]\nx = 1\nnothing\nX = 2\n  3\n= 4\n[b]\n[a]\nx = 5\n";
    let key = "x".to_owned();
    assert_eq!(
        kinds(text),
        [
            (1, BeforeSection),
            (5, NoDelimiter),
            (6, DuplicateKey { key, first: 4 }),
            (8, NoKey),
            (10, DuplicateSection { first: 3 }),
        ]
    );
}

#[test]
fn a_secret_that_lost_its_indentation_is_one_fault_that_does_not_show_it() {
    let errors = Ini::parse("[a]\nsecret =\nSECRETSECRET\nSECRETSECRET\nhost = h\n").unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].line, 3);
    assert!(!errors[0].to_string().contains("SECRETSECRET"));
}

#[test]
fn a_byte_order_mark_is_named() {
    assert_eq!(
        kinds("\u{feff}[a]\nx = 1\n"),
        [(1, IniErrorKind::ByteOrderMark)]
    );
}

#[test]
fn values_stay_out_of_debug_output() {
    let ini = Ini::parse("[a]\nsecret = hush\n").unwrap();
    assert_eq!(format!("{ini:?}"), r#"[[DEFAULT] {}, [a] {"secret"}]"#);
}

proptest! {
    #[test]
    fn printing_and_reading_again_changes_nothing(text in r"[\[\]a-cA-C=:#; \t\n\r\x1c\u{a0}%()ΣİK\u{2028}]{0,80}") {
        if let Ok(ini) = Ini::parse(&text) {
            let again = Ini::parse(&ini.to_string()).unwrap();
            prop_assert_eq!(flat(&again), flat(&ini));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        let _ = Ini::parse(&text);
    }
}
