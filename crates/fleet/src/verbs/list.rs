//! `nightlatch list`: every machine in one line.

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::{Failure, note};
use nightlatch_console::output::table::{Cell, render};
use nightlatch_console::output::{self, Style, human};
use nightlatch_core::name::compare_naturally;
use nightlatch_core::time::Wall;

use crate::bus;
use crate::guard;
use crate::json;
use crate::proof;
use crate::select::Selection;
use crate::state::ClientState;

/// The options of `list`.
#[derive(Args, Debug)]
pub struct ListOptions {
    /// Only these: names, or patterns with * ? [a-f]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Only clients in this state; may be repeated
    #[arg(long, value_enum)]
    pub(crate) state: Vec<ClientState>,

    /// Print JSON: an array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

/// Carries the verb out. Two calls to the server, however many clients it has.
pub(crate) async fn run(
    options: &ListOptions,
    server: &MandosProxy,
    now: Wall,
) -> Result<u8, Failure> {
    let clients = server.clients().await.map_err(bus::failure)?;
    bus::print_warnings(server).await;
    let mut chosen: Vec<&ClientView> = if options.names.is_empty() {
        clients.iter().collect()
    } else {
        Selection::named(&clients, &options.names)?.clients
    };
    if !options.state.is_empty() {
        chosen.retain(|client| options.state.iter().any(|state| state.finds(client)));
    }
    chosen.sort_by(|a, b| compare_naturally(&a.name, &b.name));
    if options.json {
        let clients: Vec<json::ClientJson<'_>> =
            chosen.into_iter().map(json::ClientJson::from).collect();
        output::print(&output::json::text(&clients)?)?;
        return Ok(0);
    }
    if clients.is_empty() {
        note("the server has no clients; add one with: nightlatch add");
        return Ok(0);
    }
    output::print(&table(&chosen, now, output::coloured()))?;
    if let Some(warning) = proof::warning(chosen) {
        note(warning);
    }
    Ok(0)
}

/// The table of clients; with a column for the guard if one of them has an agent.
fn table(clients: &[&ClientView], now: Wall, coloured: bool) -> String {
    let rows = clients.iter().map(|client| row(client, now));
    if !clients.iter().any(|client| guard::is_shown(client)) {
        let headings = ["NAME", "STATE", "TIME LEFT", "LAST SEEN", "HOST"];
        return render(headings, &rows.collect::<Vec<_>>(), coloured);
    }
    let rows = rows.zip(clients).map(|(row, client)| {
        let [name, state, left, seen, host] = row;
        let (word, style) = guard::word(client);
        [name, state, Cell::new(word, style), left, seen, host]
    });
    let headings = ["NAME", "STATE", "GUARD", "TIME LEFT", "LAST SEEN", "HOST"];
    render(headings, &rows.collect::<Vec<_>>(), coloured)
}

fn row(client: &ClientView, now: Wall) -> [Cell; 5] {
    let state = ClientState::of(client);
    let left = match client.expires {
        Some(expires) if client.enabled => human::length(expires.since(now)),
        _ => String::new(),
    };
    // Half of the time-out gone means that a check was missed.
    let urgent = client
        .expires
        .is_some_and(|expires| expires.since(now) < client.timeout / 2);
    let left_style = if urgent { Style::Warning } else { Style::Plain };
    [
        Cell::plain(&client.name),
        Cell::new(state.word(), state.style()),
        Cell::new(left, left_style),
        Cell::plain(human::ago(client.last_checked_ok, now)),
        Cell::new(&client.host, Style::Dim),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightlatch_bus::client::CheckStatus;

    use nightlatch_core::guard::Suspicion;

    use crate::verbs::samples::{NOW, agent, client};

    #[test]
    fn a_line_says_how_a_machine_stands() {
        let mut off = client("off");
        off.enabled = false;
        off.expires = None;
        off.last_checked_ok = None;
        let mut failing = client("web-1.example");
        failing.last_check = CheckStatus::Exited(1);
        let clients = [&off, &failing, &client("z")];
        assert_eq!(
            table(&clients, NOW, false),
            "NAME           STATE     TIME LEFT  LAST SEEN  HOST\n\
             off            disabled             never      off\n\
             web-1.example  failing   3 min      2 min ago  web-1.example\n\
             z              enabled   3 min      2 min ago  z\n"
        );
    }

    #[test]
    fn a_fleet_with_agents_has_a_column_for_the_guard() {
        let mut suspect = agent("web-2");
        suspect.guard.suspect = Some(Suspicion::ServedImpostor);
        let clients = [&client("nas"), &agent("web-1"), &suspect];
        assert_eq!(
            table(&clients, NOW, false),
            "NAME   STATE    GUARD            TIME LEFT  LAST SEEN  HOST\n\
             nas    enabled                   3 min      2 min ago  nas\n\
             web-1  enabled  up               3 min      2 min ago  web-1\n\
             web-2  suspect  served-impostor  3 min      2 min ago  web-2\n"
        );
    }
}
