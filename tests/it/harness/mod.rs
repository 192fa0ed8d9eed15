//! What the tests of the whole stand on: a real Redis, the real program, and ways to look at both.
//!
//! Owns: everything that a test starts, and its end: by process id, also when the test fails.
//! Never: a fixed sleep; what is waited for is a condition, with a deadline.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orderd::broker::Broker;
use orderd::broker::address::Address;
use orderd::broker::connect::Connector;
use orderd::broker::keys::Keys;
use orderd::cli::sandbox::{Options, PrivateServer};
use orderd::handler::Handler;
use orderd::telemetry::Telemetry;
use tempfile::TempDir;

pub(crate) mod certificates;
pub(crate) mod command;
pub(crate) mod daemon;
pub(crate) mod embedded;
pub(crate) mod faults;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod servers;

pub(crate) use daemon::Daemon;
pub(crate) use embedded::{Embedded, scripted};
pub(crate) use servers::on_every_server;

/// How long a condition may take to come true. Generous: it is the bound of a failure, not a measure of speed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const STREAM: &str = "orders:events";
pub(crate) const GROUP: &str = "order-processors";
pub(crate) const DEAD: &str = "{orders:events}:dead";

/// A Redis server and a folder, for one test.
pub(crate) struct World {
    pub server: PrivateServer,
    folder: TempDir,
}

/// An entry that is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingEntry {
    pub id: String,
    pub consumer: String,
    pub idle_ms: u64,
    pub deliveries: u64,
}

