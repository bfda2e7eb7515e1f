use proptest::prelude::*;

use super::*;
use crate::certificate::tests::{FOR_WEB1, Wanted, certificate, key, pair};

fn list(text: &str) -> KnownHosts {
    let mut list = KnownHosts::default();
    assert_eq!(list.add(text), []);
    list
}

fn plain(seed: u8) -> HostIdentity {
    HostIdentity::Plain(key(&pair(seed)))
}

fn check(list: &KnownHosts, seed: u8, name: &str) -> Result<(), NotKnown> {
    list.check(&plain(seed), name, name, 150)
}

#[test]
fn a_key_is_known_under_the_names_of_its_line_only() {
    let one = key(&pair(1));
    for (names, good, bad) in [
        (
            "web1",
            &["web1"][..],
            &["web", "web11", "[web1]:2222", ""][..],
        ),
        (
            "Web1,192.0.2.1",
            &["web1", "192.0.2.1"],
            &["web1,192.0.2.1"],
        ),
        ("[web1]:2222", &["[web1]:2222"], &["web1", "[web1]:22"]),
        (
            "*.example",
            &["a.example", ".example"],
            &["example", "a.example.org"],
        ),
        ("web?", &["web1", "web2"], &["web", "web12"]),
        ("*,!web2", &["web1", "x"], &["web2"]),
        ("web2,!web*", &[], &["web2"]),
        ("!web2", &[], &["web1", "web2"]),
        ("", &[], &["web1", ""]),
    ] {
        // An empty field is none: the type stands in its place.
        let names = if names.is_empty() { "," } else { names };
        let list = list(&format!("# a list\n\n  {names}\t{one} a comment\r\n"));
        for name in good {
            assert_eq!(check(&list, 1, name), Ok(()), "{names} {name}");
            assert!(list.has_name(name));
            assert_eq!(check(&list, 2, name), Err(NotKnown::Unknown));
        }
        for name in bad {
            assert_eq!(
                check(&list, 1, name),
                Err(NotKnown::Unknown),
                "{names} {name}"
            );
            assert!(!list.has_name(name));
        }
    }
}

/// The integration test of the card has a list that `ssh-keygen -H` has hashed.
#[test]
fn hashed_names_are_those_of_openssh() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqGYmuIYC3eGQXO4SHTPNyD54K+fXG8vHPqsSVNvHkk";
    let salt = BASE64.encode([5; HASH]);
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[5; HASH]);
    let hash = BASE64.encode(hmac::sign(&hmac_key, b"[web1]:2222"));
    let list = list(&format!("|1|{salt}|{hash} {key}\n"));
    let identity = HostIdentity::Plain(key.parse().unwrap());
    assert_eq!(list.check(&identity, "[web1]:2222", "web1", 0), Ok(()));
    for other in ["web1", "[web1]:22", "[web2]:2222"] {
        assert_eq!(
            list.check(&identity, other, "web1", 0),
            Err(NotKnown::Unknown)
        );
    }
}

#[test]
fn a_revoked_key_is_never_known_and_one_of_a_revoked_authority_neither() {
    let (one, two) = (key(&pair(1)), key(&pair(2)));
    let revoked = list(&format!("web1 {one}\n@revoked other {one}\nweb1 {two}\n"));
    assert_eq!(check(&revoked, 1, "web1"), Err(NotKnown::Revoked));
    assert_eq!(check(&revoked, 2, "web1"), Ok(()));
    let blob = certificate(&pair(1), &pair(2), &FOR_WEB1);
    let certified = HostIdentity::parse(&blob).unwrap();
    for line in [format!("@revoked * {two}"), format!("@revoked x {one}")] {
        let list = list(&format!("@cert-authority * {two}\n{line}\n"));
        assert_eq!(
            list.check(&certified, "web1", "web1", 150),
            Err(NotKnown::Revoked)
        );
    }
}

#[test]
fn a_certificate_counts_by_an_authority_of_the_host() {
    let (one, two) = (key(&pair(1)), key(&pair(2)));
    let identity =
        |wanted: &Wanted| HostIdentity::parse(&certificate(&pair(1), &pair(2), wanted)).unwrap();
    let certified = identity(&FOR_WEB1);
    let known = list(&format!("@cert-authority web*,[web1]:2222 {two}\n"));
    assert_eq!(known.check(&certified, "web1", "web1", 150), Ok(()));
    assert_eq!(known.check(&certified, "[web1]:2222", "web1", 150), Ok(()));
    assert_eq!(
        known.check(&certified, "web1", "web1", 200),
        Err(NotKnown::Certificate(NotCertified::Expired))
    );
    let other = known.check(&certified, "web2", "web2", 150);
    assert!(matches!(
        other,
        Err(NotKnown::Certificate(NotCertified::OtherHost { .. }))
    ));
    // An authority of other hosts, the authority's key as a host key, and the certified key without a certificate.
    for line in [
        format!("@cert-authority db* {two}"),
        format!("web1 {two}"),
        format!("@cert-authority web1 {one}"),
    ] {
        let known = list(&line);
        assert_eq!(
            known.check(&certified, "web1", "web1", 150),
            Err(NotKnown::Unknown),
            "{line}"
        );
    }
    assert_eq!(
        known.check(&plain(1), "web1", "web1", 150),
        Err(NotKnown::Unknown)
    );
    assert_eq!(
        known.check(&plain(2), "web1", "web1", 150),
        Err(NotKnown::Unknown)
    );
    // The key itself is known: whatever its certificate says, the host has proved it.
    let plainly = list(&format!("web1 {one}"));
    assert_eq!(plainly.check(&certified, "web1", "web1", 900), Ok(()));
}

#[test]
fn lines_that_are_not_understood_are_told_and_old_kinds_are_passed_over() {
    let one = key(&pair(1));
    let text = format!(
        "@odd web1 {one}\nweb1\n|1|abc|def {one}\nweb1 ssh-ed25519 AAAA\nweb1 ssh-dss AAAA\nweb1 1024 35 1234\n\
         @revoked web1 ssh-ed25519\nweb1 {one}\n"
    );
    let mut list = KnownHosts::default();
    let faults = list.add(&text);
    let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 7]);
    let revokes: Vec<bool> = faults.iter().map(|fault| fault.revokes).collect();
    assert_eq!(revokes, [false, false, false, false, true]);
    assert!(
        faults[0]
            .to_string()
            .starts_with("line 1: expected @cert-authority or @revoked")
    );
    assert_eq!(check(&list, 1, "web1"), Ok(()));
}

/// By its definition.
fn fits_slowly(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        ([b'*', rest @ ..], text) => {
            (0..=text.len()).any(|length| fits_slowly(rest, &text[length..]))
        }
        ([wanted, rest @ ..], [byte, others @ ..]) => {
            (*wanted == b'?' || wanted == byte) && fits_slowly(rest, others)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_fit_by_their_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        let expected = fits_slowly(pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected);
    }

    #[test]
    fn no_text_is_a_panic_and_none_makes_an_unknown_key_known(text: String, names in "[a-z*?!,|1=\\[\\]:@ \t]{0,20}") {
        let mut known = KnownHosts::default();
        known.add(&text);
        known.add(&format!("{names} {}\n{text}", key(&pair(1))));
        prop_assert!(check(&known, 2, "web1").is_err());
        let _ = check(&known, 1, "web1");
    }
}
