mod guard;

use std::time::Duration;

use super::*;

/// 2023-11-14 22:13:20 UTC.
const NOW: Wall = Wall::from_unix_micros(1_700_000_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const ROOT: &str = "uid 0 (root)";

fn ago(minutes: i64) -> Wall {
    Wall::from_unix_micros(NOW.unix_micros() - minutes * 60_000_000)
}

/// An enabled client at a server with an audit log.
fn facts() -> ClientFacts<'static> {
    ClientFacts {
        name: "db",
        enabled: true,
        deadline: Some(NOW.after(5 * MINUTE)),
        timeout: 5 * MINUTE,
        extended_timeout: 15 * MINUTE,
        interval: 2 * MINUTE,
        last_check: CheckStatus::Exited(0),
        last_checked_ok: Some(ago(1)),
        created: Some(ago(60)),
        last_enabled: Some(ago(50)),
        approval_delay: Duration::ZERO,
        approved_by_default: false,
        needs_proof: false,
        guard: None,
        forecast: None,
        records: Some(&[]),
        pending: Vec::new(),
    }
}

fn disabled() -> ClientFacts<'static> {
    ClientFacts {
        enabled: false,
        deadline: None,
        ..facts()
    }
}

fn record(kind: RecordKind, minutes_ago: i64) -> StateRecord {
    StateRecord {
        kind,
        time: ago(minutes_ago),
        who: Some(ROOT.to_owned()),
        reason: None,
        request: None,
    }
}

/// The reason and the text of a disabled client with this record.
fn disabled_by(record: StateRecord) -> (String, String) {
    let facts = ClientFacts {
        records: Some(&[record]),
        ..disabled()
    };
    let explanation = facts.explain(NOW);
    assert_eq!(explanation.verdict, ReleaseVerdict::Refused);
    (explanation.reason, explanation.text)
}

/// The text about a denial in force until then.
fn denied(until: Wall, records: &[StateRecord]) -> String {
    let facts = ClientFacts {
        forecast: Some((ReleaseForecast::Refused(Refusal::Denied), Some(until))),
        records: Some(records),
        ..facts()
    };
    let explanation = facts.explain(NOW);
    assert_eq!(explanation.verdict, ReleaseVerdict::Refused);
    assert_eq!(
        (&*explanation.reason, explanation.until),
        ("denied", Some(until))
    );
    explanation.text
}

fn pending(description: &str) -> PendingRequestFacts {
    PendingRequestFacts {
        description: Some(description.to_owned()),
        until: Some(NOW.after(MINUTE)),
        approved_by_default: false,
        is_named: false,
    }
}

#[test]
fn an_enabled_client_has_its_deadline_and_its_last_check() {
    let explanation = facts().explain(NOW);
    assert_eq!(explanation.verdict, ReleaseVerdict::Released);
    assert_eq!(explanation.until, Some(NOW.after(5 * MINUTE)));
    assert_eq!(
        explanation.text,
        "db is enabled and gets its secret without approval. Next deadline 2023-11-14 22:18:20 UTC. Its last check \
         succeeded; a check runs every 2m."
    );
}

#[test]
fn a_denial_names_its_author_and_its_end() {
    let records = [record(RecordKind::Denied, 1)];
    assert_eq!(
        denied(NOW.after(MINUTE), &records),
        "db gets no secret: uid 0 (root) denied it at 2023-11-14 22:12:20 UTC, and the denial ends at 2023-11-14 \
         22:14:20 UTC. To lift the denial, run: nightlatch approve db."
    );
    let text = denied(NOW.after(MINUTE), &[]);
    assert!(text.contains("an administrator denied it"), "{text}");
}

#[test]
fn a_denial_of_one_request_does_not_explain_a_denial_of_all() {
    let one = StateRecord {
        who: Some("uid 7 (eve)".to_owned()),
        request: Some(4),
        ..record(RecordKind::Denied, 1)
    };
    let text = denied(NOW.after(MINUTE), &[record(RecordKind::Denied, 2), one]);
    assert!(text.contains(ROOT), "{text}");
}

