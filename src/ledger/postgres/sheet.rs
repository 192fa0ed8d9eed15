//! The sheet: what the events of one transaction make of their orders, worked out before any of it is written.
//!
//! Owns: the order of the events, one after the other, and what has to be written at the end.
//! Never: a statement; the rules of an order (that is `domain::order`).

use std::collections::{HashMap, HashSet};

use crate::domain::batch::Work;
use crate::domain::id::OrderId;
use crate::domain::order::{self, Order, State};
use crate::domain::outcome::{Failure, Outcome};

/// What an entry is known by in the inbox: its source, and the halves of its id.
pub(super) type Key = (i32, i64, i64);

/// An event on its way into the ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'w> {
    /// The batch it came in: a failure holds up its order in that batch.
    pub(super) batch: usize,
    /// The event.
    pub(super) work: &'w Work,
}

/// An order as the ledger has it.
#[derive(Debug)]
pub(super) enum Stored {
    /// It was there.
    Read {
        /// Its number.
        number: i64,
        /// The order.
        order: Order,
    },
    /// Its row does not hold what orderd writes; the column that does not.
    Odd(&'static str),
}

/// An order on the sheet.
pub(super) struct Leaf {
    /// `None` for an order that begins here.
    pub(super) number: Option<i64>,
    /// As its events have made it.
    pub(super) order: Order,
    /// Whether one of them was applied here.
    pub(super) touched: bool,
}

/// A line for the history.
pub(super) struct Line<'w> {
    /// The event.
    pub(super) work: &'w Work,
    /// Its key in the inbox.
    pub(super) key: Key,
    /// Where the order stands after it.
    pub(super) state: State,
    /// The order's version after it.
    pub(super) version: u64,
}

/// What came of the events, and what is to be written.
#[derive(Default)]
pub(super) struct Sheet<'w> {
    /// One outcome for each event.
    pub(super) outcomes: Vec<Outcome>,
    /// The orders.
    pub(super) leaves: HashMap<&'w str, Leaf>,
    /// The history, in order.
    pub(super) lines: Vec<Line<'w>>,
    /// What was noted in the inbox and not applied.
    pub(super) struck: HashSet<Key>,
}

impl<'w> Sheet<'w> {
    /// Applies `events` in order to the orders as `stored`. `fresh` are the keys that the inbox did not hold before; `failed`
    /// are orders of which an event has failed already, each in its batch.
    pub(super) fn of(
        events: &[(Event<'w>, Key)],
        mut stored: HashMap<String, Stored>,
        fresh: HashSet<Key>,
        failed: &HashSet<(usize, &'w OrderId)>,
    ) -> Self {
        let mut sheet = Self { struck: fresh, ..Self::default() };
        let mut odd: HashMap<&str, &'static str> = HashMap::new();
        for (event, _) in events {
            let id = event.work.event.order.as_str();
            match stored.remove(id) {
                Some(Stored::Odd(column)) => drop(odd.insert(id, column)),
                Some(Stored::Read { number, order }) => {
                    sheet.leaves.insert(id, Leaf { number: Some(number), order, touched: false });
                }
                None => {}
            }
        }
        let mut failed_here: HashSet<(usize, &OrderId)> = HashSet::new();
        for &(Event { batch, work }, key) in events {
            let place = (batch, &work.event.order);
            let outcome = if failed.contains(&place) || failed_here.contains(&place) {
                Outcome::NotReached
            } else if !sheet.struck.contains(&key) {
                Outcome::Duplicate
            } else if let Some(column) = odd.get(work.event.order.as_str()) {
                Outcome::Failed(unreadable(column))
            } else {
                sheet.advance(work, key)
            };
            if matches!(outcome, Outcome::Failed(_)) {
                failed_here.insert(place);
            }
            sheet.outcomes.push(outcome);
        }
        sheet
    }

    /// Moves the order on; a failure has changed nothing.
    fn advance(&mut self, work: &'w Work, key: Key) -> Outcome {
        let id = work.event.order.as_str();
        let leaf = self.leaves.get(id);
        match order::apply(leaf.as_ref().map(|leaf| &leaf.order), &work.event) {
            Ok(after) => {
                self.lines.push(Line { work, key, state: after.state, version: after.version });
                let number = leaf.and_then(|leaf| leaf.number);
                self.leaves.insert(id, Leaf { number, order: after, touched: true });
                self.struck.remove(&key);
                Outcome::Applied
            }
            Err(refusal) => Outcome::Failed(refusal.into()),
        }
    }
}

/// A row that somebody has changed by hand fails its own order only, and may be mended.
fn unreadable(column: &str) -> Failure {
    Failure::transient(format!("the ledger's row of this order cannot be read: {column} is not what it should be"))
}
