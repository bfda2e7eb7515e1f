use super::*;

/// True when this process may ping; the tests in a network namespace of their own (`tests/interop`) need no permission.
fn may_ping() -> bool {
    let may = obstacle().is_none();
    if !may {
        nightlatch_test_support::runs_elsewhere("pings: needs net.ipv4.ping_group_range");
    }
    may
}

#[tokio::test]
async fn a_host_without_a_usable_address_fails_with_the_reason() {
    for host in [
        "", "a b", "tower:22", "[::1]", "0.0.0.0", "ff02::1", "fe80::1",
    ] {
        let error = check(host).await.unwrap_err();
        assert!(matches!(error, PingError::Host(_)), "{host}: {error}");
    }
    let error = check("fe80::1%nowhere").await.unwrap_err();
    assert!(matches!(error, PingError::Name(_)), "{error}");
}

#[test]
fn addresses_that_are_no_machines_are_not_pinged() {
    let canonical = |text: &str| canonical(text.parse().unwrap(), false).map(|it| it.to_string());
    for text in [
        "0.0.0.0:0",
        "[::]:0",
        "255.255.255.255:0",
        "[ff02::1%2]:0",
        // Names of the server itself, and names that a resolver blocks.
        "127.0.1.1:0",
        "[::1]:0",
        "[::ffff:127.0.0.1]:0",
    ] {
        assert_eq!(canonical(text), None, "{text}");
    }
    let mapped = canonical("[::ffff:192.0.2.1]:0");
    assert_eq!(mapped.as_deref(), Some("192.0.2.1:0"));
    let scoped = canonical("[fe80::1%2]:0");
    assert_eq!(scoped.as_deref(), Some("[fe80::1%2]:0"));
}

#[tokio::test]
async fn a_server_that_may_not_ping_fails_every_check_with_the_reason() {
    if obstacle().is_none() {
        nightlatch_test_support::runs_elsewhere("the kernel's refusal: pings are allowed here");
        return;
    }
    let error = check("127.0.0.1").await.unwrap_err();
    assert!(error.is_not_allowed(), "{error}");
}

#[tokio::test]
async fn a_machine_that_answers_is_up() {
    if may_ping() {
        check("127.0.0.1").await.unwrap();
        check("localhost").await.unwrap();
    }
}
