//! The book: entering one event after the other inside a transaction.
//!
//! Owns: the statements, and the order in which they are run, so that an event that is refused leaves nothing behind.
//! Never: the transaction itself; the rules of an order (that is `domain::order`).

use std::collections::HashSet;

use rusqlite::{Connection, Result, Statement};

use super::fault;
use super::hook::Hook;
use super::inbox::{Begun, Inbox, Noted};
use super::orders::{Leaf, Orders, Place};
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
    orders: Orders<'c>,
    published: Statement<'c>,
    append: Statement<'c>,
}

impl<'c> Book<'c> {
    /// Prepares the statements.
    pub(super) fn new(conn: &'c Connection, rules: &'c Rules, hook: Option<&'c dyn Hook>) -> Result<Self> {
        Ok(Self {
            conn,
            rules,
            hook,
            inbox: Inbox::new(conn)?,
            orders: Orders::new(conn)?,
            published: conn.prepare("SELECT 1 FROM history WHERE event_id = ?1")?,
            append: conn.prepare(
                "INSERT INTO history (number, source, ms, sub, action, amount, state, version, applied_at, event_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
        })
    }

    /// Enters the events of one batch, at the time `now` in milliseconds, and with `effects` says where their orders stand.
    /// What became of the orders is not in place before [`Book::finish`]. An error is the transaction's: nothing of it counts.
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
        self.orders.forget();
    }

    /// Writes what is left to write before the commit, at the time `now` in milliseconds.
    pub(super) fn finish(&mut self, now: i64) -> Result<()> {
        self.orders.write(now)
    }

    /// The generations that have begun since the transaction did.
    pub(super) fn take_begun(&mut self) -> Vec<Begun> {
        self.inbox.take_begun()
    }

    /// Enters an event and calls the hook. What the hook refuses is undone with what it wrote.
    fn enter_hooked(&mut self, hook: &dyn Hook, work: &Work, effects: bool, now: i64) -> Result<Outcome> {
        self.conn.execute_batch("SAVEPOINT hooked")?;
        let mut outcome = self.enter_one(work, effects, now)?;
        // The hook may look at the order.
        self.orders.write(now)?;
        if matches!(outcome, Outcome::Applied | Outcome::AppliedTo(_))
            && let Err(failure) = hook.applied(self.conn, work)?
        {
            self.conn.execute_batch("ROLLBACK TO hooked")?;
            self.inbox.undo(work.event.origin());
            self.orders.forget();
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
        let place = match self.advance(&work.event, now)? {
            Ok(place) => place,
            Err(failure) => {
                self.inbox.strike(noted)?;
                return Ok(Outcome::Failed(failure));
            }
        };
        let Leaf { number, order, .. } = self.orders.at(place);
        append(&mut self.append, noted, &work.event, (*number, order), now)?;
        let outcome = if effects { Outcome::AppliedTo(Box::new(effect(order, now))) } else { Outcome::Applied };
        self.inbox.applied(noted, work)?;
        Ok(outcome)
    }

    /// Whether an event with this id of the producer's was applied before. Asks nothing where there is no such id.
    fn was_published(&mut self, event: &OrderEvent) -> Result<bool> {
        let Some(id) = &event.event_id else { return Ok(false) };
        self.published.exists([id.as_str()])
    }

    /// Moves the order on by `event`, and returns its place; a failure has changed nothing.
    fn advance(&mut self, event: &OrderEvent, now: i64) -> Result<std::result::Result<Place, Failure>> {
        let (rules, id) = (self.rules, &event.order);
        let mut place = self.orders.met(id);
        if place.is_none() {
            // An event that can begin an order mostly does: that saves looking for the order first.
            if rules.begins(&event.action)
                && let Ok(order) = rules.apply(None, event)
                && let Some(begun) = self.orders.begin(id, order, now)?
            {
                return Ok(Ok(begun));
            }
            place = match self.orders.load(id) {
                Ok(place) => place,
                Err(error) => return unreadable(error).map(Err),
            };
        }
        let Some(place) = place else { return Ok(Err(not_the_first(rules, event))) };
        match rules.apply(Some(&self.orders.at(place).order), event) {
            Ok(order) => {
                self.orders.change(place, order);
                Ok(Ok(place))
            }
            Err(refusal) => Ok(Err(refusal.into())),
        }
    }
}

fn append(
    statement: &mut Statement<'_>,
    Noted { source, id: (ms, sub), .. }: Noted,
    event: &OrderEvent,
    (number, after): (i64, &Order),
    now: i64,
) -> Result<()> {
    statement.execute((
        number,
        source,
        ms,
        sub,
        event.action.as_str(),
        event.amount.map(|amount| amount.to_string()),
        after.state.as_str(),
        stored(after.version),
        now,
        event.event_id.as_ref().map(EventId::as_str),
    ))?;
    Ok(())
}

fn effect(Order { user, state, version, .. }: &Order, now: i64) -> Effect {
    Effect { user: user.clone(), state: *state, version: *version, at_ms: u64::try_from(now).unwrap_or_default() }
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
