use super::*;
use crate::guard::Suspicion;

const HEARD: Option<Wall> = Some(Wall::from_unix_micros(1_699_999_940_000_000));

fn guard(state: GuardState) -> GuardFacts {
    GuardFacts {
        state,
        has_host_key: true,
        suspect: None,
        last_heartbeat: HEARD,
        leaving_until: None,
        unaccounted: 0,
    }
}

fn guarded(guard: GuardFacts, forecast: ReleaseForecast) -> Explanation {
    let facts = ClientFacts {
        guard: Some(guard),
        forecast: Some((forecast, Some(NOW.after(5 * MINUTE)))),
        ..facts()
    };
    facts.explain(NOW)
}

const RELEASED: ReleaseForecast = ReleaseForecast::Released(Grant::NotNeeded);
const OUTLOOK: &str =
    "Next deadline 2023-11-14 22:18:20 UTC. No check runs: its agent is its proof of life.";

#[test]
fn a_machine_that_is_up_has_the_time_for_which_its_agent_is_asked() {
    let forecast = ReleaseForecast::ReleasedAfterAsking(Grant::NotNeeded, Duration::from_secs(3));
    let explanation = guarded(guard(GuardState::Up), forecast);
    assert_eq!(explanation.verdict, ReleaseVerdict::Released);
    assert_eq!(explanation.reason, "agent-asked");
    assert_eq!(
        explanation.text,
        format!(
            "db is enabled, and its agent is asked when a boot requests its secret: the boot gets it after 3s, unless the \
             agent answers in that time that the machine is up. Its agent was heard at 2023-11-14 22:12:20 UTC. {OUTLOOK}"
        )
    );
}

#[test]
fn an_announced_boot_gets_its_secret_at_once_until_the_window_ends() {
    let leaving = GuardFacts {
        leaving_until: Some(NOW.after(2 * MINUTE)),
        ..guard(GuardState::Leaving)
    };
    let explanation = guarded(leaving, RELEASED);
    assert_eq!(explanation.reason, "announced");
    assert_eq!(
        explanation.text,
        format!(
            "db is enabled, and a boot gets its secret at once. The machine said goodbye, and its time for the reboot ends \
             at 2023-11-14 22:15:20 UTC. {OUTLOOK}"
        )
    );
}

#[test]
fn a_silent_agent_is_told_with_the_time_when_it_was_heard() {
    let explanation = guarded(guard(GuardState::Quiet), RELEASED);
    assert_eq!(
        (&*explanation.reason, explanation.since),
        ("agent-silent", Some(ago(1)))
    );
    let silent = "at once. Its agent is silent; it was last heard at 2023-11-14 22:12:20 UTC.";
    assert!(explanation.text.contains(silent), "{explanation:?}");
    let text = guarded(guard(GuardState::Opened), RELEASED).text;
    let opened = "Its secret was released, and its agent was not heard since; it was last heard";
    assert!(text.contains(opened), "{text}");
}

#[test]
fn a_suspect_has_the_reason_and_what_to_do() {
    let suspect = |reason| {
        let guard = GuardFacts {
            suspect: Some(reason),
            ..guard(GuardState::Up)
        };
        let explanation = guarded(guard, ReleaseForecast::NeedsPerson);
        assert_eq!(explanation.verdict, ReleaseVerdict::NeedsApproval);
        assert_eq!(explanation.reason, "suspect");
        explanation.text
    };
    assert_eq!(
        suspect(Suspicion::Impostor),
        format!(
            "db is enabled; a person decides on each request, and without a decision it is refused. No request is pending. \
             It is suspect: its boot key was used while it was up, so somebody else has a copy of that key. Look at the \
             machine, and give it new keys there (nightlatch unenroll, then nightlatch enroll). To trust it again, run: nightlatch trust db. Its \
             agent was heard at 2023-11-14 22:12:20 UTC. {OUTLOOK}"
        )
    );
    let text = suspect(Suspicion::ServedImpostor);
    assert!(text.contains("its disk password is known"), "{text}");
    let text = suspect(Suspicion::Doubled);
    assert!(text.contains("Look for the other machine"), "{text}");
}