impl World {
    /// With the server that `PATH` finds.
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self::on(PrivateServer::start(options).expect("a redis-server starts"))
    }

    /// On a server that runs already.
    pub(crate) fn on(server: PrivateServer) -> Self {
        Self { server, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A connection of the test's own.
    pub(crate) fn redis(&self) -> redis::Connection {
        let client = redis::Client::open(self.server.url()).expect("an address");
        wait_for("the server to take a connection", || client.get_connection().ok())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path("orders.db")
    }

    /// A daemon named `instance`, with these settings over the defaults of the tests.
    pub(crate) fn daemon(&self, instance: &str, settings: &[(&str, &str)]) -> Daemon {
        Daemon::start(self, instance, &[], settings, &[])
    }

    /// The same, with more arguments and variables.
    pub(crate) fn daemon_with(
        &self,
        instance: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Daemon {
        Daemon::start(self, instance, arguments, settings, environment)
    }

    /// The same, with these variables in its environment.
    pub(crate) fn daemon_in(&self, instance: &str, settings: &[(&str, &str)], environment: &[(&str, &str)]) -> Daemon {
        Daemon::start(self, instance, &[], settings, environment)
    }

    /// The same, which dies at a crash point.
    pub(crate) fn doomed_daemon(&self, instance: &str, settings: &[(&str, &str)], crash_at: &str) -> Daemon {
        Daemon::start(self, instance, &[], settings, &[("ORDERD_CRASH_AT", crash_at)])
    }

    /// A daemon inside of this process, with a handler of the test's own.
    pub(crate) fn embedded(&self, instance: &str, settings: &[(&str, &str)], handler: impl Handler) -> Embedded {
        Embedded::start(self, instance, settings, Arc::new(handler))
    }

    /// The broker of the daemon, alone.
    pub(crate) fn broker(&self) -> Broker {
        let address = Address::parse(&self.server.url(), None).expect("an address");
        let connector = Connector::new(address, "test", Telemetry::new().expect("meters")).expect("a connector");
        Broker::new(Arc::new(connector), Keys::new(STREAM.into(), GROUP.into()))
    }

    /// Adds an event, and returns its id.
    pub(crate) fn add(&self, fields: &[(&str, &str)]) -> String {
        redis::cmd("XADD").arg(STREAM).arg("*").arg(fields).query(&mut self.redis()).expect("XADD")
    }

    /// Adds `count` events: `orders` orders, each paid again and again after its creation, in an interleaved sequence.
    pub(crate) fn add_many(&self, count: usize, orders: usize) {
        self.add_many_of("order", count, orders);
    }

    /// The same, of orders that are called `<prefix>-<n>`.
    pub(crate) fn add_many_of(&self, prefix: &str, count: usize, orders: usize) {
        let mut connection = self.redis();
        let events: Vec<usize> = (0..count).collect();
        for chunk in events.chunks(1000) {
            let mut pipeline = redis::pipe();
            for n in chunk {
                let (order, step) = (n % orders, n / orders);
                let action = ["created", "paid", "shipped", "delivered"].get(step).copied().unwrap_or("noted");
                pipeline.cmd("XADD").arg(STREAM).arg("*").arg("action").arg(action);
                pipeline.arg("orderId").arg(format!("{prefix}-{order}")).arg("amount").arg("10.50");
                pipeline.arg("userId").arg(format!("user-{}", order % 7)).arg("n").arg(n).ignore();
            }
            pipeline.query::<()>(&mut connection).expect("XADD");
        }
    }

    /// How many entries are pending in the group; none where there is no group yet.
    pub(crate) fn pending(&self) -> u64 {
        let Some(summary) = there(redis::cmd("XPENDING").arg(STREAM).arg(GROUP).query(&mut self.redis())) else {
            return 0;
        };
        match summary {
            redis::Value::Array(parts) => match parts.first() {
                Some(redis::Value::Int(count)) => u64::try_from(*count).expect("a count"),
                other => panic!("XPENDING answered {other:?}"),
            },
            other => panic!("XPENDING answered {other:?}"),
        }
    }

    /// Whether a read of the daemon is blocked at the server.
    pub(crate) fn is_reading(&self) -> bool {
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut self.redis()).expect("CLIENT LIST");
        clients.lines().any(|client| client.contains("cmd=xreadgroup") && client.contains("flags=b"))
    }

    /// Adds an event of `order` and leaves it pending for long, as a worker would that has died `deliveries` times.
    pub(crate) fn left_by_dead_worker(&self, order: &str, deliveries: u64) -> String {
        let mut connection = self.redis();
        let _: Result<(), _> =
            redis::cmd("XGROUP").arg(("CREATE", STREAM, GROUP, "0", "MKSTREAM")).query(&mut connection);
        let mut transaction = redis::pipe();
        transaction.atomic();
        transaction.cmd("XADD").arg((STREAM, "*", "action", "noted", "orderId", order));
        let read = ("GROUP", GROUP, "dead-0", "STREAMS", STREAM, ">");
        transaction.cmd("XREADGROUP").arg(read).ignore();
        let (id,): (String,) = transaction.query(&mut connection).expect("one delivery");
        let claim = ("dead-0", 0, &id, "IDLE", 3_600_000, "RETRYCOUNT", deliveries, "JUSTID");
        redis::cmd("XCLAIM").arg(STREAM).arg(GROUP).arg(claim).exec(&mut connection).expect("XCLAIM");
        id
    }

    /// Gives everybody a right, or takes it away: `+xack`, `-xack`.
    pub(crate) fn permit(&self, rule: &str) {
        redis::cmd("ACL").arg("SETUSER").arg("default").arg(rule).exec(&mut self.redis()).expect("ACL SETUSER");
    }

    /// How often the server has refused this command.
    pub(crate) fn refused(&self, command: &str) -> u64 {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut self.redis()).expect("INFO");
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
        let count = line.and_then(|line| line.split("rejected_calls=").nth(1)?.split(',').next()?.trim().parse().ok());
        count.unwrap_or_default()
    }

    /// What is pending in the group, oldest first: at most the first 10,000.
    pub(crate) fn pending_entries(&self) -> Vec<PendingEntry> {
        let list = (STREAM, GROUP, "-", "+", 10_000);
        let rows: Option<Vec<(String, String, u64, u64)>> =
            there(redis::cmd("XPENDING").arg(list).query(&mut self.redis()));
        let entry = |(id, consumer, idle_ms, deliveries)| PendingEntry { id, consumer, idle_ms, deliveries };
        rows.unwrap_or_default().into_iter().map(entry).collect()
    }

    /// The names of the group's consumers.
    pub(crate) fn consumers(&self) -> Vec<String> {
        type Row = std::collections::HashMap<String, redis::Value>;
        let rows: Vec<Row> =
            redis::cmd("XINFO").arg(("CONSUMERS", STREAM, GROUP)).query(&mut self.redis()).expect("XINFO CONSUMERS");
        rows.iter().map(|row| redis::from_redis_value(row["name"].clone()).expect("a name")).collect()
    }

    /// How many events the ledger holds.
    pub(crate) fn applied(&self) -> i64 {
        number(&self.ledger(), "SELECT count(*) FROM order_events")
    }

    /// The id of the newest entry on the stream.
    pub(crate) fn last_id(&self) -> Option<String> {
        last_id(&mut self.redis())
    }

    /// Whether everything on the stream was delivered and acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        let mut connection = self.redis();
        let last: Option<String> = last_id(&mut connection);
        let groups: Vec<std::collections::HashMap<String, redis::Value>> =
            redis::cmd("XINFO").arg("GROUPS").arg(STREAM).query(&mut connection).unwrap_or_default();
        let text = |value: &redis::Value| redis::from_redis_value::<String>(value.clone()).ok();
        let ours = groups.iter().find(|group| group.get("name").and_then(text).as_deref() == Some(GROUP));
        let delivered = ours.and_then(|group| group.get("last-delivered-id").and_then(text));
        delivered.is_some() && delivered == last && self.pending() == 0
    }

    pub(crate) fn wait_until_drained(&self) {
        wait_until("the stream is drained", || self.is_drained());
    }

    /// The dead letters, as names and values.
    pub(crate) fn dead_letters(&self) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
        type Entry = (String, Vec<Vec<u8>>);
        let entries: Vec<Entry> =
            redis::cmd("XRANGE").arg(DEAD).arg("-").arg("+").query(&mut self.redis()).expect("XRANGE");
        let pairs = |(_, fields): Entry| fields.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        entries.into_iter().map(pairs).collect()
    }
}

