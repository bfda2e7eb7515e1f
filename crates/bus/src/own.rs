//! The questions and answers of `org.nightlatch.Nightlatch1` as types (`docs/dbus.md`).

use std::collections::HashMap;

use nightlatch_core::explanation::{Explanation, ReleaseVerdict};
use nightlatch_core::time::Wall;
use zbus::{OwnedVariant, Variant};

use crate::error::BusError;

/// The most records of one page.
pub const MAX_PAGE: u32 = 1000;

/// Reads the dictionary that `Explain` answers.
pub(crate) fn read_explanation(
    answer: &HashMap<String, OwnedVariant>,
) -> Result<Explanation, BusError> {
    let text = |key: &'static str| match answer.get(key).map(|value| &**value) {
        Some(Variant::Str(text)) => Ok(text.to_string()),
        _ => Err(BusError::Malformed(format!(
            "Explain: expected a text {key}"
        ))),
    };
    let time = |key| match answer.get(key).map(|value| &**value) {
        Some(Variant::I64(millis)) => Ok(Some(wall(*millis))),
        None => Ok(None),
        Some(_) => Err(BusError::Malformed(format!(
            "Explain: expected a time {key}"
        ))),
    };
    let word = text("verdict")?;
    let verdict = ReleaseVerdict::by_word(&word)
        .ok_or_else(|| BusError::Malformed(format!("Explain: unknown verdict {word:?}")))?;
    Ok(Explanation {
        verdict,
        reason: text("reason")?,
        since: time("since")?,
        until: time("until")?,
        text: text("text")?,
    })
}

/// A request that waits for a decision, with what a person needs to recognize it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingRequest {
    /// By which it is decided on. A machine that comes back has another one.
    pub number: u64,
    /// The client, proven by its key.
    pub client: String,
    /// Address and port that it comes from, a link-local one with its interface.
    pub peer: String,
    /// Since when it waits.
    pub since: Wall,
    /// The time of the decision without a person.
    pub until: Wall,
    /// Released then; otherwise refused.
    pub approved_by_default: bool,
    /// The nonce of the machine's boot, in hexadecimal, if the machine sent one. Not proved.
    pub boot: Option<String>,
    /// The named secret that it asks for; `None` for the boot secret.
    pub secret: Option<String>,
}

impl PendingRequest {
    /// Reads one dictionary of those that `ListRequests` answers.
    pub(crate) fn read(answer: &HashMap<String, OwnedVariant>) -> Result<Self, BusError> {
        let value = |key: &str| answer.get(key).map(|value| &**value);
        let wrong = |key: &str| BusError::Malformed(format!("ListRequests: {key}"));
        let text = |key: &str| match value(key) {
            Some(Variant::Str(text)) => Ok(text.to_string()),
            _ => Err(wrong(key)),
        };
        let time = |key: &str| match value(key) {
            Some(Variant::I64(millis)) => Ok(wall(*millis)),
            _ => Err(wrong(key)),
        };
        Ok(Self {
            number: match value("number") {
                Some(Variant::U64(number)) => *number,
                _ => return Err(wrong("number")),
            },
            client: text("client")?,
            peer: text("peer")?,
            since: time("since")?,
            until: time("until")?,
            approved_by_default: matches!(value("approved-by-default"), Some(Variant::Bool(true))),
            boot: text("boot").ok(),
            secret: text("secret").ok(),
        })
    }
}

/// Selects records; by default all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordQuery {
    /// Only records with a higher sequence number.
    pub after: u64,
    /// Only records about this client.
    pub client: Option<String>,
    /// Only records from then on.
    pub since: Option<Wall>,
    /// Only records of these kinds; all when there are none.
    pub kinds: Vec<String>,
    /// True for alarms only.
    pub alarms: bool,
    /// At most so many in one page; 0 stands for [`MAX_PAGE`].
    pub limit: u32,
    /// The newest that match instead of the oldest.
    pub last: bool,
}

