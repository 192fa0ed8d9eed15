//! The chores of the ledger in SQLite.
//!
//! Owns: forgetting what cannot come back, in bounded steps; how far the ledger has come.
//! Never: the rule for that (it is `domain::prune`).

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::row::{stored, unstored};
use crate::domain::batch::Source;
use crate::domain::id::EntryId;
use crate::domain::mark::Mark;
use crate::domain::prune::{self, Note};
use crate::ledger::chore::{Prune, Pruned};

/// The most rows of a table that are deleted in one transaction, so that events do not wait for long.
const STEP: u32 = 1000;

/// Forgets one step. To be called within a transaction, at the time `now` in milliseconds.
pub(super) fn prune(conn: &Connection, request: &Prune, now: i64) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    if let (Some(below), Some(source)) = (request.below, number_of(conn, &request.source)?) {
        note(conn, source, below, request, now)?;
        if let Some(bound) = prune::settled(&notes(conn, source)?, now, request.keep_inbox) {
            forget_replays(conn, source, bound)?;
            pruned.inbox = forget_entries(conn, source, bound)?;
        }
        forget_notes(conn, source, now.saturating_sub(millis(request.keep_inbox)))?;
    }
    if let Some(keep) = request.keep_history {
        pruned.history = forget_history(conn, now.saturating_sub(millis(keep)))?;
    }
    let full = |rows: usize| u32::try_from(rows).is_ok_and(|rows| rows == STEP);
    pruned.more = full(pruned.inbox) || full(pruned.history);
    Ok(pruned)
}

/// How far the ledger has come, with the highest id of `source`.
pub(super) fn standing(conn: &Connection, source: &Source) -> Result<Mark> {
    let sql = "SELECT ledger, (SELECT max(seq) FROM history) FROM identity";
    let mut select = conn.prepare_cached(sql)?;
    let (ledger, last): (String, Option<i64>) = select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut select =
        conn.prepare_cached("SELECT ms, sub FROM inbox WHERE source = ?1 ORDER BY ms DESC, sub DESC LIMIT 1")?;
    let highest = match number_of(conn, source)? {
        Some(source) => select.query_row([source], read_id).optional()?,
        None => None,
    };
    let last = unstored(last.unwrap_or_default());
    Ok(Mark { ledger: ledger.into(), last, highest: highest.unwrap_or(EntryId::MIN) })
}

/// The number of a source that events have come from.
fn number_of(conn: &Connection, source: &Source) -> Result<Option<i64>> {
    let names = (source.stream.as_str(), source.group.as_str());
    let mut select = conn.prepare_cached("SELECT source FROM sources WHERE stream = ?1 AND grp = ?2")?;
    select.query_row(names, |row| row.get(0)).optional()
}

fn note(conn: &Connection, source: i64, below: EntryId, request: &Prune, now: i64) -> Result<()> {
    let mut last =
        conn.prepare_cached("SELECT noted_at, ms, sub FROM bounds WHERE source = ?1 ORDER BY noted_at DESC LIMIT 1")?;
    let last = last.query_row([source], read_note).optional()?;
    if prune::is_worth_a_note(last, below, now, request.keep_inbox) {
        // Two notes of one millisecond, or a clock that was set back: the order of the notes is the order in which they were made.
        let at = last.map_or(now, |last| now.max(last.at + 1));
        let mut insert =
            conn.prepare_cached("INSERT INTO bounds (source, noted_at, ms, sub) VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute((source, at, stored(below.ms), stored(below.seq)))?;
    }
    Ok(())
}

fn notes(conn: &Connection, source: i64) -> Result<Vec<Note>> {
    let mut select = conn.prepare_cached("SELECT noted_at, ms, sub FROM bounds WHERE source = ?1 ORDER BY noted_at")?;
    select.query_map([source], read_note)?.collect()
}

fn read_note(row: &Row<'_>) -> Result<Note> {
    Ok(Note { at: row.get(0)?, below: EntryId::new(unstored(row.get(1)?), unstored(row.get(2)?)) })
}

fn read_id(row: &Row<'_>) -> Result<EntryId> {
    Ok(EntryId::new(unstored(row.get(0)?), unstored(row.get(1)?)))
}

/// Keeps the last note from before the span began, for it says what held then.
fn forget_notes(conn: &Connection, source: i64, begin: i64) -> Result<()> {
    let mut delete = conn.prepare_cached(
        "DELETE FROM bounds WHERE source = ?1
         AND noted_at < (SELECT max(noted_at) FROM bounds WHERE source = ?1 AND noted_at <= ?2)",
    )?;
    delete.execute((source, begin))?;
    Ok(())
}

/// Whose replay cannot come again is like any other entry from then on.
fn forget_replays(conn: &Connection, source: i64, bound: EntryId) -> Result<()> {
    let below = i64::try_from(bound.ms).unwrap_or(i64::MAX);
    let mut delete = conn.prepare_cached("DELETE FROM replays WHERE source = ?1 AND by_ms >= 0 AND by_ms < ?2")?;
    delete.execute((source, below))?;
    Ok(())
}

/// Whole milliseconds only, which keeps what is at the bound. Ids above 2^63 are stored as negative numbers, and stay.
fn forget_entries(conn: &Connection, source: i64, bound: EntryId) -> Result<usize> {
    let below = i64::try_from(bound.ms).unwrap_or(i64::MAX);
    let mut delete = conn.prepare_cached(
        "DELETE FROM inbox WHERE (source, ms, sub, generation) IN
         (SELECT source, ms, sub, generation FROM inbox AS i WHERE source = ?1 AND ms >= 0 AND ms < ?2
          AND NOT EXISTS (SELECT 1 FROM replays AS r WHERE r.source = i.source AND r.ms = i.ms AND r.sub = i.sub)
          ORDER BY ms, sub LIMIT ?3)",
    )?;
    delete.execute((source, below, STEP))
}

/// The oldest rows first. The last row stays whatever its age: the next one is numbered after it.
fn forget_history(conn: &Connection, before: i64) -> Result<usize> {
    let mut delete = conn.prepare_cached(
        "DELETE FROM history WHERE applied_at < ?1 AND seq < (SELECT max(seq) FROM history)
         AND seq IN (SELECT seq FROM history ORDER BY seq LIMIT ?2)",
    )?;
    delete.execute((before, STEP))
}

fn millis(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
