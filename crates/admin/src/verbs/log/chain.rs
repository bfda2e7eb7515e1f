//! `log --verify`: recomputes the chain of records page by page, on the reader's side.

use nightlatch_bus::own::{About, ChainEnd, Query};
use nightlatch_bus::proxy::Server;
use serde::Serialize;

use super::record::{Hash, Line};
use crate::failure::{EX_DATAERR, EX_PROTOCOL, Failure};
use crate::output;

/// What was found, in JSON.
#[derive(Serialize)]
struct Found {
    whole: bool,
    records: u64,
    first: Option<u64>,
    last: Option<u64>,
    hash: String,
}

/// A chain as far as it was followed.
#[derive(Debug)]
struct Chain {
    /// The last record followed, or the one before the first.
    seq: u64,
    hash: Hash,
    records: u64,
    /// The end that the server stated before the records were read.
    head: ChainEnd,
    head_seen: bool,
}

/// Follows the whole chain, and says in one line whether it is whole.
pub(super) async fn verify(server: &Server, json: bool) -> Result<u8, Failure> {
    let about = server.about().await.map_err(super::failure)?;
    let mut chain = Chain::begin(about)?;
    let mut query = Query {
        after: chain.seq,
        ..Query::default()
    };
    loop {
        let page = server.query_records(&query).await.map_err(super::failure)?;
        for line in &page.lines {
            chain.follow(line)?;
        }
        match page.next {
            // Whoever answers the same page for ever is not followed for ever.
            Some(next) if next > query.after => query.after = next,
            _ => break,
        }
    }
    chain.finish()?;
    // The first followed the anchor, so that this cannot be below zero.
    let first = chain.seq - chain.records + 1;
    if json {
        let found = Found {
            whole: true,
            records: chain.records,
            first: (chain.records > 0).then_some(first),
            last: (chain.records > 0).then_some(chain.seq),
            hash: chain.hash.to_string(),
        };
        output::print(&output::json::text(&found)?)?;
        return Ok(0);
    }
    output::print(&match chain.records {
        0 => "the record is whole: it is empty\n".to_owned(),
        records => format!(
            "the record is whole: {records} records, number {first} to {}; the last hash is {}\n",
            chain.seq, chain.hash
        ),
    })?;
    Ok(0)
}

impl Chain {
    /// Begins after the last record that was dropped for its age, as the server states it.
    fn begin(about: About) -> Result<Self, Failure> {
        let anchor = about.record_anchor;
        let hash = if anchor.seq == 0 {
            Hash::FIRST
        } else {
            Hash::read(&anchor.hash).ok_or_else(|| no_hash("RecordAnchor"))?
        };
        let head = about.record_head;
        Ok(Self {
            seq: anchor.seq,
            hash,
            records: 0,
            head_seen: head.seq == anchor.seq,
            head,
        })
    }

    fn follow(&mut self, text: &str) -> Result<(), Failure> {
        let line = Line::read(text).map_err(|error| {
            broken(format!("what follows number {} is no record", self.seq)).because(error)
        })?;
        let expected = self.seq + 1;
        if line.seq != expected {
            return Err(broken(format!(
                "after number {} comes number {}, expected {expected}",
                self.seq, line.seq
            )));
        }
        let hash = line.hash_after(self.hash);
        if line.stated_hash() != Some(hash) {
            return Err(broken(format!(
                "number {expected} or one before it is not what was written: its hash does not fit"
            )));
        }
        if expected == self.head.seq {
            if Hash::read(&self.head.hash) != Some(hash) {
                return Err(broken(format!(
                    "number {expected} is not the one that the server states as the last"
                )));
            }
            self.head_seen = true;
        }
        (self.seq, self.hash) = (expected, hash);
        self.records += 1;
        Ok(())
    }

    fn finish(&self) -> Result<(), Failure> {
        if !self.head_seen {
            return Err(broken(format!(
                "it ends with number {}, while the server states {} as the last",
                self.seq, self.head.seq
            )));
        }
        Ok(())
    }
}

fn broken(what: String) -> Failure {
    Failure::new(EX_DATAERR, format!("the record is not whole: {what}"))
}

fn no_hash(property: &str) -> Failure {
    Failure::new(
        EX_PROTOCOL,
        format!("{property} of the server holds no hash"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::chained;
    use super::*;

    fn lines(count: u64) -> (Vec<String>, Hash) {
        let mut before = Hash::FIRST;
        let lines = (1..=count).map(|seq| {
            let (line, hash) = chained(seq, &format!("{{\"detail\":\"{seq}\"}}"), before);
            before = hash;
            line
        });
        (lines.collect(), before)
    }

    /// Follows a chain that should end at `head`.
    fn followed(lines: &[String], seq: u64, head: Hash) -> Result<u64, String> {
        let about = About {
            record_head: ChainEnd {
                seq,
                hash: head.to_string(),
            },
            ..About::default()
        };
        let mut chain = Chain::begin(about).map_err(|failure| failure.to_string())?;
        lines
            .iter()
            .try_for_each(|line| chain.follow(line))
            .and_then(|()| chain.finish())
            .map_err(|failure| failure.to_string())?;
        Ok(chain.records)
    }

    #[test]
    fn a_whole_chain_is_whole() {
        let (lines, head) = lines(5);
        assert_eq!(followed(&lines, 5, head), Ok(5));
        assert_eq!(followed(&[], 0, Hash::FIRST), Ok(0));
        // One that came while it was read is no fault.
        let (four, head) = (
            &lines[..4],
            Line::read(&lines[3]).unwrap().stated_hash().unwrap(),
        );
        assert_eq!(followed(four, 4, head), Ok(4));
        assert_eq!(followed(&lines, 4, head), Ok(5));
    }

    #[test]
    fn whatever_was_done_to_a_record_is_found() {
        let (whole, head) = lines(5);
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
            let error = followed(&lines, 5, head).unwrap_err();
            assert!(error.starts_with("the record is not whole: "), "{error}");
        }
        assert!(followed(&whole, 5, Hash::FIRST).is_err());
    }
}
