//! `log --verify`: recomputes the chain of records page by page, on the reader's side.

use nightlatch_bus::own::{ChainEnd, RecordQuery, ServerInfo};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::{EX_DATAERR, EX_PROTOCOL, Failure};
use nightlatch_console::output;
use nightlatch_core::record::{ChainPosition, RecordLine};
use serde::Serialize;

/// The result in JSON.
#[derive(Serialize)]
struct ChainReport {
    whole: bool,
    records: u64,
    first: Option<u64>,
    last: Option<u64>,
    hash: String,
}

/// The part of the audit log that was verified so far.
#[derive(Debug)]
struct ChainVerifier {
    /// The position of the last entry that was verified, or of the start.
    at: ChainPosition,
    records: u64,
    /// The end that the server stated before the records were read.
    head: ChainPosition,
    head_seen: bool,
}

/// Follows the whole chain, and says in one line whether it is whole.
pub(super) async fn verify(server: &MandosProxy, json: bool) -> Result<u8, Failure> {
    let about = server.about().await.map_err(super::failure)?;
    let mut verifier = ChainVerifier::begin(&about)?;
    let mut query = RecordQuery {
        after: verifier.at.seq,
        ..RecordQuery::default()
    };
    loop {
        let page = server.query_records(&query).await.map_err(super::failure)?;
        for line in &page.lines {
            verifier.follow(line)?;
        }
        match page.next {
            // Whoever answers the same page for ever is not followed for ever.
            Some(next) if next > query.after => query.after = next,
            _ => break,
        }
    }
    verifier.finish()?;
    let ChainVerifier { at, records, .. } = verifier;
    // The first followed the anchor, so that this cannot be below zero.
    let first = at.seq - records + 1;
    if json {
        let report = ChainReport {
            whole: true,
            records,
            first: (records > 0).then_some(first),
            last: (records > 0).then_some(at.seq),
            hash: at.hash.to_string(),
        };
        output::print(&output::json::text(&report)?)?;
        return Ok(0);
    }
    output::print(&match records {
        0 => "the audit log is whole: it is empty\n".to_owned(),
        records => format!(
            "the audit log is whole: {records} records, number {first} to {}; the last hash is {}\n",
            at.seq, at.hash
        ),
    })?;
    Ok(0)
}

impl ChainVerifier {
    /// Begins after the last record that was dropped for its age, as the server states it.
    fn begin(about: &ServerInfo) -> Result<Self, Failure> {
        let at = place(&about.record_anchor, "RecordAnchor")?;
        let head = place(&about.record_head, "RecordHead")?;
        Ok(Self {
            at,
            records: 0,
            head_seen: head.seq == at.seq,
            head,
        })
    }

    fn follow(&mut self, text: &str) -> Result<(), Failure> {
        let line: RecordLine = text.parse().map_err(|error| {
            broken(format!(
                "what follows number {} is not a record",
                self.at.seq
            ))
            .because(error)
        })?;
        self.at = self
            .at
            .check(&line)
            .map_err(|error| broken(error.to_string()))?;
        if self.at.seq == self.head.seq {
            if self.at != self.head {
                return Err(broken(format!(
                    "number {} is not the one that the server states as the last",
                    self.at.seq
                )));
            }
            self.head_seen = true;
        }
        self.records += 1;
        Ok(())
    }

    fn finish(&self) -> Result<(), Failure> {
        if !self.head_seen {
            return Err(broken(format!(
                "it ends with number {}, while the server states {} as the last",
                self.at.seq, self.head.seq
            )));
        }
        Ok(())
    }
}

/// A place in the chain as the server states it.
fn place(end: &ChainEnd, property: &str) -> Result<ChainPosition, Failure> {
    if end.seq == 0 {
        return Ok(ChainPosition::default());
    }
    let hash = end.hash.parse().map_err(|_| {
        Failure::new(
            EX_PROTOCOL,
            format!("{property} of the server holds no hash"),
        )
    })?;
    Ok(ChainPosition { seq: end.seq, hash })
}

fn broken(what: String) -> Failure {
    Failure::new(EX_DATAERR, format!("the audit log is not whole: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: u64) -> Vec<RecordLine> {
        let mut at = ChainPosition::default();
        let line = |number: u64| {
            let text = format!("{{\"detail\":\"{number}\"}}");
            at = at.next(&text);
            RecordLine {
                seq: at.seq,
                hash: at.hash,
                text: text.into(),
            }
        };
        (1..=count).map(line).collect()
    }

    /// Follows lines that should end at `head`, or at the start.
    fn followed(lines: &[String], head: Option<&RecordLine>) -> Result<u64, String> {
        let head = head.map(|line| ChainEnd {
            seq: line.seq,
            hash: line.hash.to_string(),
        });
        let about = ServerInfo {
            record_head: head.unwrap_or_default(),
            ..ServerInfo::default()
        };
        let mut verifier = ChainVerifier::begin(&about).map_err(|failure| failure.to_string())?;
        lines
            .iter()
            .try_for_each(|line| verifier.follow(line))
            .and_then(|()| verifier.finish())
            .map_err(|failure| failure.to_string())?;
        Ok(verifier.records)
    }

    fn texts(lines: &[RecordLine]) -> Vec<String> {
        lines.iter().map(RecordLine::to_string).collect()
    }

    #[test]
    fn a_whole_record_is_whole() {
        let whole = lines(5);
        assert_eq!(followed(&texts(&whole), whole.last()), Ok(5));
        assert_eq!(followed(&[], None), Ok(0));
        // One that came while it was read is no fault.
        assert_eq!(followed(&texts(&whole), Some(&whole[3])), Ok(5));
    }

    #[test]
    fn whatever_was_done_to_a_record_is_found() {
        let whole = lines(5);
        let head = whole.last();
        let whole = texts(&whole);
        let mut changed = whole.clone();
        changed[2] = changed[2].replace("\"3\"", "\"4\"");
        let mut missing = whole.clone();
        missing.remove(2);
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        let cut = whole[..3].to_vec();
        let mut garbage = whole.clone();
        garbage[4] = "{".to_owned();
        for lines in [changed, missing, swapped, cut, garbage] {
            let error = followed(&lines, head).unwrap_err();
            assert!(error.starts_with("the audit log is not whole: "), "{error}");
        }
        let mut other = lines(5);
        other[4].hash = ChainPosition::default().hash;
        assert!(followed(&whole, other.last()).is_err());
    }
}
