//! The ledger on Postgres, and the reference beside it.

use std::time::{Duration, Instant};

use orderd::domain::batch::{Batch, Work};
use orderd::domain::event::Action;
use orderd::domain::order::Rules;
use orderd::ledger::postgres::PostgresLedger;
use orderd::ledger::{Ledger, Parts};
use orderd::telemetry::Telemetry;
use tokio_postgres::{Client, Error, Statement};

use crate::measure::runtime;
use crate::server::Server;
use crate::store::{Place, Store};
use crate::table::count;

pub(crate) struct Postgres {
    url: String,
}

struct Database {
    server: String,
    name: String,
}

/// The statements of the reference.
struct ByHand {
    note: Statement,
    begin: Statement,
    change: Statement,
    append: Statement,
}

impl Postgres {
    pub(crate) fn new(server: &Server) -> Self {
        Self { url: server.url() }
    }
}

impl Store for Postgres {
    fn name(&self) -> &'static str {
        "Postgres"
    }

    fn place(&self) -> anyhow::Result<Box<dyn Place>> {
        let name = format!("b{:016x}", fastrand::u64(..));
        with(&format!("{}postgres", self.url), async |client| {
            client.batch_execute(&format!("CREATE DATABASE {name}")).await
        })?;
        Ok(Box::new(Database { server: self.url.clone(), name }))
    }
}

impl Database {
    fn url(&self) -> String {
        format!("{}{}", self.server, self.name)
    }
}

impl Place for Database {
    fn open(&self) -> anyhow::Result<Box<dyn Ledger>> {
        let parts = Parts { rules: Rules::default(), telemetry: Telemetry::new()? };
        Ok(Box::new(PostgresLedger::open(&self.url().parse()?, parts, Duration::from_mins(5))?))
    }

    fn by_hand(&self, batches: &[Batch]) -> anyhow::Result<f64> {
        drop(self.open()?);
        let events: usize = batches.iter().map(|batch| batch.len()).sum();
        let seconds = with(&self.url(), async |client| {
            let source = "INSERT INTO orderd.sources (stream, grp) VALUES ('orders:events', 'order-processors')";
            client.batch_execute(source).await?;
            let statements = ByHand::prepare(client).await?;
            let began = Instant::now();
            for pair in batches.chunks(2) {
                statements.enter(client, pair).await?;
            }
            Ok(began.elapsed().as_secs_f64())
        })?;
        Ok(count(events as u64) / seconds)
    }

    fn bytes(&self) -> anyhow::Result<f64> {
        with(&self.url(), async |client| {
            let sql = "SELECT sum(pg_total_relation_size(oid))::float8 FROM pg_class
                WHERE relnamespace = 'orderd'::regnamespace AND relkind = 'r'";
            client.query_one(sql, &[]).await?.try_get(0)
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let dropped = with(&format!("{}postgres", self.server), async |client| client.batch_execute(&drop).await);
        if let Err(error) = dropped {
            eprintln!("{}: {error}", self.name);
        }
    }
}

impl ByHand {
    async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            note: client
                .prepare(
                    "INSERT INTO orderd.inbox SELECT 1, ms, sub, 0, ms # sub FROM unnest($1::int8[], $2::int8[]) AS e (ms, sub)
                     ON CONFLICT DO NOTHING",
                )
                .await?,
            begin: client
                .prepare(
                    "INSERT INTO orderd.orders
                         (order_id, user_id, state, amount, paid, refunded, version, created_at, updated_at)
                     SELECT o, u, 'created', 49.90, 0, 0, 1, now(), now() FROM unnest($1::text[], $2::text[]) AS e (o, u)",
                )
                .await?,
            change: client
                .prepare(
                    "UPDATE orderd.orders AS o SET state = e.state, paid = 49.90, version = e.version, updated_at = now()
                     FROM unnest($1::text[], $2::text[], $3::int8[]) AS e (order_id, state, version)
                     WHERE o.order_id = e.order_id",
                )
                .await?,
            append: client
                .prepare(
                    "INSERT INTO orderd.history (number, source, ms, sub, action, amount, state, version, applied_at)
                     SELECT o.number, 1, e.ms, e.sub, e.action, 49.90, e.action, e.version, now()
                     FROM unnest($1::text[], $2::int8[], $3::int8[], $4::text[], $5::int8[])
                         AS e (order_id, ms, sub, action, version)
                     JOIN orderd.orders AS o USING (order_id) ORDER BY e.ms, e.sub",
                )
                .await?,
        })
    }

    /// One transaction.
    async fn enter(&self, client: &Client, batches: &[Batch]) -> Result<(), Error> {
        let works: Vec<&Work> = batches.iter().flat_map(|batch| batch.iter()).collect();
        let ms: Vec<i64> = works.iter().map(|work| work.event.entry.id.ms.cast_signed()).collect();
        let subs: Vec<i64> = works.iter().map(|work| work.event.entry.id.seq.cast_signed()).collect();
        let orders: Vec<&str> = works.iter().map(|work| work.event.order.as_str()).collect();
        let actions: Vec<&str> = works.iter().map(|work| work.event.action.as_str()).collect();
        let versions: Vec<i64> = works.iter().map(|work| version(&work.event.action)).collect();
        let new: Vec<&&Work> = works.iter().filter(|work| work.event.action == Action::Created).collect();
        let new_ids: Vec<&str> = new.iter().map(|work| work.event.order.as_str()).collect();
        let users: Vec<&str> =
            new.iter().map(|work| work.event.user.as_ref().map_or("", |user| user.as_str())).collect();
        // The last that happens to each order here.
        let mut last = std::collections::HashMap::new();
        for work in works.iter().filter(|work| work.event.action != Action::Created) {
            last.insert(work.event.order.as_str(), &work.event.action);
        }
        let changed: Vec<&str> = last.keys().copied().collect();
        let states: Vec<&str> = last.values().map(|action| action.as_str()).collect();
        let reached: Vec<i64> = last.values().map(|action| version(action)).collect();
        client.batch_execute("BEGIN").await?;
        client.execute(&self.note, &[&ms, &subs]).await?;
        client.execute(&self.begin, &[&new_ids, &users]).await?;
        client.execute(&self.change, &[&changed, &states, &reached]).await?;
        client.execute(&self.append, &[&orders, &ms, &subs, &actions, &versions]).await?;
        client.batch_execute("COMMIT").await
    }
}

fn version(action: &Action) -> i64 {
    match action {
        Action::Created => 1,
        Action::Paid => 2,
        Action::Shipped => 3,
        _ => 4,
    }
}

/// Does something on a connection of its own.
fn with<T>(url: &str, work: impl AsyncFnOnce(&Client) -> Result<T, Error>) -> anyhow::Result<T> {
    runtime()?.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        let mut driver = std::pin::pin!(connection);
        tokio::select! {
            done = work(&client) => Ok(done?),
            ended = &mut driver => {
                ended?;
                anyhow::bail!("the connection has ended")
            }
        }
    })
}