#[test]
fn after_a_denial_that_outlasts_the_deadline_no_secret_is_promised() {
    let text = denied(NOW.after(5 * MINUTE), &[]);
    assert!(
        text.contains("its deadline, 2023-11-14 22:18:20 UTC, comes before the denial ends"),
        "{text}"
    );
}

#[test]
fn the_newest_record_says_why_a_client_is_disabled() {
    let (reason, text) = disabled_by(record(RecordKind::Disabled, 5));
    assert_eq!(reason, "disabled");
    assert!(
        text.contains("uid 0 (root) disabled it at 2023-11-14 22:08:20 UTC"),
        "{text}"
    );
    let records = [
        record(RecordKind::Disabled, 9),
        record(RecordKind::Enabled, 8),
        record(RecordKind::Expired, 5),
    ];
    let facts = ClientFacts {
        records: Some(&records),
        ..disabled()
    };
    let explanation = facts.explain(NOW);
    assert_eq!(
        (&*explanation.reason, explanation.since),
        ("expired", Some(ago(5)))
    );
    assert_eq!(
        explanation.text,
        "db gets no secret: its deadline passed at 2023-11-14 22:08:20 UTC: it was not seen up in time, and its timeout is \
         5m, or 15m after its secret was delivered. When the machine is in order, run: nightlatch enable db."
    );
    // A disabled client can be seen up later: that is no reason.
    let facts = ClientFacts {
        last_checked_ok: Some(ago(12)),
        ..facts
    };
    let text = facts.explain(NOW).text;
    let seen =
        "22:08:20 UTC: it was last seen up at 2023-11-14 22:01:20 UTC, and its timeout is 5m";
    assert!(text.contains(seen), "{text}");
}

#[test]
fn an_author_who_is_no_user_is_named_as_what_it_is() {
    let by = |who: &str| {
        disabled_by(StateRecord {
            who: Some(who.to_owned()),
            ..record(RecordKind::Disabled, 5)
        })
    };
    let (_, text) = by("configuration");
    assert!(text.contains("the configuration disabled it"), "{text}");
}

#[test]
fn a_record_of_another_client_that_had_the_name_before_is_no_reason() {
    let (reason, text) = disabled_by(record(RecordKind::Disabled, 61));
    assert_eq!(reason, "disabled");
    assert!(!text.contains(ROOT), "{text}");
    let records = [record(RecordKind::Denied, 61)];
    let text = denied(NOW.after(MINUTE), &records);
    assert!(!text.contains(ROOT), "{text}");
}

#[test]
fn a_record_from_before_it_was_enabled_again_is_no_reason() {
    let facts = ClientFacts {
        records: Some(&[
            record(RecordKind::Disabled, 9),
            record(RecordKind::Enabled, 8),
        ]),
        ..disabled()
    };
    let text = facts.explain(NOW).text;
    assert!(!text.contains(ROOT), "{text}");
}

#[test]
fn without_a_record_the_audit_log_does_not_say_why() {
    let explanation = disabled().explain(NOW);
    assert_eq!(
        (&*explanation.reason, explanation.since),
        ("disabled", None)
    );
    assert!(
        explanation.text.contains("the audit log does not say why"),
        "{explanation:?}"
    );
}

#[test]
fn a_client_that_was_never_enabled_is_refused_since_it_exists() {
    let facts = ClientFacts {
        last_enabled: None,
        ..disabled()
    };
    let explanation = facts.explain(NOW);
    assert_eq!(
        (&*explanation.reason, explanation.since),
        ("never-enabled", Some(ago(60)))
    );
}

#[test]
fn an_expiry_while_the_server_was_down_has_no_time_but_a_latest_one() {
    let (reason, text) = disabled_by(StateRecord {
        reason: Some("expired-while-down".to_owned()),
        ..record(RecordKind::Expired, 5)
    });
    assert_eq!(reason, "expired");
    assert!(
        text.contains("passed before 2023-11-14 22:08:20 UTC, while the server was down"),
        "{text}"
    );
}

