//! The book: entering the events of one transaction.
//!
//! Owns: the statements. Each carries all that there is to say in one round trip, as arrays, and in an order that all writers
//! share, so that two of them never wait for each other in a circle.
//! Never: a second attempt; the rules of an order (that is `domain::order`).
//!
//! The order of a transaction: the locks on sources, by number; replays, by key; the inbox, by key; the rows of orders that are there, by id; new orders, by id; the history, under
//! a lock that lasts until the commit, so that `seq` rises in the order of the commits. Who has come to a later step waits for
//! nobody in an earlier one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::{Client, Error, Row, Statement};

use super::fault::Fault;
use super::hook::Hook;
use super::inbox::Inbox;
use super::row::{self, ORDER_COLUMNS, stored};
use super::sheet::{Begun, Event, Filed, Ground, InboxRow, Leaf, Line, Sheet, Stored};
use crate::crash;
use crate::domain::batch::Work;
use crate::domain::id::{EntryId, EventId, OrderId};
use crate::domain::inbox::Digest;
use crate::domain::order::Rules;
use crate::domain::outcome::Outcome;

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
        (number, source, ms, sub, action, amount, state, version, applied_at, event_id)
    SELECT e.number, e.source, e.ms, e.sub, e.action, e.amount::numeric, e.state, e.version, $9, e.event_id
    FROM unnest($1::int8[], $2::int4[], $3::int8[], $4::int8[], $5::text[], $6::text[], $7::text[], $8::int8[], $10::text[])
        WITH ORDINALITY AS e (number, source, ms, sub, action, amount, state, version, event_id, at)
    ORDER BY e.at";

const PUBLISHED: &str = "SELECT event_id FROM orderd.history WHERE event_id = ANY ($1::text[])";

/// The statements of the hot path, prepared once for a connection.
pub(super) struct Book {
    hook: Option<Arc<dyn Hook>>,
    inbox: Inbox,
    published: Statement,
    load: Statement,
    begin_orders: Statement,
    store: Statement,
    take_turn: Statement,
    append: Statement,
}

/// How events are entered.
#[derive(Clone, Copy)]
pub(super) struct Terms<'t, 'w> {
    /// What may happen to an order.
    pub(super) rules: &'t Rules,
    /// Orders of which an event has failed already, each in its batch.
    pub(super) failed: &'t HashSet<(usize, &'w OrderId)>,
    /// The time of the transaction.
    pub(super) now: SystemTime,
    /// Whether no other worker may note entries of the same sources meanwhile.
    pub(super) alone: bool,
}

/// What was committed.
pub(super) struct Entered {
    /// One outcome for each event.
    pub(super) outcomes: Vec<Outcome>,
    /// The generations that have begun, each with the highest id of those before.
    pub(super) begun: Vec<(Begun, Option<EntryId>)>,
}

impl Book {
    /// Prepares the statements.
    pub(super) async fn new(client: &Client, hook: Option<Arc<dyn Hook>>) -> Result<Self, Error> {
        let load = format!(
            "SELECT {}, number, order_id FROM orderd.orders WHERE order_id = ANY ($1::text[]) ORDER BY order_id FOR NO KEY UPDATE",
            ORDER_COLUMNS.join(", ")
        );
        Ok(Self {
            hook,
            inbox: Inbox::new(client).await?,
            published: client.prepare(PUBLISHED).await?,
            load: client.prepare(&load).await?,
            begin_orders: client.prepare(BEGIN_ORDERS).await?,
            store: client.prepare(STORE).await?,
            take_turn: client.prepare(TAKE_TURN).await?,
            append: client.prepare(APPEND).await?,
        })
    }

    /// Enters `events` in one transaction. An error is that of the whole transaction; unless it is in doubt, nothing of it
    /// counts. The transaction may still be open then.
    pub(super) async fn enter<'w>(
        &mut self,
        client: &Client,
        events: &[Event<'w>],
        terms: Terms<'_, 'w>,
    ) -> Result<Entered, Fault> {
        let mut filed = Vec::with_capacity(events.len());
        for event in events {
            filed.push(self.file(client, event).await?);
        }
        let sources: BTreeSet<i32> = filed.iter().map(|filed| filed.key.0).collect();
        // Not sent along with what follows: without a transaction around it, a row in the inbox would stand for an effect that
        // there is not. From here on, what fails takes all that is on its way behind it along.
        let present = Inbox::begin(client, &sources, terms.alone).await?;
        let leaves_trace = |filed: &&Filed<'_>| !terms.rules.ignores(&filed.event.work.event.action);
        let wanted: Vec<&Filed<'_>> = filed.iter().filter(leaves_trace).collect();
        self.inbox.note_replays(client, &wanted).await?;
        // On their way one behind the other: the server goes on while the answer to the first is read.
        let (noted, published, orders) = tokio::join!(
            biased;
            self.inbox.note(client, &wanted, &present),
            self.published(client, &wanted),
            self.load(client, events)
        );
        let (noted, published, orders) = (noted?, published?, orders?);
        let ground = Ground { orders, known: noted.known, present, published };
        let sheet = Sheet::of(&filed, ground, terms.rules, terms.failed, millis(terms.now));
        if !sheet.begun.is_empty() && !terms.alone {
            return Err(Fault::Alone);
        }
        let begun = self.write(client, &sheet, &noted.ahead, terms.now).await?;
        self.call_hook(client, events, &sheet.outcomes).await?;
        crash::point("before-commit");
        client.batch_execute("COMMIT").await.map_err(|error| Fault::of_commit(&error))?;
        crash::point("after-commit");
        Ok(Entered { outcomes: sheet.outcomes, begun })
    }

