//! `nightlatch why`: why a machine gets its secret now or not, and what to do. The server explains it; where it cannot
//! (stock Mandos), its properties do.

use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::error::BusError;
use nightlatch_bus::own::{Explanation, ReleaseVerdict};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::Failure;
use nightlatch_console::output::table::visible;
use nightlatch_console::output::{self, Style, human};
use nightlatch_core::name::shell_word;
use nightlatch_core::time::Wall;
use serde::Serialize;

use super::show::ShowOptions;
use crate::bus;
use crate::json;
use crate::proof;
use crate::select::Selection;

/// One machine's answer in JSON.
#[derive(Serialize)]
struct WhyLine<'c> {
    client: &'c str,
    verdict: &'static str,
    reason: &'c str,
    since: Option<String>,
    until: Option<String>,
    text: &'c str,
}

/// Carries the verb out.
pub(crate) async fn run(
    options: &ShowOptions,
    server: &MandosProxy,
    now: Wall,
) -> Result<u8, Failure> {
    let clients = server.clients().await.map_err(bus::failure)?;
    bus::print_warnings(server).await;
    let chosen = Selection::of(&clients, &options.which)?.clients;
    let mut explained = Vec::with_capacity(chosen.len());
    for client in chosen {
        let explanation = match server.explain(&client.name).await {
            Ok(explanation) => explanation,
            Err(BusError::NotSupported) => derive(client, now),
            Err(error) => return Err(bus::failure(error).about(&client.name)),
        };
        explained.push((client, explanation));
    }
    if options.json {
        let lines = explained.iter().map(|(client, explanation)| WhyLine {
            client: &client.name,
            verdict: explanation.verdict.as_str(),
            reason: &explanation.reason,
            since: explanation.since.map(json::time),
            until: explanation.until.map(json::time),
            text: &explanation.text,
        });
        output::print(&output::json::text(&lines.collect::<Vec<_>>())?)?;
        return Ok(0);
    }
    let coloured = output::coloured();
    let paragraphs = explained.iter().map(|(client, explanation)| {
        let style = match explanation.verdict {
            ReleaseVerdict::Released => Style::Good,
            ReleaseVerdict::NeedsApproval => Style::Warning,
            ReleaseVerdict::Refused => Style::Bad,
        };
        let text = visible(explanation.text.trim());
        let plain = visible(&client.name);
        let name = style.paint(&plain, coloured);
        // A server of an earlier version begins the sentence without the name.
        let mut text = match text
            .strip_prefix(&plain)
            .filter(|rest| rest.starts_with(' '))
        {
            Some(rest) => format!("{name}{rest}"),
            None => format!("{name}: {text}"),
        };
        if let Some(warning) = proof::warning([*client]) {
            text = format!("{text} {}.", visible(&warning));
        }
        text + "\n"
    });
    output::print(&paragraphs.collect::<Vec<_>>().join("\n"))?;
    Ok(0)
}

/// An explanation from the properties of a client: less than the server knows.
pub(crate) fn derive(client: &ClientView, now: Wall) -> Explanation {
    if !client.enabled {
        return disabled(client, now);
    }
    if client.approval_pending {
        return waits(client, now);
    }
    let ends = match client.expires {
        Some(expires) => format!("Next deadline {}", human::time_and_distance(expires, now)),
        None => "The server does not show the next deadline".to_owned(),
    };
    if !client.needs_approval() {
        return Explanation {
            verdict: ReleaseVerdict::Released,
            reason: "enabled".to_owned(),
            since: client.last_enabled,
            until: client.expires,
            text: format!(
                "{} is enabled and gets its secret without approval. {ends}; {}.",
                client.name,
                last_seen(client, now)
            ),
        };
    }
    Explanation {
        verdict: ReleaseVerdict::NeedsApproval,
        reason: "needs-approval".to_owned(),
        since: client.last_enabled,
        until: client.expires,
        text: format!(
            "{} is enabled; a request needs approval, and is {} without a decision within {}. {ends}; {}. \
             Decide with: {}.",
            client.name,
            by_default(client),
            human::length(client.approval_delay),
            last_seen(client, now),
            answers(client)
        ),
    }
}

