//! Reading the ledger, beside the writers and without holding them up.
//!
//! Owns: the queries behind `orderd orders` and `orderd audit`, behind what browsers catch up with, and the counts.
//! Never: a change to the file.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, Statement, ToSql};

use super::row::{stored, unstored};
use super::{failed, open, row};
use crate::domain::batch::Source;
use crate::domain::event::Action;
use crate::domain::id::{EntryId, EventId, OrderId, StreamKey, UserId};
use crate::domain::inbox::Digest;
use crate::domain::order::State;
use crate::ledger::error::LedgerError;
use crate::ledger::report::{Counts, HistoryRow, Identity, OrderFilter, OrderRow, UserEvent};

/// A connection that only reads.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    conn: Connection,
}

impl SqliteReader {
    /// Opens the ledger at `path`, which has to be there.
    pub fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { path: path.to_owned(), conn: open::for_reading(path)? })
    }

    /// The orders that `filter` asks for, by their ids.
    pub fn orders(&self, filter: &OrderFilter) -> Result<Vec<OrderRow>, LedgerError> {
        self.list(filter).map_err(|error| self.failed(&error))
    }

    /// One order with its history; `None` where there is no such order.
    pub fn order(&self, id: &OrderId) -> Result<Option<(OrderRow, Vec<HistoryRow>)>, LedgerError> {
        self.find(id).map_err(|error| self.failed(&error))
    }

    /// The last events of the orders of `user` that were applied at `since_ms` or later, oldest first; at most the last `limit`.
    pub fn events_of(&self, user: &UserId, since_ms: u64, limit: u32) -> Result<Vec<UserEvent>, LedgerError> {
        self.list_events(user, since_ms, limit).map_err(|error| self.failed(&error))
    }

    /// When the event of this entry was applied to an order of `user`, in milliseconds since the Unix epoch.
    pub fn applied_at(&self, user: &UserId, entry: EntryId) -> Result<Option<u64>, LedgerError> {
        let sql = "SELECT h.applied_at FROM orders AS o JOIN history AS h ON h.number = o.number
            WHERE o.user_id = ?1 AND h.ms = ?2 AND h.sub = ?3 ORDER BY h.seq DESC LIMIT 1";
        let key = (user.as_str(), stored(entry.ms), stored(entry.seq));
        let found = self.conn.query_row(sql, key, |found| row::whole(found, 0)).optional();
        found.map_err(|error| self.failed(&error))
    }

    /// How much there is.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        self.count().map_err(|error| self.failed(&error))
    }

    /// The entries of `stream` whose events were applied, once for each row of the history, in the order of their commits.
    pub fn applied(&self, stream: &StreamKey) -> Result<Vec<EntryId>, LedgerError> {
        self.history_of(stream).map_err(|error| self.failed(&error))
    }

    /// Which of these events of `source` have been applied, one answer for each.
    pub fn holds(&self, source: &Source, events: &[Identity]) -> Result<Vec<bool>, LedgerError> {
        self.look_up(source, events).map_err(|error| self.failed(&error))
    }

    /// The lowest and the highest entry of the present generation of `source` that were applied.
    pub fn extent(&self, source: &Source) -> Result<Option<(EntryId, EntryId)>, LedgerError> {
        self.ends(source).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &rusqlite::Error) -> LedgerError {
        failed("read", &self.path, error)
    }

    fn list(&self, filter: &OrderFilter) -> rusqlite::Result<Vec<OrderRow>> {
        let asked = [
            ("user_id = ?", filter.user.as_ref().map(UserId::as_str)),
            ("state = ?", filter.state.map(State::as_str)),
            ("order_id > ?", filter.after.as_ref().map(OrderId::as_str)),
        ];
        let mut sql = select_orders();
        let mut values: Vec<&dyn ToSql> = Vec::new();
        for (condition, value) in &asked {
            let Some(value) = value else { continue };
            sql.push_str(if values.is_empty() { " WHERE " } else { " AND " });
            sql.push_str(condition);
            values.push(value);
        }
        sql.push_str(" ORDER BY order_id LIMIT ?");
        values.push(&filter.limit);
        self.conn.prepare(&sql)?.query_map(&*values, order_row)?.collect()
    }

    fn find(&self, id: &OrderId) -> rusqlite::Result<Option<(OrderRow, Vec<HistoryRow>)>> {
        let snapshot = self.conn.unchecked_transaction()?;
        let sql = select_orders() + " WHERE order_id = ?1";
        let Some(order) = snapshot.query_row(&sql, [id.as_str()], order_row).optional()? else {
            return Ok(None);
        };
        let sql = "SELECT seq, stream, entry_id, action, amount, state, version, applied_at
            FROM order_events WHERE order_id = ?1 ORDER BY seq";
        let history = snapshot.prepare(sql)?.query_map([id.as_str()], history_row)?.collect::<Result<_, _>>()?;
        Ok(Some((order, history)))
    }

    fn history_of(&self, stream: &StreamKey) -> rusqlite::Result<Vec<EntryId>> {
        let sql = "SELECT entry_id FROM order_events WHERE stream = ?1 ORDER BY seq";
        self.conn.prepare(sql)?.query_map([stream.as_str()], |found| row::parsed(found, 0))?.collect()
    }

    fn list_events(&self, user: &UserId, since_ms: u64, limit: u32) -> rusqlite::Result<Vec<UserEvent>> {
        let sql = "SELECT h.seq, s.stream, printf('%llu-%llu', h.ms, h.sub), h.action, h.amount, h.state, h.version,
                h.applied_at, o.order_id
            FROM orders AS o JOIN history AS h ON h.number = o.number JOIN sources AS s ON s.source = h.source
            WHERE o.user_id = ?1 AND o.updated_at >= ?2 AND h.applied_at >= ?2 ORDER BY h.seq DESC LIMIT ?3";
        let event = |found: &Row<'_>| {
            Ok(UserEvent { row: history_row(found)?, order: OrderId::from(found.get::<_, String>(8)?) })
        };
        let since = i64::try_from(since_ms).unwrap_or(i64::MAX);
        let asked = (user.as_str(), since, limit);
        let mut events = self.conn.prepare(sql)?.query_map(asked, event)?.collect::<Result<Vec<_>, _>>()?;
        events.reverse();
        Ok(events)
    }

    fn look_up(&self, source: &Source, events: &[Identity]) -> rusqlite::Result<Vec<bool>> {
        let snapshot = self.conn.unchecked_transaction()?;
        let mut same_id = snapshot.prepare(
            "SELECT digest FROM inbox JOIN sources USING (source) WHERE stream = ?1 AND grp = ?2 AND ms = ?3 AND sub = ?4",
        )?;
        let mut published = snapshot.prepare("SELECT 1 FROM history WHERE event_id = ?1")?;
        let mut answers = Vec::with_capacity(events.len());
        for Identity { id, digest, event_id } in events {
            let asked = (source.stream.as_str(), source.group.as_str(), stored(id.ms), stored(id.seq));
            let known = same_id.query_map(asked, |found| found.get::<_, Option<i64>>(0))?;
            let known = known.collect::<rusqlite::Result<Vec<_>>>()?;
            // Of an entry whose digest nobody noted, the id is all there is to know it by.
            let is_known =
                known.into_iter().any(|known| known.is_none_or(|known| Digest::from(unstored(known)) == *digest));
            answers.push(is_known || by_event_id(&mut published, event_id.as_ref())?);
        }
        Ok(answers)
    }

    fn ends(&self, source: &Source) -> rusqlite::Result<Option<(EntryId, EntryId)>> {
        let snapshot = self.conn.unchecked_transaction()?;
        let end = |order: &str| {
            let sql = format!(
                "SELECT ms, sub FROM inbox JOIN sources USING (source)
                 WHERE stream = ?1 AND grp = ?2 AND inbox.generation = sources.generation
                 ORDER BY ms {order}, sub {order} LIMIT 1"
            );
            let id = |found: &Row<'_>| Ok(EntryId::new(unstored(found.get(0)?), unstored(found.get(1)?)));
            snapshot.query_row(&sql, (source.stream.as_str(), source.group.as_str()), id).optional()
        };
        Ok(end("ASC")?.zip(end("DESC")?))
    }

    fn count(&self) -> rusqlite::Result<Counts> {
        let snapshot = self.conn.unchecked_transaction()?;
        let count = |table: &str| {
            snapshot.query_row(&format!("SELECT count(*) FROM {table}"), [], |found| row::whole(found, 0))
        };
        let by_state = snapshot
            .prepare("SELECT state, count(*) FROM orders GROUP BY state")?
            .query_map([], |found| Ok((row::parsed(found, 0)?, row::whole(found, 1)?)))?
            .collect::<Result<_, _>>()?;
        Ok(Counts { orders: count("orders")?, events: count("history")?, inbox: count("inbox")?, by_state })
    }
}

fn by_event_id(published: &mut Statement<'_>, event_id: Option<&EventId>) -> rusqlite::Result<bool> {
    event_id.map_or(Ok(false), |id| published.exists([id.as_str()]))
}

fn select_orders() -> String {
    format!("SELECT {}, order_id, created_at, updated_at FROM orders", row::ORDER_COLUMNS.join(", "))
}

fn order_row(found: &Row<'_>) -> rusqlite::Result<OrderRow> {
    Ok(OrderRow {
        order: row::order(found)?,
        id: OrderId::from(found.get::<_, String>(6)?),
        created_at: row::time(found, 7)?,
        updated_at: row::time(found, 8)?,
    })
}

fn history_row(found: &Row<'_>) -> rusqlite::Result<HistoryRow> {
    Ok(HistoryRow {
        seq: row::whole(found, 0)?,
        stream: StreamKey::from(found.get::<_, String>(1)?),
        entry: row::parsed(found, 2)?,
        action: Action::from(found.get::<_, String>(3)?.as_str()),
        amount: row::optional(found, 4)?,
        state: row::parsed(found, 5)?,
        version: row::whole(found, 6)?,
        applied_at: row::time(found, 7)?,
    })
}
