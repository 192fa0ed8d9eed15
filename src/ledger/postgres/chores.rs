//! The chores of the ledger in Postgres.
//!
//! Owns: forgetting what cannot come back, in bounded steps; how far the ledger has come.
//! Never: the rule for that (it is `domain::prune`).

use std::time::{Duration, SystemTime};

use tokio_postgres::{Client, Error, Row};

use super::row::{stored, unstored};
use crate::crash;
use crate::domain::batch::Source;
use crate::domain::id::EntryId;
use crate::domain::mark::Mark;
use crate::domain::prune::{self, Note};
use crate::ledger::chore::{Prune, Pruned};

/// The most rows of a table that are deleted in one transaction, so that events do not wait for long.
const STEP: i64 = 1000;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '1s'";

/// One worker at a time forgets: the others have nothing to add. The letters `ordp`, and the number of the table, which stands for the
/// ledger.
const TAKE_TURN: &str = "SELECT pg_try_advisory_xact_lock(1869898864, 'orderd.inbox'::regclass::oid::int8::int4)";

const NOTES: &str = "SELECT noted_at, ms, sub FROM orderd.bounds WHERE source = $1 ORDER BY noted_at";
const NOTE: &str = "INSERT INTO orderd.bounds (source, noted_at, ms, sub) VALUES ($1, $2, $3, $4)";

// The last note from before the span began stays, for it says what held then.
const FORGET_NOTES: &str = "DELETE FROM orderd.bounds WHERE source = $1
    AND noted_at < (SELECT max(noted_at) FROM orderd.bounds WHERE source = $1 AND noted_at <= $2)";

const FORGET_REPLAYS: &str = "DELETE FROM orderd.replays WHERE source = $1 AND by_ms >= 0 AND by_ms < $2";

const FORGET_ENTRIES: &str = "DELETE FROM orderd.inbox AS i
    USING (SELECT source, ms, sub, generation FROM orderd.inbox AS o WHERE source = $1 AND ms >= 0 AND ms < $2
        AND NOT EXISTS (SELECT FROM orderd.replays AS r WHERE r.source = o.source AND r.ms = o.ms AND r.sub = o.sub)
        ORDER BY ms, sub LIMIT $3) AS old
    WHERE i.source = old.source AND i.ms = old.ms AND i.sub = old.sub AND i.generation = old.generation";

// The oldest rows first. The last one stays whatever its age: how far the ledger has come is read off it.
const FORGET_HISTORY: &str = "DELETE FROM orderd.history WHERE applied_at < $1
    AND seq < (SELECT max(seq) FROM orderd.history)
    AND seq IN (SELECT seq FROM orderd.history ORDER BY seq LIMIT $2)";

const STANDING: &str = "SELECT ledger, (SELECT max(seq) FROM orderd.history) FROM orderd.identity";
const HIGHEST: &str = "SELECT ms, sub FROM orderd.inbox WHERE source = $1 ORDER BY ms DESC, sub DESC LIMIT 1";

/// Forgets one step, at the time `now`, in a transaction of its own. After an error it may still be open.
pub(super) async fn prune(client: &Client, request: &Prune, now: SystemTime) -> Result<Pruned, Error> {
    client.batch_execute(BEGIN).await?;
    let mut pruned = Pruned::default();
    if client.query_one(TAKE_TURN, &[]).await?.try_get(0)? {
        pruned = forget(client, request, now).await?;
    }
    crash::point("before-pruning");
    client.batch_execute("COMMIT").await?;
    crash::point("after-pruning");
    Ok(pruned)
}

/// How far the ledger has come, with the highest id of `source`.
pub(super) async fn standing(client: &Client, source: &Source) -> Result<Mark, Error> {
    let row = client.query_one(STANDING, &[]).await?;
    let (ledger, last): (String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    let highest = match number_of(client, source).await? {
        Some(source) => client.query_opt(HIGHEST, &[&source]).await?,
        None => None,
    };
    let highest = highest.map(|row| id(&row, 0)).transpose()?;
    Ok(Mark {
        ledger: ledger.into(),
        last: unstored(last.unwrap_or_default()),
        highest: highest.unwrap_or(EntryId::MIN),
    })
}

async fn forget(client: &Client, request: &Prune, now: SystemTime) -> Result<Pruned, Error> {
    let mut pruned = Pruned::default();
    if let (Some(below), Some(source)) = (request.below, number_of(client, &request.source).await?) {
        note(client, source, below, request, now).await?;
        if let Some(bound) = prune::settled(&notes(client, source).await?, millis(now), request.keep_inbox) {
            // Whole milliseconds only, which keeps what is at the bound. Ids above 2^63 are stored as negative numbers, and stay.
            let below = i64::try_from(bound.ms).unwrap_or(i64::MAX);
            client.execute(FORGET_REPLAYS, &[&source, &below]).await?;
            pruned.inbox = rows(client.execute(FORGET_ENTRIES, &[&source, &below, &STEP]).await?);
        }
        client.execute(FORGET_NOTES, &[&source, &before(now, request.keep_inbox)]).await?;
    }
    if let Some(keep) = request.keep_history {
        pruned.history = rows(client.execute(FORGET_HISTORY, &[&before(now, keep), &STEP]).await?);
    }
    let full = |rows: usize| i64::try_from(rows).is_ok_and(|rows| rows == STEP);
    pruned.more = full(pruned.inbox) || full(pruned.history);
    Ok(pruned)
}

/// The number of a source that events have come from.
async fn number_of(client: &Client, source: &Source) -> Result<Option<i32>, Error> {
    let names = (source.stream.as_str(), source.group.as_str());
    let sql = "SELECT source FROM orderd.sources WHERE stream = $1 AND grp = $2";
    client.query_opt(sql, &[&names.0, &names.1]).await?.map(|row| row.try_get(0)).transpose()
}

async fn note(client: &Client, source: i32, below: EntryId, request: &Prune, now: SystemTime) -> Result<(), Error> {
    let last = notes(client, source).await?.pop();
    if prune::is_worth_a_note(last, below, millis(now), request.keep_inbox) {
        // Two notes of one millisecond, or a clock that was set back: the order of the notes is the order in which they were made.
        let at = last.map_or(millis(now), |last| millis(now).max(last.at + 1));
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or_default());
        client.execute(NOTE, &[&source, &at, &stored(below.ms), &stored(below.seq)]).await?;
    }
    Ok(())
}

async fn notes(client: &Client, source: i32) -> Result<Vec<Note>, Error> {
    let read = |row: &Row| Ok(Note { at: millis(row.try_get(0)?), below: id(row, 1)? });
    client.query(NOTES, &[&source]).await?.iter().map(read).collect()
}

/// The entry id whose halves stand in two columns from `column` on.
fn id(row: &Row, column: usize) -> Result<EntryId, Error> {
    Ok(EntryId::new(unstored(row.try_get(column)?), unstored(row.try_get(column + 1)?)))
}

fn rows(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The time `span` before `now`.
fn before(now: SystemTime, span: Duration) -> SystemTime {
    now.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn millis(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
