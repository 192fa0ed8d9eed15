//! What the tests of the whole stand on: a real Redis, the real program, and ways to look at both.
//!
//! Owns: everything that a test starts, and its end: by process id, also when the test fails.
//! Never: a fixed sleep; what is waited for is a condition, with a deadline.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orderd::cli::sandbox::{Options, PrivateServer};
use tempfile::TempDir;

pub(crate) mod daemon;
pub(crate) mod faults;
pub(crate) mod servers;

pub(crate) use daemon::Daemon;

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

impl World {
    /// With the server that `PATH` finds.
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let server = PrivateServer::start(options).expect("a redis-server starts");
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

    /// The same, which dies at a crash point.
    pub(crate) fn doomed_daemon(&self, instance: &str, settings: &[(&str, &str)], crash_at: &str) -> Daemon {
        Daemon::start(self, instance, &[], settings, &[("ORDERD_CRASH_AT", crash_at)])
    }

    /// Adds an event, and returns its id.
    pub(crate) fn add(&self, fields: &[(&str, &str)]) -> String {
        redis::cmd("XADD").arg(STREAM).arg("*").arg(fields).query(&mut self.redis()).expect("XADD")
    }

    /// Adds `count` events: `orders` orders, each paid again and again after its creation, in an interleaved sequence.
    pub(crate) fn add_many(&self, count: usize, orders: usize) {
        let mut connection = self.redis();
        let events: Vec<usize> = (0..count).collect();
        for chunk in events.chunks(1000) {
            let mut pipeline = redis::pipe();
            for n in chunk {
                let (order, step) = (n % orders, n / orders);
                let action = ["created", "paid", "shipped", "delivered"].get(step).copied().unwrap_or("noted");
                pipeline.cmd("XADD").arg(STREAM).arg("*").arg("action").arg(action);
                pipeline.arg("orderId").arg(format!("order-{order}")).arg("amount").arg("10.50");
                pipeline.arg("userId").arg(format!("user-{}", order % 7)).arg("n").arg(n).ignore();
            }
            pipeline.query::<()>(&mut connection).expect("XADD");
        }
    }

    /// How many entries are pending in the group.
    pub(crate) fn pending(&self) -> u64 {
        let summary: redis::Value =
            redis::cmd("XPENDING").arg(STREAM).arg(GROUP).query(&mut self.redis()).expect("XPENDING");
        match summary {
            redis::Value::Array(parts) => match parts.first() {
                Some(redis::Value::Int(count)) => u64::try_from(*count).expect("a count"),
                other => panic!("XPENDING answered {other:?}"),
            },
            other => panic!("XPENDING answered {other:?}"),
        }
    }

    /// Whether everything on the stream was delivered and acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        let mut connection = self.redis();
        let last: Option<String> = last_id(&mut connection);
        let groups: Vec<std::collections::HashMap<String, redis::Value>> =
            redis::cmd("XINFO").arg("GROUPS").arg(STREAM).query(&mut connection).unwrap_or_default();
        let delivered = groups.iter().find_map(|group| match group.get("last-delivered-id") {
            Some(redis::Value::BulkString(id)) => String::from_utf8(id.clone()).ok(),
            _ => None,
        });
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
