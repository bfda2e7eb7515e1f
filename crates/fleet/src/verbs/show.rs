//! `nightlatch show`: everything about a machine.

use clap::Args;
use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::Failure;
use nightlatch_console::output::table::visible;
use nightlatch_console::output::{self, Style, human};
use nightlatch_core::event::decision_by_default;
use nightlatch_core::time::Wall;

use crate::bus;
use crate::guard;
use crate::json;
use crate::proof;
use crate::select::SelectOptions;
use crate::select::Selection;
use crate::state::ClientState;

/// The options of `show` and `why`.
#[derive(Args, Debug)]
pub struct ShowOptions {
    #[command(flatten)]
    pub(crate) which: SelectOptions,

    /// Print JSON: an array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

/// Columns for the labels: as many as the longest one has.
const LABEL: usize = 21;

/// Carries the verb out.
pub(crate) async fn run(
    options: &ShowOptions,
    server: &MandosProxy,
    now: Wall,
) -> Result<u8, Failure> {
    let clients = server.clients().await.map_err(bus::failure)?;
    let chosen = Selection::of(&clients, &options.which)?.clients;
    if options.json {
        let clients = chosen.into_iter().map(json::ClientJson::from);
        output::print(&output::json::text(&clients.collect::<Vec<_>>())?)?;
        return Ok(0);
    }
    let coloured = output::coloured();
    let texts = chosen.iter().map(|client| describe(client, now, coloured));
    output::print(&texts.collect::<Vec<String>>().join("\n"))?;
    Ok(0)
}

fn describe(client: &ClientView, now: Wall, coloured: bool) -> String {
    let state = ClientState::of(client);
    let time = |wall: Option<Wall>| match wall {
        Some(wall) => human::time_and_distance(wall, now),
        None => "never".to_owned(),
    };
    let mut text = format!(
        "{}  {}\n",
        Style::Bold.paint(&visible(&client.name), coloured),
        state.style().paint(state.word(), coloured)
    );
    let mut line = |label: &str, value: String| {
        let label = Style::Dim.paint(&format!("{label:<LABEL$}"), coloured);
        text.push_str(format!("  {label}  {}", visible(&value)).trim_end());
        text.push('\n');
    };
    line("host", client.host.clone());
    line("key id", client.key_id.to_lowercase());
    line("fingerprint", client.fingerprint.clone());
    if client.enabled {
        line("disabled by itself", time(client.expires));
    }
    line("last seen", time(client.last_checked_ok));
    if let Some(guard) = guard::line(client, |wall| time(Some(wall))) {
        line("host key id", client.guard.host_key_id.clone());
        line("guard", guard);
        if let Some(reason) = client.guard.suspect {
            line("suspect", guard::suspicion(reason).to_owned());
        }
        line("agent last heard", time(client.last_heartbeat()));
        line("answers pokes", yes_or_no(client.guard.pokeable));
    }
    line("last check", check(client));
    line("checker", client.checker.clone());
    line("a good check proves", proof::of(&client.checker).to_owned());
    line("interval", human::setting(client.interval));
    line("timeout", human::setting(client.timeout));
    line("extended timeout", human::setting(client.extended_timeout));
    line("approval", approval(client));
    line("last approval request", time(client.last_approval_request));
    line("last enabled", time(client.last_enabled));
    line("created", time(client.created));
    text
}

fn yes_or_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn check(client: &ClientView) -> String {
    if client.has_agent() {
        return "none runs: its agent is its proof of life".to_owned();
    }
    let last = match client.last_check {
        CheckStatus::Never => "none yet".to_owned(),
        CheckStatus::Exited(0) => "good".to_owned(),
        CheckStatus::Exited(status) => format!("failed with exit status {status}"),
        CheckStatus::Crashed => "killed by a signal".to_owned(),
    };
    if client.checker_running {
        return format!("{last}; one runs now");
    }
    last
}

/// A part of a sentence about the requests that wait; empty without any.
fn pending(client: &ClientView) -> String {
    match (client.request_waits(), &client.guard.waiting_secrets[..]) {
        (false, _) => String::new(),
        (true, "") => "; a request waits now".to_owned(),
        (true, names) => format!("; a request waits now (named secret {names})"),
    }
}

fn approval(client: &ClientView) -> String {
    if client.needs_person() {
        let now = pending(client);
        return format!("asked for until its deadline, then refused{now}");
    }
    if !client.needs_approval() {
        return format!("not asked for{}", pending(client));
    }
    let delay = human::setting(client.approval_delay);
    let then = decision_by_default(client.approved_by_default);
    let counts = human::setting(client.approval_duration);
    let now = pending(client);
    format!("asked for {delay}, then {then}; a decision counts for {counts}{now}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::{NOW, agent, client};
    use nightlatch_core::guard::Suspicion;
    use std::time::Duration;

    #[test]
    fn everything_is_said() {
        let mut foo = client("foo");
        foo.approval_delay = Duration::from_secs(30);
        foo.approved_by_default = false;
        foo.checker = "a\x1b[2J".to_owned();
        assert_eq!(
            describe(&foo, NOW, false),
            "\
foo  enabled
  host                   foo
  key id                 foo
  fingerprint            foo
  disabled by itself     2026-11-21T23:22:55Z (in 3 min)
  last seen              2026-11-21T23:17:55Z (2 min ago)
  last check             good
  checker                a\\u{1b}[2J
  a good check proves    not known; a ping is answered by anybody
  interval               PT5M
  timeout                PT5M
  extended timeout       PT5M
  approval               asked for PT30S, then refused; a decision counts for PT5M
  last approval request  never
  last enabled           2026-11-21T23:17:55Z (2 min ago)
  created                2026-11-21T23:17:55Z (2 min ago)
"
        );
    }

    #[test]
    fn a_machine_with_an_agent_has_its_guard() {
        let mut foo = agent("foo");
        foo.guard.suspect = Some(Suspicion::Impostor);
        let text = describe(&foo, NOW, false);
        let start = text.find("  host key id").unwrap();
        let end = text.find("  checker").unwrap();
        assert_eq!(
            &text[start..end],
            format!(
                "  host key id            {}\n  \
                 guard                  up: the agent is asked before a release\n  \
                 suspect                impostor: its boot key was used while it was up\n  \
                 agent last heard       2026-11-21T23:17:55Z (2 min ago)\n  \
                 answers pokes          yes\n  \
                 last check             none runs: its agent is its proof of life\n",
                "5a".repeat(32)
            )
        );
        assert!(
            text.contains("asked for until its deadline, then refused\n"),
            "{text}"
        );
    }
}
