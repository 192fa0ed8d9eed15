//! Columns and the values behind them.
//!
//! Owns: how a value is read, and how the halves of an entry id are stored.
//! Never: a query.

use std::str::FromStr;
use std::time::SystemTime;

use jiff::Timestamp;
use tokio_postgres::Row;

use crate::domain::id::UserId;
use crate::domain::order::Order;

/// The columns of an order, as [`order`] reads them. Amounts are read as text: exact, with the digits that were written.
pub(super) const ORDER_COLUMNS: [&str; 6] =
    ["user_id", "state", "amount::text", "paid::text", "refunded::text", "version"];

/// A column that does not hold what orderd writes there: somebody else has written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not what it should be")]
pub(super) struct Odd(pub(super) &'static str);

/// The order in the first columns of a row.
pub(super) fn order(row: &Row) -> Result<Order, Odd> {
    Ok(Order {
        user: UserId::from(text(row, 0, "user_id")?),
        state: parsed(row, 1, "state")?,
        amount: parsed(row, 2, "amount")?,
        paid: parsed(row, 3, "paid")?,
        refunded: parsed(row, 4, "refunded")?,
        version: whole(row, 5, "version")?,
    })
}

/// The value whose text stands in a column.
pub(super) fn parsed<T: FromStr>(row: &Row, column: usize, name: &'static str) -> Result<T, Odd> {
    text(row, column, name)?.parse().map_err(|_| Odd(name))
}

/// The value whose text stands in a column that may be empty.
pub(super) fn optional<T: FromStr>(row: &Row, column: usize, name: &'static str) -> Result<Option<T>, Odd> {
    let text: Option<&str> = row.try_get(column).map_err(|_| Odd(name))?;
    text.map(|text| text.parse().map_err(|_| Odd(name))).transpose()
}

/// A text.
pub(super) fn text<'r>(row: &'r Row, column: usize, name: &'static str) -> Result<&'r str, Odd> {
    row.try_get(column).map_err(|_| Odd(name))
}

/// A number of something.
pub(super) fn whole(row: &Row, column: usize, name: &'static str) -> Result<u64, Odd> {
    let number: i64 = row.try_get(column).map_err(|_| Odd(name))?;
    u64::try_from(number).map_err(|_| Odd(name))
}

/// A time.
pub(super) fn time(row: &Row, column: usize, name: &'static str) -> Result<Timestamp, Odd> {
    let time: SystemTime = row.try_get(column).map_err(|_| Odd(name))?;
    Timestamp::try_from(time).map_err(|_| Odd(name))
}

/// A number as Postgres takes it: it knows signed ones only, so that the largest half wraps around to negative ones.
pub(super) fn stored(number: u64) -> i64 {
    number.cast_signed()
}

/// The number behind what is stored.
pub(super) fn unstored(number: i64) -> u64 {
    number.cast_unsigned()
}