fn disabled(client: &ClientView, now: Wall) -> Explanation {
    let Some(enabled) = client.last_enabled else {
        return Explanation {
            verdict: ReleaseVerdict::Refused,
            reason: "never-enabled".to_owned(),
            since: client.created,
            until: None,
            text: format!(
                "{} gets no secret: it was never enabled, as its section says enabled = no. \
                 When the machine is in order, run: nightlatch enable {}.",
                client.name,
                shell_word(&client.name)
            ),
        };
    };
    // Its last proof of life and the timeout say whether it could have run out by itself.
    let proof = client.last_checked_ok.unwrap_or(enabled).max(enabled);
    let ran_out = now.since(proof) >= client.timeout;
    let because = if ran_out {
        format!(
            "its timeout of {} has passed since: either its deadline passed without a proof of life, or a \
             person disabled it",
            human::length(client.timeout)
        )
    } else {
        format!(
            "its timeout of {} has not passed since, so that a person disabled it",
            human::length(client.timeout)
        )
    };
    Explanation {
        verdict: ReleaseVerdict::Refused,
        reason: if ran_out { "expired" } else { "disabled" }.to_owned(),
        since: None,
        until: None,
        text: format!(
            "{} gets no secret: it is disabled. It was last enabled at {}, {}, and {because}. \
             This server does not show more. When the machine is in order, run: nightlatch enable {}.",
            client.name,
            human::time_and_distance(enabled, now),
            last_seen(client, now),
            shell_word(&client.name)
        ),
    }
}

fn waits(client: &ClientView, now: Wall) -> Explanation {
    let ends = client
        .last_approval_request
        .map(|asked| asked.after(client.approval_delay));
    let until = match ends {
        Some(ends) => format!("at {}", human::time_and_distance(ends, now)),
        None => "in the end".to_owned(),
    };
    Explanation {
        verdict: ReleaseVerdict::NeedsApproval,
        reason: "needs-approval".to_owned(),
        since: client.last_approval_request,
        until: ends,
        text: format!(
            "{} has a pending request. It is {} {until} without a decision. Decide with: {}.",
            client.name,
            by_default(client),
            answers(client)
        ),
    }
}

fn answers(client: &ClientView) -> String {
    let name = shell_word(&client.name);
    format!("nightlatch approve {name}, or nightlatch deny {name}")
}

fn by_default(client: &ClientView) -> &'static str {
    if client.approved_by_default {
        "granted"
    } else {
        "refused"
    }
}

fn last_seen(client: &ClientView, now: Wall) -> String {
    match client.last_checked_ok {
        Some(seen) if now.since(seen) < Duration::from_secs(1) => {
            "it was last seen up just now".to_owned()
        }
        Some(seen) => format!("it was last seen up {}", human::ago(Some(seen), now)),
        None => "it was never seen up".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::{NOW, client};

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_is_enabled_is_released_until_its_time_is_up() {
        let explanation = derive(&client("foo"), NOW);
        assert_eq!(explanation.verdict, ReleaseVerdict::Released);
        assert_eq!(
            explanation.text,
            "foo is enabled and gets its secret without approval. Next deadline 2026-11-21T23:22:55Z (in 3 min); \
             it was last seen up 2 min ago."
        );
    }

    #[test]
    fn who_needs_approval_is_asked_for() {
        let mut foo = client("foo");
        foo.approval_delay = seconds(30);
        let explanation = derive(&foo, NOW);
        assert_eq!(explanation.verdict, ReleaseVerdict::NeedsApproval);
        assert!(
            explanation
                .text
                .contains("is granted without a decision within 30 s")
        );
        foo.approval_pending = true;
        foo.approved_by_default = false;
        foo.last_approval_request = Some(NOW);
        let explanation = derive(&foo, NOW.after(seconds(10)));
        assert_eq!(explanation.until, Some(NOW.after(seconds(30))));
        assert!(explanation.text.contains("(in 20 s) without a decision"));
    }

    #[test]
    fn who_is_disabled_is_told_why_as_far_as_can_be_known() {
        let mut foo = client("foo");
        foo.enabled = false;
        foo.expires = None;
        let explanation = derive(&foo, NOW);
        assert_eq!(explanation.reason, "disabled");
        assert!(explanation.text.contains("so that a person disabled it"));
        let explanation = derive(&foo, NOW.after(seconds(600)));
        assert_eq!(explanation.reason, "expired");
        foo.last_enabled = None;
        assert_eq!(derive(&foo, NOW).reason, "never-enabled");
    }
}
