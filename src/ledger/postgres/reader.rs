//! Reading the ledger, beside the writers and without holding them up.
//!
//! Owns: the queries behind `orderd orders` and `orderd audit`, behind what browsers catch up with, and the counts.
//! Never: a change to the database.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::address::Address;
use super::error::PostgresError;
use super::link::{self, Link};
use super::own_runtime;
use super::row::{self, ORDER_COLUMNS, Odd, stored, unstored};
use crate::domain::batch::Source;
use crate::domain::event::Action;
use crate::domain::id::{EntryId, OrderId, StreamKey, UserId};
use crate::domain::inbox::Digest;
use crate::domain::order::State;
use crate::ledger::error::LedgerError;
use crate::ledger::report::{Counts, HistoryRow, Identity, OrderFilter, OrderRow, UserEvent};
use crate::ledger::sqlite::probe::Standing;

/// A connection that only reads. Its calls block.
pub struct PostgresReader {
    at: Address,
    runtime: Runtime,
    link: Link,
}

/// Why a query has no answer.
enum Unread {
    /// The server did not answer it.
    Query(Error),
    /// Its answer holds what orderd does not write.
    Odd(Odd),
}

/// Looks at the place of a ledger and changes nothing. An error is what would keep a worker from using it, as far as a look shows
/// that: whether a schema may be made there is found out by making it.
pub fn look(at: &Address) -> Result<Standing, LedgerError> {
    let opened = own_runtime()?.block_on(async {
        Link::for_reading(at).await.map(Link::close)?.await;
        Ok(())
    });
    match opened {
        Ok(()) => Ok(Standing::Ledger),
        Err(PostgresError::Missing { .. }) => Ok(Standing::Nothing),
        Err(error) => Err(error.into()),
    }
}

impl PostgresReader {
    /// Opens the ledger at `at`, which has to be there.
    pub fn open_read_only(at: &Address) -> Result<Self, LedgerError> {
        let runtime = own_runtime()?;
        let link = runtime.block_on(Link::for_reading(at))?;
        Ok(Self { at: at.clone(), runtime, link })
    }

    /// The orders that `filter` asks for, by their ids.
    pub fn orders(&self, filter: &OrderFilter) -> Result<Vec<OrderRow>, LedgerError> {
        self.read(self.list(filter))
    }

    /// One order with its history; `None` where there is no such order.
    pub fn order(&self, id: &OrderId) -> Result<Option<(OrderRow, Vec<HistoryRow>)>, LedgerError> {
        self.read(self.find(id))
    }

    /// The last events of the orders of `user` that were applied at `since_ms` or later, oldest first; at most the last `limit`.
    pub fn events_of(&self, user: &UserId, since_ms: u64, limit: u32) -> Result<Vec<UserEvent>, LedgerError> {
        self.read(self.list_events(user, since_ms, limit))
    }

    /// When the event of this entry was applied to an order of `user`, in milliseconds since the Unix epoch.
    pub fn applied_at(&self, user: &UserId, entry: EntryId) -> Result<Option<u64>, LedgerError> {
        self.read(self.find_time(user, entry))
    }

