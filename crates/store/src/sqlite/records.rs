//! The table of the audit log. Entries are only added at its end and dropped from its start.

use std::ops::RangeInclusive;

use nightlatch_core::record::{
    ChainEnds, ChainHash, ChainPosition, RecordEntry, RecordExcerpt, RecordLine, RecordSelection,
};
use nightlatch_core::time::Wall;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

/// Most entries scanned for one page: some 50 ms, for which a commit may have to wait.
const MAX_SCANNED: u64 = 50_000;

/// The first and the last entry.
pub(super) fn ends(db: &Connection) -> rusqlite::Result<ChainEnds> {
    let anchor = db.query_row("SELECT anchor_seq, anchor_hash FROM store", [], chain)?;
    let head = db
        .query_row(
            "SELECT seq, hash FROM record ORDER BY seq DESC LIMIT 1",
            [],
            chain,
        )
        .optional()?;
    Ok(ChainEnds {
        anchor,
        head: head.unwrap_or(anchor),
    })
}

/// Adds an entry at the end.
pub(super) fn add(
    db: &Connection,
    ends: &mut ChainEnds,
    entry: &RecordEntry,
) -> rusqlite::Result<RecordLine> {
    let head = ends.head.next(&entry.text);
    db.prepare_cached(
        "INSERT INTO record (seq, time, kind, client, alarm, text, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        head.seq,
        entry.time.unix_micros(),
        entry.kind.as_str(),
        entry.client.as_ref().map(|name| name.as_str()),
        entry.alarm,
        &*entry.text,
        head.hash.as_bytes(),
    ])?;
    ends.head = head;
    Ok(RecordLine {
        seq: head.seq,
        hash: head.hash,
        text: entry.text.clone(),
    })
}

/// Drops the entries before the first one that is not older than `before`.
pub(super) fn drop(db: &Connection, ends: &mut ChainEnds, before: Wall) -> rusqlite::Result<()> {
    let before = before.unix_micros();
    let last: Option<ChainPosition> = db
        .query_row(
            "SELECT seq, hash FROM record \
             WHERE seq < coalesce((SELECT min(seq) FROM record WHERE time >= ?1), ?2) \
             ORDER BY seq DESC LIMIT 1",
            params![before, i64::MAX],
            chain,
        )
        .optional()?;
    let Some(last) = last else {
        return Ok(());
    };
    db.execute("DELETE FROM record WHERE seq <= ?1", [last.seq])?;
    db.execute(
        "UPDATE store SET anchor_seq = ?1, anchor_hash = ?2",
        params![last.seq, last.hash.as_bytes()],
    )?;
    ends.anchor = last;
    Ok(())
}

/// The entries that `query` asks for.
pub(super) fn find(db: &Connection, query: &RecordSelection) -> rusqlite::Result<RecordExcerpt> {
    let limit = query.limit.clamp(1, RecordSelection::MAX_LIMIT) as usize;
    let ChainEnds { anchor, head } = ends(db)?;
    let mut first = query.after.max(anchor.seq) + 1;
    if let Some(since) = query.since {
        let since = first_since(db, since)?.unwrap_or(head.seq + 1);
        first = first.max(since);
    }
    let mut last = head.seq;
    // No index helps here: the scan is bounded by number.
    if !query.kinds.is_empty() && query.client.is_none() && !query.alarms {
        if query.newest {
            first = first.max(last.saturating_sub(MAX_SCANNED - 1));
        } else {
            last = last.min(first + MAX_SCANNED - 1);
        }
    }
    let mut lines = select(db, query, first..=last, limit + 1)?;
    let more = lines.len() > limit;
    lines.truncate(limit);
    let next = match lines.last() {
        _ if query.newest => None,
        Some(line) if more => Some(line.seq),
        _ => (last < head.seq).then_some(last),
    };
    if query.newest {
        lines.reverse();
    }
    Ok(RecordExcerpt { lines, next })
}

/// The number of the first entry that is not older than `since`.
fn first_since(db: &Connection, since: Wall) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached("SELECT seq FROM record WHERE time >= ?1 ORDER BY time, seq LIMIT 1")?
        .query_row([since.unix_micros()], |row| row.get(0))
        .optional()
}

fn select(
    db: &Connection,
    query: &RecordSelection,
    range: RangeInclusive<u64>,
    limit: usize,
) -> rusqlite::Result<Vec<RecordLine>> {
    let mut wanted = String::from("seq BETWEEN ?1 AND ?2");
    let mut values = vec![number(*range.start()), number(*range.end())];
    if let Some(client) = &query.client {
        wanted.push_str(" AND client = ?3");
        values.push(client.clone().into());
    }
    if query.alarms {
        wanted.push_str(" AND alarm");
    }
    if !query.kinds.is_empty() {
        let kinds: Vec<&str> = query.kinds.iter().map(|kind| kind.as_str()).collect();
        wanted.push_str(&format!(" AND kind IN ('{}')", kinds.join("', '")));
    }
    let order = if query.newest { "DESC" } else { "ASC" };
    db.prepare_cached(&format!(
        "SELECT seq, hash, text FROM record WHERE {wanted} ORDER BY seq {order} LIMIT {limit}"
    ))?
    .query_map(params_from_iter(values), line)?
    .collect()
}

/// A number beyond SQLite's integers is greater than that of every entry.
fn number(seq: u64) -> Value {
    i64::try_from(seq).unwrap_or(i64::MAX).into()
}

fn chain(row: &Row<'_>) -> rusqlite::Result<ChainPosition> {
    Ok(ChainPosition {
        seq: row.get(0)?,
        hash: ChainHash::from_bytes(row.get(1)?),
    })
}

fn line(row: &Row<'_>) -> rusqlite::Result<RecordLine> {
    Ok(RecordLine {
        seq: row.get(0)?,
        hash: ChainHash::from_bytes(row.get(1)?),
        text: row.get::<_, String>(2)?.into(),
    })
}
