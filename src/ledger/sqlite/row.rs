//! Columns and the values behind them.
//!
//! Owns: how a value is stored, in both directions.
//! Never: a query.

use std::error::Error as StdError;
use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};

use crate::domain::id::UserId;
use crate::domain::order::Order;

/// The columns of an order, as [`order`] reads them.
pub(super) const ORDER_COLUMNS: [&str; 6] = ["user_id", "state", "amount", "paid", "refunded", "version"];

/// The order in the first columns of a row.
pub(super) fn order(row: &Row<'_>) -> Result<Order> {
    Ok(Order {
        user: UserId::from(row.get_ref(0)?.as_str().map_err(|error| odd(0, error))?),
        state: parsed(row, 1)?,
        amount: parsed(row, 2)?,
        paid: parsed(row, 3)?,
        refunded: parsed(row, 4)?,
        version: whole(row, 5)?,
    })
}

/// The value whose text stands in a column.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: FromStr<Err: StdError + Send + Sync + 'static>,
{
    optional(row, column)?.ok_or_else(|| Error::InvalidColumnType(column, String::new(), Type::Null))
}

/// The value whose text stands in a column that may be empty.
pub(super) fn optional<T>(row: &Row<'_>, column: usize) -> Result<Option<T>>
where
    T: FromStr<Err: StdError + Send + Sync + 'static>,
{
    let text = row.get_ref(column)?.as_str_or_null().map_err(|error| odd(column, error))?;
    text.map(|text| text.parse().map_err(|error| odd(column, error))).transpose()
}

/// A number of something.
pub(super) fn whole(row: &Row<'_>, column: usize) -> Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(column, number))
}

/// A time.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(|error| odd(column, error))
}

/// A number as SQLite takes it: it knows signed ones only, so that the largest half wraps around to negative ones.
pub(super) fn stored(number: u64) -> i64 {
    number.cast_signed()
}

/// The number behind what is stored.
pub(super) fn unstored(number: i64) -> u64 {
    number.cast_unsigned()
}

fn odd(column: usize, error: impl StdError + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
