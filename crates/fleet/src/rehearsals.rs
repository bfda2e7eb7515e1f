//! `nightlatch check --all`, on the server: the last rehearsal of each machine, with its result.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::own::RecordQuery;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::{EX_PROTOCOL, Failure};
use nightlatch_console::output::human;
use nightlatch_core::name::{compare_naturally, shell_word};
use nightlatch_core::record::{RecordKind, RecordLine};
use nightlatch_core::time::Wall;
use nightlatch_sys::clock;

use crate::verbs::log::record::Record;
use crate::{bus, point_in_time, proof};
use nightlatch_console::report::Report;

/// The options of `check --all`.
#[derive(Args, Debug)]
pub struct FleetCheckOptions {
    /// On the server: say of each of its machines when it last rehearsed
    #[arg(long, conflicts_with_all = ["inhibit", "stock_server", "wait"])]
    pub all: bool,

    /// With --all: a rehearsal that is older does not count
    #[arg(long, value_name = "DAYS", default_value = "7")]
    pub(crate) max_age: u16,
}

/// Prefix of the reasons for which the server refuses a rehearsal only.
const REHEARSAL: &str = "rehearsal-";

/// The last rehearsal of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rehearsal {
    time: Wall,
    /// The reason of a refusal.
    refused: Option<String>,
}

/// Reports for each client of the server whether it rehearsed lately.
pub async fn run(options: &FleetCheckOptions, json: bool) -> Result<u8, Failure> {
    let server = bus::connect().await?;
    let now = clock::now().wall;
    let mut clients = server.clients().await.map_err(bus::failure)?;
    clients.sort_by(|a, b| compare_naturally(&a.name, &b.name));
    let rehearsals = rehearsals(&server, now).await?;
    let mut report = Report::new(json);
    report.make_room(clients.iter().map(|client| client.name.as_str()));
    let age = Duration::from_secs(u64::from(options.max_age) * 24 * 60 * 60);
    for client in &clients {
        judge(client, rehearsals.get(&client.name), age, now, &mut report);
    }
    report.finish_fleet()?;
    Ok(u8::from(report.is_bad()))
}

fn judge(
    client: &ClientView,
    last: Option<&Rehearsal>,
    age: Duration,
    now: Wall,
    report: &mut Report,
) {
    let name = &client.name;
    let run = || Some(format!("on {name}: nightlatch check"));
    if !client.enabled {
        let hint = Some(format!("nightlatch enable {}", shell_word(name)));
        return report.bad(name, "is disabled: it would get nothing", hint);
    }
    let Some(last) = last else {
        return report.bad(name, "never rehearsed", run());
    };
    let when = human::ago(Some(last.time), now);
    match &last.refused {
        Some(reason) => report.bad(name, format!("was refused {when}: {reason}"), run()),
        None if now.since(last.time) > age => {
            report.bad(name, format!("rehearsed {when}, too long ago"), run());
        }
        None if proof::is_forgeable(client) => {
            let finding =
                format!("rehearsed {when}, but its checker by ssh-keyscan proves nothing");
            report.doubtful(name, finding, Some(proof::INSTEAD.to_owned()));
        }
        None => report.good(name, format!("rehearsed {when}")),
    }
}

/// The last rehearsal of each, by the server's record.
async fn rehearsals(
    server: &MandosProxy,
    now: Wall,
) -> Result<BTreeMap<String, Rehearsal>, Failure> {
    let kinds = [RecordKind::Rehearsed, RecordKind::Refused].map(|kind| kind.as_str().to_owned());
    let mut query = RecordQuery {
        kinds: kinds.to_vec(),
        ..RecordQuery::default()
    };
    let mut found = BTreeMap::new();
    loop {
        let page = server
            .query_records(&query)
            .await
            .map_err(crate::verbs::log::failure)?;
        for line in &page.lines {
            take(line, now, &mut found)?;
        }
        match page.next {
            // Whoever answers the same page for ever is not asked for ever.
            Some(next) if next > query.after => query.after = next,
            _ => return Ok(found),
        }
    }
}

fn take(line: &str, now: Wall, found: &mut BTreeMap<String, Rehearsal>) -> Result<(), Failure> {
    let malformed = || Failure::new(EX_PROTOCOL, "the server sent a malformed record");
    let line: RecordLine = line.parse().map_err(|_| malformed())?;
    let record = Record::read(&line.text).map_err(|_| malformed())?;
    let time = point_in_time::parse(&record.time, now).map_err(|_| malformed())?;
    let refused = match (&record.kind, record.reason) {
        (kind, _) if kind == RecordKind::Rehearsed.as_str() => None,
        (_, Some(reason)) if reason.starts_with(REHEARSAL) => Some(reason),
        _ => return Ok(()),
    };
    if let Some(client) = record.client {
        found.insert(client, Rehearsal { time, refused });
    }
    Ok(())
}