    /// How much there is.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        self.read(self.count())
    }

    /// Which of these events of `source` have been applied, one answer for each.
    pub fn holds(&self, source: &Source, events: &[Identity]) -> Result<Vec<bool>, LedgerError> {
        self.read(self.look_up(source, events))
    }

    /// The lowest and the highest entry of the present generation of `source` that were applied.
    pub fn extent(&self, source: &Source) -> Result<Option<(EntryId, EntryId)>, LedgerError> {
        self.read(self.ends(source))
    }

    /// All that is read sees the same moment.
    fn read<T>(&self, queries: impl Future<Output = Result<T, Unread>>) -> Result<T, LedgerError> {
        let answer = self.runtime.block_on(async {
            self.link.client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let answer = queries.await;
            self.link.client.batch_execute("ROLLBACK").await?;
            answer
        });
        answer.map_err(|unread| match unread {
            Unread::Query(error) => link::failed("read", &self.at, &error).into(),
            Unread::Odd(odd) => {
                PostgresError::Failed { doing: "read", at: Box::new(self.at.clone()), why: odd.to_string() }.into()
            }
        })
    }

    async fn list(&self, filter: &OrderFilter) -> Result<Vec<OrderRow>, Unread> {
        let sql = select_orders()
            + " WHERE ($1::text IS NULL OR user_id = $1) AND ($2::text IS NULL OR state = $2)
                AND ($3::text IS NULL OR order_id > $3) ORDER BY order_id LIMIT $4";
        let user = filter.user.as_ref().map(UserId::as_str);
        let state = filter.state.map(State::as_str);
        let after = filter.after.as_ref().map(OrderId::as_str);
        let limit = i64::from(filter.limit);
        let asked: [&(dyn ToSql + Sync); 4] = [&user, &state, &after, &limit];
        Ok(self.link.client.query(&sql, &asked).await?.iter().map(order_row).collect::<Result<_, _>>()?)
    }

    async fn find(&self, id: &OrderId) -> Result<Option<(OrderRow, Vec<HistoryRow>)>, Unread> {
        let sql = select_orders() + " WHERE order_id = $1";
        let Some(order) = self.link.client.query_opt(&sql, &[&id.as_str()]).await? else {
            return Ok(None);
        };
        let sql = "SELECT seq, stream, entry_id, action, amount::text, state, version, applied_at
            FROM orderd.order_events WHERE order_id = $1 ORDER BY seq";
        let history = self.link.client.query(sql, &[&id.as_str()]).await?;
        Ok(Some((order_row(&order)?, history.iter().map(history_row).collect::<Result<_, _>>()?)))
    }

    async fn list_events(&self, user: &UserId, since_ms: u64, limit: u32) -> Result<Vec<UserEvent>, Unread> {
        let sql = "SELECT h.seq, s.stream, orderd.unsigned(h.ms) || '-' || orderd.unsigned(h.sub), h.action,
                h.amount::text, h.state, h.version, h.applied_at, o.order_id
            FROM orderd.orders AS o JOIN orderd.history AS h ON h.number = o.number
            JOIN orderd.sources AS s ON s.source = h.source
            WHERE o.user_id = $1 AND o.updated_at >= $2 AND h.applied_at >= $2 ORDER BY h.seq DESC LIMIT $3";
        let (since, limit) = (moment(since_ms), i64::from(limit));
        let found = self.link.client.query(sql, &[&user.as_str(), &since, &limit]).await?;
        let event =
            |row: &Row| Ok(UserEvent { row: history_row(row)?, order: OrderId::from(row::text(row, 8, "order_id")?) });
        Ok(found.iter().rev().map(event).collect::<Result<_, Odd>>()?)
    }

    async fn find_time(&self, user: &UserId, entry: EntryId) -> Result<Option<u64>, Unread> {
        let sql = "SELECT h.applied_at FROM orderd.orders AS o JOIN orderd.history AS h ON h.number = o.number
            WHERE o.user_id = $1 AND h.ms = $2 AND h.sub = $3 ORDER BY h.seq DESC LIMIT 1";
        let (ms, sub) = (stored(entry.ms), stored(entry.seq));
        let found = self.link.client.query_opt(sql, &[&user.as_str(), &ms, &sub]).await?;
        let time = found.map(|found| row::time(&found, 0, "applied_at")).transpose()?;
        Ok(time.map(|time| u64::try_from(time.as_millisecond()).unwrap_or_default()))
    }

    async fn look_up(&self, source: &Source, events: &[Identity]) -> Result<Vec<bool>, Unread> {
        let (stream, group) = (source.stream.as_str(), source.group.as_str());
        let (ms, sub): (Vec<i64>, Vec<i64>) =
            events.iter().map(|event| (stored(event.id.ms), stored(event.id.seq))).unzip();
        let sql = "SELECT ms, sub, digest FROM orderd.inbox JOIN orderd.sources USING (source)
            JOIN unnest($3::int8[], $4::int8[]) AS k (ms, sub) USING (ms, sub) WHERE stream = $1 AND grp = $2";
        let mut known: HashMap<EntryId, Vec<Digest>> = HashMap::new();
        for found in self.link.client.query(sql, &[&stream, &group, &ms, &sub]).await? {
            let digest = Digest::from(unstored(found.try_get(2)?));
            known.entry(entry_id(&found)?).or_default().push(digest);
        }
        let asked: Vec<&str> = events.iter().filter_map(|event| Some(event.event_id.as_ref()?.as_str())).collect();
        let sql = "SELECT event_id FROM orderd.history WHERE event_id = ANY($1)";
        let published = self.link.client.query(sql, &[&asked]).await?;
        let published: HashSet<String> = published.iter().map(|found| found.try_get(0)).collect::<Result<_, _>>()?;
        let holds = |event: &Identity| {
            known.get(&event.id).is_some_and(|known| known.contains(&event.digest))
                || event.event_id.as_ref().is_some_and(|id| published.contains(id.as_str()))
        };
        Ok(events.iter().map(holds).collect())
    }

    async fn ends(&self, source: &Source) -> Result<Option<(EntryId, EntryId)>, Unread> {
        let mut ends = Vec::with_capacity(2);
        for order in ["ASC", "DESC"] {
            let sql = format!(
                "SELECT ms, sub FROM orderd.inbox AS i JOIN orderd.sources AS s USING (source)
                 WHERE stream = $1 AND grp = $2 AND i.generation = s.generation ORDER BY ms {order}, sub {order} LIMIT 1"
            );
            let names = (source.stream.as_str(), source.group.as_str());
            ends.extend(self.link.client.query_opt(&sql, &[&names.0, &names.1]).await?.as_ref().map(entry_id));
        }
        let mut ends = ends.into_iter().collect::<Result<Vec<EntryId>, _>>()?.into_iter();
        Ok(ends.next().zip(ends.next()))
    }

    async fn count(&self) -> Result<Counts, Unread> {
        let sql = "SELECT (SELECT count(*) FROM orderd.orders), (SELECT count(*) FROM orderd.history),
            (SELECT count(*) FROM orderd.inbox)";
        let counts = self.link.client.query_one(sql, &[]).await?;
        let sql = "SELECT state, count(*) FROM orderd.orders GROUP BY state";
        let states = self.link.client.query(sql, &[]).await?;
        let state = |row: &Row| Ok((row::parsed(row, 0, "state")?, row::whole(row, 1, "count")?));
        Ok(Counts {
            orders: row::whole(&counts, 0, "count")?,
            events: row::whole(&counts, 1, "count")?,
            inbox: row::whole(&counts, 2, "count")?,
            by_state: states.iter().map(state).collect::<Result<_, Odd>>()?,
        })
    }
}

