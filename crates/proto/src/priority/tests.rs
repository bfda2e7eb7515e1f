use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Priority {
    text.parse().unwrap()
}

fn refusal(text: &str) -> String {
    text.parse::<Priority>().unwrap_err().to_string()
}

#[test]
fn the_default_string_of_mandos_is_the_default() {
    assert_eq!(parse(DEFAULT), Priority::default());
    assert_eq!(parse("NORMAL"), Priority::default());
}

#[test]
fn the_default_prefers_the_hybrid_group() {
    let priority = Priority::default();
    assert_eq!(
        priority.groups.first(),
        Some(&KeyExchangeGroup::X25519MlKem768)
    );
    assert_eq!(priority.groups.get(1), Some(&KeyExchangeGroup::X25519));
}

#[test]
fn stronger_sets_have_no_weaker_parameters() {
    let priority = parse("SECURE256:-VERS-ALL:+VERS-TLS1.3:%PROFILE_ULTRA");
    assert!(!priority.suites.contains(&CipherSuite::Aes128Gcm));
    assert_eq!(
        priority.groups,
        [KeyExchangeGroup::X25519MlKem768, KeyExchangeGroup::P384]
    );
    assert_eq!(priority, parse("SECURE192"));
}

#[test]
fn parameters_are_taken_away_added_and_ordered() {
    let priority = parse(
        "NONE:+VERS-TLS1.3:+CTYPE-RAWPK:+AEAD:+AES-128-GCM:+AES-256-GCM:+GROUP-SECP256R1:+SIGN-ALL",
    );
    assert_eq!(
        priority.suites,
        [CipherSuite::Aes128Gcm, CipherSuite::Aes256Gcm]
    );
    assert_eq!(priority.groups, [KeyExchangeGroup::P256]);
    let priority =
        parse("secure128:-cipher-all:+chacha20-poly1305:-curve-x25519:!sign-rsa-pss-rsae-sha256");
    assert_eq!(priority.suites, [CipherSuite::ChaCha20Poly1305]);
    assert!(!priority.groups.contains(&KeyExchangeGroup::X25519));
    assert!(!priority.schemes.contains(&Scheme::RsaPss256));
}

#[test]
fn going_without_what_we_never_had_changes_nothing() {
    let text = "NORMAL:-VERS-TLS1.2:!RSA:-DHE-RSA:-3DES-CBC:-SHA1:-GROUP-FFDHE2048:-SIGN-RSA-SHA1:-COMP-NULL";
    assert_eq!(parse(text), Priority::default());
}

#[test]
fn what_we_do_not_have_is_refused_by_name() {
    let error = refusal("SECURE128:+VERS-TLS1.2");
    assert!(
        error.contains("\"+VERS-TLS1.2\"") && error.contains("VERS-TLS1.3"),
        "{error}"
    );
    let error = refusal("NORMAL:+GROUP-FFDHE2048");
    assert!(error.contains("GROUP-X25519-MLKEM768"), "{error}");
    for text in [
        "SECURE256:!CTYPE-X.509:+CTYPE-OPENPGP:!RSA:+SIGN-DSA-SHA256",
        "NORMAL:+CTYPE-X.509",
        "NORMAL:+RSA",
        "NORMAL:%COMPAT",
        "NORMAL:%PROFILE_",
        "NORMAL:-NONSENSE",
        "NORMAL:AES-256-GCM",
        "NORMAL:+",
        "@SYSTEM",
        "SUITEB128",
        "",
        "+VERS-TLS1.3",
    ] {
        assert!(text.parse::<Priority>().is_err(), "{text:?}");
    }
}

#[test]
fn a_string_that_leaves_nothing_is_refused() {
    for (text, missing) in [
        ("NORMAL:-VERS-ALL", "+VERS-TLS1.3"),
        ("NORMAL:!VERS-TLS1.3", "+VERS-TLS1.3"),
        ("NORMAL:-CTYPE-ALL", "+CTYPE-RAWPK"),
        ("NORMAL:-GROUP-ALL", "forward secrecy"),
        ("NORMAL:-CIPHER-ALL", "cipher suite"),
        ("NORMAL:-SIGN-ALL", "signature scheme"),
        ("NORMAL:-MAC-ALL", "+AEAD"),
        ("NONE", "+VERS-TLS1.3"),
    ] {
        let error = refusal(text);
        assert!(error.contains(missing), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_string_is_read_or_refused(text: String) {
        let _ = text.parse::<Priority>();
    }

    #[test]
    fn what_is_accepted_leaves_something(words in proptest::collection::vec(
        "[-+!](AES-256-GCM|CIPHER-ALL|GROUP-X25519|GROUP-ALL|VERS-ALL|SIGN-ALL|AEAD)", 0..8)) {
        if let Ok(priority) = format!("NORMAL:{}", words.join(":")).parse::<Priority>() {
            prop_assert!(!priority.suites().is_empty());
            prop_assert!(!priority.groups().is_empty());
            prop_assert!(!priority.schemes().is_empty());
        }
    }
}
