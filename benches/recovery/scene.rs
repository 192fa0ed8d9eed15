//! The scene of one measurement: a server, a folder, and who looks at both.
//!
//! Owns: setting up what is waiting or pending, and looking at what is left of it.
//! Never: a clock; those who measure have it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use orderd::cli::sandbox::{self, PrivateServer, SandboxError};
use redis::{FromRedisValue, Value, cmd};
use tempfile::TempDir;

use super::wait::Deadline;
use super::worker::Worker;

/// The stream of the default configuration.
pub(crate) const STREAM: &str = "orders:events";
/// The group of the default configuration.
pub(crate) const GROUP: &str = "order-processors";
/// The name of the connection that looks, so that what it asks can be told from what orderd asks.
pub(crate) const LOOKER: &str = "looker";
/// A backlog that is about to appear.
const READY: &str = "recovery:ready";
/// So many entries are added in one round trip.
const PIPELINE: u64 = 1_000;
/// An answer that takes longer does not come.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What `XPENDING` says in short: how many, the lowest and the highest id, and how many each consumer has.
type Summary = (u64, Option<String>, Option<String>, Option<Vec<(String, u64)>>);

/// A server, a folder for workers and their ledger, and a connection to look at things.
pub(crate) struct Scene {
    connection: redis::Connection,
    pub(crate) server: PrivateServer,
    folder: TempDir,
}

/// Nobody else writes to the ledger while this is there.
pub(crate) struct LedgerLock {
    _connection: rusqlite::Connection,
}

impl Scene {
    /// With a server that was started with these further arguments.
    pub(crate) fn new(args: &[&str]) -> anyhow::Result<Self> {
        let args = args.iter().map(Into::into).collect();
        let server = PrivateServer::start(sandbox::Options { tcp: true, args, ..sandbox::Options::default() })?;
        // Beside what is built, and not where temporary files go: that may be memory, and the ledger is to be on a disk.
        let folder = tempfile::Builder::new().prefix("recovery-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        Ok(Self { connection: connect(&server)?, server, folder })
    }

    /// Which server this is.
    pub(crate) fn version(&mut self) -> anyhow::Result<String> {
        let info: String = self.ask(cmd("INFO").arg("server"))?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Ok(match (field("valkey_version:"), field("redis_version:")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, version) => format!("Redis {}", version.unwrap_or_default()),
        })
    }

    /// Starts a worker with the default configuration and these settings, and waits until it is ready.
    pub(crate) fn ready_worker(&self, instance: &str, set: &[&str]) -> anyhow::Result<Worker> {
        let mut worker = self.worker(instance, set)?;
        worker.wait_until_ready()?;
        Ok(worker)
    }

    /// The same, without the waiting.
    pub(crate) fn worker(&self, instance: &str, set: &[&str]) -> anyhow::Result<Worker> {
        Worker::start(self.folder.path(), &self.server.url(), &self.ledger(), instance, set)
    }

    /// Kills the server.
    pub(crate) fn kill_server(&mut self) -> anyhow::Result<()> {
        Ok(self.server.kill9()?)
    }

    /// Starts it again; it answers when this is done.
    pub(crate) fn restart_server(&mut self) -> Result<(), SandboxError> {
        self.server.restart()
    }

    /// Connects to it again.
    pub(crate) fn look_again(&mut self) -> anyhow::Result<()> {
        self.connection = connect(&self.server)?;
        Ok(())
    }

    /// Holds the ledger, so that whoever has read events keeps them in hand.
    pub(crate) fn lock_ledger(&self) -> anyhow::Result<LedgerLock> {
        let connection = rusqlite::Connection::open(self.ledger())?;
        connection.busy_timeout(RESPONSE_TIMEOUT)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(LedgerLock { _connection: connection })
    }

    /// An error where the ledger does not hold exactly so many events.
    pub(crate) fn check_applied(&self, events: u64) -> anyhow::Result<()> {
        let ledger = rusqlite::Connection::open(self.ledger())?;
        let applied: i64 = ledger.query_row("SELECT count(*) FROM order_events", [], |row| row.get(0))?;
        ensure!(u64::try_from(applied)? == events, "the ledger holds {applied} of {events} events");
        Ok(())
    }

    /// Lets `count` events appear at once in the place of the empty stream on which workers wait: groups travel with a stream.
    pub(crate) fn appear(&mut self, count: u64, deadline: &Deadline) -> anyhow::Result<()> {
        self.lay_ready(count, deadline)?;
        self.appear_now()
    }

