//! The book: entering one event after the other inside a transaction.
//!
//! Owns: the statements, and the order in which they are run, so that an event that is refused leaves nothing behind.
//! Never: the transaction itself; the rules of an order (that is `domain::order`).

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, Statement};

use super::fault;
use super::row::{self, stored};
use crate::bug;
use crate::domain::batch::{Source, Work};
use crate::domain::event::OrderEvent;
use crate::domain::id::OrderId;
use crate::domain::order::{self, Order};
use crate::domain::outcome::{Failure, Outcome};

/// The statements of the hot path, prepared once, and what is known between two transactions.
pub(super) struct Book<'c> {
    conn: &'c Connection,
    note: Statement<'c>,
    strike: Statement<'c>,
    begin: Statement<'c>,
    load: Statement<'c>,
    store: Statement<'c>,
    append: Statement<'c>,
    sources: Sources<'c>,
}

/// What an entry is known by in the inbox: its source, and the halves of its id.
type Key = (i64, i64, i64);

/// An order and its number in the ledger.
struct Numbered {
    number: i64,
    order: Order,
}

impl<'c> Book<'c> {
    /// Prepares the statements.
    pub(super) fn new(conn: &'c Connection) -> Result<Self> {
        Ok(Self {
            conn,
            note: conn.prepare("INSERT INTO inbox (source, ms, sub) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?,
            strike: conn.prepare("DELETE FROM inbox WHERE source = ?1 AND ms = ?2 AND sub = ?3")?,
            begin: conn.prepare(
                "INSERT INTO orders (order_id, user_id, state, amount, paid, refunded, version, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) ON CONFLICT DO NOTHING",
            )?,
            load: conn.prepare(&format!(
                "SELECT {}, number FROM orders WHERE order_id = ?1",
                row::ORDER_COLUMNS.join(", ")
            ))?,
            // What an order began with never changes, and its user is in an index.
            store: conn.prepare(
                "UPDATE orders SET state = ?2, paid = ?3, refunded = ?4, version = ?5, updated_at = ?6
                 WHERE number = ?1",
            )?,
            append: conn.prepare(
                "INSERT INTO history (number, source, ms, sub, action, amount, state, version, applied_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
            sources: Sources::new(conn)?,
        })
    }

    /// Enters the events of one batch, at the time `now` in milliseconds. An error is the transaction's: nothing of it counts.
    pub(super) fn enter(&mut self, batch: &[Work], now: i64) -> Result<Vec<Outcome>> {
        let mut failed: HashSet<&OrderId> = HashSet::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for work in batch {
            if failed.contains(&work.event.order) {
                outcomes.push(Outcome::NotReached);
                continue;
            }
            let outcome = self.enter_one(work, now)?;
            if matches!(outcome, Outcome::Failed(_)) {
                failed.insert(&work.event.order);
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Forgets what a transaction that was undone had taught.
    pub(super) fn forget(&mut self) {
        self.sources.known.clear();
    }

    fn enter_one(&mut self, work: &Work, now: i64) -> Result<Outcome> {
        let id = work.event.id();
        let key = (self.sources.number(&work.context.source)?, stored(id.ms), stored(id.seq));
        if self.note.execute(key)? == 0 && !bug::is("no-inbox") {
            return Ok(Outcome::Duplicate);
        }
        match self.advance(&work.event, now)? {
            Ok(after) => {
                self.append(key, &work.event, &after, now)?;
                Ok(Outcome::Applied)
            }
            Err(failure) => {
                self.strike.execute(key)?;
                Ok(Outcome::Failed(failure))
            }
        }
    }

    /// Moves the order on by `event`; a failure has changed nothing.
    fn advance(&mut self, event: &OrderEvent, now: i64) -> Result<std::result::Result<Numbered, Failure>> {
        // An event that can begin an order mostly does: that saves looking for the order first.
        if order::begins(&event.action)
            && let Ok(order) = order::apply(None, event)
            && let Some(number) = self.begin(event, &order, now)?
        {
            return Ok(Ok(Numbered { number, order }));
        }
        let before = match self.load.query_row([event.order.as_str()], numbered).optional() {
            Ok(Some(before)) => before,
            Ok(None) => return Ok(Err(not_the_first(event))),
            Err(error) => return unreadable(error).map(Err),
        };
        match order::apply(Some(&before.order), event) {
            Ok(order) => {
                let after = Numbered { number: before.number, order };
                self.store(&after, now)?;
                Ok(Ok(after))
            }
            Err(refusal) => Ok(Err(refusal.into())),
        }
    }

    /// The number of the new order; `None` where the order was there already.
    fn begin(&mut self, event: &OrderEvent, order: &Order, now: i64) -> Result<Option<i64>> {
        let rows = self.begin.execute((
            event.order.as_str(),
            order.user.as_str(),
            order.state.as_str(),
            order.amount.to_string(),
            order.paid.to_string(),
            order.refunded.to_string(),
            stored(order.version),
            now,
        ))?;
        Ok((rows == 1).then(|| self.conn.last_insert_rowid()))
    }

    fn store(&mut self, Numbered { number, order }: &Numbered, now: i64) -> Result<()> {
        self.store.execute((
            number,
            order.state.as_str(),
            order.paid.to_string(),
            order.refunded.to_string(),
            stored(order.version),
            now,
        ))?;
        Ok(())
    }

    fn append(&mut self, key: Key, event: &OrderEvent, after: &Numbered, now: i64) -> Result<()> {
        let (source, ms, sub) = key;
        self.append.execute((
            after.number,
            source,
            ms,
            sub,
            event.action.as_str(),
            event.amount.map(|amount| amount.to_string()),
            after.order.state.as_str(),
            stored(after.order.version),
            now,
        ))?;
        Ok(())
    }
}

fn numbered(row: &Row<'_>) -> Result<Numbered> {
    Ok(Numbered { order: row::order(row)?, number: row.get(row::ORDER_COLUMNS.len())? })
}

/// Why `event` does not begin the order that is not there.
fn not_the_first(event: &OrderEvent) -> Failure {
    let refusal = order::apply(None, event).err();
    refusal.map_or_else(|| Failure::transient("the order is neither there nor can it be begun"), Failure::from)
}

/// A row that somebody has changed by hand fails its own order only, and may be mended; other errors go up.
fn unreadable(error: rusqlite::Error) -> Result<Failure> {
    let Some(column) = fault::odd_column(&error) else {
        return Err(error);
    };
    let name = row::ORDER_COLUMNS.get(column).unwrap_or(&"?");
    Ok(Failure::transient(format!("the ledger's row of this order cannot be read: {name} is not what it should be")))
}

/// The small number that stands for a stream and a group in the inbox.
struct Sources<'c> {
    insert: Statement<'c>,
    select: Statement<'c>,
    known: Vec<(Arc<Source>, i64)>,
}

impl<'c> Sources<'c> {
    fn new(conn: &'c Connection) -> Result<Self> {
        Ok(Self {
            insert: conn.prepare("INSERT INTO sources (stream, grp) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?,
            select: conn.prepare("SELECT source FROM sources WHERE stream = ?1 AND grp = ?2")?,
            known: Vec::new(),
        })
    }

    fn number(&mut self, source: &Arc<Source>) -> Result<i64> {
        // A process has one or a few of them, and the same `Arc` for each of its events.
        let same = |known: &Arc<Source>| Arc::ptr_eq(known, source) || known == source;
        if let Some((_, number)) = self.known.iter().find(|(known, _)| same(known)) {
            return Ok(*number);
        }
        let names = (source.stream.as_str(), source.group.as_str());
        self.insert.execute(names)?;
        let number = self.select.query_row(names, |row| row.get(0))?;
        self.known.push((Arc::clone(source), number));
        Ok(number)
    }
}
