//! The book: entering one event after the other inside a transaction.
//!
//! Owns: the statements, and the order in which they are run, so that an event that is refused leaves nothing behind.
//! Never: the transaction itself; the rules of an order (that is `domain::order`).

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Result, Row, Statement};

use super::fault;
use super::hook::Hook;
use super::inbox::{Begun, Inbox, Noted};
use super::row::{self, stored};
use crate::domain::batch::Work;
use crate::domain::event::OrderEvent;
use crate::domain::id::{EventId, OrderId};
use crate::domain::order::{Order, Rules};
use crate::domain::outcome::{Effect, Failure, Outcome};

/// The statements of the hot path, prepared once, and what is known between two transactions.
pub(super) struct Book<'c> {
    conn: &'c Connection,
    rules: &'c Rules,
    hook: Option<&'c dyn Hook>,
    inbox: Inbox<'c>,
    published: Statement<'c>,
    begin: Statement<'c>,
    load: Statement<'c>,
    store: Statement<'c>,
    append: Statement<'c>,
}

/// An order and its number in the ledger.
struct Numbered {
    number: i64,
    order: Order,
}

impl<'c> Book<'c> {
    /// Prepares the statements.
    pub(super) fn new(conn: &'c Connection, rules: &'c Rules, hook: Option<&'c dyn Hook>) -> Result<Self> {
        Ok(Self {
            conn,
            rules,
            hook,
            inbox: Inbox::new(conn)?,
            published: conn.prepare("SELECT 1 FROM history WHERE event_id = ?1")?,
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
                "INSERT INTO history (number, source, ms, sub, action, amount, state, version, applied_at, event_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
        })
    }

    /// Enters the events of one batch, at the time `now` in milliseconds, and with `effects` says where their orders stand.
    /// An error is the transaction's: nothing of it counts.
    pub(super) fn enter(&mut self, batch: &[Work], effects: bool, now: i64) -> Result<Vec<Outcome>> {
        let mut failed: HashSet<&OrderId> = HashSet::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for work in batch {
            if failed.contains(&work.event.order) {
                outcomes.push(Outcome::NotReached);
                continue;
            }
            let outcome = match self.hook {
                None => self.enter_one(work, effects, now)?,
                Some(hook) => self.enter_hooked(hook, work, effects, now)?,
            };
            if matches!(outcome, Outcome::Failed(_)) {
                failed.insert(&work.event.order);
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Begins anew: between two transactions other processes may have written.
    pub(super) fn start(&mut self) {
        self.inbox.forget();
    }

    /// The generations that have begun since the transaction did.
    pub(super) fn take_begun(&mut self) -> Vec<Begun> {
        self.inbox.take_begun()
    }

    /// Enters an event and calls the hook. What the hook refuses is undone with what it wrote.
    fn enter_hooked(&mut self, hook: &dyn Hook, work: &Work, effects: bool, now: i64) -> Result<Outcome> {
        self.conn.execute_batch("SAVEPOINT hooked")?;
        let mut outcome = self.enter_one(work, effects, now)?;
        if matches!(outcome, Outcome::Applied | Outcome::AppliedTo(_))
            && let Err(failure) = hook.applied(self.conn, work)?
        {
            self.conn.execute_batch("ROLLBACK TO hooked")?;
            self.inbox.undo(work.event.origin());
            outcome = Outcome::Failed(failure);
        }
        self.conn.execute_batch("RELEASE hooked")?;
        Ok(outcome)
    }

    fn enter_one(&mut self, work: &Work, effects: bool, now: i64) -> Result<Outcome> {
        if self.rules.ignores(&work.event.action) {
            return Ok(Outcome::Ignored);
        }
        if self.was_published(&work.event)? {
            return Ok(Outcome::Duplicate);
        }
        let Some(noted) = self.inbox.note(work)? else { return Ok(Outcome::Duplicate) };
        match self.advance(&work.event, now)? {
            Ok(after) => {
                self.append(noted, &work.event, &after, now)?;
                self.inbox.applied(noted, work)?;
                Ok(if effects { Outcome::AppliedTo(Box::new(effect(after.order, now))) } else { Outcome::Applied })
            }
            Err(failure) => {
                self.inbox.strike(noted)?;
                Ok(Outcome::Failed(failure))
            }
        }
    }

    /// Whether an event with this id of the producer's was applied before. Asks nothing where there is no such id.
    fn was_published(&mut self, event: &OrderEvent) -> Result<bool> {
        let Some(id) = &event.event_id else { return Ok(false) };
        self.published.exists([id.as_str()])
    }

    /// Moves the order on by `event`; a failure has changed nothing.
    fn advance(&mut self, event: &OrderEvent, now: i64) -> Result<std::result::Result<Numbered, Failure>> {
        // An event that can begin an order mostly does: that saves looking for the order first.
        if self.rules.begins(&event.action)
            && let Ok(order) = self.rules.apply(None, event)
            && let Some(number) = self.begin(event, &order, now)?
        {
            return Ok(Ok(Numbered { number, order }));
        }
        let before = match self.load.query_row([event.order.as_str()], numbered).optional() {
            Ok(Some(before)) => before,
            Ok(None) => return Ok(Err(not_the_first(self.rules, event))),
            Err(error) => return unreadable(error).map(Err),
        };
        match self.rules.apply(Some(&before.order), event) {
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

    fn append(&mut self, noted: Noted, event: &OrderEvent, after: &Numbered, now: i64) -> Result<()> {
        let Noted { source, id: (ms, sub), .. } = noted;
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
            event.event_id.as_ref().map(EventId::as_str),
        ))?;
        Ok(())
    }
}

fn effect(Order { user, state, version, .. }: Order, now: i64) -> Effect {
    Effect { user, state, version, at_ms: u64::try_from(now).unwrap_or_default() }
}

fn numbered(row: &Row<'_>) -> Result<Numbered> {
    Ok(Numbered { order: row::order(row)?, number: row.get(row::ORDER_COLUMNS.len())? })
}

/// Why `event` does not begin the order that is not there.
fn not_the_first(rules: &Rules, event: &OrderEvent) -> Failure {
    let refusal = rules.apply(None, event).err();
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