impl fmt::Debug for PostgresReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresReader({})", self.at)
    }
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self::Query(error)
    }
}

impl From<Odd> for Unread {
    fn from(odd: Odd) -> Self {
        Self::Odd(odd)
    }
}

fn entry_id(found: &Row) -> Result<EntryId, Error> {
    Ok(EntryId::new(unstored(found.try_get(0)?), unstored(found.try_get(1)?)))
}

fn select_orders() -> String {
    format!("SELECT {}, order_id, created_at, updated_at FROM orderd.orders", ORDER_COLUMNS.join(", "))
}

fn order_row(found: &Row) -> Result<OrderRow, Odd> {
    Ok(OrderRow {
        order: row::order(found)?,
        id: OrderId::from(row::text(found, 6, "order_id")?),
        created_at: row::time(found, 7, "created_at")?,
        updated_at: row::time(found, 8, "updated_at")?,
    })
}

fn history_row(found: &Row) -> Result<HistoryRow, Odd> {
    Ok(HistoryRow {
        seq: row::whole(found, 0, "seq")?,
        stream: StreamKey::from(row::text(found, 1, "stream")?),
        entry: row::parsed(found, 2, "entry_id")?,
        action: Action::from(row::text(found, 3, "action")?),
        amount: row::optional(found, 4, "amount")?,
        state: row::parsed(found, 5, "state")?,
        version: row::whole(found, 6, "version")?,
        applied_at: row::time(found, 7, "applied_at")?,
    })
}

/// A time as Postgres takes it; one that no calendar has is the end of the last year of four digits.
fn moment(ms: u64) -> SystemTime {
    const LAST: u64 = 253_402_300_799_999;
    UNIX_EPOCH + Duration::from_millis(ms.min(LAST))
}