impl RecordQuery {
    /// The dictionary that `QueryRecords` takes.
    pub(crate) fn write(&self) -> HashMap<&'static str, Variant<'_>> {
        let mut dictionary = HashMap::new();
        if self.after > 0 {
            dictionary.insert("after", Variant::U64(self.after));
        }
        if let Some(client) = &self.client {
            dictionary.insert("client", Variant::Str(client.as_str().into()));
        }
        if let Some(since) = self.since {
            // Rounded down, so that nothing is missed.
            dictionary.insert("since", Variant::I64(since.unix_micros().div_euclid(1000)));
        }
        if !self.kinds.is_empty() {
            let kinds: Vec<&str> = self.kinds.iter().map(String::as_str).collect();
            dictionary.insert("kinds", Variant::from(kinds));
        }
        if self.alarms {
            dictionary.insert("alarms", Variant::Bool(true));
        }
        if self.limit > 0 {
            dictionary.insert("limit", Variant::U32(self.limit.min(MAX_PAGE)));
        }
        if self.last {
            dictionary.insert("last", Variant::Bool(true));
        }
        dictionary
    }
}

/// Some records, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordPage {
    /// The records as lines of JSON, byte for byte as they are chained.
    pub lines: Vec<String>,
    /// The [`RecordQuery::after`] of the next page; `None` on the last one.
    pub next: Option<u64>,
}

/// The end of the chain of records that is known to the server: sequence number and hash.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChainEnd {
    /// The sequence number; 0 when there is no record.
    pub seq: u64,
    /// The hash in hexadecimal; empty when there is no record.
    pub hash: String,
}

/// The server's own properties.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerInfo {
    /// The server's version.
    pub version: String,
    /// The id of the server's TLS key, 64 hexadecimal digits.
    pub key_id: String,
    /// The addresses on which it listens, as `[::]:40000`.
    pub addresses: Vec<String>,
    /// Counts of clients: `all`, `enabled`, `waiting`.
    pub clients: HashMap<String, u32>,
    /// The last record.
    pub record_head: ChainEnd,
    /// The last record that was dropped for its age.
    pub record_anchor: ChainEnd,
    /// The log level: `error`, `warn`, `info` or `debug`.
    pub log_level: String,
    /// Problems that an administrator should mend, a sentence each.
    pub warnings: Vec<String>,
}

impl ServerInfo {
    /// Reads all properties of the interface. What is missing stays empty: the dictionary may grow, and
    /// a tool may ask an older server.
    pub(crate) fn read(mut answer: HashMap<String, OwnedVariant>) -> Result<Self, BusError> {
        Ok(Self {
            version: take(&mut answer, "Version")?,
            key_id: take(&mut answer, "KeyID")?,
            addresses: take(&mut answer, "Addresses")?,
            clients: take(&mut answer, "Clients")?,
            record_head: chain_end(&mut answer, "RecordHead")?,
            record_anchor: chain_end(&mut answer, "RecordAnchor")?,
            log_level: take(&mut answer, "LogLevel")?,
            warnings: take(&mut answer, "Warnings")?,
        })
    }
}

fn take<T>(answer: &mut HashMap<String, OwnedVariant>, property: &str) -> Result<T, BusError>
where
    T: Default + TryFrom<OwnedVariant, Error = zbus::Error>,
{
    let Some(value) = answer.remove(property) else {
        return Ok(T::default());
    };
    T::try_from(value).map_err(|error| BusError::Malformed(format!("{property}: {error}")))
}

fn chain_end(
    answer: &mut HashMap<String, OwnedVariant>,
    property: &str,
) -> Result<ChainEnd, BusError> {
    let Some(value) = answer.remove(property) else {
        return Ok(ChainEnd::default());
    };
    let malformed = || BusError::Malformed(format!("{property}: expected a number and a text"));
    let Variant::Structure(fields) = &*value else {
        return Err(malformed());
    };
    match fields.fields() {
        [Variant::U64(seq), Variant::Str(hash)] => Ok(ChainEnd {
            seq: *seq,
            hash: hash.to_string(),
        }),
        _ => Err(malformed()),
    }
}

/// A point in time from milliseconds since 1970 UTC.
fn wall(millis: i64) -> Wall {
    Wall::from_unix_micros(millis.saturating_mul(1000))
}
