//! The orders in SQLite.
//!
//! Owns: their rows, and what the events of one transaction have made of them: each is read once and written once, however many of its
//! events there are.
//! Never: an order that is known beyond the transaction, for other processes may change it then; the rules of an order.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Result, Row, Statement};

use super::row::{self, stored};
use crate::domain::id::OrderId;
use crate::domain::order::Order;

/// The statements of the orders, prepared once, and what is known within one transaction.
pub(super) struct Orders<'c> {
    conn: &'c Connection,
    begin: Statement<'c>,
    load: Statement<'c>,
    store: Statement<'c>,
    /// In the order in which they were first met, which is nearly that of their rows.
    leaves: Vec<Leaf>,
    places: HashMap<OrderId, Place>,
}

/// Where an order that has been met in this transaction stands.
pub(super) type Place = usize;

/// An order, as the events so far have made it.
pub(super) struct Leaf {
    /// Its number in the ledger.
    pub(super) number: i64,
    /// The order.
    pub(super) order: Order,
    /// Whether its row does not say so yet.
    changed: bool,
}

impl<'c> Orders<'c> {
    /// Prepares the statements.
    pub(super) fn new(conn: &'c Connection) -> Result<Self> {
        Ok(Self {
            conn,
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
            leaves: Vec::new(),
            places: HashMap::new(),
        })
    }

    /// The place of an order that has been met in this transaction.
    pub(super) fn met(&self, id: &OrderId) -> Option<Place> {
        self.places.get(id).copied()
    }

    /// The order at a place.
    pub(super) fn at(&self, place: Place) -> &Leaf {
        &self.leaves[place]
    }

    /// An event has made this of the order at a place.
    pub(super) fn change(&mut self, place: Place, order: Order) {
        let leaf = &mut self.leaves[place];
        (leaf.order, leaf.changed) = (order, true);
    }

    /// Writes the row of a new order; `None` where the order was there already.
    pub(super) fn begin(&mut self, id: &OrderId, order: Order, now: i64) -> Result<Option<Place>> {
        let rows = self.begin.execute((
            id.as_str(),
            order.user.as_str(),
            order.state.as_str(),
            order.amount.to_string(),
            order.paid.to_string(),
            order.refunded.to_string(),
            stored(order.version),
            now,
        ))?;
        let number = self.conn.last_insert_rowid();
        Ok((rows == 1).then(|| self.meet(id, Leaf { number, order, changed: false })))
    }

    /// Reads the row of an order; `None` where there is none.
    pub(super) fn load(&mut self, id: &OrderId) -> Result<Option<Place>> {
        let leaf = self.load.query_row([id.as_str()], leaf).optional()?;
        Ok(leaf.map(|leaf| self.meet(id, leaf)))
    }

    /// Writes the rows of the orders that have changed.
    pub(super) fn write(&mut self, now: i64) -> Result<()> {
        for Leaf { number, order, changed } in self.leaves.iter_mut().filter(|leaf| leaf.changed) {
            self.store.execute((
                *number,
                order.state.as_str(),
                order.paid.to_string(),
                order.refunded.to_string(),
                stored(order.version),
                now,
            ))?;
            *changed = false;
        }
        Ok(())
    }

    /// Forgets what is known: another process may have written since the last transaction, or this one was undone.
    pub(super) fn forget(&mut self) {
        self.leaves.clear();
        self.places.clear();
    }

    fn meet(&mut self, id: &OrderId, leaf: Leaf) -> Place {
        let place = self.leaves.len();
        self.places.insert(id.clone(), place);
        self.leaves.push(leaf);
        place
    }
}

fn leaf(row: &Row<'_>) -> Result<Leaf> {
    Ok(Leaf { order: row::order(row)?, number: row.get(row::ORDER_COLUMNS.len())?, changed: false })
}
