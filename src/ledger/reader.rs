//! Reading a ledger, whatever stores it.
//!
//! Owns: the choice of the store.
//! Never: a query; each store has its own.

use super::error::LedgerError;
use super::location::Location;
use super::postgres::reader::PostgresReader;
use super::report::{Counts, HistoryRow, Identity, OrderFilter, OrderRow, UserEvent};
use super::sqlite::reader::SqliteReader;
use crate::domain::batch::Source;
use crate::domain::id::{EntryId, OrderId, UserId};

/// A reader of a ledger. Its calls block.
#[derive(Debug)]
pub enum LedgerReader {
    /// Of one in an SQLite file.
    Sqlite(SqliteReader),
    /// Of one in a Postgres database.
    Postgres(Box<PostgresReader>),
}

impl LedgerReader {
    /// Opens the ledger at `location`, which has to be there.
    pub fn open(location: &Location) -> Result<Self, LedgerError> {
        match location {
            Location::Sqlite(path) => SqliteReader::open_read_only(path).map(Self::Sqlite),
            Location::Postgres(address) => PostgresReader::open_read_only(address).map(Box::new).map(Self::Postgres),
        }
    }

    /// The orders that `filter` asks for, by their ids.
    pub fn orders(&self, filter: &OrderFilter) -> Result<Vec<OrderRow>, LedgerError> {
        match self {
            Self::Sqlite(reader) => reader.orders(filter),
            Self::Postgres(reader) => reader.orders(filter),
        }
    }

    /// One order with its history; `None` where there is no such order.
    pub fn order(&self, id: &OrderId) -> Result<Option<(OrderRow, Vec<HistoryRow>)>, LedgerError> {
        match self {
            Self::Sqlite(reader) => reader.order(id),
            Self::Postgres(reader) => reader.order(id),
        }
    }

    /// The last events of the orders of `user` that were applied at `since_ms` (milliseconds since the Unix epoch) or later, oldest
    /// first; at most the last `limit`.
    pub fn events_of(&self, user: &UserId, since_ms: u64, limit: u32) -> Result<Vec<UserEvent>, LedgerError> {
        match self {
            Self::Sqlite(reader) => reader.events_of(user, since_ms, limit),
            Self::Postgres(reader) => reader.events_of(user, since_ms, limit),
        }
    }

    /// When the event of `entry` was applied to an order of `user`, in milliseconds since the Unix epoch; `None` where none was.
    pub fn applied_at(&self, user: &UserId, entry: EntryId) -> Result<Option<u64>, LedgerError> {
        match self {
            Self::Sqlite(reader) => reader.applied_at(user, entry),
            Self::Postgres(reader) => reader.applied_at(user, entry),
        }
    }

    /// How much there is.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        match self {
            Self::Sqlite(reader) => reader.counts(),
            Self::Postgres(reader) => reader.counts(),
        }
    }

    /// Which of these events of `source` have been applied, one answer for each.
    pub fn holds(&self, source: &Source, events: &[Identity]) -> Result<Vec<bool>, LedgerError> {
        match self {
            Self::Sqlite(reader) => reader.holds(source, events),
            Self::Postgres(reader) => reader.holds(source, events),
        }
    }

    /// The lowest and the highest entry of the present generation of `source` that were applied; `None` where none was.
    pub fn extent(&self, source: &Source) -> Result<Option<(EntryId, EntryId)>, LedgerError> {
        match self {
            Self::Sqlite(reader) => reader.extent(source),
            Self::Postgres(reader) => reader.extent(source),
        }
    }
}