    /// Lays `count` events ready, to appear in an instant.
    pub(crate) fn lay_ready(&mut self, count: u64, deadline: &Deadline) -> anyhow::Result<()> {
        self.fill(READY, count, deadline)
    }

    /// Lets them appear.
    pub(crate) fn appear_now(&mut self) -> anyhow::Result<()> {
        Ok(self.ask(cmd("RENAME").arg(READY).arg(STREAM))?)
    }

    /// Makes a stream of `count` events, with the group: a quarter as many orders, all created, then paid, shipped, delivered.
    pub(crate) fn fill(&mut self, key: &str, count: u64, deadline: &Deadline) -> anyhow::Result<()> {
        let orders = count / 4;
        let mut at = 0;
        while at < count {
            deadline.check()?;
            let mut adding = redis::pipe();
            for n in at..count.min(at + PIPELINE) {
                let action = match n / orders {
                    0 => "created",
                    1 => "paid",
                    2 => "shipped",
                    _ => "delivered",
                };
                adding.add_command(event(key, action, n % orders)).ignore();
            }
            adding.query::<()>(&mut self.connection)?;
            at += PIPELINE;
        }
        Ok(self.ask(cmd("XGROUP").arg("CREATE").arg(key).arg(GROUP).arg("0"))?)
    }

    /// Adds `count` events in one round trip, numbered from `first` on: each of an order of its own. Returns how long the stream is then.
    pub(crate) fn add(&mut self, first: u64, count: u64) -> anyhow::Result<u64> {
        let mut adding = redis::pipe();
        for n in first..first + count {
            adding.add_command(event(STREAM, "created", n)).ignore();
        }
        let (length,) = adding.cmd("XLEN").arg(STREAM).query(&mut self.connection)?;
        Ok(length)
    }

    /// How many entries of the group are pending with a name of this instance; `None` counts all.
    pub(crate) fn pending(&mut self, instance: Option<&str>) -> anyhow::Result<u64> {
        let (all, _, _, consumers): Summary = self.ask(cmd("XPENDING").arg(STREAM).arg(GROUP))?;
        let Some(instance) = instance else { return Ok(all) };
        let of_instance = |name: &str| name.strip_prefix(instance).is_some_and(|rest| rest.starts_with('-'));
        Ok(consumers.into_iter().flatten().filter(|(name, _)| of_instance(name)).map(|(_, count)| count).sum())
    }

    /// Whether every entry is delivered and settled, as far as the group says.
    pub(crate) fn is_settled(&mut self) -> anyhow::Result<bool> {
        let stream: HashMap<String, Value> = self.ask(cmd("XINFO").arg("STREAM").arg(STREAM))?;
        let groups: Vec<HashMap<String, Value>> = self.ask(cmd("XINFO").arg("GROUPS").arg(STREAM))?;
        let text = |value: Option<&Value>| value.and_then(|value| String::from_redis_value_ref(value).ok());
        let last = text(stream.get("last-generated-id"));
        Ok(groups.iter().any(|group| {
            let pending = group.get("pending").and_then(|value| u64::from_redis_value_ref(value).ok());
            pending == Some(0) && last.is_some() && text(group.get("last-delivered-id")) == last
        }))
    }

    /// Waits for that.
    pub(crate) fn wait_until_settled(&mut self, deadline: &Deadline) -> anyhow::Result<()> {
        deadline.wait_for("every event is settled", || Ok(self.is_settled()?.then_some(())))
    }

    pub(crate) fn ask<T: FromRedisValue>(&mut self, command: &mut redis::Cmd) -> redis::RedisResult<T> {
        command.query(&mut self.connection)
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("orderd.db")
    }
}

fn connect(server: &PrivateServer) -> anyhow::Result<redis::Connection> {
    let mut connection = redis::Client::open(server.url())?.get_connection().context("the server was just there")?;
    connection.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
    cmd("CLIENT").arg("SETNAME").arg(LOOKER).exec(&mut connection)?;
    Ok(connection)
}

fn event(key: &str, action: &str, order: u64) -> redis::Cmd {
    let mut add = cmd("XADD");
    add.arg(key).arg("*").arg("action").arg(action).arg("orderId").arg(format!("order-{order}"));
    add.arg("amount").arg("499.90").arg("userId").arg(format!("user-{}", order % 977));
    add
}
