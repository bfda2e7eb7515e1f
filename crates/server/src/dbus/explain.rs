//! Explains the state of a client by what the registry, the audit log and the open requests say about it.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::moment;
use nightlatch_core::explanation::{ClientFacts, Explanation, PendingRequestFacts, StateRecord};
use nightlatch_core::record::RecordLine;
use nightlatch_core::registry::ReleaseForecast;
use nightlatch_core::time::Wall;
use serde::Deserialize;
use zbus::Variant;

use super::wire::Map;
use crate::driver::WaitingRequest;

/// The keys of a record that an explanation needs.
#[derive(Deserialize)]
struct StoredRecord {
    time: String,
    kind: String,
    who: Option<String>,
    reason: Option<String>,
    request: Option<u64>,
}

/// Reads a record that the server wrote itself.
pub(super) fn read_record(line: &RecordLine) -> Option<StateRecord> {
    let record: StoredRecord = serde_json::from_str(&line.text).ok()?;
    let time = moment::parse(record.time.strip_suffix('Z')?).ok()??;
    Some(StateRecord {
        kind: record.kind.parse().ok()?,
        time,
        who: record.who,
        reason: record.reason,
        request: record.request,
    })
}

/// Explains the state of the client that looks like `view`. `records` are those of its name, oldest first.
pub(super) fn explain(
    view: &ClientView,
    forecast: (ReleaseForecast, Option<Wall>),
    records: &[StateRecord],
    waiting: &[WaitingRequest],
    now: Wall,
) -> Explanation {
    let pending = waiting.iter().map(|it| PendingRequestFacts {
        description: Some(it.to_string()),
        until: Some(it.until),
        approved_by_default: it.approved_by_default,
        is_named: it.request.secret.is_some(),
    });
    ClientFacts {
        forecast: Some(forecast),
        records: Some(records),
        pending: pending.collect(),
        ..view.facts()
    }
    .explain(now)
}

/// The answer to `Explain`.
pub(super) fn to_dict(explanation: Explanation) -> Map<&'static str, Variant<'static>> {
    let mut dict = vec![
        ("verdict", Variant::from(explanation.verdict.as_str())),
        ("reason", Variant::from(explanation.reason)),
    ];
    let millis = |wall: Wall| Variant::from(wall.unix_micros().div_euclid(1000));
    dict.extend(explanation.since.map(|since| ("since", millis(since))));
    dict.extend(explanation.until.map(|until| ("until", millis(until))));
    dict.push(("text", Variant::from(explanation.text)));
    Map(dict)
}
