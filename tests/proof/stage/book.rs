//! The ledger as the harness sees it, from outside and read-only: in an SQLite file or in Postgres.
//!
//! Owns: connections of the harness's own, and what is read over them.
//! Never: a change; a line of the program that is judged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::OpenFlags;

use crate::checker::record::{Applied, OrderRow};
use crate::postgres::Database;

/// Where the ledger is.
#[derive(Clone)]
pub(crate) enum Place {
    File(PathBuf),
    Postgres(Arc<Database>),
}

/// A ledger that is open.
pub(crate) enum Book {
    File(rusqlite::Connection),
    Postgres(Arc<Database>),
}

const MARK: &str = "SELECT coalesce(max(seq), 0) FROM ";
const EVENTS: &str =
    "SELECT seq, entry_id, order_id, action, amount, version, applied_at FROM order_events ORDER BY seq";
const ORDERS: &str = "SELECT order_id, refunded, version FROM orders";
/// The same in Postgres, with the columns as text.
const POSTGRES_EVENTS: &str = "SELECT seq, entry_id, order_id, action, amount, version,
    (extract(epoch FROM applied_at) * 1000)::bigint FROM orderd.order_events ORDER BY seq";
const POSTGRES_ORDERS: &str = "SELECT order_id, refunded, version FROM orderd.orders";

impl Place {
    /// As `ledger.url` takes it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::File(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(database) => database.url(),
        }
    }

    pub(crate) fn open(&self) -> Book {
        match self {
            Self::File(path) => Book::File(open_file(path)),
            Self::Postgres(database) => Book::Postgres(Arc::clone(database)),
        }
    }
}

impl Book {
    /// The last `seq` of the history; 0 where there is none yet. `None` while nobody answers.
    pub(crate) fn mark(&self) -> Option<i64> {
        match self {
            Self::File(file) => {
                Some(file.query_row(&format!("{MARK}history"), [], |row| row.get(0)).expect("the ledger's mark"))
            }
            Self::Postgres(database) => database.try_value(&format!("{MARK}orderd.history")).ok(),
        }
    }

    /// How many entries the inbox has forgotten, which the history still has.
    pub(crate) fn forgotten(&self) -> u64 {
        let (history, inbox) = match self {
            Self::File(file) => {
                let count = |table: &str| {
                    let query = format!("SELECT count(*) FROM {table}");
                    file.query_row(&query, [], |row| row.get::<_, i64>(0)).expect("a count")
                };
                (count("history"), count("inbox"))
            }
            Self::Postgres(database) => {
                let count = |table: &str| database.value::<i64>(&format!("SELECT count(*) FROM orderd.{table}"));
                (count("history"), count("inbox"))
            }
        };
        u64::try_from(history - inbox).unwrap_or_default()
    }

    /// Every row of the history.
    pub(crate) fn events(&self) -> Vec<Applied> {
        match self {
            Self::File(file) => {
                let read = |row: &rusqlite::Row<'_>| {
                    let entry: String = row.get(1)?;
                    let entry = entry.parse().expect("an id");
                    let (seq, order, action, amount) = (row.get(0)?, row.get(2)?, row.get(3)?, row.get(4)?);
                    Ok(Applied { seq, entry, order, action, amount, version: number(row, 5)?, at: number(row, 6)? })
                };
                rows(file, EVENTS, read)
            }
            Self::Postgres(database) => {
                let text = database.text(POSTGRES_EVENTS);
                text.lines().map(|line| applied(line).expect("a row of the history")).collect()
            }
        }
    }

    /// Every order.
    pub(crate) fn orders(&self) -> Vec<OrderRow> {
        match self {
            Self::File(file) => {
                let read = |row: &rusqlite::Row<'_>| {
                    Ok(OrderRow { order: row.get(0)?, refunded: row.get(1)?, version: number(row, 2)? })
                };
                rows(file, ORDERS, read)
            }
            Self::Postgres(database) => {
                let text = database.text(POSTGRES_ORDERS);
                text.lines().map(|line| order(line).expect("an order")).collect()
            }
        }
    }
}

/// Opens the file to read only.
pub(crate) fn open_file(path: &Path) -> rusqlite::Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let ledger = rusqlite::Connection::open_with_flags(path, flags).expect("the ledger opens");
    ledger.busy_timeout(Duration::from_secs(10)).expect("a time to wait");
    ledger
}

fn rows<T>(
    file: &rusqlite::Connection,
    query: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut statement = file.prepare(query).expect("a query");
    let rows = statement.query_map([], read).expect("rows");
    rows.collect::<rusqlite::Result<_>>().expect("rows of this form")
}

fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).expect("a number of this column is never negative"))
}

/// A row of the history, from its columns with bars between them. The texts of the producer hold none.
fn applied(line: &str) -> Option<Applied> {
    let mut columns = line.split('|');
    Some(Applied {
        seq: columns.next()?.parse().ok()?,
        entry: columns.next()?.parse().ok()?,
        order: columns.next()?.to_owned(),
        action: columns.next()?.to_owned(),
        amount: columns.next().filter(|amount| !amount.is_empty()).map(str::to_owned),
        version: columns.next()?.parse().ok()?,
        at: columns.next()?.parse().ok()?,
    })
}

fn order(line: &str) -> Option<OrderRow> {
    let mut columns = line.split('|');
    let (order, refunded) = (columns.next()?.to_owned(), columns.next()?.to_owned());
    Some(OrderRow { order, refunded, version: columns.next()?.parse().ok()? })
}