/// `None` where the stream or its group is not there.
fn there<T>(reply: redis::RedisResult<T>) -> Option<T> {
    match reply {
        Err(error) if error.code() == Some("NOGROUP") => None,
        reply => Some(reply.expect("a reply")),
    }
}

fn last_id(connection: &mut redis::Connection) -> Option<String> {
    let last: Vec<(String, redis::Value)> =
        redis::cmd("XREVRANGE").arg(STREAM).arg("+").arg("-").arg("COUNT").arg(1).query(connection).ok()?;
    last.into_iter().next().map(|(id, _)| id)
}

/// The value of a field of a dead letter.
pub(crate) fn field<'l>(letter: &'l [(Vec<u8>, Vec<u8>)], name: &str) -> &'l str {
    let found = letter.iter().find(|(field, _)| field == name.as_bytes());
    let (_, value) = found.unwrap_or_else(|| panic!("no field {name} in {letter:?}"));
    std::str::from_utf8(value).expect("text")
}

/// What a command has printed as its result.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// What a command has said besides.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `found` returns something.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The rows that a query of one column answers.
pub(crate) fn column<T: rusqlite::types::FromSql>(ledger: &Path, query: &str) -> Vec<T> {
    let connection = rusqlite::Connection::open(ledger).expect("the ledger");
    let mut statement = connection.prepare(query).expect("a query");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows of one column")
}

/// The one number that a query answers.
pub(crate) fn number(ledger: &Path, query: &str) -> i64 {
    column(ledger, query)[0]
}
