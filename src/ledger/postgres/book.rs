//! The book: entering the events of one transaction.
//!
//! Owns: the statements. Each carries all that there is to say in one round trip, as arrays, and in an order that all writers
//! share, so that two of them never wait for each other in a circle.
//! Never: a second attempt; the rules of an order (that is `domain::order`).
//!
//! The order of a transaction: the inbox, by key; the rows of orders that are there, by id; new orders, by id; the history, under
//! a lock that lasts until the commit, so that `seq` rises in the order of the commits. Who has come to a later step waits for
//! nobody in an earlier one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::{Client, Error, Statement};

use super::fault::Fault;
use super::row::{self, ORDER_COLUMNS, stored};
use super::sheet::{Event, Key, Leaf, Line, Sheet, Stored};
use crate::crash;
use crate::domain::batch::Source;
use crate::domain::id::OrderId;
use crate::domain::outcome::Outcome;

/// Begins a transaction. All that it asks of the session ends with it, so that a pooler may stand in between.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s';
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'";

const NOTE: &str = "INSERT INTO orderd.inbox (source, ms, sub) SELECT * FROM unnest($1::int4[], $2::int8[], $3::int8[])
    ON CONFLICT DO NOTHING RETURNING source, ms, sub";

const STRIKE: &str =
    "DELETE FROM orderd.inbox AS i USING unnest($1::int4[], $2::int8[], $3::int8[]) AS k (source, ms, sub)
    WHERE i.source = k.source AND i.ms = k.ms AND i.sub = k.sub";

const BEGIN_ORDERS: &str = "INSERT INTO orderd.orders
        (order_id, user_id, state, amount, paid, refunded, version, created_at, updated_at)
    SELECT n.order_id, n.user_id, n.state, n.amount::numeric, n.paid::numeric, n.refunded::numeric, n.version, $8, $8
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[])
        AS n (order_id, user_id, state, amount, paid, refunded, version)
    ON CONFLICT DO NOTHING RETURNING order_id, number";

// What an order began with never changes.
const STORE: &str = "UPDATE orderd.orders AS o
    SET state = n.state, paid = n.paid::numeric, refunded = n.refunded::numeric, version = n.version, updated_at = $6
    FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::int8[]) AS n (number, state, paid, refunded, version)
    WHERE o.number = n.number";

// Ends with the transaction. The number of the table stands for the ledger: other locks of this kind have other ones.
const TAKE_TURN: &str = "SELECT pg_advisory_xact_lock(1869898866, 'orderd.history'::regclass::oid::int8::int4)";

const APPEND: &str = "INSERT INTO orderd.history
        (number, source, ms, sub, action, amount, state, version, applied_at)
    SELECT e.number, e.source, e.ms, e.sub, e.action, e.amount::numeric, e.state, e.version, $9
    FROM unnest($1::int8[], $2::int4[], $3::int8[], $4::int8[], $5::text[], $6::text[], $7::text[], $8::int8[])
        WITH ORDINALITY AS e (number, source, ms, sub, action, amount, state, version, at)
    ORDER BY e.at";

const FIND_SOURCE: &str = "SELECT source FROM orderd.sources WHERE stream = $1 AND grp = $2";
const NAME_SOURCE: &str = "INSERT INTO orderd.sources (stream, grp) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// The statements of the hot path, prepared once for a connection, and what is known between two transactions.
pub(super) struct Book {
    note: Statement,
    strike: Statement,
    load: Statement,
    begin_orders: Statement,
    store: Statement,
    take_turn: Statement,
    append: Statement,
    sources: Vec<(Arc<Source>, i32)>,
}

impl Book {
    /// Prepares the statements.
    pub(super) async fn new(client: &Client) -> Result<Self, Error> {
        let load = format!(
            "SELECT {}, number, order_id FROM orderd.orders WHERE order_id = ANY ($1::text[]) ORDER BY order_id FOR NO KEY UPDATE",
            ORDER_COLUMNS.join(", ")
        );
        Ok(Self {
            note: client.prepare(NOTE).await?,
            strike: client.prepare(STRIKE).await?,
            load: client.prepare(&load).await?,
            begin_orders: client.prepare(BEGIN_ORDERS).await?,
            store: client.prepare(STORE).await?,
            take_turn: client.prepare(TAKE_TURN).await?,
            append: client.prepare(APPEND).await?,
            sources: Vec::new(),
        })
    }

