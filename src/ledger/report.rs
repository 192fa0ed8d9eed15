//! What can be read from a ledger.
//!
//! Owns: the rows as the readers of a ledger see them, whatever stores them.
//! Never: a query; each store has its own.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::event::{Action, Amount};
use crate::domain::id::{EntryId, EventId, OrderId, StreamKey, UserId};
use crate::domain::inbox::Digest;
use crate::domain::notice::Notice;
use crate::domain::order::{Order, State};

/// Which orders to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFilter {
    /// Those of this user only.
    pub user: Option<UserId>,
    /// Those in this state only.
    pub state: Option<State>,
    /// Those after this one only, in the order of their ids: where the page before ended.
    pub after: Option<OrderId>,
    /// At most so many.
    pub limit: u32,
}

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Its id.
    pub id: OrderId,
    /// What its events have made of it.
    pub order: Order,
    /// When its first event was applied.
    pub created_at: Timestamp,
    /// When its last event was applied.
    pub updated_at: Timestamp,
}

/// An event that was applied to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its place among all events of the ledger, in the order of their commits.
    pub seq: u64,
    /// The stream it came from.
    pub stream: StreamKey,
    /// The entry that carried it.
    pub entry: EntryId,
    /// What happened.
    pub action: Action,
    /// The amount it carried.
    pub amount: Option<Amount>,
    /// Where the order stood after it.
    pub state: State,
    /// The order's version after it.
    pub version: u64,
    /// When it was applied, by the clock of the worker that did it.
    pub applied_at: Timestamp,
}

impl HistoryRow {
    /// The notice of this event, of an order of `user`.
    pub fn notice(self, user: UserId, order: OrderId) -> Notice {
        Notice {
            user,
            order,
            action: self.action,
            amount: self.amount,
            standing: Some((self.state, self.version)),
            entry: self.entry,
            at_ms: u64::try_from(self.applied_at.as_millisecond()).unwrap_or_default(),
        }
    }
}

/// An event of one of a user's orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    /// The order.
    pub order: OrderId,
    /// What happened to it.
    pub row: HistoryRow,
}

/// How much a ledger holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Orders.
    pub orders: u64,
    /// Events in the history.
    pub events: u64,
    /// Entries in the inbox.
    pub inbox: u64,
    /// Orders in each state; a state without orders is not there.
    pub by_state: BTreeMap<State, u64>,
}

/// What an event is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The entry that carried it first.
    pub id: EntryId,
    /// The digest of its fields.
    pub digest: Digest,
    /// What its producer calls it, where that counts.
    pub event_id: Option<EventId>,
}
