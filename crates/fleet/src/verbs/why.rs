//! `nightlatch why`: why a machine gets its secret now or not, and what to do. The server explains it; where it cannot
//! (stock Mandos), its properties do.

use nightlatch_bus::error::BusError;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::Failure;
use nightlatch_console::output::table::visible;
use nightlatch_console::output::{self, Style};
use nightlatch_core::explanation::ReleaseVerdict;
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
            Err(BusError::NotSupported) => client.facts().explain(now),
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