#[test]
fn a_suspicion_is_told_of_a_machine_that_gets_nothing_anyway() {
    let facts = ClientFacts {
        guard: Some(GuardFacts {
            suspect: Some(Suspicion::Impostor),
            ..guard(GuardState::Up)
        }),
        ..disabled()
    };
    let explanation = facts.explain(NOW);
    assert_eq!(explanation.verdict, ReleaseVerdict::Refused);
    let text = explanation.text;
    assert!(text.contains("run: nightlatch enable db. It is"), "{text}");
    // Its signs of life have no time.
    assert!(text.ends_with("Its agent is heard."), "{text}");
}

#[test]
fn an_unannounced_boot_waits_for_a_person_where_the_section_says_so() {
    let explanation = guarded(guard(GuardState::Quiet), ReleaseForecast::NeedsPerson);
    assert_eq!(explanation.reason, "unannounced");
    let rule = "a person decides on a boot that was not announced (unannounced = approve)";
    assert!(explanation.text.contains(rule), "{explanation:?}");
}

#[test]
fn a_pending_request_of_a_suspect_is_told_with_the_suspicion() {
    let facts = ClientFacts {
        guard: Some(GuardFacts {
            suspect: Some(Suspicion::ServedImpostor),
            ..guard(GuardState::Up)
        }),
        pending: vec![pending("4 from 192.0.2.7:4711")],
        ..facts()
    };
    // Without a forecast, as a tool that has only the properties.
    let explanation = facts.explain(NOW);
    assert_eq!(explanation.reason, "suspect");
    let text = explanation.text;
    assert!(
        text.contains("or nightlatch deny db. It is suspect"),
        "{text}"
    );
}

#[test]
fn releases_without_account_are_counted_once() {
    let with = |state, unaccounted| {
        let guard = GuardFacts {
            unaccounted,
            ..guard(state)
        };
        guarded(guard, RELEASED).text
    };
    let text = with(GuardState::Quiet, 1);
    assert!(
        text.contains("One release of its secret is unaccounted for"),
        "{text}"
    );
    let text = with(GuardState::Quiet, 2);
    assert!(
        text.contains("2 releases of its secret are unaccounted for"),
        "{text}"
    );
    // The release that was just made is told by the state.
    let text = with(GuardState::Opened, 1);
    assert!(!text.contains("unaccounted"), "{text}");
}

#[test]
fn a_guard_that_decides_nothing_says_so() {
    let unarmed = GuardFacts {
        last_heartbeat: None,
        ..guard(GuardState::Unarmed)
    };
    let text = guarded(unarmed, RELEASED).text;
    assert!(
        text.contains(
            "Its agent was not heard with this host key yet, so its boot key is not guarded. Next"
        ),
        "{text}"
    );
    assert!(text.ends_with("a check runs every 2m."), "{text}");
    let off = GuardFacts {
        suspect: Some(Suspicion::Impostor),
        ..guard(GuardState::Off)
    };
    let explanation = guarded(off, RELEASED);
    assert_eq!(explanation.reason, "enabled");
    let text = explanation.text;
    assert!(text.contains("The guard is off (guard = no)"), "{text}");
    assert!(text.contains("It is suspect"), "{text}");
    // A client without an agent has no word of it.
    let none = GuardFacts {
        has_host_key: false,
        last_heartbeat: None,
        ..guard(GuardState::Unarmed)
    };
    let without = ClientFacts {
        guard: Some(none),
        ..facts()
    };
    assert_eq!(without.explain(NOW), facts().explain(NOW));
}

#[test]
fn a_lost_state_asks_for_the_agent_of_a_machine_that_has_one() {
    let lost = |guard| {
        let facts = ClientFacts {
            needs_proof: true,
            guard,
            ..disabled()
        };
        facts.explain(NOW).text
    };
    let text = lost(Some(guard(GuardState::Unarmed)));
    assert!(text.contains("or a sign of life of its agent"), "{text}");
    let text = lost(None);
    assert!(
        text.contains("or a check that proves its private key"),
        "{text}"
    );
}