    /// Enters `events` in one transaction, with the time `now`. An error is that of the whole transaction; unless it is in
    /// doubt, nothing of it counts. The transaction may still be open then.
    pub(super) async fn enter<'w>(
        &mut self,
        client: &Client,
        events: &[Event<'w>],
        failed: &HashSet<(usize, &'w OrderId)>,
        now: SystemTime,
    ) -> Result<Vec<Outcome>, Fault> {
        let mut keyed = Vec::with_capacity(events.len());
        for event in events {
            keyed.push((*event, self.key(client, event).await?));
        }
        let keys = Keys::of(keyed.iter().map(|(_, key)| *key));
        // Not sent along with what follows: without a transaction around it, a note in the inbox would stand for an effect that
        // there is not. From here on, what fails takes all that is on its way behind it along.
        client.batch_execute(BEGIN).await?;
        let fresh = self.note(client, &keys).await?;
        let stored = self.load(client, events).await?;
        let sheet = Sheet::of(&keyed, stored, fresh, failed);
        self.write(client, &sheet, now).await?;
        crash::point("before-commit");
        client.batch_execute("COMMIT").await.map_err(|error| Fault::of_commit(&error))?;
        crash::point("after-commit");
        Ok(sheet.outcomes)
    }

    async fn write(&self, client: &Client, sheet: &Sheet<'_>, now: SystemTime) -> Result<(), Fault> {
        let struck = Keys::of(sheet.struck.iter().copied());
        let (begun, stored, struck) = tokio::join!(
            biased;
            self.begin_orders(client, sheet, now),
            self.store(client, sheet, now),
            self.strike(client, &struck)
        );
        let numbers = begun?;
        stored?;
        struck?;
        if !sheet.lines.is_empty() {
            let (turn, appended) = tokio::join!(
                biased;
                client.execute(&self.take_turn, &[]),
                self.append(client, &sheet.lines, &numbers, &sheet.leaves, now)
            );
            turn?;
            appended?;
        }
        Ok(())
    }

    /// Notes the keys in the inbox. Which of them are new there?
    async fn note(&self, client: &Client, keys: &Keys) -> Result<HashSet<Key>, Error> {
        let rows = client.query(&self.note, &[&keys.sources, &keys.ms, &keys.subs]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
    }

    /// Takes the keys of events that were not applied out of the inbox again.
    async fn strike(&self, client: &Client, keys: &Keys) -> Result<(), Error> {
        if !keys.ms.is_empty() {
            client.execute(&self.strike, &[&keys.sources, &keys.ms, &keys.subs]).await?;
        }
        Ok(())
    }

    /// The orders of `events` that are there. Nobody else changes them until the transaction ends.
    async fn load(&self, client: &Client, events: &[Event<'_>]) -> Result<HashMap<String, Stored>, Fault> {
        let ids: HashSet<&str> = events.iter().map(|event| event.work.event.order.as_str()).collect();
        let rows = client.query(&self.load, &[&ids.into_iter().collect::<Vec<_>>()]).await?;
        let (number, id) = (ORDER_COLUMNS.len(), ORDER_COLUMNS.len() + 1);
        let mut stored = HashMap::with_capacity(rows.len());
        for row in &rows {
            let order = match row::order(row) {
                Ok(order) => Stored::Read { number: row.try_get(number)?, order },
                Err(row::Odd(column)) => Stored::Odd(column),
            };
            stored.insert(row.try_get(id)?, order);
        }
        Ok(stored)
    }

    /// The numbers of the orders that begin.
    async fn begin_orders(
        &self,
        client: &Client,
        sheet: &Sheet<'_>,
        now: SystemTime,
    ) -> Result<HashMap<String, i64>, Fault> {
        let mut new: Vec<(&str, &Leaf)> =
            sheet.leaves.iter().filter(|(_, leaf)| leaf.number.is_none()).map(|(id, leaf)| (*id, leaf)).collect();
        if new.is_empty() {
            return Ok(HashMap::new());
        }
        new.sort_unstable_by_key(|(id, _)| *id);
        let ids: Vec<&str> = new.iter().map(|(id, _)| *id).collect();
        let users: Vec<&str> = new.iter().map(|(_, leaf)| leaf.order.user.as_str()).collect();
        let states: Vec<&str> = new.iter().map(|(_, leaf)| leaf.order.state.as_str()).collect();
        let amounts: Vec<String> = new.iter().map(|(_, leaf)| leaf.order.amount.to_string()).collect();
        let paid: Vec<String> = new.iter().map(|(_, leaf)| leaf.order.paid.to_string()).collect();
        let refunded: Vec<String> = new.iter().map(|(_, leaf)| leaf.order.refunded.to_string()).collect();
        let versions: Vec<i64> = new.iter().map(|(_, leaf)| stored(leaf.order.version)).collect();
        let rows = client
            .query(&self.begin_orders, &[&ids, &users, &states, &amounts, &paid, &refunded, &versions, &now])
            .await?;
        if rows.len() < new.len() {
            return Err(Fault::Crossed("another worker has begun the same order".to_owned()));
        }
        let number = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(number).collect::<Result<_, Error>>().map_err(Fault::from)
    }

    async fn store(&self, client: &Client, sheet: &Sheet<'_>, now: SystemTime) -> Result<(), Error> {
        let changed = || sheet.leaves.values().filter(|leaf| leaf.touched && leaf.number.is_some());
        let numbers: Vec<i64> = changed().filter_map(|leaf| leaf.number).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let states: Vec<&str> = changed().map(|leaf| leaf.order.state.as_str()).collect();
        let paid: Vec<String> = changed().map(|leaf| leaf.order.paid.to_string()).collect();
        let refunded: Vec<String> = changed().map(|leaf| leaf.order.refunded.to_string()).collect();
        let versions: Vec<i64> = changed().map(|leaf| stored(leaf.order.version)).collect();
        client.execute(&self.store, &[&numbers, &states, &paid, &refunded, &versions, &now]).await?;
        Ok(())
    }

    async fn append(
        &self,
        client: &Client,
        lines: &[Line<'_>],
        begun: &HashMap<String, i64>,
        leaves: &HashMap<&str, Leaf>,
        now: SystemTime,
    ) -> Result<(), Error> {
        let number = |line: &Line<'_>| {
            let id = line.work.event.order.as_str();
            leaves.get(id).and_then(|leaf| leaf.number).or_else(|| begun.get(id).copied())
        };
        let numbers: Vec<Option<i64>> = lines.iter().map(number).collect();
        let Keys { sources, ms, subs } = Keys::in_order(lines.iter().map(|line| line.key));
        let actions: Vec<&str> = lines.iter().map(|line| line.work.event.action.as_str()).collect();
        let amounts: Vec<Option<String>> =
            lines.iter().map(|line| line.work.event.amount.map(|amount| amount.to_string())).collect();
        let states: Vec<&str> = lines.iter().map(|line| line.state.as_str()).collect();
        let versions: Vec<i64> = lines.iter().map(|line| stored(line.version)).collect();
        client
            .execute(&self.append, &[&numbers, &sources, &ms, &subs, &actions, &amounts, &states, &versions, &now])
            .await?;
        Ok(())
    }

    /// What the event is known by.
    pub(super) async fn key(&mut self, client: &Client, event: &Event<'_>) -> Result<Key, Fault> {
        let id = event.work.event.id();
        Ok((self.source(client, &event.work.context.source).await?, stored(id.ms), stored(id.seq)))
    }

    /// The small number that stands for a stream and a group.
    async fn source(&mut self, client: &Client, source: &Arc<Source>) -> Result<i32, Fault> {
        // A process has one or a few of them, and the same `Arc` for each of its events.
        let same = |known: &Arc<Source>| Arc::ptr_eq(known, source) || known == source;
        if let Some((_, number)) = self.sources.iter().find(|(known, _)| same(known)) {
            return Ok(*number);
        }
        let (stream, group) = (source.stream.as_str(), source.group.as_str());
        if client.query_opt(FIND_SOURCE, &[&stream, &group]).await?.is_none() {
            client.execute(NAME_SOURCE, &[&stream, &group]).await?;
        }
        let number = client.query_one(FIND_SOURCE, &[&stream, &group]).await?.try_get(0)?;
        self.sources.push((Arc::clone(source), number));
        Ok(number)
    }
}

/// Keys as a statement takes them.
struct Keys {
    sources: Vec<i32>,
    ms: Vec<i64>,
    subs: Vec<i64>,
}

impl Keys {
    /// Each once, in the order that all writers share.
    fn of(keys: impl Iterator<Item = Key>) -> Self {
        let mut keys: Vec<Key> = keys.collect();
        keys.sort_unstable();
        keys.dedup();
        Self::in_order(keys.into_iter())
    }

    fn in_order(keys: impl Iterator<Item = Key>) -> Self {
        let mut columns = Self { sources: Vec::new(), ms: Vec::new(), subs: Vec::new() };
        for (source, ms, sub) in keys {
            columns.sources.push(source);
            columns.ms.push(ms);
            columns.subs.push(sub);
        }
        columns
    }
}