    /// Lets the hook add what belongs to the events that were applied.
    async fn call_hook(&self, client: &Client, events: &[Event<'_>], outcomes: &[Outcome]) -> Result<(), Fault> {
        let Some(hook) = &self.hook else { return Ok(()) };
        let is_applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied | Outcome::AppliedTo(_));
        let applied = events.iter().zip(outcomes).filter(|(_, outcome)| is_applied(outcome));
        let works: Vec<&Work> = applied.map(|(event, _)| event.work).collect();
        if works.is_empty() {
            return Ok(());
        }
        hook.applied(client, &works).await?.map_err(Fault::Declined)
    }

    async fn write(
        &self,
        client: &Client,
        sheet: &Sheet<'_, '_>,
        ahead: &HashSet<InboxRow>,
        now: SystemTime,
    ) -> Result<Vec<(Begun, Option<EntryId>)>, Fault> {
        self.inbox.settle(client, ahead, &sheet.rows).await?;
        let (numbers, stored) =
            tokio::join!(biased; self.begin_orders(client, sheet, now), self.store(client, sheet, now));
        let numbers = numbers?;
        stored?;
        let mut begun = Vec::new();
        for generation in &sheet.begun {
            begun.push((generation.clone(), Inbox::begin_generation(client, generation).await?));
        }
        if !sheet.lines.is_empty() {
            let (turn, appended) = tokio::join!(
                biased;
                client.execute(&self.take_turn, &[]),
                self.append(client, sheet, &numbers, now)
            );
            turn?;
            appended?;
        }
        Ok(begun)
    }

    /// What the inbox knows the event by.
    async fn file<'w>(&mut self, client: &Client, event: &Event<'w>) -> Result<Filed<'w>, Error> {
        let id = event.work.event.origin();
        let source = self.inbox.source(client, &event.work.context.source).await?;
        let digest = Digest::of(&event.work.event.entry.fields);
        Ok(Filed { event: *event, key: (source, stored(id.ms), stored(id.seq)), digest })
    }

    /// Which of the producer's ids are those of events that were applied. Asks nothing where there are none.
    async fn published(&self, client: &Client, filed: &[&Filed<'_>]) -> Result<HashSet<String>, Error> {
        let ids = filed.iter().filter_map(|filed| filed.event.work.event.event_id.as_ref());
        let ids: Vec<&str> = ids.map(EventId::as_str).collect();
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        client.query(&self.published, &[&ids]).await?.iter().map(|row| row.try_get(0)).collect()
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
        sheet: &Sheet<'_, '_>,
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
        let number = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(number).collect::<Result<_, Error>>().map_err(Fault::from)
    }

    async fn store(&self, client: &Client, sheet: &Sheet<'_, '_>, now: SystemTime) -> Result<(), Error> {
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
        sheet: &Sheet<'_, '_>,
        begun: &HashMap<String, i64>,
        now: SystemTime,
    ) -> Result<(), Error> {
        let lines = &sheet.lines;
        let number = |line: &Line<'_>| {
            let id = line.work.event.order.as_str();
            sheet.leaves.get(id).and_then(|leaf| leaf.number).or_else(|| begun.get(id).copied())
        };
        let numbers: Vec<Option<i64>> = lines.iter().map(number).collect();
        let sources: Vec<i32> = lines.iter().map(|line| line.key.0).collect();
        let ms: Vec<i64> = lines.iter().map(|line| line.key.1).collect();
        let subs: Vec<i64> = lines.iter().map(|line| line.key.2).collect();
        let actions: Vec<&str> = lines.iter().map(|line| line.work.event.action.as_str()).collect();
        let amounts: Vec<Option<String>> =
            lines.iter().map(|line| line.work.event.amount.map(|amount| amount.to_string())).collect();
        let states: Vec<&str> = lines.iter().map(|line| line.state.as_str()).collect();
        let versions: Vec<i64> = lines.iter().map(|line| stored(line.version)).collect();
        let event_ids: Vec<Option<&str>> =
            lines.iter().map(|line| line.work.event.event_id.as_ref().map(EventId::as_str)).collect();
        client
            .execute(
                &self.append,
                &[&numbers, &sources, &ms, &subs, &actions, &amounts, &states, &versions, &now, &event_ids],
            )
            .await?;
        Ok(())
    }
}

fn millis(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or_default()
}