#[test]
fn a_remembered_restriction_has_more_causes_than_a_section_that_left() {
    let (reason, text) = disabled_by(StateRecord {
        reason: Some("remembered".to_owned()),
        ..record(RecordKind::Disabled, 5)
    });
    assert_eq!(reason, "disabled");
    assert!(
        text.contains("a client with its name or its key was disabled or removed before"),
        "{text}"
    );
}

#[test]
fn a_name_with_quotes_and_spaces_is_one_word_of_each_command() {
    let quoted = r"'it'\''s me'";
    let named = |facts: ClientFacts<'static>| {
        let facts = ClientFacts {
            name: "it's me",
            ..facts
        };
        facts.explain(NOW).text
    };
    let text = named(disabled());
    assert!(text.contains(&format!("enable {quoted}")), "{text}");
    let waits = |pending| ClientFacts { pending, ..facts() };
    let text = named(waits(vec![pending("4")]));
    assert!(
        text.contains(&format!("approve {quoted}, or nightlatch deny {quoted}")),
        "{text}"
    );
    let text = named(waits(vec![pending("4"), pending("5")]));
    assert!(
        text.contains(&format!("approve --request NUMBER {quoted}")),
        "{text}"
    );
    let denied = ClientFacts {
        forecast: Some((ReleaseForecast::Refused(Refusal::Denied), None)),
        ..facts()
    };
    let text = named(denied);
    assert!(text.contains(&format!("approve {quoted}.")), "{text}");
}

#[test]
fn a_client_that_needs_approval_names_its_pending_requests() {
    let explained = |pending| {
        let facts = ClientFacts {
            approval_delay: MINUTE,
            pending,
            ..facts()
        };
        let explanation = facts.explain(NOW);
        assert_eq!(explanation.verdict, ReleaseVerdict::NeedsApproval);
        explanation.text
    };
    let text = explained(Vec::new());
    assert!(
        text.contains("is refused without a decision within 1m"),
        "{text}"
    );
    assert_eq!(
        explained(vec![pending("4 from 192.0.2.7:4711")]),
        "db has a pending request: 4 from 192.0.2.7:4711. Without a decision it is refused at 2023-11-14 22:14:20 UTC. \
         Decide with: nightlatch approve db, or nightlatch deny db."
    );
    let text = explained(vec![pending("4"), pending("5")]);
    assert!(
        text.contains("2 pending requests, of which at most one is its own: 4; 5."),
        "{text}"
    );
}

#[test]
fn requests_for_named_secrets_are_told_beside_the_boot_secret() {
    let named = |description| PendingRequestFacts {
        is_named: true,
        ..pending(description)
    };
    let explained = |requests| {
        let facts = ClientFacts {
            pending: requests,
            ..facts()
        };
        facts.explain(NOW)
    };
    let explanation = explained(vec![named("4, for the secret pin")]);
    assert_eq!(explanation.verdict, ReleaseVerdict::Released);
    assert!(
        explanation.text.contains("without approval.")
            && explanation.text.ends_with(
                " db has a pending request: 4, for the secret pin. Without a decision it is refused at \
                 2023-11-14 22:14:20 UTC. Decide with: nightlatch approve db, or nightlatch deny db."
            ),
        "{}",
        explanation.text
    );
    for (requests, expected) in [
        (vec![named("4"), named("5")], "2 pending requests: 4; 5."),
        (vec![named("4"), pending("5")], "2 pending requests: 4; 5."),
        (
            vec![named("4"), pending("5"), pending("6")],
            "3 pending requests, and at most one of the 2 for its boot secret is its own: 4; 5; 6.",
        ),
    ] {
        let text = explained(requests).text;
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn at_a_stock_server_the_timeout_shows_what_may_have_happened() {
    let stock = |last_checked_ok| ClientFacts {
        records: None,
        last_checked_ok,
        ..disabled()
    };
    let explanation = stock(Some(ago(1))).explain(NOW);
    assert_eq!(explanation.reason, "disabled");
    assert!(
        explanation
            .text
            .contains("so that probably a person disabled it"),
        "{explanation:?}"
    );
    let explanation = stock(None).explain(NOW);
    assert_eq!(explanation.reason, "expired");
    assert!(
        explanation.text.contains("either its deadline passed"),
        "{explanation:?}"
    );
}
